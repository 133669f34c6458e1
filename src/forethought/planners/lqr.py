r"""The linear-quadratic regulator: the exact plan where dynamics are linear.

Where the model is linear, the cost quadratic and the action free, the best action is an
affine function of the state, and the cost to go a quadratic one. Both follow from the
last step backwards: `lqr` is that recursion on arrays, `LQR` the planner around it.

**Notation.** With $z = [x; u]$, dynamics $x_{t+1} = F_t z_t + f_t$ and cost
$\tfrac12 z^\top C_t z + z^\top c_t$:

| letter | meaning |
|---|---|
| $Q_t, q_t$ | quadratic and linear part of the cost to go of a state and an action |
| $K_t, k_t$ | gain and offset: $u_t = K_t x_t + k_t$ |
| $V_t, v_t, w_t$ | cost to go $\tfrac12 x^\top V_t x + x^\top v_t + w_t$ |
| $\gamma$ | discount of one step |
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Scalar

from forethought.core.linalg import (
    dot,
    matmul,
    matvec,
    quadratic_form,
    solve_positive,
    symmetrise,
)
from forethought.core.results import Result
from forethought.core.spaces import require_box
from forethought.core.types import Stamped, ravel
from forethought.models.linear import Linear
from forethought.objectives.quadratic import Quadratic
from forethought.planners.base import AbstractPlanner, require_positive
from forethought.problem import Feedback, Plan, Problem


class Riccati(eqx.Module):
    """What the recursion finds: controllers, and the cost to go of every step."""

    K: Float[Array, "horizon action state"]
    k: Float[Array, "horizon action"]
    V: Float[Array, "horizon+1 state state"]
    v: Float[Array, "horizon+1 state"]
    w: Float[Array, " horizon+1"]
    positive: Bool[Array, ""]
    """Whether every $Q_{uu}$ was positive definite; otherwise there is no minimum."""


def lqr(
    F: Float[Array, "... state both"],
    f: Float[Array, "... state"],
    C: Float[Array, "... both both"],
    c: Float[Array, "... both"],
    V: Float[Array, "state state"] | None = None,
    v: Float[Array, " state"] | None = None,
    *,
    horizon: int | None = None,
    gamma: float = 1.0,
) -> Riccati:
    r"""Solve a linear-quadratic problem backwards in time.

    $$\begin{aligned}
      Q_t &= C_t + \gamma F_t^\top V_{t+1} F_t &
      q_t &= c_t + \gamma F_t^\top (V_{t+1} f_t + v_{t+1}) \\
      K_t &= -Q_{uu}^{-1} Q_{ux} & k_t &= -Q_{uu}^{-1} q_u \\
      V_t &= Q_{xx} + Q_{xu} K_t + K_t^\top Q_{ux} + K_t^\top Q_{uu} K_t &
      v_t &= q_x + Q_{xu} k_t + K_t^\top q_u + K_t^\top Q_{uu} k_t \\
      w_t &= \gamma (w_{t+1} + \tfrac12 f_t^\top V_{t+1} f_t + f_t^\top v_{t+1})
             + \tfrac12 q_u^\top k_t
    \end{aligned}$$

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.planners.lqr import lqr
    >>> F = jnp.array([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])
    >>> solution = lqr(F, jnp.zeros(2), jnp.eye(3), jnp.zeros(3), horizon=200)
    >>> [round(float(gain), 4) for gain in solution.K[0, 0]]
    [-0.9171, -1.6356]

    ```

    Args:
        F: Dynamics, shape `[horizon, state, state + action]`, or without the first axis
            where they are constant; so for the next three.
        f: Offset, shape `[horizon, state]`.
        C: Cost, shape `[horizon, state + action, state + action]`, symmetric.
        c: Linear cost, shape `[horizon, state + action]`.
        V: Terminal cost, shape `[state, state]`, symmetric; zero by default.
        v: Linear terminal cost, shape `[state]`; zero by default.
        horizon: Number of steps; needed only where no array has a time axis.
        gamma: Discount of one step.

    Returns:
        Gains and offsets of the `horizon` steps, and the cost to go of these and of the
        end. Where `positive` is false there is no minimum, and they mean nothing.

    Raises:
        ValueError: The lengths in time disagree, or none is given.

    References:
        Bertsekas, Dynamic Programming and Optimal Control, 4th ed., 2017, §3.1; in the
        letters of Levine, CS 285, lecture 10, "LQR".
    """
    state, both = F.shape[-2:]
    arrays = ((F, 3), (f, 2), (C, 3), (c, 2))
    lengths = {array.shape[0] for array, ndim in arrays if array.ndim == ndim}
    if horizon is not None:
        lengths.add(horizon)
    if len(lengths) != 1:
        raise ValueError(
            "lqr needs one horizon, from arrays with a time axis or from `horizon`, "
            f"got {sorted(lengths)}."
        )
    (length,) = lengths

    F, f, C, c = (
        array if array.ndim == ndim else jnp.broadcast_to(array, (length, *array.shape))
        for array, ndim in arrays
    )
    x, u = slice(None, state), slice(state, both)
    V = jnp.zeros((state, state), C.dtype) if V is None else V
    v = jnp.zeros((state,), C.dtype) if v is None else v
    w = jnp.zeros((), C.dtype)

    def step(carry, inputs):
        V, v, w, positive = carry
        F, f, C, c = inputs
        Q = C + gamma * matmul(F.T, matmul(V, F))
        q = c + gamma * matvec(F.T, matvec(V, f) + v)
        w = gamma * (w + 0.5 * quadratic_form(V, f) + dot(f, v))
        right = jnp.concatenate([Q[u, x], q[u, None]], axis=1)
        solution, good = solve_positive(Q[u, u], right)
        K, k = -solution[:, :state], -solution[:, state]
        V, v = cost_to_go(Q, q, K, k)
        w = w + 0.5 * dot(q[u], k)
        return (V, v, w, positive & good), (K, k, V, v, w)

    (_, _, _, positive), (K, k, Vs, vs, ws) = jax.lax.scan(
        step, (V, v, w, jnp.asarray(True)), (F, f, C, c), reverse=True
    )
    return Riccati(
        K,
        k,
        jnp.concatenate([Vs, V[None]]),
        jnp.concatenate([vs, v[None]]),
        jnp.concatenate([ws, w[None]]),
        positive,
    )


def cost_to_go(
    Q: Float[Array, "both both"],
    q: Float[Array, " both"],
    K: Float[Array, "action state"],
    k: Float[Array, " action"],
) -> tuple[Float[Array, "state state"], Float[Array, " state"]]:
    r"""Quadratic and linear part of the cost to go under any $u = K x + k$."""
    state = K.shape[1]
    Q_xx, Q_ux, Q_uu = Q[:state, :state], Q[state:, :state], Q[state:, state:]
    q_x, q_u = q[:state], q[state:]
    M = matmul(Q_uu, K) + Q_ux
    V = Q_xx + matmul(K.T, M) + matmul(Q_ux.T, K)
    v = q_x + matvec(M.T, k) + matvec(K.T, q_u)
    return symmetrise(V), v


class LQR(AbstractPlanner[None]):
    """Plans exactly for a `Linear` model, a `Quadratic` objective and free actions.

    The plan's feedback is the optimal controller, and its value expansion is exact.
    Matrices that vary in time are read from the belief's time on.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.spaces import free_box
    >>> from forethought.models.linear import Linear
    >>> from forethought.objectives.quadratic import Quadratic
    >>> from forethought.planners.lqr import LQR
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

    Raises:
        ValueError: `horizon` is below one.

    References:
        Kalman, Contributions to the theory of optimal control, 1960; the recursion is
        that of `lqr`.
    """

    horizon: int = eqx.field(static=True)

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
            TypeError: The problem is not linear-quadratic with free actions, or
                actions are given to begin with.
            ValueError: Model, objective and action space disagree in size, or the
                action's cost is not positive definite.
        """
        if actions is not None:
            raise TypeError(
                "LQR finds the optimum in one sweep, from nothing: it cannot begin "
                "with actions."
            )
        model, objective = _parts(problem)
        objective.require_action_cost(model.state_size)

    def shift(self, problem: Problem, state: None) -> None:
        """Nothing is remembered between plans."""

    def plan(
        self, problem: Problem, belief: PyTree, state: None, *, key: PRNGKeyArray
    ) -> tuple[Plan, None]:
        """The optimal plan; `indefinite` where no minimum exists.

        Raises:
            TypeError: The problem is not linear-quadratic with free actions.
            ValueError: Model, objective and action space disagree in size.
        """
        model, objective = _parts(problem)
        x = ravel(belief)[0]
        time = belief.time if isinstance(belief, Stamped) else jnp.asarray(0)
        steps = time + jnp.arange(self.horizon)

        def pick(array: Array, ndim: int) -> Array:
            if array.ndim == ndim:
                array = array[jnp.clip(steps, 0, array.shape[0] - 1)]
            return array.astype(x.dtype)

        V, v = objective.C_final, objective.c_final
        solution = lqr(
            pick(model.F, 3),
            pick(model.f, 2),
            pick(objective.C, 3),
            pick(objective.c, 2),
            None if V is None else V.astype(x.dtype),
            None if v is None else v.astype(x.dtype),
            horizon=self.horizon,
            gamma=objective.gamma,
        )

        def step(belief, inputs):
            K, k, V, v, w = inputs
            x = ravel(belief)[0]
            u = matvec(K, x) + k
            cost, slope = _quadratic(V, v, w, x)
            return model.predict(belief, u, key=key), (belief, u, x, cost, slope)

        V, v, w = solution.V[:-1], solution.v[:-1], solution.w[:-1]
        last, (beliefs, u, states, cost, slope) = jax.lax.scan(
            step, belief, (solution.K, solution.k, V, v, w)
        )
        beliefs = jax.tree.map(
            lambda rest, end: jnp.concatenate([rest, end[None]]), beliefs, last
        )
        finite = jnp.all(jnp.isfinite(u)) & jnp.all(jnp.isfinite(cost))
        feedback = Feedback(
            gains=solution.K, states=states, actions=u, V=-cost, V_x=-slope, V_xx=-V
        )
        result = Result.where(
            solution.positive,
            Result.where(finite, Result.successful, Result.non_finite),
            Result.indefinite,
        )
        actions = jnp.where(finite, u, jnp.zeros_like(u))
        plan = Plan(actions, beliefs, -cost[0], feedback, result, {"cost": cost[:1]})
        return plan, None


def _quadratic(V: Array, v: Array, w: Array, x: Array) -> tuple[Scalar, Array]:
    """Cost to go at `x`, and its slope."""
    slope = matvec(V, x) + v
    return 0.5 * dot(x, slope + v) + w, slope


def _parts(problem: Problem) -> tuple[Linear, Quadratic]:
    """The model and the objective, if LQR can work on them together."""
    box = require_box(problem.action, "LQR")
    model, objective = problem.model, problem.objective
    if not isinstance(model, Linear) or not isinstance(objective, Quadratic):
        raise TypeError(
            "LQR needs a Linear model and a Quadratic objective, got "
            f"{type(model).__name__} and {type(objective).__name__}; use ILQR, which "
            "expands any smooth problem to that form."
        )
    if box.bounded:
        raise TypeError(
            "LQR needs free actions, because its closed form knows no limits, got "
            f"{box}; use ILQR, which respects them."
        )
    if objective.time_varying and not model.time_varying:
        raise TypeError(
            "LQR needs a model that keeps the time when the Quadratic varies in time, "
            "got a constant Linear; give its F a time axis."
        )
    state, action = model.state_size, model.action_size
    final = objective.C_final
    if (
        objective.C.shape[-1] != state + action
        or box.shape != (action,)
        or (final is not None and final.shape[0] != state)
    ):
        raise ValueError(
            f"LQR needs a Quadratic and a Box to go with {state} states and {action} "
            f"actions, got C of shape {list(objective.C.shape)}, C_final of shape "
            f"{None if final is None else list(final.shape)}, and actions of shape "
            f"{list(box.shape)}."
        )
    return model, objective
