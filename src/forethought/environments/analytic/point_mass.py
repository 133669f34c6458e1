"""A point mass pushed about a plane with discs to keep out of."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from forethought.core.spaces import Box, Space
from forethought.environments.analytic.drawing import GOAL, STILL, disc, draw
from forethought.environments.analytic.integrate import Integrator, semi_implicit_euler
from forethought.environments.base import AbstractSystem, Capsules


class PointMass(AbstractSystem[Float[Array, "4"]]):
    r"""A mass in a plane, with friction.

    $$m \ddot p = u - \mu \dot p$$

    The state is $[p_x, p_y, \dot p_x, \dot p_y]$, the action a force. The discs do not
    stop it: an objective that minds them is `forethought.objectives.task.Avoid`.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.environments.analytic import PointMass
    >>> system, key = PointMass(dt=0.5, friction=0.0), jax.random.key(0)
    >>> system.step(jnp.zeros(4), jnp.array([4.0, 0.0]), key=key).tolist()
    [1.0, 0.0, 2.0, 0.0]

    ```

    Args:
        mass: $m$, in kg.
        friction: $\mu$, in N·s/m.
        obstacles: Discs as $(x, y, \text{radius})$, in m; drawn only.
        goal: Where to go, in m; drawn only.
        dt: Seconds from one step to the next.
        initial: Start state.
        action: Limits of the force, in N.
        integrate: From accelerations to steps.
    """

    mass: float | Scalar = 1.0
    friction: float | Scalar = 0.5
    obstacles: tuple[tuple[float, float, float], ...] = ()
    goal: tuple[float, float] = (0.0, 0.0)
    dt: float = 0.05
    initial: tuple[float, float, float, float] = (-2.0, -2.0, 0.0, 0.0)
    action: Space = eqx.field(
        default_factory=lambda: Box(np.array([-4.0, -4.0]), np.array([4.0, 4.0]))
    )
    integrate: Integrator = eqx.field(static=True, default=semi_implicit_euler)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Position and velocity."""
        return ("x (m)", "y (m)", "x velocity (m/s)", "y velocity (m/s)")

    @property
    def action_names(self) -> tuple[str, ...]:
        """The force."""
        return ("x force (N)", "y force (N)")

    def start(self, *, key: PRNGKeyArray) -> Float[Array, "4"]:
        """The start state, always the same."""
        return jnp.asarray(self.initial, float)

    def derivative(
        self, state: Float[Array, "4"], action: Float[Array, "2"]
    ) -> Float[Array, "4"]:
        """The time derivative of the state."""
        velocity = state[2:]
        return jnp.concatenate(
            [velocity, (action - self.friction * velocity) / self.mass]
        )

    def step(
        self, state: Float[Array, "4"], action: Float[Array, "2"], *, key: PRNGKeyArray
    ) -> Float[Array, "4"]:
        """The state `dt` seconds later."""
        return self.integrate(self.derivative, state, action, self.dt)

    def observe(self, state: Float[Array, "4"]) -> Float[Array, "4"]:
        """The state itself."""
        return state

    def sketch(self, state: Float[Array, "4"]) -> Capsules:
        """The mass, the discs, and the goal."""
        return draw(
            *[disc((x, y), radius, STILL) for x, y, radius in self.obstacles],
            disc(self.goal, 0.15, GOAL),
            disc((state[0], state[1]), 0.1),
        )
