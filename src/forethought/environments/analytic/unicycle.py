"""A unicycle: it rolls where it heads, and turns on the spot."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from forethought.core.spaces import Box, Space
from forethought.environments.analytic.drawing import GOAL, STILL, Stroke, disc, draw
from forethought.environments.analytic.integrate import Integrator, rk4
from forethought.environments.base import AbstractSystem, Capsules


class Unicycle(AbstractSystem[Float[Array, "3"]]):
    r"""A wheel, or a cart with two, whose speeds are the actions.

    $$\dot x = v \cos\theta, \qquad \dot y = v \sin\theta, \qquad \dot\theta = \omega$$

    The state is $[x, y, \theta]$, the action $[v, \omega]$. The discs do not stop it:
    constraints that mind them are `forethought.objectives.constrained.Outside`.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.environments.analytic import Unicycle
    >>> system, key = Unicycle(dt=0.5), jax.random.key(0)
    >>> system.step(jnp.zeros(3), jnp.array([2.0, 0.0]), key=key).tolist()
    [1.0, 0.0, 0.0]

    ```

    Args:
        obstacles: Discs as $(x, y, \text{radius})$, in m; drawn only.
        goal: Where to go and which way to head, in m and rad; drawn only.
        dt: Seconds from one step to the next.
        initial: Start state.
        action: Limits of speed (m/s) and turning rate (rad/s).
        integrate: From rates to steps.

    References:
        LaValle, Planning Algorithms, 2006, eq. 13.18.
    """

    obstacles: tuple[tuple[float, float, float], ...] = ()
    goal: tuple[float, float, float] = (1.0, 0.0, 0.0)
    dt: float = 0.1
    initial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    action: Space = eqx.field(
        default_factory=lambda: Box(np.array([-1.0, -1.0]), np.array([1.0, 1.0]))
    )
    integrate: Integrator = eqx.field(static=True, default=rk4)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Position and heading."""
        return ("x (m)", "y (m)", "heading (rad)")

    @property
    def action_names(self) -> tuple[str, ...]:
        """Speed and turning rate."""
        return ("speed (m/s)", "turning rate (rad/s)")

    def start(self, *, key: PRNGKeyArray) -> Float[Array, "3"]:
        """The start state, always the same."""
        return jnp.asarray(self.initial, float)

    def derivative(
        self, state: Float[Array, "3"], action: Float[Array, "2"]
    ) -> Float[Array, "3"]:
        """The time derivative of the state."""
        speed, turn = action
        return jnp.stack([speed * jnp.cos(state[2]), speed * jnp.sin(state[2]), turn])

    def step(
        self, state: Float[Array, "3"], action: Float[Array, "2"], *, key: PRNGKeyArray
    ) -> Float[Array, "3"]:
        """The state `dt` seconds later."""
        return self.integrate(self.derivative, state, action, self.dt)

    def observe(self, state: Float[Array, "3"]) -> Float[Array, "3"]:
        """The state itself."""
        return state

    def sketch(self, state: Float[Array, "3"]) -> Capsules:
        """The wheel, the discs, and the goal with its heading."""
        nose = (state[0] + 0.1 * jnp.cos(state[2]), state[1] + 0.1 * jnp.sin(state[2]))
        x, y, theta = self.goal
        ahead = (x + 0.1 * np.cos(theta), y + 0.1 * np.sin(theta))
        return draw(
            *[disc((x, y), radius, STILL) for x, y, radius in self.obstacles],
            Stroke((x, y), ahead, 0.05, GOAL),
            Stroke((state[0], state[1]), nose, 0.03),
        )
