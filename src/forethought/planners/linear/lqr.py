r"""The linear-quadratic regulator as a planner: exact where dynamics are linear.

Where the model is linear, the cost quadratic and the action free, the best action is an
affine function of the state, $u_t = K_t x_t + k_t$, and the cost to go a quadratic one.
`LQR` reads the matrices off a problem, hands them to the recursion of
`planners/riccati.py`, and makes a plan of what comes back. What has other names is a
setting of it:

| name | setting |
|---|---|
| finite horizon, with or without discount | `LQR(horizon)` |
| infinite horizon, stationary gain | `LQR(horizon, infinite=True)`, from `dare` |
| stochastic regulator | a `LinearGaussian` model whose state is seen |
| LQG | a `LinearGaussian` model with $H$ and $N$ |
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.gaussian import moments
from forethought.core.linalg import (
    dot,
    matmul,
    matvec,
    symmetrise,
    trace_of_product,
)
from forethought.core.readout import Readout
from forethought.core.results import Result
from forethought.core.spaces import require_box
from forethought.core.types import Stamped, ravel
from forethought.models.linear.dynamics import Linear, at
from forethought.models.linear.kalman import LinearGaussian
from forethought.objectives.quadratic import Quadratic
from forethought.planners.base import AbstractPlanner, require_positive
from forethought.planners.linear.dare import dare
from forethought.planners.linear.riccati import Riccati, lqr
from forethought.policies.affine import TimeVarying, maximum_entropy
from forethought.problem import Feedback, Plan, Problem


class LQR(AbstractPlanner[None]):
    r"""Plans exactly for linear models, a `Quadratic` objective and free actions.

    The model is a `Linear`, or a `LinearGaussian`, on whose mean the same gains act
    (certainty equivalence). Matrices that vary in time are read from the belief's time
    on. The plan's feedback is the optimal controller, its value expansion exact: to
    second order in the state, to first in a covariance.

    Under noise `value` is the expected return of following the feedback while looking
    at every step, which is more than the actions earn with closed eyes:

    $$-\text{value} = \tfrac12 m_0^\top V_0 m_0 + m_0^\top v_0 + w_0
      + \tfrac12 \operatorname{tr}(V_0 S_0)
      + \tfrac12 \sum_t \gamma^t \operatorname{tr}(K_t^\top Q_{uu,t} K_t S_t)$$

    with $m, S$ the belief, and $w_0$ holding the trace of the disturbances.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.spaces import free_box
    >>> from forethought.models.linear.dynamics import Linear
    >>> from forethought.objectives.quadratic import Quadratic
    >>> from forethought.planners.linear.lqr import LQR
    >>> from forethought.problem import Problem
    >>> model = Linear([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])
    >>> problem = Problem(model, Quadratic(jnp.eye(3)), free_box(1))
    >>> planner, x, key = LQR(horizon=50), jnp.array([1.0, 0.0]), jax.random.key(0)
    >>> plan, _ = planner.plan(problem, x, planner.init(problem, x, key=key), key=key)
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

    horizon: int = eqx.field(static=True)
    infinite: bool = eqx.field(static=True, default=False)
    parallel: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        require_positive("LQR", horizon=self.horizon)

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
        model, objective = self._parts(problem)
        objective.require_action_cost(model.state_size)

    def shift(self, problem: Problem, state: None) -> None:
        """Nothing is remembered between plans."""

    def plan(
        self, problem: Problem, belief: PyTree, state: None, *, key: PRNGKeyArray
    ) -> tuple[Plan, None]:
        """The optimal plan; `indefinite` where no minimum exists.

        Raises:
            TypeError: The problem is not linear-quadratic with free actions, or varies
                in time though the horizon is infinite.
            ValueError: Model, objective and action space disagree in size.
        """
        linear, objective = self._parts(problem)
        model, gamma = problem.model, objective.gamma
        x = _mean(belief)
        time = belief.time if isinstance(belief, Stamped) else jnp.asarray(0)
        steps = time + jnp.arange(self.horizon)

        def pick(array: Array, rank: int) -> Array:
            return at(array, rank, steps).astype(x.dtype)

        F, f = pick(linear.F, 2), pick(linear.f, 1)
        C, c = pick(objective.C, 2), pick(objective.c, 1)
        W = pick(model.W, 2) if isinstance(model, LinearGaussian) else None
        V, v, found = objective.C_final, objective.c_final, Result.successful
        if self.infinite:
            V, v, found = _for_ever(F, f, C, c, gamma)
        solution = lqr(
            F,
            f,
            C,
            c,
            None if V is None else V.astype(x.dtype),
            None if v is None else v.astype(x.dtype),
            W=W,
            horizon=self.horizon,
            gamma=gamma,
            parallel=self.parallel,
        )

        def step(belief, inputs):
            K, k, V, v, w = inputs
            x = _mean(belief)
            u = matvec(K, x) + k
            slope = matvec(V, x) + v
            cost = 0.5 * dot(x, slope + v) + w
            return model.predict(belief, u, key=key), (belief, u, cost, slope)

        V, v, w = solution.V[:-1], solution.v[:-1], solution.w[:-1]
        last, (beliefs, u, cost, slope) = jax.lax.scan(
            step, belief, (solution.K, solution.k, V, v, w)
        )
        K, Q_uu = solution.K, _action_hessian(F, C, solution.V[1:], gamma)
        if isinstance(model, LinearGaussian):
            doubt, price = _doubt(model, belief, u, solution, Q_uu, gamma, key)
            cost = cost + doubt
            (T, n), m = slope.shape, u.shape[1]
            K = jnp.concatenate([K, jnp.zeros((T, m, n * n), x.dtype)], axis=2)
            slope = jnp.concatenate([slope, price.reshape(T, n * n)], axis=1)
            V = jnp.pad(V, ((0, 0), (0, n * n), (0, n * n)))
        states = jax.vmap(lambda belief: ravel(belief)[0])(beliefs)
        beliefs = jax.tree.map(
            lambda rest, end: jnp.concatenate([rest, end[None]]), beliefs, last
        )
        finite = jnp.all(jnp.isfinite(u)) & jnp.all(jnp.isfinite(cost))
        result = Result.where(
            solution.positive,
            Result.where(finite, Result.successful, Result.non_finite),
            Result.indefinite,
        )
        result = Result.where(found == Result.successful, result, found)
        policy = TimeVarying(K, u, states, maximum_entropy(Q_uu))
        plan = Plan(
            actions=jnp.where(finite, u, jnp.zeros_like(u)),
            beliefs=beliefs,
            value=-cost[0],
            feedback=Feedback(policy, V=-cost, V_x=-slope, V_xx=-V),
            result=result,
            stats={"cost": cost[:1]},
        )
        return plan, None

    def _parts(self, problem: Problem) -> tuple[Linear, Quadratic]:
        """The dynamics and the objective, if LQR can work on them together."""
        box = require_box(problem.action, "LQR")
        model, objective = problem.model, problem.objective
        linear = model.dynamics if isinstance(model, LinearGaussian) else model
        if not isinstance(linear, Linear) or not isinstance(objective, Quadratic):
            raise TypeError(
                "LQR needs a Linear or LinearGaussian model and a Quadratic objective, "
                f"got {type(model).__name__} and {type(objective).__name__}; use ILQR, "
                "which expands any smooth problem to that form."
            )
        if box.bounded:
            raise TypeError(
                "LQR needs free actions, because its closed form knows no limits, got "
                f"{box}; use ILQR, which respects them."
            )
        if self.infinite and (linear.time_varying or objective.time_varying):
            raise TypeError(
                "LQR needs dynamics and costs that are constant in time to plan for "
                "ever, but F, f, C or c has a time axis here."
            )
        stamped = isinstance(model, LinearGaussian) and model.time_varying
        if objective.time_varying and not (stamped or linear.time_varying):
            raise TypeError(
                "LQR needs a model that keeps the time when the Quadratic varies in "
                "time, got a constant one; give its F a time axis."
            )
        state, action = linear.state_size, linear.action_size
        final = objective.C_final
        if (
            objective.C.shape[-1] != state + action
            or box.shape != (action,)
            or (final is not None and final.shape[0] != state)
        ):
            raise ValueError(
                f"LQR needs a Quadratic and a Box to go with {state} states and "
                f"{action} actions, got C of shape {list(objective.C.shape)}, C_final "
                f"of shape {None if final is None else list(final.shape)}, and actions "
                f"of shape {list(box.shape)}."
            )
        return linear, objective


def _mean(belief: PyTree) -> Array:
    """The state, or the mean of what is known of it."""
    return moments(Readout.of(belief).x)[0]


def _for_ever(
    F: Array, f: Array, C: Array, c: Array, gamma: float
) -> tuple[Array, Array, Result]:
    r"""The stationary cost to go $\tfrac12 x^\top V x + x^\top v$."""
    n = F.shape[0]
    A, B = F[:, :n], F[:, n:]
    rest = dare(A, B, C[:n, :n], C[n:, n:], C[:n, n:], gamma=gamma)
    back = gamma * (A + matmul(B, rest.K)).T
    # The linear part stands still where v = c_x + K'c_u + γ L'(V f + v).
    one = jnp.eye(n, dtype=F.dtype)
    push = c[:n] + matvec(rest.K.T, c[n:]) + matvec(back, matvec(rest.V, f))
    return rest.V, jnp.linalg.solve(one - back, push), rest.result


def _action_hessian(
    F: Array, C: Array, V_next: Float[Array, "horizon state state"], gamma: float
) -> Float[Array, "horizon action action"]:
    r"""$Q_{uu}$ of every step: what an action costs, now and later."""
    n = V_next.shape[1]

    def step(F, C, V):
        B = F[:, n:]
        return symmetrise(C[n:, n:] + gamma * matmul(B.T, matmul(V, B)))

    axes = (0 if F.ndim == 3 else None, 0 if C.ndim == 3 else None, 0)
    return jax.vmap(step, in_axes=axes)(F, C, V_next)


def _doubt(
    model: LinearGaussian,
    belief: PyTree,
    actions: Array,
    solution: Riccati,
    Q_uu: Array,
    gamma: float,
    key: PRNGKeyArray,
) -> tuple[Float[Array, " horizon"], Float[Array, "horizon state state"]]:
    """What not knowing the state will cost from each step on, and its slope in S.

    The covariance after each look is known beforehand, because it depends on nothing
    that is seen.
    """
    n = solution.V.shape[1]

    def look(belief: PyTree, u: Array) -> PyTree:
        after = model.predict(belief, u, key=key)
        return model.observe(after, model.expect(after), key=key)

    def ahead(belief, u):
        return look(belief, u), belief

    _, beliefs = jax.lax.scan(ahead, belief, actions)

    def back(carry, inputs):
        cost, price = carry
        belief, u, K, V, Q_uu = inputs
        stamped = isinstance(belief, Stamped)
        cov = (belief.value if stamped else belief).cov

        def later(cov: Array) -> Array:
            moved = eqx.tree_at(
                lambda it: (it.value if stamped else it).cov, belief, cov
            )
            after = look(moved, u)
            return (after.value if stamped else after).cov

        weight = matmul(K.T, matmul(Q_uu, K))
        cost = 0.5 * trace_of_product(weight, cov) + gamma * cost
        pulled = jax.vjp(later, cov)[1](price)[0]
        price = 0.5 * weight + gamma * symmetrise(pulled)
        here = 0.5 * trace_of_product(V, cov)
        return (cost, price), (cost + here, price + 0.5 * V)

    start = (jnp.zeros((), solution.V.dtype), jnp.zeros((n, n), solution.V.dtype))
    inputs = (beliefs, actions, solution.K, solution.V[:-1], Q_uu)
    return jax.lax.scan(back, start, inputs, reverse=True)[1]
