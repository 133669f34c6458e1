r"""Plans that can be differentiated: how the optimum moves when the problem does.

A planner that iterates cannot be differentiated by running it backwards: that costs the
memory of every iteration, and the while-loop forbids it. But a converged plan is where
the gradient of the return vanishes, whoever found it, and that equation says how the
plan moves (the implicit function theorem):

$$\nabla_u J(u^*, \theta) = 0 \quad\Rightarrow\quad
  \frac{du^*}{d\theta} = -\big(\nabla^2_{uu} J\big)^{-1} \nabla^2_{u\theta} J$$

with $\theta$ anything continuous in the problem (model, objective, limits) and in the
belief. The Hessian over all actions is never formed. To solve with it is a
linear-quadratic problem along the trajectory, whose dynamics are the Jacobians $F_t$
and whose cost is the Hessian of the Hamiltonian, *with* the second derivatives of the
dynamics; so one sweep of `lqr` does it, in time linear in the horizon.

**Notation.** $y = [x; D]$ is the state and the discount $D$ of all steps before, so
that discounts which depend on the state are exact; $c$ the cost of a step, $D$ times
minus the reward; $p$ the costate, slope of the cost to go; and

$$H_t(y, u) = c_t(y, u) + p_{t+1}^\top f(y, u), \qquad C_t = \nabla^2 H_t$$
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Scalar

from forethought.core.given.settings import Positive
from forethought.core.linalg import dot, matvec
from forethought.core.results import Result, Stats
from forethought.core.spaces import Box, require_box
from forethought.core.tracing import calls_host
from forethought.planners.base import AbstractPlanner
from forethought.planners.linear.riccati import lqr
from forethought.problem import Plan, Problem, rollout


class Implicit(AbstractPlanner[PyTree]):
    r"""A planner whose plans have exact derivatives, forward and reverse, of any order.

    Actions, beliefs and value are differentiable with respect to every floating-point
    array of the problem (those of model, objective and action box) and of the belief.

    ```python
    >>> import equinox as eqx, jax, jax.numpy as jnp
    >>> from forethought.core.spaces import free_box
    >>> from forethought.models.linear.dynamics import Linear
    >>> from forethought.objectives.quadratic import Quadratic
    >>> from forethought.planners import ILQR, Implicit
    >>> from forethought.problem import Problem
    >>> model = Linear([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])
    >>> problem = Problem(model, Quadratic(jnp.eye(3)), free_box(1))
    >>> planner, key = Implicit(ILQR(horizon=200)), jax.random.key(0)
    >>> @eqx.filter_jit
    ... def first_action(problem, x):
    ...     state = planner.init(problem, x, key=key)
    ...     plan, _ = planner.plan(problem, x, state, key=key)
    ...     return plan.actions[0, 0]
    >>> x = jnp.array([1.0, 0.0])
    >>> gain = jax.grad(first_action, argnums=1)(problem, x)
    >>> [round(float(entry), 2) for entry in gain]
    [-0.92, -1.64]
    >>> eqx.filter_grad(first_action)(problem, x).objective.C.shape
    (3, 3)

    ```

    Args:
        planner: Who finds the optimum, such as `ILQR`. It must maximise the return
            that `rollout` has under the key of the plan: on a deterministic model any
            planner that converges will do.
        tolerance: A plan has converged where a Newton step would move no action by
            more than this share of its size plus one. The error of the derivatives is
            of this order.

    Raises:
        ValueError: The tolerance is not positive.

    References:
        Amos, Jimenez Rodriguez, Sacks, Boots and Kolter, Differentiable MPC for
        end-to-end planning and control, 2018, arXiv:1810.13400, §4 (box limits). Jin,
        Wang, Yang and Mou, Pontryagin differentiable programming, 2020,
        arXiv:1912.12970, §5 (the auxiliary control system; here its Hessian is exact).
        Blondel et al., Efficient and modular implicit differentiation, 2022,
        arXiv:2105.15183, eq. 2.

    Note:
        *Limits.* An action at a limit that the return pushes it against stays there:
        it moves with the limit and with nothing else. Where the push is zero (no strict
        complementarity) the optimum has a kink, and the derivative is that of the
        action as if it were free.

        *Where there is no derivative it is NaN, never zero*: where the plan has not
        converged to the optimum of the return (as iLQR has not where discounts depend
        on the state, which it holds still), or where the return is not strictly concave
        around it (a saddle, or actions that do not matter, such as those after an
        episode's end).

        *What has no derivative is not in the plan*: feedback, and statistics other
        than whole numbers. What is carried to the next plan counts as constant, because
        an optimum does not depend on where its search began. Settings that are no
        arrays (a static `gamma`, a Python float) have no place for a derivative:
        `eqx.filter_grad` answers None. The planner's own settings are refused.
    """

    planner: AbstractPlanner
    tolerance: Positive = eqx.field(static=True, default=1e-3)
    horizon: int = eqx.field(static=True, init=False)

    def __post_init__(self):
        self.horizon = self.planner.horizon

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> PyTree:
        """What the planner begins with.

        Raises:
            TypeError: The actions are discrete, the planner cannot work on this
                problem, or the problem cannot be differentiated twice.
        """
        require_box(problem.action, "Implicit")
        _require_twice_differentiable(problem, belief)
        return _constant(self.planner.init(problem, belief, actions, key=key))

    def plan(
        self, problem: Problem, belief: PyTree, state: PyTree, *, key: PRNGKeyArray
    ) -> tuple[Plan, PyTree]:
        """The planner's plan, as a differentiable function of problem and belief.

        Its value is the return of its actions under `key`.

        Raises:
            TypeError: As `init`.
        """
        require_box(problem.action, "Implicit")
        _require_twice_differentiable(problem, belief)
        actions, beliefs, value, (result, stats, state) = _solve(
            problem,
            belief,
            planner=self.planner,
            state=_constant(state),
            tolerance=self.tolerance,
            key=key,
        )
        plan = Plan(actions, beliefs, value, None, result, stats)
        return plan, _constant(state)

    def shift(self, problem: Problem, state: PyTree) -> PyTree:
        """One step later, as the planner does it."""
        return _constant(self.planner.shift(problem, state))


@eqx.filter_custom_jvp
def _solve(
    problem: Problem,
    belief: PyTree,
    *,
    planner: AbstractPlanner,
    state: PyTree,
    tolerance: float,
    key: PRNGKeyArray,
) -> tuple[Array, PyTree, Scalar, tuple[Result, Stats, PyTree]]:
    """What is differentiable of a plan, and, last, what is not."""
    plan, state = planner.plan(problem, belief, state, key=key)
    imagined = rollout(problem, belief, plan.actions, key=key)
    told = plan.stats
    whole = {
        name: number
        for name, number in told.numbers.items()
        if not jnp.issubdtype(number.dtype, jnp.inexact)
    }
    stats = Stats(iterations=told.iterations, non_finite=told.non_finite, numbers=whole)
    return plan.actions, imagined.beliefs, imagined.value, (plan.result, stats, state)


@_solve.def_jvp
def _(primals, tangents, *, planner, state, tolerance, key):
    problem, belief = primals
    settings = {"planner": planner, "state": state, "tolerance": tolerance, "key": key}
    out = _solve(problem, belief, **settings)
    u = out[0]
    low, high = _clamped(problem, belief, u, key)
    free = ~(low | high)

    def outcome(problem: Problem, belief: PyTree, z: Array):
        """Actions, beliefs and return, with `z` where the action is free."""
        box = require_box(problem.action, "Implicit")
        at_low, at_high = (
            jnp.broadcast_to(bound.astype(z.dtype), z.shape)
            for bound in (box.low, box.high)
        )
        actions = jnp.where(low, at_low, jnp.where(high, at_high, z))
        imagined = rollout(problem, belief, actions, key=key)
        return actions, imagined.beliefs, imagined.value

    def slope(problem: Problem, belief: PyTree, z: Array) -> Array:
        return jax.grad(lambda z: outcome(problem, belief, z)[2])(z)

    def multiply(v: Array) -> Array:
        """Minus the Hessian, and the identity among clamped actions."""
        along = jax.jvp(lambda z: slope(problem, belief, z), (u,), (v,))[1]
        return jnp.where(free, -along, v)

    fixed = (_constant(problem), _constant(belief), jax.lax.stop_gradient(u))
    lqp = _expand(*fixed, free, key)
    newton, positive = lqp.solve(slope(*fixed))
    step = jnp.max(jnp.abs(newton) / (1 + jnp.abs(fixed[2])))
    good = positive & (step <= tolerance)

    _, moved = eqx.filter_jvp(
        lambda problem, belief: slope(problem, belief, u), (problem, belief), tangents
    )
    du = jax.lax.custom_linear_solve(
        multiply, moved, lambda _, b: lqp.solve(b)[0], symmetric=True
    )
    # A product is linear in du, so that NaN survives transposition too.
    du = du * jnp.where(good, 1, jnp.nan).astype(du.dtype)
    _, changes = eqx.filter_jvp(outcome, (problem, belief, u), (*tangents, du))
    return out, (*changes, jax.tree.map(lambda _: None, out[3]))


def _clamped(
    problem: Problem, belief: PyTree, u: Float[Array, "horizon action"], key: Array
) -> tuple[Bool[Array, "horizon action"], Bool[Array, "horizon action"]]:
    """Which actions lie at a limit that the return pushes them against."""
    box: Box = require_box(problem.action, "Implicit")
    push = jax.grad(lambda u: rollout(problem, belief, u, key=key).value)(u)
    low, high = (
        jnp.broadcast_to(bound.astype(u.dtype), u.shape)
        for bound in (box.low, box.high)
    )
    fixed = low == high
    return (u <= low) & ((push < 0) | fixed), (u >= high) & (push > 0)


class _LinearQuadratic(eqx.Module):
    """The second-order expansion of a problem along a plan, over the free actions."""

    F: Float[Array, "horizon state both"]
    C: Float[Array, "horizon both both"]
    V: Float[Array, "state state"]

    def solve(
        self, b: Float[Array, "horizon action"]
    ) -> tuple[Float[Array, "horizon action"], Bool[Array, ""]]:
        r"""The actions $w$ with $-\nabla^2 J\, w = b$, and whether it is positive."""
        n = self.V.shape[0]
        zero = jnp.zeros(n, b.dtype)
        c = jnp.concatenate([jnp.zeros((b.shape[0], n), b.dtype), -b], axis=1)
        solution = lqr(self.F, zero, self.C, c, self.V, zero)

        def step(dy: Array, inputs: tuple[Array, Array, Array]):
            F, K, k = inputs
            w = matvec(K, dy) + k
            return matvec(F, jnp.concatenate([dy, w])), w

        _, w = jax.lax.scan(step, zero, (self.F, solution.K, solution.k))
        return w, solution.positive


def _expand(
    problem: Problem,
    belief: PyTree,
    u: Float[Array, "horizon action"],
    free: Bool[Array, "horizon action"],
    key: PRNGKeyArray,
) -> _LinearQuadratic:
    """Expand a problem along a plan, in state and discount, to second order."""
    beliefs = rollout(problem, belief, u, key=key).beliefs
    before = jax.tree.map(lambda leaf: leaf[:-1], beliefs)
    after = jax.tree.map(lambda leaf: leaf[1:], beliefs)
    last = jax.tree.map(lambda leaf: leaf[-1], beliefs)
    factors = jax.vmap(problem.judge)(before, u, after)[1].astype(u.dtype)
    one = jnp.ones(1, u.dtype)
    D = jnp.concatenate([one, jnp.cumprod(factors)])
    keys = jax.random.split(key, u.shape[0])

    def jacobian(belief: PyTree, u: Array, D: Array, key: Array):
        z = _coordinates(belief, D, u)
        return jax.jacfwd(lambda z: _stage(problem, belief, z, key))(z)

    def curvature(belief: PyTree, u: Array, D: Array, key: Array, p: Array) -> Array:
        def hamiltonian(z: Array) -> Array:
            y, cost = _stage(problem, belief, z, key)
            return cost + dot(p, y)

        return jax.hessian(hamiltonian)(_coordinates(belief, D, u))

    def terminal(y: Array) -> Array:
        return -y[-1] * problem.value(_ravel(last)[1](y[:-1]))

    F, c = jax.vmap(jacobian)(before, u, D[:-1], keys)
    y = _coordinates(last, D[-1], u[-1, :0])
    n = y.shape[0]

    def back(p: Array, inputs: tuple[Array, Array]):
        F, c = inputs
        return c[:n] + matvec(F.T[:n], p), p

    _, p = jax.lax.scan(back, jax.grad(terminal)(y), (F, c), reverse=True)
    C = jax.vmap(curvature)(before, u, D[:-1], keys, p)
    moves = jnp.concatenate([jnp.ones((u.shape[0], n), bool), free], axis=1)
    F = jnp.where(moves[:, None], F, jnp.zeros_like(F))
    # Clamped actions have the identity for a cost, and touch nothing.
    identity = jnp.broadcast_to(jnp.eye(C.shape[1], dtype=C.dtype)[None], C.shape)
    C = jnp.where(moves[:, :, None] & moves[:, None, :], C, identity)
    return _LinearQuadratic(F, C, jax.hessian(terminal)(y))


def _stage(problem: Problem, belief: PyTree, z: Array, key: Array):
    """State and discount after a step, and its cost; integers are the belief's."""
    x, unravel = _ravel(belief)
    n = x.shape[0]
    after, reward, factor = problem.step(unravel(z[:n]), z[n + 1 :], key=key)
    discount = z[n] * factor.astype(z.dtype)
    y = jnp.concatenate([_ravel(after)[0].astype(z.dtype), discount[None]])
    return y, -z[n] * reward.astype(z.dtype)


def _coordinates(belief: PyTree, D: Array, u: Array) -> Array:
    return jnp.concatenate([_ravel(belief)[0].astype(u.dtype), D[None], u])


def _ravel(belief: PyTree):
    """All that is continuous in a belief, what is opaque to planners included."""
    continuous, rest = eqx.partition(belief, eqx.is_inexact_array)
    vector, unravel = ravel_pytree(continuous)
    return vector, lambda vector: eqx.combine(unravel(vector), rest)


def _constant(tree: PyTree) -> PyTree:
    """The same numbers, without derivatives."""
    continuous, rest = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(continuous), rest)


def _require_twice_differentiable(problem: Problem, belief: PyTree) -> None:
    """Refuse a problem whose steps have no second derivative.

    Raises:
        TypeError: Naming the model and what of it is missing.
    """
    x = _ravel(belief)[0]
    action = jnp.zeros(problem.action.shape, x.dtype)
    z = _coordinates(belief, jnp.ones((), x.dtype), action)
    if calls_host(lambda z, key: _stage(problem, belief, z, key), z, jax.random.key(0)):
        raise TypeError(
            "Implicit needs a problem that JAX can differentiate twice, but a step of "
            f"{type(problem.model).__name__} is computed on the host, where slopes are "
            "finite differences at best, and slopes of these do not exist."
        )
