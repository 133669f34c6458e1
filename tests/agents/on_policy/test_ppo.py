"""PPO on problems whose optimum is known, and what it does with faulty rows."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.agents.on_policy.actor_critic import judged, since
from forethought.agents.on_policy.ppo import PPO
from forethought.agents.schedule import Schedule
from forethought.core.readout import Readout
from forethought.core.spaces import Box, Discrete
from forethought.data.replay import Replay
from forethought.environments.base import (
    AbstractEnvironment,
    EnvironmentSpec,
    TimeStep,
)
from forethought.policies.mlp import MLPPolicy
from forethought.training.loop import Training, memory_of

SEEN, BOX, CHOICES = Box([-1.0], [1.0]), Box([-2.0], [2.0]), Discrete(3)
SMALL = {"rollout": 256, "batch": 64, "epochs": 4, "width": 8, "depth": 1}


class Bandit(AbstractEnvironment[jax.Array]):
    """One step: of a box, one half of what is seen is wanted; of choices, its sign."""

    action: Box | Discrete

    @property
    def spec(self):
        return EnvironmentSpec(SEEN, self.action, 1)

    def reset(self, *, key):
        no, none = jnp.asarray(False), jnp.zeros(())
        seen = jax.random.rademacher(key, (1,), float)
        return seen, TimeStep(seen, none, no, no)

    def restart(self, state, *, key):
        return self.reset(key=key)

    def step(self, state, action, *, key):
        if isinstance(self.action, Box):
            reward = 3 - 10 * (action[0] - 0.5 * state[0]) ** 2
        else:
            reward = jnp.where((action == 1) == (state[0] > 0), 1.0, 0.0)
        return state, TimeStep(state, reward, jnp.asarray(True), jnp.asarray(False))


class Learning:
    """An agent on a bandit, compiled once."""

    def __init__(self, agent, action):
        self.agent = agent
        self.training = Training(agent, Bandit(action), Replay(64, 8))
        self.duty = self.training.duties[0]
        self.begin = eqx.filter_jit(lambda key: self.training.begin(key=key))
        self.collect = eqx.filter_jit(lambda state: self.training.collect(state, 32)[0])

    def go(self, state, updates):
        metrics = {}
        for _ in range(updates):
            state, metrics = self.training.perform(self.collect(state), self.duty)
        return state, metrics

    def best(self, learner, seen):
        obs, key = jnp.array([seen]), jax.random.key(1)
        return float(self.agent.act(learner, None, obs, key=key, mode="exploit")[0][0])


@pytest.fixture(scope="module")
def box():
    """PPO on the bandit of a box."""
    return Learning(PPO(learning_rate=1e-2, decay=15_000, **SMALL), BOX)


def test_it_finds_the_best_action_and_what_that_is_worth(box):
    state, metrics = box.go(box.begin(jax.random.key(0)), 60)
    learner = state.learner
    for seen in (1.0, -1.0):
        assert box.best(learner, seen) == pytest.approx(0.5 * seen, abs=0.06)
        # The value is that of the policy as it acts: the noise's square is paid for.
        worth = 3 - 10 * float(2 * jnp.exp(learner.policy.log_std[0])) ** 2
        assert float(learner.value(jnp.array([seen]))) == pytest.approx(worth, abs=0.25)
    assert float(metrics["skipped"]) == 0


def test_so_does_a_trust_region_from_a_policy_that_was_come_by_elsewhere():
    agent = PPO(step="trust-region", learning_rate=1e-2, target_kl=0.05, **SMALL)
    learning = Learning(agent, BOX)
    state = learning.begin(jax.random.key(0))
    policy = MLPPolicy(1, BOX, width=8, depth=1, key=jax.random.key(4))
    learner = agent.begin(policy, 1, key=jax.random.key(5))
    state, metrics = learning.go(dataclasses.replace(state, learner=learner), 40)
    for seen in (1.0, -1.0):
        assert learning.best(state.learner, seen) == pytest.approx(0.5 * seen, abs=0.1)
    assert float(metrics["kl"]) < 0.1


def test_it_finds_the_best_choice():
    learning = Learning(PPO(learning_rate=1e-2, **SMALL), CHOICES)
    state, _ = learning.go(learning.begin(jax.random.key(0)), 12)
    for seen, wanted in ((1.0, True), (-1.0, False)):
        logits = state.learner.policy.distribution(Readout(jnp.array([seen]))).logits
        share = float(jax.nn.softmax(logits)[1])
        assert share > 0.95 if wanted else share < 0.05


@pytest.fixture(scope="module")
def collected(box):
    """One roll-out of the first policy, not learned from yet."""
    return box.training, box.collect(box.begin(jax.random.key(0)))


def leaves(tree):
    return jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))


def same(one, other):
    return all(
        np.array_equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True)
    )


def test_steps_that_are_not_finite_are_skipped_and_counted(collected):
    training, state = collected
    duty, flow = training.duties[0], state.flow
    rewards = flow.replay.rows.reward.at[0, 0].set(jnp.nan)
    broken = eqx.tree_at(lambda flow: flow.replay.rows.reward, flow, rewards)
    poisoned = dataclasses.replace(state, flow=broken)
    after, metrics = training.perform(poisoned, duty)
    # One row of four minibatches, in each of four passes.
    assert float(metrics["skipped"]) == 4 and float(metrics["steps"]) == 12
    assert all(np.isfinite(leaf).all() for leaf in leaves(after.learner))
    fine, metrics = training.perform(state, duty)
    assert float(metrics["skipped"]) == 0 and float(metrics["steps"]) == 16
    assert not same(fine.learner.policy, state.learner.policy)


def test_rows_that_were_learned_from_are_not_learned_from_again(collected):
    training, state = collected
    once, metrics = training.perform(state, training.duties[0])
    assert float(metrics["rows"]) == 256
    again, metrics = training.perform(once, training.duties[0])
    assert float(metrics["rows"]) == float(metrics["steps"]) == 0
    assert same(again.learner, once.learner)


def test_an_update_ends_where_the_policy_has_gone_far_enough(collected):
    training, state = collected
    memory = memory_of(training.replay, state.flow.replay, training.duties[0])
    agent = PPO(learning_rate=1e-2, target_kl=1e-4, **SMALL)
    duty, key = agent.duties[0], jax.random.key(3)
    _, near = agent.update(state.learner, memory, duty=duty, key=key)
    _, far = training.agent.update(state.learner, memory, duty=duty, key=key)
    assert float(far["steps"]) == 16 > float(near["steps"])
    assert float(near["kl"]) < float(far["kl"])


def test_values_stay_the_same_where_the_scale_of_returns_moves(collected):
    training, state = collected
    memory = memory_of(training.replay, state.flow.replay, training.duties[0])

    @eqx.filter_jit
    def rescaled(learner):
        rows, valid = since(memory, learner.seen)
        return judged(learner, rows, valid, gamma=0.9, lam=0.9, scaled=True)

    learner, obs = state.learner, jnp.array([1.0])
    after, batch, _ = rescaled(learner)
    assert float(after.square) > 2
    np.testing.assert_allclose(after.value(obs), learner.value(obs), rtol=1e-5)
    assert float(jnp.mean(batch.target**2)) == pytest.approx(1, rel=1e-3)


def test_observations_that_are_no_vectors_are_refused():
    spec = EnvironmentSpec(Discrete(4), CHOICES, None)
    with pytest.raises(TypeError, match="vectors of numbers, but they are Discrete"):
        PPO().init(spec, key=jax.random.key(0))


def test_a_schedule_by_episodes_is_refused(collected):
    training, state = collected
    duty = dataclasses.replace(training.duties[0], every=Schedule(1, "episodes"))
    with pytest.raises(ValueError, match="schedule needs to be by steps, got one by"):
        training.perform(state, duty)


def test_it_learns_in_double_precision(x64):
    learning = Learning(PPO(rollout=64, batch=32, epochs=1, width=4, depth=1), BOX)
    state, metrics = learning.go(learning.begin(jax.random.key(0)), 1)
    assert {str(leaf.dtype) for leaf in leaves(state.learner)} == {"float64"}
    assert {str(value.dtype) for value in metrics.values()} == {"float64"}
    assert float(metrics["rows"]) == 64
