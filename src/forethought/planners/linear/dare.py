r"""The Riccati equation at rest: the gain that stays right for ever.

Far from the end of a long horizon, the recursion of `planners/linear/riccati.py` stands
still. `dare` finds that cost to go directly: each round of the doubling algorithm is
worth as many steps of the recursion as all rounds before it, so that some ten do. Two
Newton steps then take its rounding away, and the answer is checked before it is called
one.

Derivatives are those of the equation, not of the rounds: one discrete Lyapunov equation
gives them, to any order, forwards and backwards.

**Notation.** Dynamics $x_{t+1} = A x_t + B u_t$, cost $\tfrac12 (x^\top Q x + 2 x^\top
S u + u^\top R u)$, cost to go $\tfrac12 x^\top V x$, gain $u = K x$, closed loop
$L = A + B K$; $P$ is where the doubling starts, and $H, G, E$ are its three matrices.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from forethought.core.given.settings import Part, require
from forethought.core.linalg import (
    Values,
    as_float,
    matmul,
    require_finite,
    require_symmetric,
    solve_positive,
    symmetrise,
)
from forethought.core.results import Result

POLISH = 2
"""Newton steps after the doubling; each squares the relative error."""


class Stationary(eqx.Module):
    """The stationary solution; NaN throughout where `result` is not successful."""

    K: Float[Array, "action state"]
    V: Float[Array, "state state"]
    result: Result


def dare(
    A: Values,
    B: Values,
    Q: Values,
    R: Values,
    S: Values | None = None,
    *,
    gamma: float = 1.0,
) -> Stationary:
    r"""Solve the discrete algebraic Riccati equation for its stabilising solution.

    $$V = Q + \gamma A^\top V A + (S + \gamma A^\top V B) K, \qquad
      K = -(R + \gamma B^\top V B)^{-1} (S + \gamma A^\top V B)^\top$$

    It can be compiled, mapped over a batch and differentiated in all arrays. $R$ may be
    singular, even zero, and $Q$ indefinite, as long as $R + \gamma B^\top V B$ is
    positive definite at the solution; otherwise there is no minimum.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.planners.linear.dare import dare
    >>> A, B = [[1.0, 0.1], [0.0, 1.0]], [[0.005], [0.1]]
    >>> solution = dare(A, B, jnp.eye(2), jnp.eye(1))
    >>> [round(float(gain), 4) for gain in solution.K[0]]
    [-0.9171, -1.6356]

    ```

    As the cost to go beyond a horizon it is `Quadratic(C, C_final=solution.V)`; as a
    planner it is `LQR(horizon, infinite=True)`; and the stationary covariance of a
    Kalman filter before it looks is `dare(A.T, H.T, W, N).V`.

    Args:
        A: Shape `[state, state]`.
        B: Shape `[state, action]`.
        Q: Cost of the state, symmetric, shape `[state, state]`.
        R: Cost of the action, symmetric, shape `[action, action]`.
        S: Cost of both together, shape `[state, action]`; zero by default.
        gamma: Discount of one step, in (0, 1].

    Returns:
        Gain, cost to go and a code: `indefinite` where there is no minimum,
        `no_stationary` where no gain makes $\sqrt\gamma (A + B K)$ stable at a finite
        cost, `non_finite` where an array holds infinities or NaN, or a cost of one step
        is more than a number holds.

    Raises:
        ValueError: Shapes disagree, an entry is not finite, `Q` or `R` is not
            symmetric, or `gamma` lies outside its range.

    References:
        Chu, Fan, Lin and Wang, Structure-preserving algorithms for periodic
        discrete-time algebraic Riccati equations, 2004, Algorithm 3.1. Hewer, An
        iterative technique for the computation of the steady state gains for the
        discrete optimal regulator, 1971 (Newton's step). Smith, Matrix equation
        XA + BX = C, 1968 (doubling for Lyapunov equations).

    Note:
        The doubling is that of the equation for $V - P$ with $P$ a multiple of the
        identity, where $R + \gamma B^\top P B$ takes the place of $R$. It is why $R$
        need not be invertible, and why modes that cost nothing are stabilised too.
    """
    A, B, Q, R = map(as_float, (A, B, Q, R))
    S = jnp.zeros_like(B) if S is None else as_float(S)
    _require_shapes(A, B, Q, R, S)
    require_finite("dare", A=A, B=B, Q=Q, R=R, S=S)
    require_symmetric("dare", "Q", Q)
    require_symmetric("dare", "R", R)
    require("dare", Part, gamma=gamma)
    root = math.sqrt(gamma)
    arrays = (root * A, root * B, symmetrise(Q), symmetrise(R), S)
    V = _solve(*arrays)
    K, positive = _gain(*arrays, V)
    # What follows is a test, which has no slope.
    A, B, Q, R, S, V_found, K_found = jax.lax.stop_gradient((*arrays, V, K))
    start = _start(A, B, Q, R, S)
    loop = A + matmul(B, K_found)
    reached = matmul(A.T, matmul(V_found, A))
    residual = Q + reached + matmul(S + matmul(A.T, matmul(V_found, B)), K_found)
    residual = jnp.max(jnp.abs(residual - V_found))
    half = math.sqrt(jnp.finfo(V.dtype).eps)
    scale = jnp.max(jnp.abs(V_found)) + jnp.max(jnp.abs(reached)) + half * start[0, 0]
    exact = residual <= half * scale
    stable = _lyapunov(loop, jnp.zeros_like(Q))[1]
    # No minimum of a single step before a cheap end, or none at the solution.
    Q_xx, Q_uu, Q_ux = _step(A, B, Q, R, S, start)
    concave = ~solve_positive(Q_uu, Q_ux)[1] | (exact & ~positive)
    # A cost that overflowed has no sign.
    finite = jnp.all(
        jnp.stack(
            [jnp.all(jnp.isfinite(each)) for each in (A, B, Q, R, S, Q_xx, Q_uu, Q_ux)]
        )
    )
    failure = Result.where(concave, Result.indefinite, Result.no_stationary)
    failure = Result.where(finite, failure, Result.non_finite)
    good = finite & exact & stable & positive
    return Stationary(
        jnp.where(good, K, jnp.full_like(K, jnp.nan)),
        jnp.where(good, V, jnp.full_like(V, jnp.nan)),
        Result.where(good, Result.successful, failure),
    )


def _require_shapes(A: Array, B: Array, Q: Array, R: Array, S: Array) -> None:
    """Refuse arrays that do not belong together."""
    n, m = B.shape if B.ndim == 2 else (0, 0)
    shapes = [array.shape for array in (A, Q, R, S)]
    if shapes != [(n, n), (n, n), (m, m), (n, m)] or not (n and m):
        raise ValueError(
            "dare needs A and Q of shape [state, state], B and S of shape [state, "
            "action] and R of shape [action, action], got "
            + ", ".join(
                f"{name} {list(array.shape)}"
                for name, array in zip("ABQRS", (A, B, Q, R, S), strict=True)
            )
            + "."
        )


def _gain(
    A: Array, B: Array, Q: Array, R: Array, S: Array, V: Array
) -> tuple[Array, Bool[Array, ""]]:
    """The best gain under a cost to go, and whether it is a minimum."""
    _, Q_uu, Q_ux = _step(A, B, Q, R, S, V)
    solution, positive = solve_positive(Q_uu, Q_ux)
    return -solution, positive


def _step(
    A: Array, B: Array, Q: Array, R: Array, S: Array, V: Array
) -> tuple[Array, Array, Array]:
    """What a step costs, with the cost to go after it: state, action, and both."""
    VB = matmul(V, B)
    return (
        Q + matmul(A.T, matmul(V, A)),
        symmetrise(R + matmul(B.T, VB)),
        (S + matmul(A.T, VB)).T,
    )


@jax.custom_jvp
def _solve(A: Array, B: Array, Q: Array, R: Array, S: Array) -> Array:
    """The solution, if there is one; without discount."""
    V = _double(A, B, Q, R, S)
    for _ in range(POLISH):
        K, _ = _gain(A, B, Q, R, S, V)
        cost = Q + matmul(S, K) + matmul(K.T, S.T + matmul(R, K))
        V = symmetrise(_lyapunov(A + matmul(B, K), symmetrise(cost))[0])
    return V


@_solve.defjvp
def _(primals, tangents):
    # V = min over K of the cost of following K, so its change is that of the cost under
    # the K that is best now: with Z = [I; K],
    # dV - L'dV L = Z'[dQ dS; dS' dR]Z + L'V (dA + dB K) + (L'V (dA + dB K))'.
    A, B, Q, R, S = primals
    dA, dB, dQ, dR, dS = tangents
    V = _solve(A, B, Q, R, S)
    K, _ = _gain(A, B, Q, R, S, V)
    L = A + matmul(B, K)
    half = 0.5 * (dQ + matmul(K.T, matmul(dR, K))) + matmul(dS, K)
    half = half + matmul(L.T, matmul(V, dA + matmul(dB, K)))
    change = jax.lax.custom_linear_solve(
        lambda X: X - matmul(L.T, matmul(X, L)),
        half + half.T,
        solve=lambda _, M: _lyapunov(L, M)[0],
        transpose_solve=lambda _, M: _lyapunov(L.T, M)[0],
    )
    return V, change


def _lyapunov(L: Array, M: Array) -> tuple[Array, Bool[Array, ""]]:
    r"""The solution of $X = M + L^\top X L$, and whether $L$ is stable."""
    tiny = 0.1 * math.sqrt(jnp.finfo(L.dtype).eps) / L.shape[0]

    def unfinished(carry):
        _, power, rounds = carry
        size = jnp.max(jnp.abs(power))
        return (size > tiny) & (size < jnp.inf) & (rounds < _rounds(L))

    def double(carry):
        X, power, rounds = carry
        X = X + matmul(power.T, matmul(X, power))
        return X, matmul(power, power), rounds + 1

    X, power, _ = jax.lax.while_loop(unfinished, double, (M, L, jnp.asarray(0)))
    X = X + matmul(power.T, matmul(X, power))
    return X, jnp.max(jnp.abs(power)) <= tiny


def _rounds(A: Array) -> int:
    r"""Rounds of doubling at most.

    A mode within $\sqrt\epsilon$ of the unit circle cannot be told from one on it, of
    which the equation has two that coincide; and so many steps tell any other.
    """
    eps = float(jnp.finfo(A.dtype).eps)
    return math.ceil(math.log2(-3 * math.log(eps) / math.sqrt(eps)))


def _start(A: Array, B: Array, Q: Array, R: Array, S: Array) -> Array:
    """A multiple of the identity, no larger than the costs."""
    state, action, reach = (jnp.max(jnp.abs(each)) for each in (Q, R, B))
    share = action / jnp.where(reach > 0, reach**2, jnp.ones_like(reach))
    scale = jnp.where(share > 0, share, jnp.ones_like(share))
    return jnp.where(state > 0, state, scale) * jnp.eye(A.shape[0], dtype=A.dtype)


def _double(A: Array, B: Array, Q: Array, R: Array, S: Array) -> Array:
    """Doubling, from a multiple of the identity; NaN where it does not converge."""
    n = A.shape[0]
    one = jnp.eye(n, dtype=A.dtype)
    P = _start(A, B, Q, R, S)
    K, _ = _gain(A, B, Q, R, S, P)
    PB = matmul(P, B)
    authority = solve_positive(symmetrise(R + matmul(B.T, PB)), B.T)[0]
    cost_to_go = Q + matmul(A.T, matmul(P, A)) + matmul(S + matmul(A.T, PB), K)
    start = (
        symmetrise(cost_to_go - P),
        symmetrise(matmul(B, authority)),
        A + matmul(B, K),
        jnp.asarray(jnp.inf, A.dtype),
        jnp.asarray(0),
    )

    def settled(H, change):
        size = jnp.maximum(jnp.max(jnp.abs(H + P)), P[0, 0])
        return change <= 8 * float(jnp.finfo(A.dtype).eps) * size

    def unfinished(carry):
        H, _, _, change, rounds = carry
        # A NaN is neither settled nor below infinity.
        return ~settled(H, change) & (jnp.max(H) < jnp.inf) & (rounds < _rounds(A))

    def double(carry):
        H, G, E, _, rounds = carry
        solved = jnp.linalg.solve(one + matmul(G, H), jnp.concatenate([E, G], axis=1))
        change = matmul(E.T, matmul(H, solved[:, :n]))
        H = symmetrise(H + change)
        G = symmetrise(G + matmul(E, matmul(solved[:, n:], E.T)))
        E = matmul(E, solved[:, :n])
        return H, G, E, jnp.max(jnp.abs(change)), rounds + 1

    H, _, _, change, _ = jax.lax.while_loop(unfinished, double, start)
    return jnp.where(settled(H, change), H + P, jnp.full_like(H, jnp.nan))
