"""The cart-pole, to be swung up: a pole hanging from a cart on a track."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from forethought.core.spaces import Space, free_box
from forethought.environments.analytic.drawing import GOAL, STILL, Stroke, disc, draw
from forethought.environments.analytic.integrate import Integrator, rk4
from forethought.environments.base import AbstractSystem, Capsules


class CartPole(AbstractSystem[Float[Array, "4"]]):
    r"""A cart pushed along a track, with a massless pole and a mass at its tip.

    $$\ddot p = \frac{u + m_p \sin\theta\,(l \dot\theta^2 + g \cos\theta)}
                     {m_c + m_p \sin^2\theta}, \qquad
      \ddot\theta = -\frac{u \cos\theta + m_p l \dot\theta^2 \cos\theta \sin\theta
                     + (m_c + m_p) g \sin\theta}{l (m_c + m_p \sin^2\theta)}$$

    The angle $\theta$ is zero where the pole hangs and $\pi$ where it stands, and the
    tip is at $(p + l \sin\theta, -l \cos\theta)$. The state is
    $[p, \theta, \dot p, \dot\theta]$, the action the force $u$ on the cart.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.environments.analytic import CartPole
    >>> system, key = CartPole(), jax.random.key(0)
    >>> system.step(jnp.zeros(4), jnp.zeros(1), key=key).tolist()
    [0.0, 0.0, 0.0, 0.0]

    ```

    Args:
        cart_mass: $m_c$, in kg.
        pole_mass: $m_p$, at the tip, in kg.
        length: $l$, in m.
        gravity: $g$, in m/s².
        dt: Seconds from one step to the next.
        initial: Start state.
        action: Limits of the force, in N; free by default.
        integrate: From accelerations to steps.

    References:
        Tedrake, Underactuated Robotics, 2022, ch. 3, "The Cart-Pole system", where the
        accelerations are solved for.
    """

    cart_mass: float | Scalar = 1.0
    pole_mass: float | Scalar = 0.2
    length: float | Scalar = 0.5
    gravity: float | Scalar = 9.81
    dt: float = 0.05
    initial: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    action: Space = eqx.field(default_factory=lambda: free_box(1))
    integrate: Integrator = eqx.field(static=True, default=rk4)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Position of the cart, angle of the pole, and their rates."""
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
        """The start state, always the same."""
        return jnp.asarray(self.initial, float)

    def derivative(
        self, state: Float[Array, "4"], action: Float[Array, "1"]
    ) -> Float[Array, "4"]:
        """The time derivative of the state."""
        m_c, m_p, l, g = self.cart_mass, self.pole_mass, self.length, self.gravity
        _, theta, velocity, rate = state
        u, sin, cos = action[0], jnp.sin(theta), jnp.cos(theta)
        mass = m_c + m_p * sin**2
        acceleration = (u + m_p * sin * (l * rate**2 + g * cos)) / mass
        spin = -(u + m_p * l * rate**2 * sin) * cos - (m_c + m_p) * g * sin
        return jnp.stack([velocity, rate, acceleration, spin / (l * mass)])

    def step(
        self, state: Float[Array, "4"], action: Float[Array, "1"], *, key: PRNGKeyArray
    ) -> Float[Array, "4"]:
        """The state `dt` seconds later."""
        return self.integrate(self.derivative, state, action, self.dt)

    def observe(self, state: Float[Array, "4"]) -> Float[Array, "4"]:
        """The state itself."""
        return state

    def sketch(self, state: Float[Array, "4"]) -> Capsules:
        """Track, cart and pole, and where the tip should be."""
        p, l = state[0], self.length
        tip = (p + l * jnp.sin(state[1]), -l * jnp.cos(state[1]))
        return draw(
            Stroke((-2.0, 0.0), (2.0, 0.0), 0.01, STILL),
            disc((0.0, l), 0.06, GOAL),
            Stroke((p - 0.12, 0.0), (p + 0.12, 0.0), 0.07),
            Stroke((p, 0.0), tip, 0.025),
            disc(tip, 0.05),
        )
