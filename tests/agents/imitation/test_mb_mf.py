"""Phases begin at the stated steps, and each acts and learns by what it says."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought import tasks
from forethought.agents.imitation.imitate import ImitationSettings
from forethought.agents.imitation.mb_mf import MBMF, MODEL, POLICY, STUDENT
from forethought.agents.on_policy.ppo import PPO
from forethought.core.readout import Readout
from forethought.models.learned.fitting import FitSettings
from forethought.planners import RandomShooting
from forethought.runs.store.folder import RunFolder
from forethought.runs.train.intervals import learn
from forethought.runs.train.settings import Learning

KEY = jax.random.key(0)
LENGTH, FIRST, SECOND = 5, 20, 30
TINY = MBMF(
    model=dataclasses.replace(
        MBMF().model, width=4, depth=1, fitting=FitSettings(epochs=2)
    ),
    planner=RandomShooting(3, population=8),
    model_steps=FIRST,
    imitation_steps=SECOND - FIRST,
    imitation=ImitationSettings(epochs=2, updates=2),
    critic_updates=1,
    ppo=PPO(rollout=10, batch=5, width=4, depth=1, epochs=2, std=0.5),
)


def short(name="double-integrator"):
    return dataclasses.replace(tasks.load(name), steps=LENGTH)


def learning(**settings):
    chosen = dataclasses.replace(TINY, **settings)
    return Learning("double-integrator", chosen, steps=60, own=short())


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run of three phases: where it ended, and its lines."""
    folder = RunFolder.create(tmp_path_factory.mktemp("run") / "whole", {})
    run, rows = learning(), []
    state, _ = learn(run, folder, watch=lambda event: rows.append(event.row))
    return run, state, rows


def test_phases_begin_at_the_stated_steps(ran):
    _, state, rows = ran
    phases = {row["step"]: row["phase"] for row in rows if row["kind"] == "planned"}
    for step, phase in phases.items():
        began = MODEL if step <= FIRST else STUDENT if step <= SECOND else POLICY
        assert phase == began, step
    assert set(phases.values()) == {MODEL, STUDENT, POLICY}
    assert state.learner.phase == POLICY


def test_each_phase_learns_what_it_is_for_and_nothing_else(ran):
    for row in ran[2]:
        step = row["step"]
        assert ("holdout" in row) == (step <= FIRST)
        assert ("imitation_loss" in row) == (FIRST <= step <= SECOND)
        assert ("kl" in row) == (step > SECOND and step % 10 == 0)
        assert (row.get("plan_value") is None) == (step > SECOND or step == LENGTH)
    # The first update learns from the third phase's rows alone.
    first = next(row for row in ran[2] if "kl" in row)
    assert first["step"] == SECOND + 10 and first["rows"] == 10


def test_a_run_that_is_stopped_goes_on_in_its_phase(ran, tmp_path):
    run, _, rows = ran
    folder = RunFolder.create(tmp_path / "cut", {})

    class Enough(Exception):
        pass

    def stop_at(step):
        def watch(event):
            if event.row["step"] == step:
                raise Enough

        return watch

    for step in (FIRST, SECOND + 10):
        with pytest.raises(Enough):
            learn(run, folder, resume=step > FIRST, watch=stop_at(step))
    later = []
    learn(run, folder, resume=True, watch=lambda event: later.append(event.row))
    whole = [row for row in rows if row["step"] > SECOND + 10]
    for one, other in zip(later, whole, strict=True):
        assert one["phase"] == other["phase"] == POLICY
        assert one["returns"] == other["returns"]


def test_the_policy_alone_acts_in_the_last_phase(ran):
    """What the model says does not matter any more: not to explore, not to exploit."""
    run, state, _ = ran
    agent, learner = run.agent, state.learner
    spoilt = jax.tree.map(
        lambda leaf: jnp.nan * leaf if eqx.is_inexact_array(leaf) else leaf,
        learner.problem,
    )
    blind = dataclasses.replace(learner, problem=spoilt)
    obs, carry = jnp.array([0.3, -0.1]), agent.reset(learner, key=KEY)
    action, _, kept = agent.act(blind, carry, obs, key=KEY)
    assert np.all(np.isfinite(action))
    assert kept.drawn.own and not kept.label.there
    action, _, _ = agent.act(blind, carry, obs, key=KEY, mode="exploit")
    best, _ = learner.actor.policy.act(Readout(obs), key=KEY, mode="exploit")
    np.testing.assert_array_equal(action, best)


@pytest.mark.parametrize("phase", [MODEL, STUDENT])
def test_the_planner_labels_and_the_student_acts_in_its_phase(ran, phase):
    run, state, _ = ran
    agent = run.agent
    learner = dataclasses.replace(state.learner, phase=jnp.asarray(phase, jnp.int32))
    obs, carry = jnp.array([0.3, -0.1]), agent.reset(learner, key=KEY)
    action, _, kept = agent.act(learner, carry, obs, key=KEY)
    plan_key, _ = jax.random.split(KEY)
    planned, _, _ = agent.planning.act(
        learner.problem, carry.planning, obs, key=plan_key
    )
    best, _ = learner.actor.policy.act(Readout(obs), key=KEY, mode="exploit")
    np.testing.assert_allclose(kept.label.action, planned, rtol=1e-5)
    assert kept.label.there and not kept.drawn.own
    np.testing.assert_allclose(action, planned if phase == MODEL else best, rtol=1e-5)
    assert abs(float(planned[0] - best[0])) > 1e-3  # or this would tell nothing


def test_the_policy_stays_until_its_critic_knows_something(ran):
    """Without the pause the first update, by a critic of nothing, moves the policy."""
    run, state, _ = ran
    duty = run.agent.duties[-1]
    moved = []
    for pause in (1, 0):
        agent = dataclasses.replace(run.agent, critic_updates=pause)
        learner = dataclasses.replace(state.learner, warm=jnp.zeros((), jnp.int32))
        actor = dataclasses.replace(learner.actor, seen=state.learner.actor.seen - 10)
        learner = dataclasses.replace(learner, actor=actor)
        memory_state = dataclasses.replace(state, learner=learner)
        training = dataclasses.replace(run.training, agent=agent)
        after, told = training.perform(memory_state, duty)
        before, policy = learner.actor.policy, after.learner.actor.policy
        moved.append(not eqx.tree_equal(before, policy))
        assert told["rows"] == 10 and after.learner.warm == 1
    assert moved == [False, True]


def test_the_phase_of_imitation_may_have_no_steps():
    agent = learning(imitation_steps=0).agent
    assert [duty.name for duty in agent.duties] == [
        "model",
        "imitate",
        "student",
        "improve",
        "policy",
    ]


@pytest.mark.parametrize(
    "settings", [{"model_steps": 0}, {"imitation_steps": -1}, {"critic_updates": -1}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=f"MBMF needs {next(iter(settings))}"):
        MBMF(**settings)
