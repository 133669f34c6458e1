"""The clipped objective, and which rows a policy may learn from."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.agents.on_policy.actor_critic import clipped_surrogate, since
from forethought.agents.on_policy.ppo import PPO
from forethought.core.spaces import Box
from forethought.data.replay import Replay
from forethought.environments.base import (
    AbstractEnvironment,
    EnvironmentSpec,
    TimeStep,
)
from forethought.training.duties import times_due
from forethought.training.loop import Training, memory_of

CLIP = 0.2


def slopes(surrogate, log_ratio, advantage):
    """Of each row by its own ratio's logarithm."""

    def total(log_ratio):
        return jnp.sum(surrogate(log_ratio, jnp.asarray(advantage), CLIP))

    return np.asarray(jax.grad(total)(jnp.asarray(log_ratio)))


def without_the_minimum(log_ratio, advantage, clip):
    """What is left if only the clipped ratio counts."""
    return jnp.clip(jnp.exp(log_ratio), 1 - clip, 1 + clip) * advantage


GOOD_BAD = np.array([2.0, -3.0], np.float32)


def test_at_the_old_policy_its_slope_is_the_policy_gradient():
    found = slopes(clipped_surrogate, np.zeros(2, np.float32), GOOD_BAD)
    np.testing.assert_allclose(found, GOOD_BAD)


@pytest.mark.parametrize("ratio", [1.5, 0.5])
def test_beyond_the_clip_it_is_flat_on_the_side_that_gains_and_only_there(ratio):
    log_ratio = np.full(2, np.log(ratio), np.float32)
    found = slopes(clipped_surrogate, log_ratio, GOOD_BAD)
    gone = np.array([ratio > 1, ratio < 1])
    np.testing.assert_allclose(found, np.where(gone, 0, ratio * GOOD_BAD), rtol=1e-6)
    # A clip alone would never lead back what went astray.
    broken = slopes(without_the_minimum, log_ratio, GOOD_BAD)
    np.testing.assert_array_equal(broken, 0)


SEEN, DONE = Box([0.0] * 2, [1e4] * 2), Box([-1.0], [1.0])


class Counting(AbstractEnvironment[jax.Array]):
    """Observes which copy it is, and how many steps that did."""

    @property
    def spec(self):
        return EnvironmentSpec(SEEN, DONE, 5)

    def reset(self, *, key):
        return self.seen(jnp.stack([jax.random.uniform(key), 0 * 1.0]))

    def restart(self, state, *, key):
        return self.seen(state)

    def step(self, state, action, *, key):
        return self.seen(state + jnp.array([0.0, 1.0]))

    def seen(self, state):
        no = jnp.asarray(False)
        over = (state[1] % 5 == 0) & (state[1] > 0)
        return state, TimeStep(state, state[1], no, over)


@pytest.mark.parametrize("lanes", [1, 3])
def test_each_row_is_learned_from_once_whatever_the_number_of_lanes(lanes):
    agent = PPO(rollout=8, batch=4, epochs=1, width=4, depth=1)
    duty, first = agent.duties[0], 3 * (lanes - 1)
    training = Training(agent, Counting(), Replay(64, lanes))
    state = eqx.filter_jit(lambda key: training.begin(key=key))(jax.random.key(0))
    collect = eqx.filter_jit(lambda state: training.collect(state, 1)[0])
    fresh = eqx.filter_jit(
        lambda replay, seen: since(memory_of(training.replay, replay, duty), seen)
    )
    if first:
        state = eqx.filter_jit(
            lambda state: training.collect(state, first, random=True)[0]
        )(state)
    seen, learned, naive = jnp.zeros((), jnp.int32), [], 0
    for met in range(first + 1, first + 17):
        before = int(state.flow.step), 0
        state = collect(state)
        if int(times_due(duty, before, (int(state.flow.step), 0))):
            rows, valid = fresh(state.flow.replay, seen)
            learned.append(np.asarray(rows.obs)[np.asarray(valid)])
            naive += valid.size
            seen = jnp.asarray(met, jnp.int32)
    rows = np.concatenate(learned)
    # None twice, none of the random ones, and none left out until the last update.
    last = int(seen)
    assert len(np.unique(rows, axis=0)) == len(rows) == lanes * (last - first)
    assert rows[:, 1].min() == first and rows[:, 1].max() == last - 1
    if lanes == 3:
        # Shares are uneven: whoever took all of the newest rows took some twice.
        assert naive > len(rows)
