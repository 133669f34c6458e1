"""The double integrator: a mass pushed along a line, the simplest system that moves."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from forethought.core.spaces import Space, free_box
from forethought.environments.analytic.drawing import GOAL, STILL, Stroke, disc, draw
from forethought.environments.base import AbstractSystem, Capsules


class DoubleIntegrator(AbstractSystem[Float[Array, "2"]]):
    r"""A unit mass on a line, exact for an acceleration held during the step.

    $$p_{t+1} = p_t + h v_t + \tfrac12 h^2 a_t, \qquad v_{t+1} = v_t + h a_t$$

    The state is position (m) and velocity (m/s), the action an acceleration (m/s²).

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.environments.analytic import DoubleIntegrator
    >>> system, key = DoubleIntegrator(dt=1.0), jax.random.key(0)
    >>> system.step(jnp.array([0.0, 1.0]), jnp.array([2.0]), key=key).tolist()
    [2.0, 3.0]

    ```

    Args:
        dt: $h$, seconds from one step to the next.
        initial: Start state.
        action: Limits of the acceleration, in m/s²; free by default.

    References:
        Rao and Bernstein, Naive control of the double integrator, 2001,
        doi:10.1109/37.954521.
    """

    dt: float = 0.1
    initial: tuple[float, float] = (1.0, 0.0)
    action: Space = eqx.field(default_factory=lambda: free_box(1))

    @property
    def state_names(self) -> tuple[str, ...]:
        """Position and velocity."""
        return ("position (m)", "velocity (m/s)")

    @property
    def action_names(self) -> tuple[str, ...]:
        """The acceleration."""
        return ("acceleration (m/s²)",)

    def start(self, *, key: PRNGKeyArray) -> Float[Array, "2"]:
        """The start state, always the same."""
        return jnp.asarray(self.initial, float)

    def step(
        self, state: Float[Array, "2"], action: Float[Array, "1"], *, key: PRNGKeyArray
    ) -> Float[Array, "2"]:
        """The state `dt` seconds later."""
        position, velocity = state
        acceleration = action[0]
        return jnp.stack(
            [
                position + self.dt * velocity + 0.5 * self.dt**2 * acceleration,
                velocity + self.dt * acceleration,
            ]
        )

    def observe(self, state: Float[Array, "2"]) -> Float[Array, "2"]:
        """The state itself."""
        return state

    def sketch(self, state: Float[Array, "2"]) -> Capsules:
        """A ball on a line, and the origin."""
        return draw(
            Stroke((-1.5, -0.1), (1.5, -0.1), 0.01, STILL),
            disc((0.0, 0.0), 0.04, GOAL),
            disc((state[0], 0.0), 0.1),
        )
