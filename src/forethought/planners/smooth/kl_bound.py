r"""The best linear-Gaussian controller within a KL bound of an old one.

$$\min_p \; \mathbb E_{p(\tau)}\Big[\sum_t c_t\Big] \quad \text{so that} \quad
  \mathrm{KL}(p(\tau) \| q(\tau)) \le \epsilon$$

For a price $\eta$ of the bound this is a linear-quadratic problem whose cost is $c -
\eta \log q$, minus $\eta$ times the entropy of $p$: one sweep backwards solves it, one
forwards tells the divergence, which falls as the price rises. The dual looks for the
price at which the bound holds with equality.

What is chosen here is the deviation from the old controller in units of its spread,

$$u_t = \hat u_t + k_t + K_t \delta x_t + L_t y_t, \qquad C_t = L_t L_t^\top$$

so that the price is a multiple of the identity in $y$, no covariance is inverted, and
nothing of the size of $\eta$ cancels:

$$H = Q_{yy} + \eta I, \quad [K^y, k^y] = -H^{-1} [Q_{yx}, q_y], \quad
  C^y = \eta H^{-1}$$

**Notation.** $q$ is the old controller with $K, k, C$; $F, C, c$ as in `expansion`;
$z$ the mean of a deviation and $S$ its covariance.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

from forethought.core.linalg import (
    cholesky,
    dot,
    matmul,
    matvec,
    root,
    solve_positive,
    symmetrise,
    trace_of_product,
)
from forethought.core.results import Result
from forethought.planners.smooth.expansion import Expansion
from forethought.policies.affine import TimeVarying

NEAR = 0.1
"""The dual has converged where the divergence misses the bound by less than this share
of it (the authors' value)."""
LEAP = 30.0
"""By what factor the price moves at most where nothing is known on one side of it."""


class Around(eqx.Module):
    """A linear-quadratic problem in deviations, seen from an old controller.

    Costs have their discounts in them. States and $y$ are the coordinates of the
    matrices.
    """

    F: Float[Array, "horizon state both"]
    f: Float[Array, "horizon state"]
    W: Float[Array, "horizon state state"]
    C: Float[Array, "horizon both both"]
    c: Float[Array, "horizon both"]
    V: Float[Array, "state state"]
    v: Float[Array, " state"]
    start: Float[Array, "state state"]
    """Covariance of the first state, whose mean deviates by nothing."""
    L: Float[Array, "horizon action action"]
    """Roots of the old covariances."""


class Priced(eqx.Module):
    """What a price buys."""

    K: Float[Array, "horizon action state"]
    """Of $y$, as are $k$ and the covariance."""
    k: Float[Array, "horizon action"]
    cov: Float[Array, "horizon action action"]
    kl: Scalar
    """Infinite where some $H$ is not positive definite."""
    cost: Scalar
    """Expected, against none at all at the nominal trajectory."""
    mean_cost: Scalar
    """Of the mean trajectory alone."""
    positive: Bool[Array, ""]


class Improvement(eqx.Module):
    """A controller within the bound, and how it was found."""

    policy: TimeVarying
    """Where nothing was found, the old one."""
    price: Scalar
    """$\\eta$; zero where there is no bound."""
    kl: Scalar
    """From the old controller, in nats."""
    predicted: Scalar
    """By how much the expected cost falls."""
    mean_predicted: Scalar
    """By how much that of the mean trajectory falls."""
    sweeps: Int[Array, ""]
    """How many prices were tried."""
    result: Result
    prices: Float[Array, " sweep"]
    """All of them in order; the last one repeated."""
    divergences: Float[Array, " sweep"]
    """What each of them came to."""


def improve(
    expansion: Expansion,
    discounts: Float[Array, " horizon"],
    states: Float[Array, "horizon state"],
    actions: Float[Array, "horizon action"],
    old: TimeVarying,
    bound: Scalar | float,
    *,
    noise: Float[Array, "horizon state state"],
    start: Float[Array, "state state"],
    price: Scalar | float = 1.0,
    smallest: float = 1e-8,
    largest: float = 1e16,
    sweeps: int = 50,
) -> Improvement:
    r"""Improve a controller within a bound.

    ```python
    found = improve(
        expansion, discounts, states, actions, old, 0.5 * horizon, noise=W, start=S
    )
    ```

    Args:
        expansion: Of the problem along a nominal trajectory.
        discounts: Of each step alone.
        states: The nominal trajectory, shape `[horizon, state]`.
        actions: Shape `[horizon, action]`.
        old: $q$, around any trajectory; `improve` says what it does around this one.
        bound: $\epsilon$, in nats over all steps; infinite for none, which gives the
            controller of LQR with $C_t = Q_{uu}^{-1}$.
        noise: $W$ of the dynamics.
        start: Covariance of the first state.
        price: The first one tried, such as that of the last improvement.
        smallest: The least price.
        largest: The greatest price.
        sweeps: The most prices that are tried.

    References:
        Levine and Abbeel, Learning neural network policies with guided policy search
        under unknown dynamics, 2014, §3.2 and algorithm 1. Levine and Koltun, Guided
        policy search, 2013 ($C = Q_{uu}^{-1}$). Levine, Finn, Darrell and Abbeel,
        End-to-end training of deep visuomotor policies, 2016, appendix A.

    Note:
        There the cost is divided by the price and the price is found by bisection of
        its logarithm; where a matrix is not positive the price is raised by sums that
        double. Here both are one search: a price without a solution lies below the
        bracket, and inside it the logarithm of the divergence is taken to be linear
        in that of the price (Illinois' rule, within a bisection).
    """
    around, turn, gap = _around(
        expansion, discounts, states, actions, old, noise=noise, start=start
    )
    dtype = states.dtype
    bound = jnp.asarray(bound, dtype)
    low, high = (jnp.log(jnp.asarray(each, dtype)) for each in (smallest, largest))
    free = jnp.isinf(bound)

    def look(log_price):
        return solve(around, jnp.where(free, jnp.zeros((), dtype), jnp.exp(log_price)))

    def near(kl):
        return jnp.abs(kl - bound) < NEAR * bound

    def more(carry):
        count, _, _, _, done, _ = carry
        return ~done & (count < sweeps)

    def turn_once(carry):
        count, at, _, bracket, _, trace = carry
        priced = look(at)
        (x_low, e_low, x_high, e_high) = bracket
        # The error is infinite where nothing positive was found: too cheap.
        error = jnp.where(priced.positive, jnp.log(priced.kl) - jnp.log(bound), jnp.inf)
        error = jnp.where(jnp.isnan(error), -jnp.inf, error)
        cheap = error > 0
        # Illinois: an end that stays has its error halved.
        e_high = jnp.where(cheap, 0.5 * e_high, error)
        e_low = jnp.where(cheap, error, 0.5 * e_low)
        x_low, x_high = jnp.where(cheap, at, x_low), jnp.where(cheap, x_high, at)
        leap = jnp.log(jnp.asarray(LEAP, dtype))
        inside = jnp.isfinite(e_low) & jnp.isfinite(e_high)
        rule = x_low + (x_high - x_low) * e_low / (e_low - e_high)
        middle = 0.5 * (x_low + x_high)
        far = jnp.where(cheap, jnp.minimum(middle, x_low + leap), middle)
        far = jnp.where(cheap, far, jnp.maximum(middle, x_high - leap))
        after = jnp.where(inside, jnp.clip(rule, x_low, x_high), far)
        spent = (jnp.where(cheap, high - at, at - low) <= 1e-3) | (
            x_high - x_low <= 1e-5
        )
        done = near(priced.kl) | free | spent
        rest = jnp.arange(sweeps, dtype=jnp.int32) >= count
        trace = tuple(
            jnp.where(rest, value, column)
            for column, value in zip(trace, (jnp.exp(at), priced.kl), strict=True)
        )
        bracket = (x_low, e_low, x_high, e_high)
        return count + 1, after, (at, priced), bracket, done, trace

    inf = jnp.asarray(jnp.inf, dtype)
    first = jnp.clip(jnp.log(jnp.asarray(price, dtype)), low, high)
    blank = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(look, first)
    )
    zeros = jnp.zeros(sweeps, dtype)
    carry = (
        jnp.zeros((), jnp.int32),
        first,
        (first, blank),
        (low, inf, high, -inf),
        jnp.asarray(False),
        (zeros, zeros),
    )
    count, _, (at, priced), bracket, _, trace = jax.lax.while_loop(
        more, turn_once, carry
    )
    met = near(priced.kl) | (free & priced.positive)
    # At the least price there is nothing left to gain: the bound does not bind.
    slack = priced.positive & (priced.kl < bound) & (at - low <= 1e-3)
    fine = jnp.all(jnp.isfinite(priced.k)) & jnp.isfinite(priced.cost)
    good = (met | slack) & fine
    finite = expansion.finite & jnp.all(jnp.isfinite(noise))
    sought = (count >= sweeps) & jnp.isfinite(bracket[1]) & jnp.isfinite(bracket[3])
    result = Result.where(
        good,
        Result.successful,
        Result.where(
            ~finite,
            Result.non_finite,
            Result.where(
                free | ~priced.positive,
                Result.indefinite,
                Result.where(sought, Result.iteration_limit, Result.no_price),
            ),
        ),
    )
    still = solve(around, jnp.asarray(largest, dtype), still=True)
    kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), priced, still)
    L, one = around.L, jax.vmap(matmul)
    policy = TimeVarying(
        turn + one(L, kept.K),
        gap + jax.vmap(matvec)(L, kept.k),
        states,
        jax.vmap(symmetrise)(one(L, one(kept.cov, jnp.swapaxes(L, 1, 2)))),
    )
    zero = jnp.zeros((), dtype)
    return Improvement(
        policy=policy,
        price=jnp.where(free, zero, jnp.exp(at)),
        kl=jnp.where(good, priced.kl, zero),
        predicted=still.cost - kept.cost,
        mean_predicted=still.mean_cost - kept.mean_cost,
        sweeps=count,
        result=result,
        prices=trace[0],
        divergences=trace[1],
    )


def solve(around: Around, price: Scalar, *, still: bool = False) -> Priced:
    """The controller of a price, by one sweep backwards and one forwards.

    Args:
        around: The problem.
        price: Zero for no bound, at which the temperature is one.
        still: Whether the old controller is only weighed, and no other sought.
    """
    n = around.F.shape[1]
    m = around.L.shape[1]
    dtype = around.F.dtype
    one = jnp.eye(m, dtype=dtype)
    heat = jnp.where(price > 0, price, jnp.ones_like(price))

    def back(carry, inputs):
        V, v, positive = carry
        F, f, C, c = inputs
        Q = C + matmul(F.T, matmul(V, F))
        q = c + matvec(F.T, v + matvec(V, f))
        Q_yx, q_y = Q[n:, :n], q[n:]
        right = jnp.concatenate([Q_yx, q_y[:, None], one], axis=1)
        H = symmetrise(Q[n:, n:]) + price * one
        solved, good = solve_positive(H, right)
        K, k, cov = -solved[:, :n], -solved[:, n], heat * solved[:, n + 1 :]
        V = symmetrise(Q[:n, :n] + matmul(Q_yx.T, K))
        v = q[:n] + matvec(Q_yx.T, k)
        return (V, v, positive & good), (K, k, symmetrise(cov))

    if still:
        zeros = jnp.zeros((around.L.shape[0], m, n), dtype)
        K, k, positive = zeros, zeros[:, :, 0], jnp.asarray(True)
        cov = jnp.broadcast_to(one, around.L.shape)
    else:
        inputs = (around.F, around.f, around.C, around.c)
        carry = (around.V, around.v, jnp.asarray(True))
        (_, _, positive), (K, k, cov) = jax.lax.scan(back, carry, inputs, reverse=True)

    def ahead(carry, inputs):
        z, S, total, mean_total, kl = carry
        K, k, cov, F, f, W, C, c = inputs
        y = matvec(K, z) + k
        both = jnp.concatenate([z, y])
        cross = matmul(S, K.T)
        reach = symmetrise(matmul(K, cross))
        spread = jnp.concatenate(
            [
                jnp.concatenate([S, cross], axis=1),
                jnp.concatenate([cross.T, reach + cov], axis=1),
            ]
        )
        mean_cost = dot(both, c + 0.5 * matvec(C, both))
        cost = mean_cost + 0.5 * trace_of_product(C, spread)
        logs = jnp.sum(jnp.log(jnp.diag(cholesky(cov)[0])))
        here = 0.5 * (jnp.trace(cov) + jnp.trace(reach) - m + dot(y, y)) - logs
        z = matvec(F, both) + f
        S = symmetrise(matmul(F, matmul(spread, F.T))) + W
        return (z, S, total + cost, mean_total + mean_cost, kl + here), None

    zero = jnp.zeros((), dtype)
    inputs = (K, k, cov, around.F, around.f, around.W, around.C, around.c)
    carry = (jnp.zeros(n, dtype), around.start, zero, zero, zero)
    (z, S, cost, mean_cost, kl), _ = jax.lax.scan(ahead, carry, inputs)
    end = dot(z, around.v + 0.5 * matvec(around.V, z))
    spread = 0.5 * trace_of_product(around.V, S)
    kl = jnp.where(positive, kl, jnp.inf)
    return Priced(K, k, cov, kl, cost + end + spread, mean_cost + end, positive)


def _around(
    expansion: Expansion,
    discounts: Array,
    states: Array,
    actions: Array,
    old: TimeVarying,
    *,
    noise: Array,
    start: Array,
) -> tuple[Around, Array, Array]:
    """The problem as the old controller sees it, its gains, and its actions."""
    n = states.shape[1]
    before = jnp.concatenate([jnp.ones_like(discounts[:1]), discounts])
    weight = jnp.cumprod(before)

    def step(F, C, c, weight, x, u, K, k, x_old, cov):
        L = root(cov)
        u_old = k + matvec(K, x - x_old)
        push = jnp.concatenate([jnp.zeros_like(x), u_old - u])
        m = L.shape[0]
        top = jnp.concatenate([jnp.eye(n, dtype=x.dtype), jnp.zeros((n, m))], axis=1)
        M = jnp.concatenate([top.astype(x.dtype), jnp.concatenate([K, L], axis=1)])
        C, c = weight * C, weight * c
        slope = matvec(M.T, c + matvec(C, push))
        curve = symmetrise(matmul(M.T, matmul(C, M)))
        return matmul(F, M), matvec(F, push), curve, slope, L, u_old

    F, f, C, c, L, gap = jax.vmap(step)(
        expansion.F,
        expansion.C,
        expansion.c,
        weight[:-1],
        states,
        actions,
        old.K,
        old.k,
        old.x,
        old.cov,
    )
    end = weight[-1]
    around = Around(F, f, noise, C, c, end * expansion.V, end * expansion.v, start, L)
    return around, old.K, gap
