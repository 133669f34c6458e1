"""Action and observation spaces, as data that travels through `jax.jit`.

A space says what a planner may choose from. `Box` is a product of intervals,
`Discrete` a finite set. A planner that works on only one of the two narrows the
space with `require_box`, whose error names the planner.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from forethought.core.given.settings import AbstractSettings, Count

Bound = ArrayLike | Sequence[float]

LOST = 1e4
"""Roundings of a limit; away from it, less than these could not be told apart."""


class Box(eqx.Module):
    r"""The box $\{u : \text{low} \le u \le \text{high}\}$; infinite sides are free.

    ```python
    >>> from forethought.core.spaces import Box
    >>> Box([-1.0, -2.0], [1.0, 2.0]).shape
    (2,)

    ```

    Args:
        low: Lower bounds, shape `[dimension]`.
        high: Upper bounds, the same shape.
        rest: What planners begin with, such as the controls that hold a machine still;
            the middle by default.

    Raises:
        ValueError: The shapes differ, a bound is NaN, a lower bound lies above its
            upper bound, or `rest` is not finite.
    """

    low: Float[Array, " dimension"]
    high: Float[Array, " dimension"]
    rest: Float[Array, " dimension"] | None
    bounded: bool = eqx.field(static=True)
    """Whether any side is finite; a planner may drop its limits where it is not."""

    def __init__(self, low: Bound, high: Bound, rest: Bound | None = None):
        self.low = jnp.asarray(low) * 1.0
        self.high = jnp.asarray(high) * 1.0
        self.rest = None if rest is None else jnp.asarray(rest).astype(self.low.dtype)
        if self.low.shape != self.high.shape:
            raise ValueError(
                "A Box needs two bounds of one shape, got low of shape "
                f"{self.low.shape} and high of shape {self.high.shape}."
            )
        if isinstance(self.low, Tracer) or isinstance(self.high, Tracer):
            self.bounded = True
            return
        lower, upper = np.asarray(self.low), np.asarray(self.high)
        if np.isnan(lower).any() or np.isnan(upper).any():
            raise ValueError(
                f"A Box needs bounds that are numbers, got low={lower.tolist()} and "
                f"high={upper.tolist()}."
            )
        if (lower > upper).any():
            raise ValueError(
                f"A Box needs low <= high, got low={lower.tolist()} and "
                f"high={upper.tolist()}: are they reversed?"
            )
        if self.rest is not None and not (
            self.rest.shape == self.low.shape and np.isfinite(self.rest).all()
        ):
            raise ValueError(
                f"A Box of shape {self.low.shape} needs a rest of that shape that is "
                f"finite, got {np.asarray(self.rest).tolist()}."
            )
        self.bounded = bool(np.isfinite(lower).any() or np.isfinite(upper).any())

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one element."""
        return self.low.shape

    def clip(self, value: Float[Array, "*batch dimension"]) -> Array:
        """The nearest element of the box, for each row."""
        low, high = (
            jnp.broadcast_to(bound.astype(value.dtype), value.shape)
            for bound in (self.low, self.high)
        )
        return jnp.clip(value, low, high)

    def shaken(
        self, value: Float[Array, " dimension"], std: float, *, key: PRNGKeyArray
    ) -> Float[Array, " dimension"]:
        """With normal noise of `std` half widths of each side, within the limits."""
        _, half = self.centre_and_scale(value.dtype)
        drawn = jax.random.normal(key, value.shape, value.dtype)
        return self.clip(value + std * half * drawn)

    def centre_and_scale(self, dtype: DTypeLike) -> tuple[Array, Array]:
        """Where planners begin, and the half width of each side.

        The first is `rest` where that is given, else the middle. A side without two
        limits has a half width of one, and its middle is what lies nearest to zero.
        """
        middle, half = self._middle_and_half
        if self.rest is not None:
            middle = self.clip(self.rest)
        return jnp.asarray(middle, dtype), jnp.asarray(half, dtype)

    def in_half_widths(self, value: Float[Array, "*batch dimension"]) -> Array:
        """How far from the centre each row is; zero along sides without any width."""
        centre, scale = (
            jnp.broadcast_to(each, value.shape)
            for each in self.centre_and_scale(value.dtype)
        )
        wide = scale >= jnp.finfo(value.dtype).tiny
        return jnp.where(wide, (value - centre) / jnp.where(wide, scale, 1), 0)

    def sample(
        self, shape: tuple[int, ...] = (), *, key: PRNGKeyArray
    ) -> Float[Array, "*batch dimension"]:
        """Random draws: of each side by its limits.

        They are uniform between two limits, exponential away from a single one, and
        standard normal where there is none, as Gymnasium draws them.
        """
        shape, dtype = (*shape, *self.shape), self.low.dtype
        uniform_key, normal_key = jax.random.split(key)
        normal = jax.random.normal(normal_key, shape, dtype)
        if not self.bounded:
            return normal
        uniform = jax.random.uniform(uniform_key, shape, dtype, -1, 1)
        middle, half, low, high = (
            jnp.broadcast_to(each, shape)
            for each in (*self._middle_and_half, self.low, self.high)
        )
        away = -half * jnp.log1p(-(uniform + 1) / 2)
        below, above = jnp.isfinite(low), jnp.isfinite(high)
        drawn = jnp.where(below, low + away, jnp.where(above, high - away, normal))
        drawn = jnp.where(below & above, middle + uniform * half, drawn)
        largest = jnp.finfo(dtype).max
        return jnp.clip(drawn, jnp.maximum(low, -largest), jnp.minimum(high, largest))

    @property
    def _middle_and_half(self) -> tuple[Array | np.ndarray, Array | np.ndarray]:
        """Of each side; in the place of half a width without end, a unit."""
        traced = isinstance(self.low, Tracer) or isinstance(self.high, Tracer)
        xp = jnp if traced else np  # NumPy compiles nothing
        low, high = xp.asarray(self.low), xp.asarray(self.high)
        below, above = xp.isfinite(low), xp.isfinite(high)
        # Halved first, since the whole width may be more than a number holds.
        left, right = xp.where(below, low / 2, 0), xp.where(above, high / 2, 0)
        # Beside a limit so large that a unit would be lost, it is more than one.
        limit = 2 * xp.maximum(xp.abs(left), xp.abs(right))
        unit = xp.maximum(1, LOST * float(jnp.finfo(low.dtype).eps) * limit)
        near = xp.clip(xp.zeros_like(low), low, high)
        finite = below & above
        half = xp.where(finite, right - left, unit)
        return xp.where(finite, left + right, near), half


def free_box(dimension: int) -> Box:
    """The whole space of the given dimension."""
    bound = np.full((dimension,), np.inf)
    return Box(-bound, bound)


class Discrete(AbstractSettings):
    r"""The finite set $\{0, …, n - 1\}$.

    Args:
        n: How many elements.

    Raises:
        ValueError: `n` is less than one.
    """

    n: Count = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one element: a scalar."""
        return ()

    def sample(
        self, shape: tuple[int, ...] = (), *, key: PRNGKeyArray
    ) -> Int[Array, "*batch"]:
        """Uniform draws."""
        return jax.random.randint(key, shape, 0, self.n)


Space = Box | Discrete


def require_box(space: Space, planner: str) -> Box:
    """Narrow `space` to a `Box`, or say which planner needs one.

    Raises:
        TypeError: The space is not a box.
    """
    if not isinstance(space, Box):
        raise TypeError(
            f"{planner} plans over continuous actions (a Box), but the problem's "
            f"action space is {space}: take a planner for discrete actions, such as "
            "categorical-cem."
        )
    return space
