r"""The two recursions of iLQR: backward for a controller, forward to try it.

The notes' letters, in deviations from a nominal trajectory $(\hat x_t, \hat u_t)$:

$$u_t = \hat u_t + \alpha k_t + K_t (x_t - \hat x_t)$$

`backward` finds $K, k$ from an `Expansion`, `forward` rolls them through the model.

A trajectory may have *gaps*: states that were guessed, not reached,

$$g_t = f(\hat x_t, \hat u_t) - \hat x_{t+1}$$

so that linearly $\delta x_{t+1} = F_t z + \alpha g_t$. A step of size $\alpha$ leaves
$(1 - \alpha) g_t$ of each: all shrink together, and the first full step closes them.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, PyTree, Scalar

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
from forethought.planners.smooth.box_qp import box_qp
from forethought.planners.smooth.expansion import Expansion
from forethought.policies.affine import TimeVarying
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
    gaps: Float[Array, "horizon state"] | None = None
    """How far each action leads beyond the next state; none where nothing is guessed.
    Rewards are those of where the actions lead."""

    @property
    def landings(self) -> PyTree:
        """Where each action leads: leaves of shape `[horizon, ...]`."""
        after = jax.tree.map(lambda leaf: leaf[1:], self.beliefs)
        return after if self.gaps is None else jax.vmap(move)(after, self.gaps)

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


Bend = Callable[[PyTree, Array, PRNGKeyArray, Array], Array]
r"""From a belief, an action, a key and a vector $v$ to the Hessian of $v^\top f$."""


def backward(
    expansion: Expansion,
    nominal: Trajectory,
    box: Box,
    regularisation: Array,
    keys: Key[Array, " horizon"],
    bend: Bend | None = None,
) -> Sweep:
    """The notes' recursion on deviations, regularised and within limits.

    Args:
        expansion: Of the problem along the nominal trajectory.
        nominal: It, with or without gaps.
        box: Limits of the action.
        regularisation: Added to the diagonal of the action's Hessian.
        keys: The keys under which the trajectory was imagined.
        bend: Second-order terms of the dynamics, for DDP; none for iLQR.
    """
    n = expansion.F.shape[1]
    x, u = slice(None, n), slice(n, None)
    diagonal = jnp.eye(expansion.F.shape[2] - n, dtype=expansion.F.dtype)

    def step(carry, inputs):
        V, v, slope, curvature, positive, guess, a = carry
        F, C, c, discount, action, gap, place = inputs
        after = v if gap is None else v + matvec(V, gap)
        Q = C + discount * matmul(F.T, matmul(V, F))
        q = c + discount * matvec(F.T, after)
        if bend is not None:
            belief, key = place
            Q = Q + discount * bend(belief, action, key, after)
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
            pull = quadratic_form(Q_uu, k)
        else:
            right = jnp.concatenate([Q_ux, q_u[:, None]], axis=1)
            solution, good = solve_positive(H, right)
            K, k = -solution[:, :n], -solution[:, n]
            pull = -dot(k, q_u + regularisation * k)
        # Among the free actions H K = -Q_ux and H k = -q_u, and K is zero elsewhere,
        # so the notes' Qxx + Qxu K + K'Qux + K'Quu K is this, and likewise for v.
        M = Q_ux - regularisation * K
        if gap is None:
            slope = discount * slope + dot(k, q_u)
            curvature = discount * curvature + pull
        else:
            # The cost to go of α k and α g is, in a deviation δ,
            # ½ δ'Vδ + δ'(a + α (v - a)) + α slope + ½ α² curvature.
            b = v - a
            g_V, g_b = matvec(V, gap), matvec(F.T, matvec(V, gap) + b)
            q_a = c + discount * matvec(F.T, a)
            slope = discount * (slope + dot(a, gap)) + dot(k, q_a[u])
            curvature = (
                discount * (curvature + dot(gap, g_V) + 2 * dot(gap, b))
                + quadratic_form(Q_uu, k)
                + 2 * discount * dot(k, g_b[u])
            )
            a = q_a[x] + matvec(K.T, q_a[u])
        V = symmetrise(Q[x, x] + matmul(M.T, K))
        v = q[x] + matvec(M.T, k)
        carry = (V, v, slope, curvature, positive & good, k, a)
        return carry, (K, k, V, v)

    zero = jnp.zeros_like(regularisation)
    guess = jnp.zeros_like(nominal.actions[0])
    a = None if nominal.gaps is None else expansion.v
    carry = (expansion.V, expansion.v, zero, zero, jnp.asarray(True), guess, a)
    before = jax.tree.map(lambda leaf: leaf[:-1], nominal.beliefs)
    inputs = (
        expansion.F,
        expansion.C,
        expansion.c,
        nominal.discounts,
        nominal.actions,
        nominal.gaps,
        None if bend is None else (before, keys),
    )
    (_, _, slope, curvature, positive, _, _), (K, k, V, v) = jax.lax.scan(
        step, carry, inputs, reverse=True
    )
    positive = positive & jnp.isfinite(slope) & jnp.isfinite(curvature)
    return Sweep(K, k, V, v, slope, curvature, positive)


def imagine(
    problem: Problem,
    belief: PyTree,
    actions: Array,
    keys: Key[Array, " horizon"],
    states: Float[Array, "horizon state"] | None = None,
) -> Trajectory:
    """Roll actions through the model, without feedback.

    Where states are guessed, one after each action, the trajectory goes through them
    and has the gaps that result.
    """

    def control(inputs, belief):
        return inputs[0]

    def guessed(inputs, after):
        return ravel(after)[0] - inputs[1]

    inputs = (actions, states)
    return _roll(
        problem, belief, inputs, control, keys, None if states is None else guessed
    )


def forward(
    problem: Problem,
    box: Box,
    keys: Key[Array, " horizon"],
    nominal: Trajectory,
    sweep: Sweep,
    alpha: Array,
    closing: Array | None = None,
) -> Trajectory:
    """Roll the sweep's controller through the model, at one step size.

    Gaps are closed by the share `closing`, by default the step size.
    """

    def control(inputs, belief):
        action, x_nominal, K, k, _ = inputs
        action = action + alpha * k + matvec(K, ravel(belief)[0] - x_nominal)
        return box.clip(action) if box.bounded else action

    def left(inputs, after):
        return (1 - (alpha if closing is None else closing)) * inputs[4]

    gaps = nominal.gaps
    inputs = (nominal.actions, nominal.states[:-1], sweep.K, sweep.k, gaps)
    start = jax.tree.map(lambda leaf: leaf[0], nominal.beliefs)
    return _roll(problem, start, inputs, control, keys, None if gaps is None else left)


def follow(
    problem: Problem,
    box: Box,
    belief: PyTree,
    policy: TimeVarying,
    keys: Key[Array, " horizon"],
) -> Trajectory:
    """Roll the mean of a controller over the belief's coordinates through the model."""

    def control(inputs, belief):
        K, k, x = inputs
        action = k + matvec(K, ravel(belief)[0] - x)
        return box.clip(action) if box.bounded else action

    inputs = (policy.K, policy.k, policy.x)
    return _roll(problem, belief, inputs, control, keys, None)


def move(belief: PyTree, by: Float[Array, " state"]) -> PyTree:
    """A belief with something added to its coordinates."""
    x, unravel = ravel(belief)
    return unravel(x + by)


def _roll(
    problem: Problem,
    belief: PyTree,
    inputs: PyTree,
    control: Callable[[PyTree, PyTree], Array],
    keys: Array,
    miss: Callable[[PyTree, PyTree], Array] | None,
) -> Trajectory:
    """Roll any controller through the model; it sees its inputs and the belief.

    `miss` says by how much the next state shall miss where the action leads.
    """

    def step(carry, inputs):
        belief, total, weight = carry
        here, key = inputs
        action = control(here, belief)
        after, reward, discount = problem.step(belief, action, key=key)
        gap = None
        if miss is not None:
            gap = miss(here, after)
            after = move(after, -gap)
        carry = (after, total + weight * reward, weight * discount)
        return carry, (belief, action, reward, discount, gap)

    one = jnp.ones_like(problem.value(belief))
    (last, total, weight), (beliefs, actions, rewards, discounts, gaps) = jax.lax.scan(
        step, (belief, 0 * one, one), (inputs, keys)
    )
    beliefs = jax.tree.map(
        lambda rest, end: jnp.concatenate([rest, end[None]]), beliefs, last
    )
    final = problem.value(last)
    cost = -(total + weight * final)
    return Trajectory(beliefs, actions, rewards, discounts, final, cost, gaps)
