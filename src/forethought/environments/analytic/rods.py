"""Two machines with a rod on a hinge: the plants that PILCO was tried on.

Rods have their mass along them, angles are zero where they hang, and starts are drawn
around hanging at rest.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from forethought.core.spaces import Box, Space
from forethought.environments.analytic.drawing import GOAL, STILL, Stroke, disc, draw
from forethought.environments.analytic.integrate import Derivative, rk4
from forethought.environments.base import AbstractSystem, Capsules

SUBSTEPS = 10
"""Steps of the integrator within one of the system."""


def finely(
    derivative: Derivative, state: Float[Array, " state"], action: Array, dt: float
) -> Float[Array, " state"]:
    """The state `dt` seconds later, by `SUBSTEPS` steps of order four."""
    for _ in range(SUBSTEPS):
        state = rk4(derivative, state, action, dt / SUBSTEPS)
    return state


class RodPendulum(AbstractSystem[Float[Array, "2"]]):
    r"""A rod on a motor too weak to lift it at once.

    $$\ddot\theta = \frac{u - b \dot\theta - \tfrac12 m g l \sin\theta}
      {\tfrac13 m l^2}$$

    The state is $[\theta, \dot\theta]$, zero where the rod hangs at rest.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.environments.analytic.rods import RodPendulum
    >>> system, key = RodPendulum(), jax.random.key(0)
    >>> system.step(jnp.zeros(2), jnp.zeros(1), key=key).tolist()
    [0.0, 0.0]

    ```

    Args:
        mass: $m$, in kg.
        length: $l$, in m.
        friction: $b$, in N·m·s.
        gravity: $g$, in m/s².
        spread: Standard deviation of each number of the start state.
        dt: Seconds from one step to the next.
        action: Limits of the torque, in N·m.

    References:
        Deisenroth and Rasmussen, PILCO: a model-based and data-efficient approach to
        policy search, 2011; `pendulum` in the authors' code, equation by equation.
    """

    mass: float | Scalar = 1.0
    length: float | Scalar = 1.0
    friction: float | Scalar = 0.01
    gravity: float | Scalar = 9.82
    spread: float | Scalar = 0.1
    dt: float = 0.1
    action: Space = eqx.field(default_factory=lambda: Box([-2.5], [2.5]))

    @property
    def state_names(self) -> tuple[str, ...]:
        """Angle from hanging and its rate."""
        return ("angle (rad)", "angular velocity (rad/s)")

    @property
    def action_names(self) -> tuple[str, ...]:
        """The torque."""
        return ("torque (N·m)",)

    def start(self, *, key: PRNGKeyArray) -> Float[Array, "2"]:
        """Near hanging at rest."""
        return self.spread * jax.random.normal(key, (2,))

    def derivative(
        self, state: Float[Array, "2"], action: Float[Array, "1"]
    ) -> Float[Array, "2"]:
        """The time derivative of the state."""
        m, l, b, g = self.mass, self.length, self.friction, self.gravity
        angle, rate = state
        torque = action[0] - b * rate - 0.5 * m * g * l * jnp.sin(angle)
        return jnp.stack([rate, torque / (m * l**2 / 3)])

    def step(
        self, state: Float[Array, "2"], action: Float[Array, "1"], *, key: PRNGKeyArray
    ) -> Float[Array, "2"]:
        """The state `dt` seconds later."""
        return finely(self.derivative, state, action, self.dt)

    def observe(self, state: Float[Array, "2"]) -> Float[Array, "2"]:
        """The state itself."""
        return state

    def sketch(self, state: Float[Array, "2"]) -> Capsules:
        """The rod, its pivot, and where its tip should be."""
        l = self.length
        tip = (l * jnp.sin(state[0]), -l * jnp.cos(state[0]))
        return draw(
            disc((0.0, l), 0.12, GOAL),
            Stroke((0.0, 0.0), tip, 0.08),
            disc((0.0, 0.0), 0.05, STILL),
        )

    def off(self, state: Float[Array, "2"]) -> Scalar:
        """How far the tip is from where it should be, in m."""
        return 2 * self.length * jnp.abs(jnp.cos(0.5 * state[0]))


class RodCartPole(AbstractSystem[Float[Array, "4"]]):
    r"""A cart pushed along a track, with a rod that hangs from it.

    $$\ddot p = \frac{2 m l \dot\theta^2 s + 3 m g s c + 4 u - 4 b \dot p}
        {4 (M + m) - 3 m c^2}, \qquad
      \ddot\theta = \frac{-3 m l \dot\theta^2 s c - 6 (M + m) g s
        - 6 (u - b \dot p)\, c}{4 l (M + m) - 3 m l c^2}$$

    The state is $[p, \theta, \dot p, \dot\theta]$; the tip is at
    $(p + l \sin\theta, -l \cos\theta)$.

    **Notation.** $s, c$ sine and cosine of $\theta$, which is zero where the rod hangs.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.environments.analytic.rods import RodCartPole
    >>> system, key = RodCartPole(), jax.random.key(0)
    >>> system.step(jnp.zeros(4), jnp.zeros(1), key=key).tolist()
    [0.0, 0.0, 0.0, 0.0]

    ```

    Args:
        cart_mass: $M$, in kg.
        pole_mass: $m$, in kg.
        length: $l$, in m.
        friction: $b$, of the cart, in N·s/m.
        gravity: $g$, in m/s².
        spread: Standard deviation of each number of the start state.
        dt: Seconds from one step to the next.
        action: Limits of the force, in N.

    References:
        Deisenroth and Rasmussen, PILCO: a model-based and data-efficient approach to
        policy search, 2011; `cartPole` in the authors' code, equation by equation.
    """

    cart_mass: float | Scalar = 0.5
    pole_mass: float | Scalar = 0.5
    length: float | Scalar = 0.5
    friction: float | Scalar = 0.1
    gravity: float | Scalar = 9.82
    spread: float | Scalar = 0.1
    dt: float = 0.1
    action: Space = eqx.field(default_factory=lambda: Box([-10.0], [10.0]))

    @property
    def state_names(self) -> tuple[str, ...]:
        """Position of the cart, angle of the rod, and their rates."""
        return (
            "position (m)",
            "angle (rad)",
            "velocity (m/s)",
            "angular velocity (rad/s)",
        )

    @property
    def action_names(self) -> tuple[str, ...]:
        """The force on the cart."""
        return ("force (N)",)

    def start(self, *, key: PRNGKeyArray) -> Float[Array, "4"]:
        """Near hanging at rest."""
        return self.spread * jax.random.normal(key, (4,))

    def derivative(
        self, state: Float[Array, "4"], action: Float[Array, "1"]
    ) -> Float[Array, "4"]:
        """The time derivative of the state."""
        M, m, l = self.cart_mass, self.pole_mass, self.length
        b, g = self.friction, self.gravity
        _, theta, velocity, rate = state
        s, c, push = jnp.sin(theta), jnp.cos(theta), action[0] - b * velocity
        mass = 4 * (M + m) - 3 * m * c**2
        forth = 2 * m * l * rate**2 * s + 3 * m * g * s * c + 4 * push
        spin = -3 * m * l * rate**2 * s * c - 6 * (M + m) * g * s - 6 * push * c
        return jnp.stack([velocity, rate, forth / mass, spin / (l * mass)])

    def step(
        self, state: Float[Array, "4"], action: Float[Array, "1"], *, key: PRNGKeyArray
    ) -> Float[Array, "4"]:
        """The state `dt` seconds later."""
        return finely(self.derivative, state, action, self.dt)

    def observe(self, state: Float[Array, "4"]) -> Float[Array, "4"]:
        """The state itself."""
        return state

    def sketch(self, state: Float[Array, "4"]) -> Capsules:
        """Track, cart and rod, and where the tip should be."""
        p, l = state[0], self.length
        tip = (p + l * jnp.sin(state[1]), -l * jnp.cos(state[1]))
        return draw(
            Stroke((-2.0, 0.0), (2.0, 0.0), 0.01, STILL),
            disc((0.0, l), 0.06, GOAL),
            Stroke((p - 0.12, 0.0), (p + 0.12, 0.0), 0.07),
            Stroke((p, 0.0), tip, 0.025),
        )

    def off(self, state: Float[Array, "4"]) -> Scalar:
        """How far the tip is from where it should be, in m."""
        p, theta = state[0], state[1]
        l = self.length
        return jnp.hypot(p + l * jnp.sin(theta), l + l * jnp.cos(theta))
