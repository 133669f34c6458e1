"""Searching for parameters from several places, and keeping the best.

All descents run one after another through one compiled function: what differs between
them (where they begin, how wide the cost is, how long they may take) is data.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Scalar

from forethought.core.optimise import quasi_newton

REACH = 1.0
"""The longest first step along a direction, in each parameter."""
RIVAL = 0.5
"""How much more, as a share, another start may cost that goes on in a barred place."""


class Descended(eqx.Module):
    """What all descents together have found."""

    x: Float[Array, " parameter"]
    cost: Scalar
    """Infinite where nothing finite was found."""
    costs: Float[Array, " start"]
    """Of each start, once it was descended from for a short while."""
    evaluations: Int[Array, ""]


def descend(
    cost: Callable[[Array, Scalar], Scalar],
    starts: Float[Array, "start parameter"],
    *,
    fresh: Bool[Array, " start"],
    barred: Bool[Array, " start"],
    widening: float,
    short: int,
    long: int,
) -> Descended:
    """The lowest cost that descents from several places lead to.

    Fresh starts go down a wider cost first, and every start the true one for a short
    while; from the best of them it goes on for longer. The best end is kept.

    Args:
        cost: Of parameters, under a cost that is wider by a factor.
        starts: Where to begin.
        fresh: Which of them go down the wider cost first.
        barred: From which of them it does not go on, unless all others cost more than
            half as much again: they would not catch up.
        widening: That factor.
        short: The most evaluations of each of these descents.
        long: The most of the last one.
    """
    count = starts.shape[0]
    slots = np.concatenate([np.arange(count), np.arange(count), [-1]]).astype(np.int32)
    factors = np.concatenate([np.full(count, widening), np.ones(count + 1)])
    limits = jnp.concatenate(
        [jnp.where(fresh, short, 0), jnp.full(count, short), jnp.array([long])]
    ).astype(jnp.int32)
    slope = jax.value_and_grad(cost)

    def best(costs: Array) -> Array:
        others = jnp.where(barred, jnp.inf, costs)
        least = jnp.min(costs)
        rivals = jnp.min(others) <= least + RIVAL * jnp.abs(least)
        return jnp.argmin(jnp.where(rivals, others, costs)).astype(jnp.int32)

    def one(carry, leg):
        xs, costs = carry
        slot, factor, limit = leg
        at = jnp.where(slot < 0, best(costs), slot)
        found = quasi_newton(
            lambda x: slope(x, factor), xs[at], limit=limit, reach=REACH
        )
        value = jnp.where(jnp.isfinite(found.value), found.value, jnp.inf)
        # Nothing was evaluated of what was given no evaluations.
        took = found.evaluations > 0
        xs = xs.at[at].set(jnp.where(took, found.x, xs[at]))
        costs = costs.at[at].set(jnp.where(took, value, costs[at]))
        return (xs, costs), (found.evaluations, costs)

    none = jnp.full(count, jnp.inf, starts.dtype)
    legs = jnp.asarray(slots), jnp.asarray(factors, starts.dtype), limits
    (xs, costs), (took, along) = jax.lax.scan(one, (starts, none), legs)
    at = jnp.argmin(costs)
    return Descended(xs[at], costs[at], along[-2], jnp.sum(took))
