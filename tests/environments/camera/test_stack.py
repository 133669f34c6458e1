"""Pictures that are seen together with those before them."""

import jax
import jax.numpy as jnp
import pytest

from forethought.environments.analytic import Pendulum
from forethought.environments.camera import Lens, Seen, Stack
from forethought.environments.repeat import Repeat
from forethought.environments.simulated import Simulated
from forethought.objectives.task import PendulumReward


def pictured():
    return Simulated(Seen(Pendulum(), Lens(8, reach=1.3)), PendulumReward(), 5)


def test_a_stack_holds_the_last_pictures_the_newest_at_the_end():
    plain, stacked = pictured(), Stack(pictured(), 3)
    state, first = plain.reset(key=jax.random.key(0))
    both, many = stacked.reset(key=jax.random.key(0))
    seen = [first.obs] * 3
    assert jnp.array_equal(many.obs, jnp.concatenate(seen, -1))
    for i in range(4):
        key, action = jax.random.key(i), jnp.array([2.0])
        state, one = plain.step(state, action, key=key)
        both, many = stacked.step(both, action, key=key)
        seen = [*seen[1:], one.obs]
        assert jnp.array_equal(many.obs, jnp.concatenate(seen, -1))
        assert many.reward == one.reward and many.obs.dtype == jnp.uint8
    _, again = stacked.restart(both, key=jax.random.key(9))
    assert jnp.array_equal(again.obs[..., 0], again.obs[..., 2])


def test_spaces_say_how_many_channels_there_are_and_repeats_go_around():
    around = Stack(Repeat(pictured(), 2), 2)
    assert around.spec.observation.shape == (8, 8, 2)
    assert around.spec.episode_length == 3


def test_what_is_no_picture_cannot_be_stacked():
    with pytest.raises(ValueError, match=r"\[row, column, channel\], got \(3,\)"):
        Stack(Simulated(Pendulum(), PendulumReward(), 5), 2)
    with pytest.raises(ValueError, match="times >= 1, got 0"):
        Stack(pictured(), 0)
