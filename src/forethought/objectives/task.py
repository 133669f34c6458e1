"""What the analytic tasks want, as rewards.

Each objective looks at the state of its system and at the action, and is smooth enough
for planners that differentiate it twice. Their weights are fields, so a task is
changed by constructing another one.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from forethought.core.linalg import Values, as_float
from forethought.environments.analytic.pendulum import limit
from forethought.objectives.base import AbstractObjective, constant


def wrap(angle: Scalar) -> Scalar:
    r"""The same angle in $[-\pi, \pi)$."""
    return (angle + jnp.pi) % (2 * jnp.pi) - jnp.pi


class PendulumReward(AbstractObjective):
    r"""The reward of Gymnasium's Pendulum-v1, in its order of arithmetic.

    $$r = -\big(\mathrm{wrap}(\theta)^2 + 0.1\,\dot\theta^2
      + 0.001\,\mathrm{clip}(u)^2\big)$$

    on the state before the step. The angle is zero upright and wrapped into
    $[-\pi, \pi)$, so the reward has a kink where the pendulum hangs.

    Args:
        max_torque: Limit of the torque, in N·m.

    References:
        Gymnasium's `Pendulum-v1`, which it equals.
    """

    max_torque: float = 2.0

    def reward(
        self, x: Float[Array, "2"], action: Float[Array, "1"], next_x: Float[Array, "2"]
    ) -> Scalar:
        """The reward of the state left behind, and of the torque."""
        torque = limit(action[0], -self.max_torque, self.max_torque)
        return -(wrap(x[0]) ** 2 + 0.1 * x[1] ** 2 + 0.001 * torque**2)

    def discount(self, x: Array, action: Array, next_x: Array) -> Scalar:
        """One: the pendulum never ends."""
        return constant(x, 1)

    def value(self, x: Array) -> Scalar:
        """Nothing beyond the horizon."""
        return constant(x, 0)


class Regulate(AbstractObjective):
    r"""Go to a state and stay there, by diagonal quadratic costs.

    $$J = -\tfrac12 \sum_i w^T_i (x_{T,i} - x^*_i)^2
      -\tfrac12 \sum_t \Big( \sum_i w_i (x_{t,i} - x^*_i)^2
      + \sum_j r_j (u_{t,j} - u^*_j)^2 \Big)$$

    Costs of time step $t$ are on the state before it and the action in it. Angles are
    not wrapped: the goal is one particular turn.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.objectives.task import Regulate
    >>> objective = Regulate([1.0, 0.0], [2.0, 0.0], [1.0], [4.0, 0.0])
    >>> x, u = jnp.array([3.0, 5.0]), jnp.array([2.0])
    >>> float(objective.reward(x, u, x)), float(objective.value(x))
    (-6.0, -8.0)

    ```

    Args:
        goal: $x^*$, shape `[state]`.
        state_weights: $w$, shape `[state]`, for each step.
        action_weights: $r$, shape `[action]`, for each step.
        final_weights: $w^T$, shape `[state]`, at the end of the horizon.
        rest: $u^*$, shape `[action]`: the action that costs nothing, zero by default.

    Raises:
        ValueError: The shapes do not agree.
    """

    goal: Float[Array, " state"]
    state_weights: Float[Array, " state"]
    action_weights: Float[Array, " action"]
    final_weights: Float[Array, " state"]
    rest: Float[Array, " action"]

    def __init__(
        self,
        goal: Values,
        state_weights: Values,
        action_weights: Values,
        final_weights: Values,
        rest: Values | None = None,
    ):
        self.goal = as_float(goal)
        self.state_weights = as_float(state_weights)
        self.action_weights = as_float(action_weights)
        self.final_weights = as_float(final_weights)
        self.rest = (
            jnp.zeros_like(self.action_weights) if rest is None else as_float(rest)
        )
        states = {self.goal.shape, self.state_weights.shape, self.final_weights.shape}
        if len(states) > 1 or self.goal.ndim != 1:
            raise ValueError(
                "Regulate needs goal, state_weights and final_weights of one shape "
                f"[state], got {self.goal.shape}, {self.state_weights.shape} and "
                f"{self.final_weights.shape}."
            )
        if self.action_weights.shape != self.rest.shape or self.rest.ndim != 1:
            raise ValueError(
                "Regulate needs action_weights and rest of one shape [action], got "
                f"{self.action_weights.shape} and {self.rest.shape}."
            )

    def reward(
        self,
        x: Float[Array, " state"],
        action: Float[Array, " action"],
        next_x: Float[Array, " state"],
    ) -> Scalar:
        """Minus the cost of one step."""
        error = x - self.goal.astype(x.dtype)
        effort = action - self.rest.astype(action.dtype)
        stage = jnp.sum(self.state_weights.astype(x.dtype) * error**2)
        return -0.5 * (stage + jnp.sum(self.action_weights.astype(x.dtype) * effort**2))

    def discount(self, x: Array, action: Array, next_x: Array) -> Scalar:
        """One: nothing ends early."""
        return constant(x, 1)

    def value(self, x: Float[Array, " state"]) -> Scalar:
        """Minus the final cost."""
        error = x - self.goal.astype(x.dtype)
        return -0.5 * jnp.sum(self.final_weights.astype(x.dtype) * error**2)
