"""A quadrotor in a vertical plane: two rotors, three degrees of freedom."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from forethought.core.spaces import Box, Space
from forethought.environments.analytic.drawing import GOAL, STILL, Stroke, disc, draw
from forethought.environments.analytic.integrate import Integrator, rk4
from forethought.environments.base import AbstractSystem, Capsules


class Quadrotor(AbstractSystem[Float[Array, "6"]]):
    r"""A rigid bar lifted by a rotor at either end.

    $$m \ddot x = -(u_1 + u_2) \sin\theta, \qquad
      m \ddot z = (u_1 + u_2) \cos\theta - m g, \qquad
      I \ddot\theta = r (u_2 - u_1)$$

    The state is $[x, z, \theta, \dot x, \dot z, \dot\theta]$, with $\theta$ zero where
    the bar is level and growing anticlockwise; the action is the thrust of the left and
    of the right rotor, which can only push.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.environments.analytic import Quadrotor
    >>> system, key = Quadrotor(), jax.random.key(0)
    >>> hover = jnp.full(2, system.hover)
    >>> system.step(jnp.zeros(6), hover, key=key).tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]

    ```

    Args:
        mass: $m$, in kg.
        arm: $r$, from the centre to a rotor, in m.
        inertia: $I$, in kg·m².
        gravity: $g$, in m/s².
        goal: Where to go, $(x, z)$ in m; drawn only.
        dt: Seconds from one step to the next.
        initial: Start state.
        action: Limits of the two thrusts, in N.
        integrate: From accelerations to steps.

    References:
        Tedrake, Underactuated Robotics, 2022, ch. 3, "Quadrotors", the planar one.
    """

    mass: float | Scalar = 1.0
    arm: float | Scalar = 0.25
    inertia: float | Scalar = 0.02
    gravity: float | Scalar = 9.81
    goal: tuple[float, float] = (0.0, 0.0)
    dt: float = 0.05
    initial: tuple[float, ...] = (-2.0, -1.0, 0.0, 0.0, 0.0, 0.0)
    action: Space = eqx.field(
        default_factory=lambda: Box(np.array([0.0, 0.0]), np.array([10.0, 10.0]))
    )
    integrate: Integrator = eqx.field(static=True, default=rk4)

    @property
    def hover(self) -> float | Scalar:
        """The thrust of each rotor that carries the weight, in N."""
        return 0.5 * self.mass * self.gravity

    @property
    def state_names(self) -> tuple[str, ...]:
        """Position, tilt, and their rates."""
        return (
            "x (m)",
            "z (m)",
            "tilt (rad)",
            "x velocity (m/s)",
            "z velocity (m/s)",
            "tilt velocity (rad/s)",
        )

    @property
    def action_names(self) -> tuple[str, ...]:
        """The two thrusts."""
        return ("left thrust (N)", "right thrust (N)")

    def start(self, *, key: PRNGKeyArray) -> Float[Array, "6"]:
        """The start state, always the same."""
        return jnp.asarray(self.initial, float)

    def derivative(
        self, state: Float[Array, "6"], action: Float[Array, "2"]
    ) -> Float[Array, "6"]:
        """The time derivative of the state."""
        theta, thrust = state[2], action[0] + action[1]
        accelerations = [
            -thrust * jnp.sin(theta) / self.mass,
            thrust * jnp.cos(theta) / self.mass - self.gravity,
            self.arm * (action[1] - action[0]) / self.inertia,
        ]
        return jnp.stack([state[3], state[4], state[5], *accelerations])

    def step(
        self, state: Float[Array, "6"], action: Float[Array, "2"], *, key: PRNGKeyArray
    ) -> Float[Array, "6"]:
        """The state `dt` seconds later."""
        return self.integrate(self.derivative, state, action, self.dt)

    def observe(self, state: Float[Array, "6"]) -> Float[Array, "6"]:
        """The state itself."""
        return state

    def sketch(self, state: Float[Array, "6"]) -> Capsules:
        """The bar, its rotors, and the goal."""
        x, z, r = state[0], state[1], self.arm
        cos, sin = jnp.cos(state[2]), jnp.sin(state[2])

        def place(along: float | Scalar, above: float):
            return (x + along * cos - above * sin, z + along * sin + above * cos)

        rotors = [
            Stroke(place(end - 0.6 * r, 0.08), place(end + 0.6 * r, 0.08), 0.02, STILL)
            for end in (-r, r)
        ]
        return draw(
            disc(self.goal, 0.1, GOAL),
            Stroke(place(-r, 0.0), place(r, 0.0), 0.04),
            *rotors,
        )
