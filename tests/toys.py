"""Tiny models, objectives and problems that many tests share.

What is here is written once, and has as little to compile as it can.
"""

import jax
import jax.numpy as jnp

from forethought.core.readout import Readout
from forethought.core.spaces import Box, Discrete, free_box
from forethought.core.types import Opaque, Stamped
from forethought.models.base import AbstractModel
from forethought.models.linear.dynamics import Linear
from forethought.objectives.base import AbstractObjective, constant
from forethought.objectives.quadratic import Quadratic
from forethought.problem import Problem

F = ((1.0, 0.1, 0.005), (0.0, 1.0, 0.1))
"""A mass that is pushed, ten times a second."""


class AbstractSeen(AbstractModel):
    """A model that sees its belief, and reads out all of it."""

    def observe(self, belief, obs, *, key):
        return obs

    def readout(self, belief):
        return Readout(belief)


class AbstractLasting(AbstractObjective):
    """An objective without discount or end, that knows of nothing beyond."""

    def discount(self, x, action, next_x):
        return constant(x, 1)

    def value(self, x):
        return constant(x, 0)


class Walk(AbstractSeen):
    """A number that is pushed, the less the harder, and shaken."""

    noise: float = 0.1

    def init(self, *, key):
        return jnp.ones(1)

    def predict(self, belief, action, *, key):
        shaken = self.noise * jax.random.normal(key, belief.shape, belief.dtype)
        return belief + jnp.sin(action) + shaken


class Thrusters(AbstractSeen):
    """A place and a speed, pushed by one of three thrusters."""

    def init(self, *, key):
        return jnp.zeros(2)

    def predict(self, belief, action, *, key):
        push = jnp.array([-1.0, 0.0, 1.0], belief.dtype)[action]
        return belief + 0.1 * jnp.stack([belief[1], push])


class Sum(AbstractSeen):
    """The state is what the actions add up to, and noise that grows with them."""

    noise: float = 0.0

    def init(self, *, key):
        return jnp.zeros(1)

    def predict(self, belief, action, *, key):
        push = jnp.reshape(action, (1,)).astype(belief.dtype)
        noise = jax.random.normal(key, (1,), belief.dtype)
        return belief + push + self.noise * push * noise


class Near(AbstractLasting):
    """Costs the squares of all that is read out, and a share of the action's."""

    price: float = 0.1

    def reward(self, x, action, next_x):
        cost = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(next_x))
        return -cost - self.price * jnp.sum(action.astype(cost.dtype) ** 2)


class Reach(AbstractLasting):
    """Earn what the state has gained; beyond a wall, earn nothing that is a number."""

    wall: float = float("inf")

    def reward(self, x, action, next_x):
        gain = (next_x - x)[0]
        return jnp.where(next_x[0] > self.wall, jnp.nan, gain)


class Pendulum(AbstractModel[Stamped]):
    """A damped pendulum with a clock, and memory that is no coordinate of its state.

    Its readout is as bent as its dynamics.
    """

    bend: float = 0.0
    """How the effect of a push depends on the angle."""

    def init(self, *, key):
        return self.at(jnp.zeros(2))

    def at(self, x):
        return Stamped((x, Opaque(jnp.zeros(3, x.dtype))), jnp.asarray(0))

    def predict(self, belief, action, *, key):
        x, memory = belief.value
        push = action[0] * (1 + self.bend * jnp.cos(x[0]))
        rate = x[1] + 0.1 * (push - jnp.sin(x[0]) - 0.1 * x[1])
        after = jnp.stack([x[0] + 0.1 * rate, rate])
        return Stamped((after, Opaque(memory.arrays + 1)), belief.time + 1)

    def observe(self, belief, obs, *, key):
        return obs

    def readout(self, belief):
        x = belief.value[0]
        return Readout(jnp.stack([jnp.sin(x[0]), jnp.cos(x[0]), x[1]]))


class Upright(AbstractObjective):
    """Counts where a step leads the pendulum, discounted."""

    gamma: float = 0.97

    def reward(self, x, action, next_x):
        distance = (next_x[1] + 1) ** 2 + next_x[0] ** 2 + 0.1 * x[2] ** 2
        return -distance - 0.01 * jnp.sum(action**2)

    def discount(self, x, action, next_x):
        return constant(x, self.gamma)

    def value(self, x):
        return -10 * (x[1] + 1) ** 2


def walk():
    """A noisy walk to the origin, with limits; from two."""
    return Problem(Walk(), Near(), Box([-1.0], [1.0])), jnp.full(1, 2.0)


def thrusters():
    """A choice of three thrusters; from the left, and on the way there."""
    return Problem(Thrusters(), Near(0.0), Discrete(3)), jnp.array([-1.0, -0.5])


def linear_quadratic():
    """A mass to be brought to rest; from one."""
    return Problem(Linear(F), Quadratic(jnp.eye(3)), free_box(1)), jnp.array([1.0, 0.0])
