"""Acting on a task: pieces and wholes, open and closed loop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import forethought as ft
from forethought.environments.base import AbstractSystem
from forethought.models.around.counted import Counted, Tally
from forethought.runs.plan import control
from forethought.runs.plan.compare import counted


class Kicked(AbstractSystem):
    """A system whose every step is pushed by a wind that no model knows of."""

    inner: object

    @property
    def action(self):
        return self.inner.action

    @property
    def dt(self):
        return self.inner.dt

    @property
    def state_names(self):
        return self.inner.state_names

    @property
    def action_names(self):
        return self.inner.action_names

    def start(self, *, key):
        return self.inner.start(key=key)

    def step(self, state, action, *, key):
        return self.inner.step(state, action, key=key) + jnp.array([0.0, 0.02])

    def observe(self, state):
        return self.inner.observe(state)

    def sketch(self, state):
        return self.inner.sketch(state)


@pytest.fixture(scope="module")
def pendulum():
    return ft.tasks.load("pendulum")


@pytest.fixture(scope="module")
def planner():
    return ft.CEM(8, population=16, elites=4, iterations=2)


def test_a_run_in_pieces_equals_the_run_as_a_whole(pendulum, planner):
    whole = ft.control(pendulum, planner, steps=12, seed=4)
    seen = []
    pieces = control.execute(
        control.prepare(pendulum, planner, steps=12, seed=4, chunk=5),
        lambda event: seen.append(len(event.seconds)),
    )
    assert seen == [4, 4, 4]
    for one, other in zip(
        jax.tree.leaves((whole.episode, whole.first)),
        jax.tree.leaves((pieces.episode, pieces.first)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_the_first_plan_of_a_run_is_the_one_it_acted_on(pendulum, planner):
    run = ft.control(pendulum, planner, steps=3, seed=1)
    np.testing.assert_allclose(run.first.actions[0], run.episode.actions[0], rtol=1e-6)
    np.testing.assert_allclose(run.first.value, run.episode.planned[0], rtol=1e-5)


@pytest.mark.parametrize(("steps", "replan_every"), [(3, 1), (4, 2)])
def test_a_run_makes_each_plan_once(pendulum, steps, replan_every):
    tally = Tally()
    model = Counted(pendulum.problem.model, tally)
    problem = dataclasses.replace(pendulum.problem, model=model)
    task = dataclasses.replace(pendulum, problem=problem)
    planner = ft.RandomShooting(4, population=4)
    one = counted(pendulum, planner)
    run = ft.control(task, planner, steps=steps, replan_every=replan_every)
    jax.effects_barrier()
    # Besides what planning asks for, a filter predicts once a step.
    expected = run.plans * one.evaluations + steps
    assert one is not None and tally.evaluations == expected
    np.testing.assert_allclose(run.first.actions[0], run.episode.actions[0], rtol=1e-6)


def test_open_loop_executes_one_plan_to_its_end(pendulum, planner):
    run = ft.control(pendulum, planner, steps=10, open_loop=True)
    assert run.execution == "open loop"
    assert run.planner.horizon == 10
    np.testing.assert_allclose(run.episode.actions, run.first.actions, rtol=1e-6)
    np.testing.assert_allclose(run.episode.value, run.first.value, rtol=1e-4)


def test_a_plan_is_kept_between_replanning(pendulum, planner):
    run = ft.control(pendulum, planner, steps=9, replan_every=3)
    planned = np.asarray(run.episode.planned).reshape(3, 3)
    np.testing.assert_array_equal(planned, planned[:, :1].repeat(3, axis=1))
    assert len(np.unique(planned)) == 3
    assert run.plans == 3


def test_feedback_gains_correct_a_plan_that_open_loop_cannot(x64):
    task = ft.tasks.load("double-integrator")

    disturbed = dataclasses.replace(task, system=Kicked(task.system))
    planner = ft.LQR(40)
    closed = ft.control(disturbed, planner, steps=40, replan_every=40)
    opened = ft.control(disturbed, planner, steps=40, open_loop=True)
    assert closed.execution == "closed loop by feedback"
    # A steady wind of 0.2 m/s² against a gain of 0.917 leaves 0.22 m.
    assert abs(float(closed.episode.states[-1, 0])) < 0.25
    assert abs(float(opened.episode.states[-1, 0])) > 1.0


def test_runs_of_one_seed_are_equal_and_of_two_seeds_are_not(pendulum, planner):
    first = ft.control(pendulum, planner, steps=3, seed=1).episode.actions
    again = ft.control(pendulum, planner, steps=3, seed=1).episode.actions
    other = ft.control(pendulum, planner, steps=3, seed=2).episode.actions
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_another_seed_compiles_nothing_new(pendulum, planner, compilations):
    prepared = control.prepare(pendulum, planner, steps=3, seed=1)
    control.execute(prepared)
    control.execute(control.reseed(prepared, 2))
    before = compilations.count
    control.execute(control.reseed(prepared, 3))
    assert compilations.count == before


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"steps": 0}, "steps >= 1"),
        ({"start": [jnp.nan, 0.0]}, "finite start state"),
        ({"start": [0.0, 0.0, 0.0]}, "needs 2 numbers"),
        ({"replan_every": 9}, "<= planner.horizon, which is"),
        ({"replan_every": 2, "open_loop": True}, "plans once"),
    ],
)
def test_a_run_that_cannot_be_is_refused(pendulum, planner, keywords, words):
    with pytest.raises(ValueError, match=words):
        control.prepare(pendulum, planner, **keywords)


def test_unknown_planners_and_fields_are_answered_with_the_nearest(pendulum):
    with pytest.raises(ValueError, match="did you mean 'cem'"):
        ft.make_planner(pendulum, "cme")
    with pytest.raises(ValueError, match="did you mean 'population'"):
        ft.make_planner(pendulum, "cem", popluation=3)
