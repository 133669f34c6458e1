"""Duties: an agent with two of them, due at rates of their own."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.agents.base import AbstractAgent, Duty
from forethought.agents.schedule import Schedule
from forethought.data.replay import Replay
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.environments.tables.grids import grid
from forethought.environments.tables.tabular import TabularEnvironment
from forethought.runs.store.folder import RunFolder
from forethought.runs.train.intervals import learn
from forethought.runs.train.settings import Learning
from forethought.training.duties import each_step, times_due
from forethought.training.host_loop import HostTraining
from forethought.training.loop import Training

MODEL = Duty("model", Schedule(20, "steps"), times=2, begin=40)
POLICY = Duty(
    "policy", Schedule(0.5, "ratio"), times=3, begin=10, until=60, inside=True
)


class Actor(AbstractAgent):
    """Counts what it learned of each duty: the shape of MBPO, without its networks."""

    @property
    def duties(self):
        return MODEL, POLICY

    def make(self, brief):
        return self

    def init(self, spec, *, key):
        return {duty.name: jnp.zeros((), jnp.int32) for duty in self.duties}

    def reset(self, learner, *, key):
        return None

    def act(self, learner, carry, obs, *, key, mode="explore"):
        return jnp.zeros((), jnp.result_type(int)), None, None

    def examined(self, learner):
        return None

    def watch(self, carry):
        return {}

    def update(self, learner, memory, *, duty, key):
        done = learner[duty.name] + 1
        kept = jnp.sum(memory.everything()[1]).astype(float)
        return learner | {duty.name: done}, {f"{duty.name}_of": kept}


def expected(duty, steps):
    """Updates after so many steps, counted one step after the other."""
    done = 0
    for n in range(1, steps + 1):
        rate = {"steps": 1 / duty.every.every, "ratio": duty.every.every}
        each = rate[duty.every.unit]
        due = int(n * each + 1e-9) - int((n - 1) * each + 1e-9)
        if n >= duty.begin and (duty.until is None or n <= duty.until):
            done += due * duty.times
    return done


@pytest.mark.parametrize("duty", [MODEL, POLICY])
def test_a_duty_is_due_as_often_as_counting_says(duty):
    marks = [(n, 0) for n in range(101)]
    due = [int(times_due(duty, *pair)) for pair in itertools.pairwise(marks)]
    assert sum(due) == expected(duty, 100) > 0
    assert sum(due) != 100 * duty.times  # what a loop that ignores rates would do


@pytest.mark.parametrize(
    ("duty", "count", "each"),
    [
        (Duty("a", Schedule(1, "steps")), 3, 3),
        (Duty("a", Schedule(2, "ratio"), times=5), 3, 30),
        (Duty("a", Schedule(2, "steps")), 3, None),
        (POLICY, 2, None),
    ],
)
def test_what_every_step_brings_is_known_beforehand_where_it_is_the_same(
    duty, count, each
):
    assert each_step(duty, count) == each


def pure():
    world = TabularEnvironment(grid(["S...", "...G"]).table, episode_length=7)
    return Training(Actor(), world, Replay(128))


def host():
    return HostTraining(Actor(), GymnasiumEnvironment("CliffWalking-v1"), Replay(128))


@pytest.mark.parametrize("kind", [pure, host])
def test_what_is_inside_is_done_on_the_way_and_the_other_when_told(kind):
    training = kind()
    state, trace = training.collect(training.begin(key=jax.random.key(0)), 80)
    done = {name: int(count) for name, count in state.learner.items()}
    assert done == {"model": 0, "policy": expected(POLICY, 80)}
    # Between steps 10 and 60, at even ones, it learned from all there was.
    np.testing.assert_allclose(trace.learned["policy_of"], np.mean(range(10, 61, 2)))
    state, metrics = training.perform(state, MODEL)
    assert int(state.learner["model"]) == 1 and float(metrics["model_of"]) == 80


def test_a_run_does_each_at_its_own_rate_and_goes_on_with_it(tmp_path):
    run = Learning("maze", Actor(), steps=100, random_steps=0)
    whole, parts = (RunFolder.create(tmp_path / name, {}) for name in ("a", "b"))
    state, _ = learn(run, whole)
    done = {name: int(count) for name, count in state.learner.items()}
    assert done == {duty.name: expected(duty, 100) for duty in (MODEL, POLICY)}

    def stop(event):
        if getattr(event, "row", {}).get("step") == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(run, parts, watch=stop)
    resumed, _ = learn(run, parts, resume=True)
    assert {name: int(n) for name, n in resumed.learner.items()} == done


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"times": 0}, "times >= 1, got 0"),
        ({"begin": 5, "until": 4}, "begin <= until, got 5 and 4"),
        ({"inside": True, "every": Schedule(1)}, "by a ratio to them, got one by ep"),
    ],
)
def test_duties_that_cannot_be_done_are_refused(fields, complaint):
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(MODEL, **fields)


def test_a_schedule_for_one_of_two_duties_is_refused():
    with pytest.raises(ValueError, match="learns model, policy; set their schedules"):
        Learning("maze", Actor(), steps=100, learn=Schedule(5, "steps"))
