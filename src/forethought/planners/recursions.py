r"""The two recursions of iLQR: backward for a controller, forward to try it.

The notes' letters, in deviations from a nominal trajectory $(\hat x_t, \hat u_t)$:

$$u_t = \hat u_t + \alpha k_t + K_t (x_t - \hat x_t)$$

`backward` finds $K, k$ from an `Expansion`, `forward` rolls them through the model.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree, Scalar

from forethought.core.linalg import (
    dot,
    matmul,
    matvec,
    quadratic_form,
    solve_positive,
    symmetrise,
)
from forethought.core.spaces import Box
from forethought.core.types import ravel
from forethought.planners.box_qp import box_qp
from forethought.planners.expansion import Expansion
from forethought.problem import Problem


class Trajectory(eqx.Module):
    """A controller rolled through the model."""

    beliefs: PyTree
    """Leaves of shape `[horizon + 1, ...]`."""
    actions: Float[Array, "horizon action"]
    rewards: Float[Array, " horizon"]
    """Undiscounted."""
    discounts: Float[Array, " horizon"]
    """Of each step alone."""
    final: Scalar
    """Undiscounted value of the last belief."""
    cost: Scalar
    """Minus the return."""

    @property
    def states(self) -> Float[Array, "time state"]:
        """The coordinates of each belief."""
        return jax.vmap(lambda belief: ravel(belief)[0])(self.beliefs)

    @property
    def values(self) -> Float[Array, " horizon"]:
        """The return from each step on, discounted from there."""

        def back(value, inputs):
            reward, discount = inputs
            value = reward + discount * value
            return value, value

        inputs = (self.rewards, self.discounts)
        return jax.lax.scan(back, self.final, inputs, reverse=True)[1]


class Sweep(eqx.Module):
    """The backward recursion's controller and cost to go, in deviations."""

    K: Float[Array, "horizon action state"]
    k: Float[Array, "horizon action"]
    V: Float[Array, "horizon state state"]
    v: Float[Array, "horizon state"]
    slope: Scalar
    """Change of cost per step size, at step size zero (negative)."""
    curvature: Scalar
    """Twice the change of cost per squared step size."""
    positive: Bool[Array, ""]

    def expected(self, alpha: Array | float) -> Array:
        """The decrease that the expansion promises for a step size."""
        return -(alpha * self.slope + 0.5 * alpha * alpha * self.curvature)


def blank(nominal: Trajectory) -> tuple[Expansion, Sweep]:
    """An expansion and a sweep of the right shapes, all zero."""
    x = nominal.states
    (horizon, m), n = nominal.actions.shape, x.shape[1]

    def zeros(*shape: int) -> Array:
        return jnp.zeros(shape, x.dtype)

    expansion = Expansion(
        F=zeros(horizon, n, n + m),
        C=zeros(horizon, n + m, n + m),
        c=zeros(horizon, n + m),
        V=zeros(n, n),
        v=zeros(n),
    )
    sweep = Sweep(
        K=zeros(horizon, m, n),
        k=zeros(horizon, m),
        V=zeros(horizon, n, n),
        v=zeros(horizon, n),
        slope=zeros(),
        curvature=zeros(),
        positive=jnp.asarray(False),
    )
    return expansion, sweep


def backward(
    expansion: Expansion, nominal: Trajectory, box: Box, regularisation: Array
) -> Sweep:
    """The notes' recursion on deviations, regularised and within limits."""
    n = expansion.F.shape[1]
    x, u = slice(None, n), slice(n, None)
    diagonal = jnp.eye(expansion.F.shape[2] - n, dtype=expansion.F.dtype)

    def step(carry, inputs):
        V, v, slope, curvature, positive, guess = carry
        F, C, c, discount, action = inputs
        Q = C + discount * matmul(F.T, matmul(V, F))
        q = c + discount * matvec(F.T, v)
        Q_uu, Q_ux, q_u = Q[u, u], Q[u, x], q[u]
        H = Q_uu + regularisation * diagonal
        if box.bounded:
            low = box.low.astype(action.dtype) - action
            high = box.high.astype(action.dtype) - action
            solution = box_qp(H, q_u, low, high, guess)
            k, free, good = solution.x, solution.free, solution.solved
            block = jnp.where(free[:, None] & free[None, :], H, diagonal)
            right = jnp.where(free[:, None], Q_ux, jnp.zeros_like(Q_ux))
            K = -solve_positive(block, right)[0]
            bend = quadratic_form(Q_uu, k)
        else:
            right = jnp.concatenate([Q_ux, q_u[:, None]], axis=1)
            solution, good = solve_positive(H, right)
            K, k = -solution[:, :n], -solution[:, n]
            bend = -dot(k, q_u + regularisation * k)
        # Among the free actions H K = -Q_ux and H k = -q_u, and K is zero elsewhere,
        # so the notes' Qxx + Qxu K + K'Qux + K'Quu K is this, and likewise for v.
        M = Q_ux - regularisation * K
        V = symmetrise(Q[x, x] + matmul(M.T, K))
        v = q[x] + matvec(M.T, k)
        slope = discount * slope + dot(k, q_u)
        curvature = discount * curvature + bend
        carry = (V, v, slope, curvature, positive & good, k)
        return carry, (K, k, V, v)

    zero = jnp.zeros_like(regularisation)
    guess = jnp.zeros_like(nominal.actions[0])
    carry = (expansion.V, expansion.v, zero, zero, jnp.asarray(True), guess)
    inputs = (
        expansion.F,
        expansion.C,
        expansion.c,
        nominal.discounts,
        nominal.actions,
    )
    (_, _, slope, curvature, positive, _), (K, k, V, v) = jax.lax.scan(
        step, carry, inputs, reverse=True
    )
    positive = positive & jnp.isfinite(slope) & jnp.isfinite(curvature)
    return Sweep(K, k, V, v, slope, curvature, positive)


def imagine(
    problem: Problem, belief: PyTree, actions: Array, keys: Key[Array, " horizon"]
) -> Trajectory:
    """Roll actions through the model, without feedback."""
    return _roll(problem, belief, actions, lambda action, belief: action, keys)


def forward(
    problem: Problem,
    box: Box,
    keys: Key[Array, " horizon"],
    nominal: Trajectory,
    sweep: Sweep,
    alpha: Array,
) -> Trajectory:
    """Roll the sweep's controller through the model, at one step size."""

    def control(inputs, belief):
        action, x_nominal, K, k = inputs
        action = action + alpha * k + matvec(K, ravel(belief)[0] - x_nominal)
        return box.clip(action) if box.bounded else action

    inputs = (nominal.actions, nominal.states[:-1], sweep.K, sweep.k)
    start = jax.tree.map(lambda leaf: leaf[0], nominal.beliefs)
    return _roll(problem, start, inputs, control, keys)


def _roll(
    problem: Problem,
    belief: PyTree,
    inputs: PyTree,
    control: Callable[[PyTree, PyTree], Array],
    keys: Array,
) -> Trajectory:
    """Roll any controller through the model; it sees its inputs and the belief."""

    def step(carry, inputs):
        belief, total, weight = carry
        here, key = inputs
        action = control(here, belief)
        after, reward, discount = problem.step(belief, action, key=key)
        carry = (after, total + weight * reward, weight * discount)
        return carry, (belief, action, reward, discount)

    one = jnp.ones_like(problem.value(belief))
    (last, total, weight), (beliefs, actions, rewards, discounts) = jax.lax.scan(
        step, (belief, 0 * one, one), (inputs, keys)
    )
    beliefs = jax.tree.map(
        lambda rest, end: jnp.concatenate([rest, end[None]]), beliefs, last
    )
    final = problem.value(last)
    cost = -(total + weight * final)
    return Trajectory(beliefs, actions, rewards, discounts, final, cost)
