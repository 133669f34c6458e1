"""Local controllers: what they are taught by, what they become, what they refuse."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought import tasks
from forethought.agents.base import Brief
from forethought.agents.local.episodes import newest_episodes
from forethought.agents.local.local import LocalControl, improved
from forethought.core.spaces import Discrete, free_box
from forethought.data.memory import Memory
from forethought.data.replay import Replay
from forethought.data.transitions import Transition
from forethought.environments.base import EnvironmentSpec
from forethought.models.linear.rollouts import Rollouts
from forethought.objectives.learned import Observed
from forethought.planners import LQR
from forethought.problem import Problem

T, N, M = 8, 2, 1
F = np.array([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])
KEY = jax.random.key(0)
TASK = tasks.load("double-integrator")
SPEC = EnvironmentSpec(free_box(N), free_box(M), T)


def roll_outs(count=5, steps=T, seed=0, constant=False, apart=0.0, u=None):
    """Of a double integrator under noise; a third number may never change."""
    draw = np.random.default_rng(seed)
    u = draw.normal(size=(count, steps, M)) if u is None else u
    x = np.zeros((count, steps + 1, N))
    x[:, 0] = np.array([1.0, 0.0]) + apart * draw.normal(size=(count, N))
    for t in range(steps):
        x[:, t + 1] = np.concatenate([x[:, t], u[:, t]], 1) @ F.T
    if constant:
        x = np.concatenate([x, np.full((count, steps + 1, 1), 3.0)], axis=2)
    return x, u


def first_learner(agent, spec=SPEC):
    return agent.init(spec, key=KEY)


def agent_of(**settings):
    return LocalControl(**settings).make(TASK.brief)


def test_enough_roll_outs_without_a_bound_teach_the_controller_of_lqr():
    agent = agent_of(bound=100.0, adaptive=False, floor=0.0)
    learner = first = first_learner(agent)
    x, u = roll_outs(8)
    for _ in range(2):
        learner, _ = improved(agent, learner, Rollouts.pad(x, u), key=KEY)
    learner, told = improved(agent, learner, Rollouts.pad(x, u), key=KEY)
    problem = Problem(TASK.problem.model, TASK.objective, free_box(M))
    plan, _ = LQR(T).plan(problem, jnp.array([1.0, 0.0]), None, key=KEY)
    assert plan.feedback is not None
    wanted = plan.feedback.gains
    assert float(told["improvement_failed"]) == 0
    found = learner.plan.policy.K
    np.testing.assert_allclose(found, wanted, atol=0.02)
    # One that learned nothing is told apart.
    gap = first.plan.policy.K - wanted
    assert float(jnp.max(jnp.abs(gap))) > 0.1


def test_the_bound_follows_what_came_of_the_last_promise():
    agent = agent_of(bound=0.1)
    learner, first = improved(
        agent, first_learner(agent), Rollouts.pad(*roll_outs()), key=KEY
    )
    assert float(first["bound"]) == pytest.approx(0.1 * T)
    promised = float(learner.promised)
    assert promised > 0 and float(first["promised"]) == promised
    # The same cost again: nothing came of it.
    same, second = improved(agent, learner, Rollouts.pad(*roll_outs()), key=KEY)
    assert float(second["bound"]) == pytest.approx(0.5 * float(first["bound"]))
    assert float(same.cost) == pytest.approx(float(learner.cost))


def test_improving_again_compiles_nothing_whatever_came(compilations):
    agent = agent_of(bound=0.1)
    learner = first_learner(agent)
    seen = [Rollouts.pad(*roll_outs(seed=seed)) for seed in range(4)]
    learner, _ = improved(agent, learner, seen[0], key=KEY)
    before = compilations.count
    for each in seen[1:]:
        learner, _ = improved(agent, learner, each, key=KEY)
    assert compilations.count == before


def test_roll_outs_of_unequal_length_count_as_far_as_they_went():
    agent = agent_of(bound=0.1)
    x, u = roll_outs(6)
    short = [each[: T + 1 - i] for i, each in enumerate(x)]
    done = [each[: T - i] for i, each in enumerate(u)]
    learner, told = improved(
        agent, first_learner(agent), Rollouts.pad(short, done, T), key=KEY
    )
    assert float(told["improvement_failed"]) == 0
    assert np.all(np.isfinite(learner.plan.policy.K))
    assert agent.broken(learner) is None


def test_what_never_changes_does_no_harm():
    spec = EnvironmentSpec(free_box(N + 1), free_box(M), T)

    brief = Brief(Observed(TASK.objective, lambda obs: obs[:N]))
    agent = LocalControl().make(brief)
    x, u = roll_outs(5, constant=True)
    learner, told = improved(
        agent, first_learner(agent, spec), Rollouts.pad(x, u), key=KEY
    )
    assert float(told["improvement_failed"]) == 0
    assert np.all(np.isfinite(learner.plan.policy.K))
    assert agent.broken(learner) is None


def test_starts_that_differ_are_told():
    agent = agent_of(bound=0.1)
    learner, _ = improved(
        agent, first_learner(agent), Rollouts.pad(*roll_outs(apart=0.5)), key=KEY
    )
    told = agent.broken(learner)
    assert told is not None and "begin in different places" in told
    near, _ = improved(
        agent, first_learner(agent), Rollouts.pad(*roll_outs(apart=1e-3)), key=KEY
    )
    assert agent.broken(near) is None


def test_what_cannot_work_is_refused_and_what_to_do_is_said():
    with pytest.raises(ValueError, match="rollouts >= 2"):
        LocalControl(rollouts=1)
    wide = dataclasses.replace(TASK.brief, start=((0.0, 0.0), (0.0, 0.3)))
    with pytest.raises(ValueError, match=r"all begin in one place.*fix the start"):
        LocalControl().make(wide)
    with pytest.raises(TypeError, match="derivatives of what is wanted"):
        first_learner(LocalControl().make(Brief()))
    with pytest.raises(TypeError, match=r"vectors of numbers.*discrete"):
        first_learner(agent_of(), EnvironmentSpec(free_box(N), Discrete(3), T))
    with pytest.raises(TypeError, match="observations that are vectors"):
        first_learner(agent_of(), EnvironmentSpec(Discrete(3), free_box(M), T))
    with pytest.raises(ValueError, match="no length here; truncate"):
        first_learner(agent_of(), EnvironmentSpec(free_box(N), free_box(M), None))


def remembered(lengths, steps, lanes=1, capacity=32):
    """A memory of episodes whose observations tell episode and step."""
    replay, no = Replay(capacity, lanes), jnp.zeros(lanes, bool)

    def row(episode, t, end):
        def at(t):
            return jnp.full((lanes, N), 10.0 * episode + t)

        ended = no | end
        cut = ended & (t + 1 == steps)
        reward, action = jnp.zeros(lanes), jnp.full((lanes, M), 1.0 * t)
        return Transition(at(t), action, reward, at(t + 1), ended & ~cut, cut)

    one = jax.tree.map(lambda leaf: leaf[0], row(0, 0, False))
    state = replay.init(one)
    for episode, length in enumerate(lengths):
        for t in range(length):
            state = replay.add(state, row(episode, t, t + 1 == length))
    return Memory(replay, state)


def test_the_newest_episodes_are_found_whatever_their_lengths():
    memory = remembered([4, 2, 4, 3], 4)
    found = newest_episodes(memory, 3, 4)
    # The newest first; what lies beyond an end repeats what was seen last.
    assert found.obs[:, :, 0].tolist() == [
        [30, 31, 32, 33, 33],
        [20, 21, 22, 23, 24],
        [10, 11, 12, 12, 12],
    ]
    assert found.valid.sum(1).tolist() == [3, 4, 2]
    assert found.action[0, :, 0].tolist() == [0, 1, 2, 0]
    assert int(found.count) == 3


def test_where_fewer_episodes_are_there_the_others_hold_nothing():
    found = newest_episodes(remembered([4], 4), 3, 4)
    assert found.valid.sum(1).tolist() == [4, 0, 0] and int(found.count) == 1


def test_lanes_give_as_many_episodes_each():
    found = newest_episodes(remembered([4, 4], 4, lanes=2), 3, 4)
    assert found.obs.shape == (4, 5, N) and bool(jnp.all(found.valid))


def test_a_memory_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="needs room for 12"):
        newest_episodes(remembered([4], 4, capacity=8), 3, 4)
