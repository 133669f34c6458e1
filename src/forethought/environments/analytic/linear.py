"""Any linear system, from its matrix."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from forethought.core.gaussian import Gaussian
from forethought.core.linalg import Values, as_float, matvec, require_convex
from forethought.core.spaces import Box, Space, free_box
from forethought.environments.analytic.drawing import STILL, Stroke, disc, draw
from forethought.environments.base import AbstractSystem, Capsules


class LinearSystem(AbstractSystem[Float[Array, " state"]]):
    r"""A linear system in discrete time, if need be under noise.

    $$x_{t+1} = F \begin{bmatrix} x_t \\ u_t \end{bmatrix} + \epsilon_t, \qquad
      \epsilon_t \sim \mathcal N(0, W)$$

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.environments.analytic import LinearSystem
    >>> system, key = LinearSystem([[0.5, 2.0]], [4.0]), jax.random.key(0)
    >>> system.step(system.start(key=key), jnp.array([1.0]), key=key).tolist()
    [4.0]

    ```

    Args:
        F: Shape `[state, state + action]`.
        initial: Start state, shape `[state]`.
        action: Limits of the action; free by default.
        dt: Seconds from one step to the next.
        W: Covariance of the noise, shape `[state, state]`, positive definite; none by
            default.
        spread: Covariance of the start state around `initial`; it is always the same
            by default.

    Raises:
        ValueError: Shapes do not go together, or a covariance is not positive definite.
    """

    F: Float[Array, "state both"]
    initial: Float[Array, " state"]
    action: Space
    dt: float
    W: Float[Array, "state state"] | None
    spread: Float[Array, "state state"] | None

    def __init__(
        self,
        F: Values,
        initial: Values,
        action: Box | None = None,
        dt: float = 0.1,
        W: Values | None = None,
        spread: Values | None = None,
    ):
        self.F, self.initial = as_float(F), as_float(initial)
        state, both = self.F.shape if self.F.ndim == 2 else (0, 0)
        if not 0 < state < both or self.initial.shape != (state,):
            raise ValueError(
                "LinearSystem needs F of shape [state, state + action] and initial of "
                f"shape [state], got {list(self.F.shape)} and "
                f"{list(self.initial.shape)}."
            )
        self.action = free_box(both - state) if action is None else action
        self.dt = dt
        self.W = _covariance("W", W, state)
        self.spread = _covariance("spread", spread, state)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Numbered."""
        return tuple(f"x{i + 1}" for i in range(self.F.shape[0]))

    @property
    def action_names(self) -> tuple[str, ...]:
        """Numbered."""
        return tuple(f"u{i + 1}" for i in range(self.F.shape[1] - self.F.shape[0]))

    def start(self, *, key: PRNGKeyArray) -> Float[Array, " state"]:
        """The start state, or a draw around it."""
        return _around(jnp.asarray(self.initial, float), self.spread, key)

    def step(
        self,
        state: Float[Array, " state"],
        action: Float[Array, " action"],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, " state"]:
        """The next state."""
        both = jnp.concatenate([state, action.astype(state.dtype)])
        return _around(matvec(self.F.astype(state.dtype), both), self.W, key)

    def observe(self, state: Float[Array, " state"]) -> Float[Array, " state"]:
        """The state itself."""
        return state

    def sketch(self, state: Float[Array, " state"]) -> Capsules:
        """A bead for each coordinate, on a wire of its own."""
        count = state.shape[0]
        places = np.arange(count) - (count - 1) / 2
        wires = [Stroke((x, -3.0), (x, 3.0), 0.02, STILL) for x in places.tolist()]
        beads = [disc((x, state[i]), 0.2) for i, x in enumerate(places.tolist())]
        return draw(*wires, *beads)


def _covariance(name: str, values: Values | None, state: int) -> Array | None:
    """A covariance of the state, if there is one."""
    if values is None:
        return None
    cov = as_float(values)
    if cov.shape != (state, state):
        raise ValueError(
            f"LinearSystem needs {name} of shape [{state}, {state}], got "
            f"{list(cov.shape)}."
        )
    require_convex("LinearSystem", name, cov, definite=True)
    return cov


def _around(mean: Array, cov: Array | None, key: PRNGKeyArray) -> Array:
    """A draw around a mean; the mean itself where nothing is left to chance."""
    if cov is None:
        return mean
    return Gaussian(mean, cov.astype(mean.dtype)).sample(key=key)
