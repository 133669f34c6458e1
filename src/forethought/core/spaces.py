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

Bound = ArrayLike | Sequence[float]


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

    Raises:
        ValueError: The shapes differ, a bound is NaN, or a lower bound lies above
            its upper bound.
    """

    low: Float[Array, " dimension"]
    high: Float[Array, " dimension"]
    bounded: bool = eqx.field(static=True)
    """Whether any side is finite; a planner may drop its limits where it is not."""

    def __init__(self, low: Bound, high: Bound):
        self.low = jnp.asarray(low) * 1.0
        self.high = jnp.asarray(high) * 1.0
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

    def centre_and_scale(self, dtype: DTypeLike) -> tuple[Array, Array]:
        """Middle and half width of each side; 0 and 1 where a side is free."""
        finite = jnp.isfinite(self.low) & jnp.isfinite(self.high)
        low, high = jnp.where(finite, self.low, -1), jnp.where(finite, self.high, 1)
        return ((low + high) / 2).astype(dtype), ((high - low) / 2).astype(dtype)

    def sample(
        self, shape: tuple[int, ...] = (), *, key: PRNGKeyArray
    ) -> Float[Array, "*batch dimension"]:
        """Uniform draws, or standard normal ones along sides that are free."""
        shape = (*shape, *self.shape)
        centre, scale = self.centre_and_scale(self.low.dtype)
        uniform_key, normal_key = jax.random.split(key)
        uniform = jax.random.uniform(uniform_key, shape, self.low.dtype, -1, 1)
        draws = jnp.broadcast_to(centre, shape) + uniform * jnp.broadcast_to(
            scale, shape
        )
        if not self.bounded:
            return jax.random.normal(normal_key, shape, self.low.dtype)
        finite = jnp.isfinite(self.low) & jnp.isfinite(self.high)
        normal = self.clip(jax.random.normal(normal_key, shape, self.low.dtype))
        return jnp.where(jnp.broadcast_to(finite, shape), draws, normal)


def free_box(dimension: int) -> Box:
    """The whole space of the given dimension."""
    bound = np.full((dimension,), np.inf)
    return Box(-bound, bound)


class Discrete(eqx.Module):
    r"""The finite set $\{0, …, n - 1\}$.

    Args:
        n: How many elements.

    Raises:
        ValueError: `n` is less than one.
    """

    n: int = eqx.field(static=True)

    def __check_init__(self):
        if self.n < 1:
            raise ValueError(f"A Discrete space needs n >= 1, got {self.n}.")

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
