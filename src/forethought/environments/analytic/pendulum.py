"""The pendulum of Gymnasium's Pendulum-v1, equation by equation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from forethought.core.spaces import Box, Space, require_box
from forethought.environments.analytic.drawing import GOAL, STILL, Stroke, disc, draw
from forethought.environments.base import AbstractSystem, Capsules


def limit(value: Scalar, low: float | Scalar, high: float | Scalar) -> Scalar:
    """Clip to an interval, with the slope from inside (one) at its two ends.

    `jnp.clip` has slope one half there, which would tell a planner whose action rests
    on its limit that the motor is half as strong as it is.
    """
    return jnp.where(value < low, low, jnp.where(value > high, high, value))


class Pendulum(AbstractSystem[Float[Array, "2"]]):
    r"""A rod on a motor too weak to lift it at once; the angle is zero upright.

    $$\dot\theta_{t+1} = \mathrm{clip}\Big(\dot\theta_t + h \Big(
      \frac{3 g}{2 l} \sin\theta_t + \frac{3}{m l^2} \mathrm{clip}(u_t)
      \Big), \pm\dot\theta_\text{max}\Big), \qquad
      \theta_{t+1} = \theta_t + h \dot\theta_{t+1}$$

    Torque is clipped first, then the new speed, and the angle moves with the clipped
    speed. The angle is not wrapped in the state: only the reward and the observation
    go around the circle.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.environments.analytic import Pendulum
    >>> system, key = Pendulum(), jax.random.key(0)
    >>> after = system.step(jnp.array([0.0, 0.0]), jnp.array([5.0]), key=key)
    >>> [round(float(x), 6) for x in after]
    [0.015, 0.3]

    ```

    Args:
        gravity: $g$, in m/s².
        mass: $m$, in kg.
        length: $l$, in m.
        max_speed: $\dot\theta_\text{max}$, in rad/s.
        dt: $h$, seconds from one step to the next.
        initial: Start state; by default any angle, and up to 1 rad/s either way.
        action: Limits of the torque, in N·m.
        unwrapped: Whether the angle itself is observed, with all its turns, in place
            of cosine and sine.

    References:
        Towers et al., Gymnasium: a standard interface for reinforcement learning
        environments, 2024, arXiv:2407.17032; `Pendulum-v1`, which the equations equal
        step by step.
    """

    gravity: float | Scalar = 10.0
    mass: float | Scalar = 1.0
    length: float | Scalar = 1.0
    max_speed: float | Scalar = 8.0
    dt: float = 0.05
    initial: tuple[float, float] | None = None
    action: Space = eqx.field(
        default_factory=lambda: Box(np.array([-2.0]), np.array([2.0]))
    )
    unwrapped: bool = eqx.field(static=True, default=False)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Angle from upright and its rate."""
        return ("angle (rad)", "angular velocity (rad/s)")

    @property
    def action_names(self) -> tuple[str, ...]:
        """The torque."""
        return ("torque (N·m)",)

    def start(self, *, key: PRNGKeyArray) -> Float[Array, "2"]:
        """As given, or uniform: any angle, and up to 1 rad/s either way."""
        if self.initial is not None:
            return jnp.asarray(self.initial, float)
        high = jnp.asarray((jnp.pi, 1.0), float)
        return jax.random.uniform(key, (2,), high.dtype, -high, high)

    def step(
        self, state: Float[Array, "2"], action: Float[Array, "1"], *, key: PRNGKeyArray
    ) -> Float[Array, "2"]:
        """The state `dt` seconds later."""
        g, m, l, h = self.gravity, self.mass, self.length, self.dt
        angle, speed = state
        box, kind = require_box(self.action, "Pendulum"), action.dtype
        torque = limit(action[0], box.low.astype(kind)[0], box.high.astype(kind)[0])
        acceleration = 3 * g / (2 * l) * jnp.sin(angle) + 3 / (m * l**2) * torque
        speed = limit(speed + acceleration * h, -self.max_speed, self.max_speed)
        return jnp.stack([angle + speed * h, speed])

    def observe(self, state: Float[Array, "2"]) -> Float[Array, " observation"]:
        """Cosine and sine of the angle, or the angle, and the angular velocity."""
        if self.unwrapped:
            return state
        return jnp.stack([jnp.cos(state[0]), jnp.sin(state[0]), state[1]])

    def sketch(self, state: Float[Array, "2"]) -> Capsules:
        """The rod, its pivot, and where its tip should be."""
        tip = (-self.length * jnp.sin(state[0]), self.length * jnp.cos(state[0]))
        return draw(
            disc((0.0, self.length), 0.12, GOAL),
            Stroke((0.0, 0.0), tip, 0.08),
            disc((0.0, 0.0), 0.05, STILL),
        )
