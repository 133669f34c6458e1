"""What is told of a model before it is fitted to what it has not seen."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import AbstractLasting, AbstractSeen

from forethought.agents.planning.model_based import unseen_error
from forethought.core.spaces import Box
from forethought.data.memory import Memory
from forethought.data.replay import Replay
from forethought.data.transitions import Transition
from forethought.problem import Problem

OLD, NEW = 40, 4


class Pushed(AbstractSeen):
    """A point that goes where it is pushed, by a model that is right on average."""

    noise: float = 0.0

    def init(self, *, key):
        return jnp.zeros(2)

    def predict(self, belief, action, *, key):
        shaken = self.noise * jax.random.normal(key, belief.shape, belief.dtype)
        return belief + action + shaken

    def expect(self, belief):
        return belief, jnp.zeros_like(belief)


class Nothing(AbstractLasting):
    """Nothing is wanted."""

    def reward(self, x, action, next_x):
        return jnp.zeros(())


def remembered(missed):
    """Old steps as the model says; new ones lead farther, in spreads of a change."""
    obs, push = jax.random.normal(jax.random.key(0), (2, OLD + NEW, 2))
    push = push * jnp.array([1.0, 10.0])[None]
    farther = jnp.std(push[:OLD], axis=0) * missed
    new = jnp.arange(OLD + NEW)[:, None] >= OLD
    led = obs + push + jnp.where(new, farther[None], 0.0)
    no = jnp.zeros(OLD + NEW, bool)
    seen = Transition(obs, push, jnp.zeros(OLD + NEW), led, no, ~no)
    replay = Replay(2 * (OLD + NEW))
    state = replay.init(jax.tree.map(lambda leaf: leaf[0], seen))
    rows = jax.tree.map(lambda leaf: leaf[:, None], seen)
    state, _ = jax.lax.scan(lambda s, row: (replay.add(s, row), None), state, rows)
    return replay, state


@pytest.mark.parametrize(("noise", "close"), [(0.0, 1e-5), (0.1, 0.15)])
def test_the_error_on_unseen_steps_is_that_of_the_newest_in_spreads(noise, close):
    world = Problem(Pushed(noise), Nothing(), Box([-30.0] * 2, [30.0] * 2))

    @eqx.filter_jit
    def found(new):
        memory = Memory(*remembered(jnp.array([0.5, 3.0])), new)
        return unseen_error(world, memory, key=jax.random.key(1))

    wanted = np.sqrt((0.5**2 + 3.0**2) / 2)
    assert float(found(NEW)) == pytest.approx(wanted, abs=close)
    # Whoever looked at steps that it was fitted to would think better of it.
    assert float(found(OLD // 2)) < 0.8 * wanted
