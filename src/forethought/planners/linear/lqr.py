r"""The linear-quadratic regulator as a planner: exact where dynamics are linear.

Where the model is linear, the cost quadratic and the action free, the best action is an
affine function of the state, $u_t = K_t x_t + k_t$, and the cost to go a quadratic one.
`LQR` reads the matrices off a problem (`parts`), hands them to the recursion of
`riccati`, and makes a plan of what comes back. What has other names is a
setting of it:

| name | setting |
|---|---|
| finite horizon, with or without discount | `LQR(horizon)` |
| infinite horizon, stationary gain | `LQR(horizon, infinite=True)`, from `dare` |
| stochastic regulator | a `LinearGaussian` model whose state is seen |
| LQG | a `LinearGaussian` model with $H$ and $N$ |
| regulator of a fitted trajectory | a `Local` model, whose mean it takes |
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from forethought.core.gaussian import Gaussian, moments
from forethought.core.given.settings import Steps
from forethought.core.linalg import (
    cholesky,
    dot,
    matmul,
    matvec,
    symmetrise,
    trace_of_product,
)
from forethought.core.results import Result, Stats
from forethought.core.types import ravel
from forethought.planners.base import UNSAID, AbstractPlanner
from forethought.planners.linear.dare import dare
from forethought.planners.linear.parts import LinearParts, linear_parts
from forethought.planners.linear.riccati import Riccati, lqr
from forethought.policies.affine import TimeVarying, maximum_entropy
from forethought.problem import Feedback, Plan, Problem


class LQR(AbstractPlanner[None]):
    r"""Plans exactly for linear models, a `Quadratic` objective and free actions.

    The model is a `Linear`, or a `LinearGaussian`, on whose mean the same gains act
    (certainty equivalence), or a `Local` one, of which `value` counts the noise and not
    what is unknown of its matrices. Those that vary in time are read from the belief's
    time on. The plan's feedback is the optimal controller, its value expansion exact:
    to second order in the state, to first in a covariance.

    Under noise `value` is the expected return of following the feedback while looking
    at every step, which is more than the actions earn with closed eyes:

    $$-\text{value} = \tfrac12 m_0^\top V_0 m_0 + m_0^\top v_0 + w_0
      + \tfrac12 \operatorname{tr}(V_0 S_0)
      + \tfrac12 \sum_t \gamma^t \operatorname{tr}(K_t^\top Q_{uu,t} K_t S_t)$$

    with $m, S$ the belief, and $w_0$ holding the trace of the disturbances.

    ```python
    >>> import equinox as eqx, jax, jax.numpy as jnp
    >>> from forethought.core.spaces import free_box
    >>> from forethought.models.linear.dynamics import Linear
    >>> from forethought.objectives.quadratic import Quadratic
    >>> from forethought.planners.linear.lqr import LQR
    >>> from forethought.problem import Problem
    >>> model = Linear([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])
    >>> problem = Problem(model, Quadratic(jnp.eye(3)), free_box(1))
    >>> planner, x, key = LQR(horizon=50), jnp.array([1.0, 0.0]), jax.random.key(0)
    >>> state = planner.init(problem, x, key=key)
    >>> plan, _ = eqx.filter_jit(planner.plan)(problem, x, state, key=key)
    >>> round(float(plan.value), 3)
    -8.911

    ```

    Args:
        horizon: Steps that it looks ahead, at least one.
        infinite: Whether the problem goes on for ever beyond the horizon, in place of
            the objective's terminal cost: then all gains are the stationary one. What
            lies beyond counts as its optimal cost to go $\tfrac12 x^\top V x + x^\top
            v$; the constants that noise and offsets add for ever are left out.
        parallel: Whether stretches of time are joined side by side (see `lqr`).

    Raises:
        ValueError: `horizon` is below one.

    References:
        Kalman, Contributions to the theory of optimal control, 1960. Åström,
        Introduction to Stochastic Control Theory, 1970, chapter 8, theorem 4.1 (the
        expected cost). The recursion is that of `lqr`.
    """

    horizon: Steps = eqx.field(static=True, default=UNSAID)
    infinite: bool = eqx.field(static=True, default=False)
    parallel: bool = eqx.field(static=True, default=False)

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> None:
        """Nothing is remembered between plans.

        Raises:
            TypeError: The problem is not linear-quadratic with free actions, varies in
                time though the horizon is infinite, or actions are given to begin with.
            ValueError: Model, objective and action space disagree in size, or the
                action's cost is not positive definite.
        """
        if actions is not None:
            raise TypeError(
                "LQR finds the optimum in one sweep, from nothing: it cannot begin "
                "with actions."
            )
        linear_parts(problem, endless=self.infinite, definite=True)

    def shift(self, problem: Problem, state: None) -> None:
        """Nothing is remembered between plans."""

    def plan(
        self, problem: Problem, belief: PyTree, state: None, *, key: PRNGKeyArray
    ) -> tuple[Plan, None]:
        """The optimal plan; `indefinite` where there is none, `non_finite` in overflow.

        Raises:
            TypeError: The problem is not linear-quadratic with free actions, or varies
                in time though the horizon is infinite.
            ValueError: Model, objective and action space disagree in size.
        """
        seen = problem.model.readout(belief)
        x, cov = moments(seen.x)
        time = jnp.asarray(0) if seen.time is None else seen.time
        steps = time + jnp.arange(self.horizon)
        parts = linear_parts(problem, endless=self.infinite).during(steps, x.dtype)
        V, v, found = parts.C_final, parts.c_final, Result.successful
        if self.infinite:
            V, v, found = _for_ever(parts)
        solution = lqr(
            parts.F,
            parts.f,
            parts.C,
            parts.c,
            V,
            v,
            W=parts.W,
            horizon=self.horizon,
            gamma=parts.gamma,
            parallel=self.parallel,
        )

        def step(belief, inputs):
            K, k, V, v, w = inputs
            x, _ = moments(problem.model.readout(belief).x)
            u = matvec(K, x) + k
            slope = matvec(V, x) + v
            cost = 0.5 * dot(x, slope + v) + w
            after = problem.model.predict(belief, u, key=key)
            return after, (belief, u, cost, slope)

        V, v, w = solution.V[:-1], solution.v[:-1], solution.w[:-1]
        last, (beliefs, u, cost, slope) = jax.lax.scan(
            step, belief, (solution.K, solution.k, V, v, w)
        )
        K, Q_uu = solution.K, _action_hessian(parts, solution.V[1:])
        if cov is not None:
            doubt, price = _doubt(parts, cov, solution, Q_uu)
            cost = cost + doubt
            K, slope, V = _widened(K, slope, V, price)
        states = jax.vmap(lambda belief: ravel(belief)[0])(beliefs)
        beliefs = jax.tree.map(
            lambda rest, end: jnp.concatenate([rest, end[None]]), beliefs, last
        )
        finite = jnp.all(jnp.isfinite(u)) & jnp.all(jnp.isfinite(cost))
        convex = jax.lax.cond(
            solution.positive, lambda: jnp.asarray(True), lambda: ~_concave(Q_uu)
        )
        result = Result.where(
            solution.positive & finite,
            Result.successful,
            Result.where(convex, Result.non_finite, Result.indefinite),
        )
        result = Result.where(found == Result.successful, result, found)
        policy = TimeVarying(K, u, states, maximum_entropy(Q_uu))
        plan = Plan(
            actions=jnp.where(finite, u, jnp.zeros_like(u)),
            beliefs=beliefs,
            value=-cost[0],
            feedback=Feedback(policy, V=-cost, V_x=-slope, V_xx=-V),
            result=result,
            stats=Stats(best=-cost[:1]),
        )
        return plan, None


def _concave(Q_uu: Float[Array, "horizon action action"]) -> Bool[Array, ""]:
    """Whether a sweep that was not positive met a cost without a minimum.

    It did unless the first it met, from the end, of what is not positive is not finite:
    a cost that overflowed has no sign.
    """
    positive = jax.vmap(lambda Q: cholesky(Q)[1])(Q_uu)[::-1]
    first = Q_uu[::-1][jnp.argmin(positive)]
    return jnp.all(jnp.isfinite(first))


def _for_ever(parts: LinearParts) -> tuple[Array, Array, Result]:
    r"""The stationary cost to go $\tfrac12 x^\top V x + x^\top v$."""
    n, C, c, gamma = parts.state_size, parts.C, parts.c, parts.gamma
    A, B = parts.F[:, :n], parts.F[:, n:]
    rest = dare(A, B, C[:n, :n], C[n:, n:], C[:n, n:], gamma=gamma)
    back = gamma * (A + matmul(B, rest.K)).T
    # The linear part stands still where v = c_x + K'c_u + γ L'(V f + v).
    one = jnp.eye(n, dtype=A.dtype)
    push = c[:n] + matvec(rest.K.T, c[n:]) + matvec(back, matvec(rest.V, parts.f))
    return rest.V, jnp.linalg.solve(one - back, push), rest.result


def _action_hessian(
    parts: LinearParts, V_next: Float[Array, "horizon state state"]
) -> Float[Array, "horizon action action"]:
    r"""$Q_{uu}$ of every step: what an action costs, now and later."""
    n, F, C = parts.state_size, parts.F, parts.C

    def step(F, C, V):
        B = F[:, n:]
        return symmetrise(C[n:, n:] + parts.gamma * matmul(B.T, matmul(V, B)))

    axes = (0 if F.ndim == 3 else None, 0 if C.ndim == 3 else None, 0)
    return jax.vmap(step, in_axes=axes)(F, C, V_next)


def _doubt(
    parts: LinearParts,
    cov: Float[Array, "state state"],
    solution: Riccati,
    Q_uu: Float[Array, "horizon action action"],
) -> tuple[Float[Array, " horizon"], Float[Array, "horizon state state"]]:
    """What not knowing the state will cost from each step on, and its slope in S.

    The covariance after each look is known beforehand, because it depends on nothing
    that is seen.
    """
    T, n, gamma = solution.k.shape[0], parts.state_size, parts.gamma
    F, W, H, N = (
        array
        if array is None or array.ndim == 3
        else jnp.broadcast_to(array, (T, *array.shape))
        for array in (parts.F, parts.W, parts.H, parts.N)
    )

    def look(cov: Array, F: Array, W: Array, H: Array | None, N: Array | None) -> Array:
        if H is None or N is None:
            return jnp.zeros_like(cov)
        zero = jnp.zeros((n,), cov.dtype)
        after = Gaussian(zero, cov).affine(F[:, :n], zero, W)
        seen = jnp.zeros(H.shape[:1], cov.dtype)
        return after.condition(H, seen, N, seen).cov

    def ahead(cov, step):
        return look(cov, *step), cov

    _, covs = jax.lax.scan(ahead, cov, (F, W, H, N))

    def back(carry, inputs):
        cost, price = carry
        cov, step, K, V, Q_uu = inputs
        weight = matmul(K.T, matmul(Q_uu, K))
        cost = 0.5 * trace_of_product(weight, cov) + gamma * cost
        pulled = jax.vjp(lambda cov: look(cov, *step), cov)[1](price)[0]
        price = 0.5 * weight + gamma * symmetrise(pulled)
        here = 0.5 * trace_of_product(V, cov)
        return (cost, price), (cost + here, price + 0.5 * V)

    start = (jnp.zeros((), solution.V.dtype), jnp.zeros((n, n), solution.V.dtype))
    inputs = (covs, (F, W, H, N), solution.K, solution.V[:-1], Q_uu)
    return jax.lax.scan(back, start, inputs, reverse=True)[1]


def _widened(
    K: Array, slope: Array, V: Array, price: Float[Array, "horizon state state"]
) -> tuple[Array, Array, Array]:
    """Gains, slopes and curvatures of a mean as those of a `Gaussian`'s coordinates.

    These are the mean's and after them the covariance's, on which no action depends and
    the cost does to first order, by its `price`.
    """
    T, n = slope.shape
    K = jnp.pad(K, ((0, 0), (0, 0), (0, n * n)))
    slope = jnp.concatenate([slope, price.reshape(T, n * n)], axis=1)
    return K, slope, jnp.pad(V, ((0, 0), (0, n * n), (0, n * n)))
