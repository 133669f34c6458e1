"""Any linear system, from its matrix."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from forethought.core.linalg import Values, as_float, matvec
from forethought.core.spaces import Box, Space, free_box
from forethought.environments.analytic.drawing import STILL, Stroke, disc, draw
from forethought.environments.base import AbstractSystem, Capsules


class LinearSystem(AbstractSystem[Float[Array, " state"]]):
    r"""A linear system in discrete time.

    $$x_{t+1} = F \begin{bmatrix} x_t \\ u_t \end{bmatrix}$$

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

    Raises:
        ValueError: `F` and `initial` do not go together.
    """

    F: Float[Array, "state both"]
    initial: Float[Array, " state"]
    action: Space
    dt: float

    def __init__(
        self, F: Values, initial: Values, action: Box | None = None, dt: float = 0.1
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

    @property
    def state_names(self) -> tuple[str, ...]:
        """Numbered."""
        return tuple(f"x{i + 1}" for i in range(self.F.shape[0]))

    @property
    def action_names(self) -> tuple[str, ...]:
        """Numbered."""
        return tuple(f"u{i + 1}" for i in range(self.F.shape[1] - self.F.shape[0]))

    def start(self, *, key: PRNGKeyArray) -> Float[Array, " state"]:
        """The start state, always the same."""
        return jnp.asarray(self.initial, float)

    def step(
        self,
        state: Float[Array, " state"],
        action: Float[Array, " action"],
        *,
        key: PRNGKeyArray,
    ) -> Float[Array, " state"]:
        """The next state."""
        both = jnp.concatenate([state, action.astype(state.dtype)])
        return matvec(self.F.astype(state.dtype), both)

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
