"""The notes' argument against back-propagation through many steps, put to the test."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from forethought.core.readout import Readout
from forethought.core.spaces import free_box
from forethought.core.types import Action
from forethought.models.base import AbstractModel
from forethought.models.linear.dynamics import Linear
from forethought.objectives.quadratic import Quadratic
from forethought.policies.affine import TimeVarying
from forethought.problem import Problem
from forethought.runs.claims.gradients import Chain, GradientStudy
from forethought.runs.claims.studies import Means, Promise

TURN = 0.5
"""Radians by which the linear systems turn in a step."""
LYAPUNOV = 0.41922
"""The largest exponent of Hénon's map, in nats a step (Sprott, 2003, table A.5)."""
SETTLING = 100
"""Steps after which a start lies on the attractor."""


class Henon(AbstractModel[Float[Array, "2"]]):
    r"""Hénon's map, pushed along its first coordinate.

    $$x' = 1 - 1.4 x^2 + y + u, \qquad y' = 0.3 x$$

    References:
        Hénon, A two-dimensional mapping with a strange attractor, 1976,
        doi:10.1007/BF01608556.
    """

    def init(self, *, key: PRNGKeyArray) -> Float[Array, "2"]:
        """A point of the attractor."""
        start = 0.1 * jax.random.uniform(key, (2,))
        still = jnp.zeros(1, start.dtype)

        def step(x: Array, _: None) -> tuple[Array, None]:
            return self.predict(x, still, key=key), None

        return jax.lax.scan(step, start, None, SETTLING)[0]

    def predict(
        self, belief: Float[Array, "2"], action: Action, *, key: PRNGKeyArray
    ) -> Float[Array, "2"]:
        """The next point."""
        x, y = belief
        return jnp.stack([1 - 1.4 * x**2 + y + action[0], 0.3 * x])

    def observe(
        self, belief: Float[Array, "2"], obs: Array, *, key: PRNGKeyArray
    ) -> Float[Array, "2"]:
        """The point that was seen."""
        return obs

    def readout(self, belief: Float[Array, "2"]) -> Readout:
        """The point."""
        return Readout(belief)


class Turning(AbstractModel[Float[Array, "2"]]):
    """A linear system that turns and shrinks, from a random start."""

    linear: Linear

    def init(self, *, key: PRNGKeyArray) -> Float[Array, "2"]:
        """Normally distributed."""
        return jax.random.normal(key, (2,))

    def predict(
        self, belief: Float[Array, "2"], action: Action, *, key: PRNGKeyArray
    ) -> Float[Array, "2"]:
        """As the linear system."""
        after: Any = self.linear.predict(belief, action, key=key)
        return after

    def observe(
        self, belief: Float[Array, "2"], obs: Array, *, key: PRNGKeyArray
    ) -> Float[Array, "2"]:
        """The state that was seen."""
        return obs

    def readout(self, belief: Float[Array, "2"]) -> Readout:
        """The state."""
        return Readout(belief)


def _problem(model: AbstractModel) -> Problem:
    # With a price of the push itself, so that the first reward has a slope, too.
    return Problem(model, Quadratic(np.eye(3), [0.0, 0.0, 1.0]), free_box(1))


def turning(radius: float) -> Problem:
    """A system whose Jacobian is a rotation, times its spectral radius."""
    c, s = radius * math.cos(TURN), radius * math.sin(TURN)
    return _problem(Turning(Linear([[c, -s, 0.0], [s, c, 1.0]])))


def chaotic() -> Problem:
    """Hénon's map."""
    return _problem(Henon())


def idle() -> TimeVarying:
    """Linear feedback that does nothing yet."""
    shapes = ((1, 1, 2), (1, 1), (1, 2), (1, 1, 1))
    return TimeVarying(*(jnp.zeros(shape) for shape in shapes))


def _slope(arm: str, first: int = 20, last: int = 60):
    def slope(means: Means) -> float:
        return float(means[arm][last - 1] - means[arm][first - 1]) / (last - first)

    return slope


def _rate(arm: str, words: str, rate: float, error: float) -> Promise:
    promise = f"{words} {rate:+.4f} a step, within {error:g}"
    return Promise(promise, _slope(arm), rate - error, rate + error)


STABLE, MARGINAL, CHAOTIC = "stable (0.9)", "marginal (1.0)", "chaotic (Hénon)"
IN_POLICY = "chaotic, return in the policy"
STEADY = "stable, return in the policy"

VANISHING = GradientStudy(
    claim="gradients through time vanish, last or explode as Jacobians multiply",
    variant=(
        "The derivative of the last state in the first, and of the return in a linear "
        "policy: two rotations times their spectral radius, and Hénon's map."
    ),
    source=(
        "the logarithm of the spectral radius, and Hénon's largest Lyapunov exponent, "
        "0.41922 (Sprott, Chaos and time-series analysis, 2003)"
    ),
    horizon=60,
    arms={
        STABLE: Chain(functools.partial(turning, 0.9), idle, rate=math.log(0.9)),
        MARGINAL: Chain(functools.partial(turning, 1.0), idle, rate=0.0),
        CHAOTIC: Chain(chaotic, idle, rate=LYAPUNOV),
        STEADY: Chain(functools.partial(turning, 0.9), idle, "policy"),
        IN_POLICY: Chain(chaotic, idle, "policy"),
    },
    seeds=200,
    promises=(
        _rate(STABLE, "stable: the exact", math.log(0.9), 1e-4),
        _rate(MARGINAL, "marginal: the exact", 0.0, 1e-4),
        _rate(CHAOTIC, "chaotic: Lyapunov's", LYAPUNOV, 0.02),
        _rate(IN_POLICY, "chaotic, return in the policy: as fast,", LYAPUNOV, 0.04),
        Promise(
            "stable, return in the policy: in proportion to the horizon, ln 3 / 40 a "
            "step, at most",
            _slope(STEADY),
            high=math.log(3) / 40,
        ),
    ),
    seconds=20.0,
)

GRADIENTS: dict[str, GradientStudy] = {"vanishing-gradients": VANISHING}
