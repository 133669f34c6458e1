r"""How far to follow a direction, and how much to regularise the next one.

A direction comes with a promise: the decrease that the expansion expects of a step of
size $\alpha$. Steps are judged by the share of the promise that they keep, and so is
the regularisation $\lambda$ that made the direction.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Scalar

from forethought.planners.smooth.recursions import Sweep, Trajectory

GOOD, POOR = 0.25, 0.05
"""Shares of a full step's promise above and below which regularisation changes."""


def sufficient(decrease: Array, expected: Array) -> Bool[Array, ""]:
    """Whether a step gained a fair share of what was promised; false for NaN."""
    return (decrease > 1e-4 * expected) & (expected > 0)


def open_gaps(trajectory: Trajectory) -> Array:
    r"""The size of all gaps together, $\lVert g \rVert_1$."""
    gaps = trajectory.gaps
    if gaps is None:
        return jnp.zeros_like(trajectory.cost)
    return jnp.sum(jnp.abs(gaps))


class Merit(eqx.Module):
    r"""What decreases: the cost, and $\mu \lVert g \rVert_1$ where there are gaps."""

    nominal: Trajectory
    """Where steps begin."""
    sweep: Sweep
    """The direction."""
    price: Scalar | None
    r"""$\mu$; none where there are no gaps."""

    @property
    def worth(self) -> Scalar:
        """What it is worth to close all gaps."""
        if self.price is None:
            return jnp.zeros_like(self.nominal.cost)
        return self.price * open_gaps(self.nominal)

    def expected(self, alpha: Array | float) -> Array:
        """The decrease that a step size promises."""
        expected = self.sweep.expected(alpha)
        return expected if self.price is None else expected + alpha * self.worth

    def decrease(self, candidate: Trajectory) -> Array:
        """The decrease that a trajectory is."""
        decrease = self.nominal.cost - candidate.cost
        if self.price is None:
            return decrease
        closed = open_gaps(self.nominal) - open_gaps(candidate)
        return decrease + self.price * closed


def weigh(nominal: Trajectory, sweep: Sweep) -> Merit:
    r"""The merit of steps from a trajectory, with the price that gaps have there.

    $$\mu = \max\Big(\max_{t, i} |v_{t, i}|, \;
      \frac{2}{\lVert g \rVert_1} \max(s, s + \tfrac12 c, 0)\Big)$$

    with $s$ and $c$ the sweep's slope and curvature. The first makes
    $\mu \lVert g \rVert_1$ an exact penalty; the second makes it and the cost decrease
    together along the direction, by at least half of what closing the gaps is worth.

    References:
        Nocedal and Wright, Numerical Optimization, 2nd ed., 2006, theorem 17.3 and
        eq. 18.36.
    """
    if nominal.gaps is None:
        return Merit(nominal, sweep, None)
    size = open_gaps(nominal)
    rise = jnp.maximum(sweep.slope, sweep.slope + 0.5 * sweep.curvature)
    safe = jnp.where(size > 0, size, jnp.ones_like(size))
    least = jnp.where(size > 0, 2 * jnp.maximum(rise, 0) / safe, jnp.zeros_like(size))
    return Merit(nominal, sweep, jnp.maximum(jnp.max(jnp.abs(sweep.v)), least))


def search_line(
    attempt: Callable[[Array], Trajectory],
    merit: Merit,
    *,
    step_sizes: int,
    smallest_step: float,
) -> tuple[Trajectory, Array]:
    """The full step if it is good enough, else the best of the shorter ones.

    Args:
        attempt: From a step size to a trajectory.
        merit: What the step should decrease.
        step_sizes: How many, from 1 down to `smallest_step` evenly in the logarithm.
            The first is tried alone, the others side by side.
        smallest_step: The last of them.
    """
    one = jnp.ones_like(merit.nominal.cost)
    full = attempt(one)
    if step_sizes == 1:
        return full, one
    alphas = jnp.asarray(np.geomspace(1, smallest_step, step_sizes)[1:], one.dtype)

    def shorter():
        candidates = jax.vmap(attempt)(alphas)
        decreases = jax.vmap(merit.decrease)(candidates)
        good = jax.vmap(sufficient)(decreases, jax.vmap(merit.expected)(alphas))
        best = jnp.argmax(jnp.where(good, decreases, -jnp.inf))
        return jax.tree.map(lambda leaf: leaf[best], candidates), alphas[best]

    enough = sufficient(merit.decrease(full), merit.expected(one))
    return jax.lax.cond(enough, lambda: (full, one), shorter)


def adapt(
    strength: Array,
    growth: Array,
    accepted: Array,
    quality: Array,
    *,
    factor: float,
    smallest: float,
) -> tuple[Array, Array]:
    r"""Raise $\lambda$ after a failure or a poor step, lower it after a good one.

    Args:
        strength: $\lambda$.
        growth: By what it was multiplied last.
        accepted: Whether a step was taken.
        quality: The share of the full step's promise that was kept.
        factor: How fast `growth` grows and shrinks.
        smallest: Below it $\lambda$ is zero.

    Returns:
        The next strength and growth.
    """
    lower, higher = accepted & (quality > GOOD), ~accepted | (quality < POOR)
    growth = jnp.where(
        lower,
        jnp.minimum(growth, 1) / factor,
        jnp.where(higher, jnp.maximum(growth, 1) * factor, 1.0),
    )
    scaled = strength * growth
    raised = jnp.maximum(scaled, smallest)
    lowered = jnp.where(scaled < smallest, jnp.zeros_like(scaled), scaled)
    return jnp.where(higher, raised, lowered), growth
