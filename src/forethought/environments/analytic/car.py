"""A car to be parked, with wheels that roll and do not slip."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from forethought.core.spaces import Box, Space
from forethought.environments.analytic.drawing import GOAL, STILL, Stroke, draw
from forethought.environments.base import AbstractSystem, Capsules


class Car(AbstractSystem[Float[Array, "4"]]):
    r"""A car steered and driven by its front wheels, in discrete time.

    In a step the front wheels roll by $f = h v$ in the direction they are turned to,
    and the middle of the rear axle follows by $b$ along the car:

    $$b = f \cos\omega + d - \sqrt{d^2 - f^2 \sin^2\omega}, \qquad
      \Delta\theta = \arcsin\Big(\frac fd \sin\omega\Big)$$

    $$x' = x + b \cos\theta, \quad y' = y + b \sin\theta, \quad
      \theta' = \theta + \Delta\theta, \quad v' = v + h a$$

    The state is $[x, y, \theta, v]$, with $(x, y)$ the middle of the rear axle; the
    action is $[\omega, a]$, the angle of the front wheels and their acceleration.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.environments.analytic import Car
    >>> system, key = Car(dt=0.5), jax.random.key(0)
    >>> state, action = jnp.array([0.0, 0.0, 0.0, 1.0]), jnp.array([0.0, 2.0])
    >>> system.step(state, action, key=key).tolist()
    [0.5, 0.0, 0.0, 2.0]

    ```

    Args:
        wheelbase: $d$, from rear to front axle, in m.
        dt: $h$, seconds from one step to the next.
        initial: Start state.
        action: Limits of the wheels' angle (rad) and acceleration (m/s²).

    References:
        Tassa, Mansard and Todorov, Control-limited differential dynamic programming,
        2014, doi:10.1109/ICRA.2014.6907001, §IV-B. The rear axle's step has $+f
        \cos\omega$ as in the authors' published program.
    """

    wheelbase: float | Scalar = 2.0
    dt: float = 0.03
    initial: tuple[float, float, float, float] = (1.0, 1.0, 1.5 * np.pi, 0.0)
    action: Space = eqx.field(
        default_factory=lambda: Box(np.array([-0.5, -2.0]), np.array([0.5, 2.0]))
    )

    @property
    def state_names(self) -> tuple[str, ...]:
        """Position of the rear axle, heading, and speed."""
        return ("x (m)", "y (m)", "heading (rad)", "speed (m/s)")

    @property
    def action_names(self) -> tuple[str, ...]:
        """Steering and acceleration."""
        return ("wheel angle (rad)", "acceleration (m/s²)")

    def start(self, *, key: PRNGKeyArray) -> Float[Array, "4"]:
        """The start state, always the same."""
        return jnp.asarray(self.initial, float)

    def step(
        self, state: Float[Array, "4"], action: Float[Array, "2"], *, key: PRNGKeyArray
    ) -> Float[Array, "4"]:
        """The state `dt` seconds later."""
        d, h = self.wheelbase, self.dt
        x, y, theta, v = state
        omega, a = action
        f = h * v
        across = f * jnp.sin(omega)
        b = f * jnp.cos(omega) + d - jnp.sqrt(d**2 - across**2)
        return jnp.stack(
            [
                x + b * jnp.cos(theta),
                y + b * jnp.sin(theta),
                theta + jnp.arcsin(across / d),
                v + h * a,
            ]
        )

    def observe(self, state: Float[Array, "4"]) -> Float[Array, "4"]:
        """The state itself."""
        return state

    def sketch(self, state: Float[Array, "4"]) -> Capsules:
        """The body, four wheels, and the place to park in."""
        x, y, theta = state[0], state[1], state[2]
        cos, sin, d = jnp.cos(theta), jnp.sin(theta), self.wheelbase

        def place(along: float | Scalar, left: float):
            return (x + along * cos - left * sin, y + along * sin + left * cos)

        wheels = [
            Stroke(place(axle - 0.25, side), place(axle + 0.25, side), 0.12, STILL)
            for axle in (0.0, d)
            for side in (-0.75, 0.75)
        ]
        return draw(
            Stroke((0.0, 0.0), (d, 0.0), 0.75, GOAL),
            *wheels,
            Stroke(place(0.0, 0.0), place(d, 0.0), 0.6),
            Stroke(place(d, -0.35), place(d, 0.35), 0.15, STILL),
        )
