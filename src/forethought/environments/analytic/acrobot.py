"""The acrobot: two links, a motor at the elbow, none at the shoulder."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from forethought.core.spaces import Space, free_box
from forethought.environments.analytic.drawing import GOAL, STILL, Stroke, disc, draw
from forethought.environments.analytic.integrate import Integrator, rk4
from forethought.environments.base import AbstractSystem, Capsules


class Acrobot(AbstractSystem[Float[Array, "4"]]):
    r"""A gymnast on a bar, who can only bend the hips.

    With $d_1, d_2, \phi_1, \phi_2$ as in Sutton and Barto's book,

    $$\ddot\theta_2 = \frac{u + \frac{d_2}{d_1} \phi_1
        - m_2 l_1 l_{c2} \dot\theta_1^2 \sin\theta_2 - \phi_2}
        {m_2 l_{c2}^2 + I_2 - d_2^2 / d_1}, \qquad
      \ddot\theta_1 = -\frac{d_2 \ddot\theta_2 + \phi_1}{d_1}$$

    The first angle is zero where the upper link hangs, the second is the lower link's
    angle relative to it. The state is
    $[\theta_1, \theta_2, \dot\theta_1, \dot\theta_2]$, the action the torque $u$ at
    the elbow. Both links are alike.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.environments.analytic import Acrobot
    >>> system, key = Acrobot(), jax.random.key(0)
    >>> system.step(jnp.zeros(4), jnp.zeros(1), key=key).tolist()
    [0.0, 0.0, 0.0, 0.0]

    ```

    Args:
        mass: $m_1 = m_2$, in kg.
        length: $l_1$ and that of the lower link, in m.
        centre: $l_{c1} = l_{c2}$, from a link's joint to its centre of mass, in m.
        inertia: $I_1 = I_2$, about the centre of mass, in kg·m².
        gravity: $g$, in m/s².
        dt: Seconds from one step to the next.
        initial: Start state.
        action: Limits of the torque, in N·m; free by default.
        integrate: From accelerations to steps.

    References:
        Sutton and Barto, Reinforcement Learning: An Introduction, 1998, §11.3: the
        equations of the book, not those of the earlier paper, which lack the term in
        $\dot\theta_1^2$.
    """

    mass: float | Scalar = 1.0
    length: float | Scalar = 1.0
    centre: float | Scalar = 0.5
    inertia: float | Scalar = 1.0
    gravity: float | Scalar = 9.8
    dt: float = 0.05
    initial: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    action: Space = eqx.field(default_factory=lambda: free_box(1))
    integrate: Integrator = eqx.field(static=True, default=rk4)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Both angles and their rates."""
        return (
            "shoulder angle (rad)",
            "elbow angle (rad)",
            "shoulder velocity (rad/s)",
            "elbow velocity (rad/s)",
        )

    @property
    def action_names(self) -> tuple[str, ...]:
        """The torque at the elbow."""
        return ("elbow torque (N·m)",)

    def start(self, *, key: PRNGKeyArray) -> Float[Array, "4"]:
        """The start state, always the same."""
        return jnp.asarray(self.initial, float)

    def derivative(
        self, state: Float[Array, "4"], action: Float[Array, "1"]
    ) -> Float[Array, "4"]:
        """The time derivative of the state."""
        m, l, lc, I, g = (
            self.mass,
            self.length,
            self.centre,
            self.inertia,
            self.gravity,
        )
        theta_1, theta_2, rate_1, rate_2 = state
        sin_2, cos_2 = jnp.sin(theta_2), jnp.cos(theta_2)
        d_1 = m * lc**2 + m * (l**2 + lc**2 + 2 * l * lc * cos_2) + 2 * I
        d_2 = m * (lc**2 + l * lc * cos_2) + I
        # cos(θ - π/2) of the book is sin θ.
        phi_2 = m * lc * g * jnp.sin(theta_1 + theta_2)
        phi_1 = (
            -m * l * lc * (rate_2**2 + 2 * rate_2 * rate_1) * sin_2
            + (m * lc + m * l) * g * jnp.sin(theta_1)
            + phi_2
        )
        torque = action[0] + d_2 / d_1 * phi_1 - m * l * lc * rate_1**2 * sin_2 - phi_2
        spin_2 = torque / (m * lc**2 + I - d_2**2 / d_1)
        spin_1 = -(d_2 * spin_2 + phi_1) / d_1
        return jnp.stack([rate_1, rate_2, spin_1, spin_2])

    def step(
        self, state: Float[Array, "4"], action: Float[Array, "1"], *, key: PRNGKeyArray
    ) -> Float[Array, "4"]:
        """The state `dt` seconds later."""
        return self.integrate(self.derivative, state, action, self.dt)

    def observe(self, state: Float[Array, "4"]) -> Float[Array, "4"]:
        """The state itself."""
        return state

    def sketch(self, state: Float[Array, "4"]) -> Capsules:
        """Both links, the bar, and where the tip should be."""
        l, both = self.length, state[0] + state[1]
        elbow = (l * jnp.sin(state[0]), -l * jnp.cos(state[0]))
        tip = (elbow[0] + l * jnp.sin(both), elbow[1] - l * jnp.cos(both))
        return draw(
            disc((0.0, 2 * l), 0.12, GOAL),
            Stroke((0.0, 0.0), elbow, 0.08),
            Stroke(elbow, tip, 0.06),
            disc((0.0, 0.0), 0.05, STILL),
        )
