"""What the analytic tasks want, as rewards.

Each objective looks at the state of its system and at the action, and is smooth enough
for planners that differentiate it twice. Their weights are fields, so a task is
changed by constructing another one.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from forethought.core.linalg import Values, as_float
from forethought.environments.analytic.pendulum import limit
from forethought.objectives.base import AbstractObjective, constant


def wrap(angle: Scalar) -> Scalar:
    r"""The same angle in $[-\pi, \pi)$."""
    ahead, turn = angle + jnp.pi, 2 * jnp.pi
    # A remainder is a library call for every single number, half of a roll-out's time.
    return ahead - turn * jnp.floor(ahead / turn) - jnp.pi


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


class Parking(AbstractObjective):
    r"""Tassa's car parking: smooth absolute values of what is wrong.

    $$z(y, p) = \sqrt{y^2 + p^2} - p$$

    $$c = \sum_i c^u_i u_i^2 + \sum_{i \in \{x, y\}} c^x_i\, z(x_i, p^x_i), \qquad
      c_T = \sum_{i \in \{x, y\}} c^x_i\, z(x_i, p^x_i) + \sum_i c^f_i\, z(x_i, p^f_i)$$

    The car should end at the origin, heading along the first axis, at rest. Headings
    are not wrapped.

    Args:
        action_weights: $c^u$, for the wheels' angle and the acceleration.
        running_weights: $c^x$, for the position, at every state.
        running_widths: $p^x$, in m.
        final_weights: $c^f$, for the whole state, at the last one.
        final_widths: $p^f$, in the units of the state.

    References:
        Tassa, Mansard and Todorov, Control-limited differential dynamic programming,
        2014, doi:10.1109/ICRA.2014.6907001, §IV-B.

    Note:
        The weights are those of the authors' published program, which counts the
        running cost of the position at the last state too.
    """

    action_weights: tuple[float, float] = (1e-2, 1e-4)
    running_weights: tuple[float, float] = (1e-3, 1e-3)
    running_widths: tuple[float, float] = (0.1, 0.1)
    final_weights: tuple[float, float, float, float] = (0.1, 0.1, 1.0, 0.3)
    final_widths: tuple[float, float, float, float] = (0.01, 0.01, 0.01, 1.0)

    def _running(self, x: Float[Array, "4"]) -> Scalar:
        return smooth_absolute(x[:2], self.running_weights, self.running_widths)

    def reward(
        self, x: Float[Array, "4"], action: Float[Array, "2"], next_x: Float[Array, "4"]
    ) -> Scalar:
        """Minus the cost of one step."""
        weights = jnp.asarray(self.action_weights, action.dtype)
        return -(jnp.sum(weights * action**2) + self._running(x))

    def discount(self, x: Array, action: Array, next_x: Array) -> Scalar:
        """One: nothing ends early."""
        return constant(x, 1)

    def value(self, x: Float[Array, "4"]) -> Scalar:
        """Minus the final cost."""
        final = smooth_absolute(x, self.final_weights, self.final_widths)
        return -(final + self._running(x))


def smooth_absolute(
    y: Float[Array, " entry"], weights: tuple[float, ...], widths: tuple[float, ...]
) -> Scalar:
    r"""The weighted sum of $\sqrt{y^2 + p^2} - p$: quadratic inside, linear outside."""
    w, p = jnp.asarray(weights, y.dtype), jnp.asarray(widths, y.dtype)
    return jnp.sum(w * (jnp.sqrt(y**2 + p**2) - p))


class Avoid(AbstractObjective):
    r"""Another objective, and discs in the plane to keep out of.

    $$r' = r - \frac ck \sum_j \operatorname{softplus}\Big(
      k \Big(1 - \frac{\lVert p - o_j \rVert^2}{R_j^2}\Big)\Big)$$

    with $p$ the first two coordinates of the state. The price is about $c$ in the
    middle of a disc, small at its rim, nothing outside, and smooth everywhere.

    Args:
        objective: What is wanted besides.
        obstacles: Discs as $(x, y, \text{radius})$, in m.
        weight: $c$, for each step.
        sharpness: $k$: how sudden the rim is.
    """

    objective: AbstractObjective
    obstacles: tuple[tuple[float, float, float], ...]
    weight: float = 10.0
    sharpness: float = 10.0

    def reward(
        self, x: Float[Array, " state"], action: Array, next_x: Float[Array, " state"]
    ) -> Scalar:
        """The reward, less the price of being within a disc."""
        price = constant(x, 0)
        for left, up, radius in self.obstacles:
            distance = ((x[0] - left) ** 2 + (x[1] - up) ** 2) / radius**2
            price += jax.nn.softplus(self.sharpness * (1 - distance))
        return (
            self.objective.reward(x, action, next_x)
            - self.weight / self.sharpness * price
        )

    def discount(self, x: Array, action: Array, next_x: Array) -> Scalar:
        """That of the objective."""
        return self.objective.discount(x, action, next_x)

    def value(self, x: Array) -> Scalar:
        """That of the objective."""
        return self.objective.value(x)
