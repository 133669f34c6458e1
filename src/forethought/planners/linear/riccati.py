r"""The Riccati recursion: the exact solution of a linear-quadratic problem in time.

`lqr` solves one problem backwards from its last step. Two settings change how, not
what, is computed. `parallel` joins stretches of time like a tournament: the cost to go
of all steps is known after $\log_2 T$ rounds, which is for machines with thousands of
lanes and long horizons; a CPU takes three to thirty times as long as by a sweep.
`batched` solves many problems with the batch in the *last* axis, where a CPU's vectors
are; a CPU solves those of more than a few states one after another, each in its cache.

**Notation.** With $z = [x; u]$, dynamics $x_{t+1} = F_t z_t + f_t + \epsilon_t$ and
cost $\tfrac12 z^\top C_t z + z^\top c_t$:

| letter | meaning |
|---|---|
| $W_t$ | covariance of the noise $\epsilon_t$, whose mean is zero |
| $Q_t, q_t$ | quadratic and linear part of the cost to go of a state and an action |
| $K_t, k_t$ | gain and offset: $u_t = K_t x_t + k_t$ |
| $V_t, v_t, w_t$ | expected cost to go $\tfrac12 x^\top V_t x + x^\top v_t + w_t$ |
| $\gamma$ | discount of one step |
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from forethought.core.linalg import (
    Values,
    as_float,
    dot,
    matmul,
    matvec,
    quadratic_form,
    solve_positive,
    symmetrise,
    trace_of_product,
    transpose,
)

FEW = 4
"""States up to which a CPU sweeps a batch at once, and beyond which one by one: the
matrices of a whole batch no longer fit its innermost cache."""


class Riccati(eqx.Module):
    """What the recursion finds: controllers, and the cost to go of every step."""

    K: Float[Array, "horizon action state *batch"]
    k: Float[Array, "horizon action *batch"]
    V: Float[Array, "horizon+1 state state *batch"]
    v: Float[Array, "horizon+1 state *batch"]
    w: Float[Array, "horizon+1 *batch"]
    positive: Bool[Array, " *batch"]
    """Whether every $Q_{uu}$ was positive definite; otherwise there is no minimum."""


def lqr(
    F: Values,
    f: Values,
    C: Values,
    c: Values,
    V: Values | None = None,
    v: Values | None = None,
    *,
    W: Values | None = None,
    horizon: int | None = None,
    gamma: float = 1.0,
    parallel: bool = False,
    batched: bool = False,
) -> Riccati:
    r"""Solve a linear-quadratic problem backwards in time.

    $$\begin{aligned}
      Q_t &= C_t + \gamma F_t^\top V_{t+1} F_t &
      q_t &= c_t + \gamma F_t^\top (V_{t+1} f_t + v_{t+1}) \\
      K_t &= -Q_{uu}^{-1} Q_{ux} & k_t &= -Q_{uu}^{-1} q_u \\
      V_t &= Q_{xx} + Q_{xu} K_t + K_t^\top Q_{ux} + K_t^\top Q_{uu} K_t &
      v_t &= q_x + Q_{xu} k_t + K_t^\top q_u + K_t^\top Q_{uu} k_t \\
      w_t &= \gamma \bigl(w_{t+1} + \tfrac12 f_t^\top V_{t+1} f_t + f_t^\top v_{t+1}
             + \tfrac12 \operatorname{tr}(V_{t+1} W_t) \bigr) + \tfrac12 q_u^\top k_t
    \end{aligned}$$

    Noise makes no difference to the gains, because it adds the same to the cost of
    every action; the cost is then the expected one of following them.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.planners.linear.riccati import lqr
    >>> F = jnp.array([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])
    >>> solution = lqr(F, jnp.zeros(2), jnp.eye(3), jnp.zeros(3), horizon=200)
    >>> [round(float(gain), 4) for gain in solution.K[0, 0]]
    [-0.9171, -1.6356]

    ```

    Args:
        F: Dynamics, shape `[horizon, state, state + action]`, or without the first axis
            where they are constant; so for the next three and `W`.
        f: Offset, shape `[horizon, state]`.
        C: Cost, shape `[horizon, state + action, state + action]`, symmetric.
        c: Linear cost, shape `[horizon, state + action]`.
        V: Terminal cost, shape `[state, state]`, symmetric; zero by default.
        v: Linear terminal cost, shape `[state]`; zero by default.
        W: Covariance of the noise, shape `[horizon, state, state]`; zero by default.
        horizon: Number of steps; needed only where no array has a time axis.
        gamma: Discount of one step.
        parallel: Whether to join stretches of time side by side instead of sweeping.
            The action's own cost must then be positive definite at every step.
        batched: Whether all arrays have one more axis, their last: one entry a problem.

    Returns:
        Gains and offsets of the `horizon` steps, and the cost to go of these and of the
        end. Where `positive` is false there is no minimum, and they mean nothing.

    Raises:
        ValueError: The lengths in time disagree, none is given, an array has neither of
            its two ranks, or `parallel` and `batched` are both asked for.

    References:
        Bertsekas, Dynamic Programming and Optimal Control, 4th ed., 2017, §3.1; in the
        letters of Levine, CS 285, lecture 10, "LQR". `parallel`: Särkkä and
        García-Fernández, Temporal parallelization of dynamic programming and linear
        quadratic control, 2023, eq. 39 to 44.

    Note:
        `parallel` carries the discount of a stretch beside the paper's five arrays, and
        ends with one step of the recursion above for all steps at once, which gives the
        gains and takes rounding away. On a batch use `jax.vmap` around it.
    """
    if parallel and batched:
        raise ValueError(
            "lqr needs one of `parallel` and `batched`, got both; jax.vmap solves a "
            "batch in parallel."
        )
    V, v, W = (None if each is None else as_float(each) for each in (V, v, W))
    F, f, C, c = map(as_float, (F, f, C, c))
    return _solve(F, f, C, c, V, v, W, horizon, gamma, parallel, batched)


def _solve(
    F: Array,
    f: Array,
    C: Array,
    c: Array,
    V: Array | None,
    v: Array | None,
    W: Array | None,
    horizon: int | None,
    gamma: float,
    parallel: bool,
    batched: bool,
) -> Riccati:
    """The same, of arrays."""
    arrays = ((F, 2), (f, 1), (C, 2), (c, 1), (W, 2))
    length, varies = _in_time(arrays, horizon, int(batched))
    state, batch = F.shape[varies[0]], F.shape[varies[0] + 2 :]
    V = jnp.zeros((state, state, *batch), C.dtype) if V is None else V
    v = jnp.zeros((state, *batch), C.dtype) if v is None else v
    w = jnp.zeros(batch, C.dtype)
    if batched and state > FEW and jax.default_backend() == "cpu":
        front = jax.tree.map(
            lambda leaf: jnp.moveaxis(leaf, -1, 0), (F, f, C, c, V, v, W)
        )
        solutions = jax.lax.map(
            lambda one: lqr(*one[:-1], W=one[-1], horizon=length, gamma=gamma), front
        )
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), solutions)

    given: tuple[Any, ...] = (F, f, C, c, W)
    if parallel:
        full: list[Any] = [
            each
            if each is None or varied
            else jnp.broadcast_to(each, (length, *each.shape))
            for each, varied in zip(given, varies, strict=True)
        ]
        F, f, C, c, W = full
        V_next, v_next, convex = _suffixes(F, f, C, c, V, v, gamma)
        K, k, Vs, vs, costs, good = jax.vmap(_step, in_axes=(0,) * 7 + (None,))(
            V_next, v_next, F, f, C, c, W, gamma
        )
        factors = jnp.full_like(costs, gamma).at[-1].set(1)
        costs = costs.at[-1].add(gamma * w)
        ws = jax.lax.associative_scan(_join_affine, (factors, costs), reverse=True)[1]
        positive = jnp.all(convex & good)
    else:

        def step(carry, inputs):
            V, v, w, positive = carry
            F, f, C, c, W = (
                each if now is None else now
                for each, now in zip(given, inputs, strict=True)
            )
            K, k, V, v, cost, good = _step(V, v, F, f, C, c, W, gamma)
            w = gamma * w + cost
            return (V, v, w, positive & good), (K, k, V, v, w)

        start = (V, v, w, jnp.ones(batch, bool))
        moving = tuple(
            each if varied else None for each, varied in zip(given, varies, strict=True)
        )
        (_, _, _, positive), (K, k, Vs, vs, ws) = jax.lax.scan(
            step, start, moving, length=length, reverse=True
        )
    return Riccati(
        K,
        k,
        jnp.concatenate([Vs, V[None]]),
        jnp.concatenate([vs, v[None]]),
        jnp.concatenate([ws, w[None]]),
        positive,
    )


def _in_time(
    arrays: Sequence[tuple[Array | None, int]], horizon: int | None, extra: int
) -> tuple[int, list[bool]]:
    """The number of steps, and which arrays vary; each comes with its rank if not."""
    lengths, varies = set() if horizon is None else {horizon}, []
    for array, rank in arrays:
        if array is not None and array.ndim - rank - extra not in (0, 1):
            raise ValueError(
                f"lqr needs every array with {rank + extra} axes, or one more in front "
                f"for the time, got one of shape {list(array.shape)}."
            )
        varies.append(array is not None and array.ndim > rank + extra)
        if array is not None and varies[-1]:
            lengths.add(array.shape[0])
    if len(lengths) != 1:
        raise ValueError(
            "lqr needs one horizon, from arrays with a time axis or from `horizon`, "
            f"got {sorted(lengths)}."
        )
    return lengths.pop(), varies


def _step(
    V: Array,
    v: Array,
    F: Array,
    f: Array,
    C: Array,
    c: Array,
    W: Array | None,
    gamma: float,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """One step backwards: gain, offset, cost to go, what it adds, and a test."""
    state = F.shape[0]
    x, u = slice(None, state), slice(state, None)
    back = transpose(F)
    Q = C + gamma * matmul(back, matmul(V, F))
    q = c + gamma * matvec(back, matvec(V, f) + v)
    right = jnp.concatenate([Q[u, x], q[u, None]], axis=1)
    solution, good = solve_positive(Q[u, u], right)
    K, k = -solution[:, :state], -solution[:, state]
    drift = 0.5 * quadratic_form(V, f) + dot(f, v)
    if W is not None:
        drift = drift + 0.5 * trace_of_product(V, W)
    cost = gamma * drift + 0.5 * dot(q[u], k)
    return K, k, *cost_to_go(Q, q, K, k), cost, good


def cost_to_go(
    Q: Float[Array, "both both *batch"],
    q: Float[Array, "both *batch"],
    K: Float[Array, "action state *batch"],
    k: Float[Array, "action *batch"],
) -> tuple[Float[Array, "state state *batch"], Float[Array, "state *batch"]]:
    r"""Quadratic and linear part of the cost to go under any $u = K x + k$."""
    state = K.shape[1]
    Q_xx, Q_ux, Q_uu = Q[:state, :state], Q[state:, :state], Q[state:, state:]
    q_x, q_u = q[:state], q[state:]
    M = matmul(Q_uu, K) + Q_ux
    V = Q_xx + matmul(transpose(K), M) + matmul(transpose(Q_ux), K)
    v = q_x + matvec(transpose(M), k) + matvec(transpose(K), q_u)
    return symmetrise(V), v


class _Stretch(eqx.Module):
    r"""The least cost of going from $x$ to $y$ over a stretch of time.

    $$\max_\lambda \; \tfrac12 x^\top J x - x^\top \eta
      - \tfrac12 \lambda^\top G \lambda - \lambda^\top (s y - A x - b)$$

    with $s^2$ the discount of the stretch; its own axes come first.
    """

    A: Float[Array, "*time state state"]
    b: Float[Array, "*time state"]
    G: Float[Array, "*time state state"]
    eta: Float[Array, "*time state"]
    J: Float[Array, "*time state state"]
    s: Float[Array, " *time"]


def _join(later: _Stretch, earlier: _Stretch) -> _Stretch:
    """Two stretches, one after the other, as one."""

    def join(one: _Stretch, two: _Stretch) -> _Stretch:
        n = one.b.shape[0]
        b, eta = one.s * two.b, one.s * two.eta
        right = jnp.concatenate(
            [one.A, one.G, (one.b + matvec(one.G, eta))[:, None]], axis=1
        )
        # The three share one matrix, I + G J.
        solved = jnp.linalg.solve(
            jnp.eye(n, dtype=one.A.dtype) + matmul(one.G, two.J), right
        )
        A, G, shift = solved[:, :n], solved[:, n : 2 * n], solved[:, 2 * n]
        slope = eta - matvec(two.J, shift)
        return _Stretch(
            A=matmul(two.A, A),
            b=matvec(two.A, shift) + b,
            G=symmetrise(matmul(two.A, matmul(G, two.A.T)) + two.G),
            eta=matvec(one.A.T, slope) + one.eta,
            J=symmetrise(matmul(one.A.T, matmul(two.J, A)) + one.J),
            s=one.s * two.s,
        )

    return jax.vmap(join)(earlier, later)


def _suffixes(
    F: Array, f: Array, C: Array, c: Array, V: Array, v: Array, gamma: float
) -> tuple[Array, Array, Array]:
    """Cost to go of the end of every step, and whether the action's cost is convex."""
    n = V.shape[0]
    s = jnp.sqrt(jnp.asarray(gamma, V.dtype))

    def one_step(F, f, C, c):
        right = jnp.concatenate([C[n:, :n], c[n:, None], F[:, n:].T], axis=1)
        solved, convex = solve_positive(C[n:, n:], right)
        K, k, authority = solved[:, :n], solved[:, n], solved[:, n + 1 :]
        stretch = _Stretch(
            A=s * (F[:, :n] - matmul(F[:, n:], K)),
            b=s * (f - matvec(F[:, n:], k)),
            G=symmetrise(s * s * matmul(F[:, n:], authority)),
            eta=matvec(C[:n, n:], k) - c[:n],
            J=symmetrise(C[:n, :n] - matmul(C[:n, n:], K)),
            s=s,
        )
        return stretch, convex

    steps, convex = jax.vmap(one_step)(F, f, C, c)
    none = jnp.zeros_like(V)
    end = _Stretch(none, jnp.zeros_like(v), none, -v, V, jnp.ones_like(s))
    stretches = jax.tree.map(
        lambda rest, end: jnp.concatenate([rest, end[None]]), steps, end
    )
    joined = jax.lax.associative_scan(_join, stretches, reverse=True)
    return joined.J[1:], -joined.eta[1:], convex


def _join_affine(
    later: tuple[Array, Array], earlier: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Two maps $w -> a w + b$, one after the other, as one."""
    return earlier[0] * later[0], earlier[0] * later[1] + earlier[1]
