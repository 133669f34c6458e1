"""Linear dynamics, constant or varying in time: the model that LQR is exact for."""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from forethought.core.linalg import Values, as_float, matvec, require_finite
from forethought.core.readout import Readout
from forethought.core.types import Action, Stamped
from forethought.models.base import AbstractModel

LinearState = Array | Stamped[Array]


def at(array: Array, rank: int, time: Array) -> Array:
    """The entries that hold at a time, or at several; the last one holds for ever.

    Args:
        array: Constant where it has `rank` axes; otherwise the first is time.
        rank: Axes of one entry.
        time: Step or steps since the start.
    """
    if array.ndim == rank:
        return array
    return array[jnp.clip(time, 0, array.shape[0] - 1)]


class Linear(AbstractModel[LinearState]):
    r"""Linear dynamics.

    $$x_{t+1} = F_t \begin{bmatrix} x_t \\ u_t \end{bmatrix} + f_t$$

    With constant $F$ and $f$ the belief is the state, shape `[state]`. Where either has
    a leading time axis the belief is `Stamped(x, t)`, because what happens then depends
    on the time, and the readout says it; beyond the last entry the last one holds.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.models.linear.dynamics import Linear
    >>> double_integrator = Linear([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])
    >>> key = jax.random.key(0)
    >>> x = double_integrator.predict(jnp.zeros(2), jnp.array([2.0]), key=key)
    >>> [round(float(entry), 3) for entry in x]
    [0.01, 0.2]

    ```

    Args:
        F: Shape `[state, state + action]`, or `[time, state, state + action]`.
        f: Shape `[state]` or `[time, state]`; zero by default.

    Raises:
        ValueError: A shape is wrong, the time axes differ, or an entry is not finite.
    """

    F: Float[Array, "*time state both"]
    f: Float[Array, "*time state"]

    def __init__(self, F: Values, f: Values | None = None):
        F = as_float(F)
        if F.ndim not in (2, 3) or F.shape[-1] <= F.shape[-2]:
            raise ValueError(
                "Linear needs F of shape [state, state + action], or that with a "
                f"leading time axis, got {list(F.shape)}."
            )
        f = jnp.zeros(F.shape[:-1], F.dtype) if f is None else as_float(f)
        if f.ndim not in (1, 2) or f.shape[-1] != F.shape[-2]:
            raise ValueError(
                f"Linear needs f of shape [{F.shape[-2]}], or that with a leading time "
                f"axis, to go with F of shape {list(F.shape)}, got {list(f.shape)}."
            )
        if F.ndim == 3 and f.ndim == 2 and F.shape[0] != f.shape[0]:
            raise ValueError(
                "Linear needs F and f of one length in time, got "
                f"{F.shape[0]} and {f.shape[0]}."
            )
        if F.ndim == 2 and f.ndim == 2:
            F = jnp.broadcast_to(F, (f.shape[0], *F.shape))
        if F.ndim == 3 and f.ndim == 1:
            f = jnp.broadcast_to(f, (F.shape[0], *f.shape))
        require_finite("Linear", F=F, f=f)
        self.F, self.f = F, f

    @property
    def state_size(self) -> int:
        """How many coordinates the state has."""
        return self.F.shape[-2]

    @property
    def action_size(self) -> int:
        """How many coordinates the action has."""
        return self.F.shape[-1] - self.F.shape[-2]

    @property
    def time_varying(self) -> bool:
        """Whether the belief carries the time."""
        return self.F.ndim == 3

    def init(self, *, key: PRNGKeyArray) -> LinearState:
        """The origin, at time zero."""
        x = jnp.zeros((self.state_size,), self.F.dtype)
        return Stamped(x, jnp.asarray(0)) if self.time_varying else x

    def predict(
        self, belief: LinearState, action: Action, *, key: PRNGKeyArray
    ) -> LinearState:
        """One step: $F_t [x; u] + f_t$."""
        if not isinstance(belief, Stamped):
            return self.move(belief, action, jnp.asarray(0))
        x = self.move(belief.value, action, belief.time)
        return Stamped(x, belief.time + 1)

    def move(self, x: Array, u: Action, time: Array) -> Float[Array, " state"]:
        """The state one step after `x` at a time."""
        F, f = at(self.F, 2, time), at(self.f, 1, time)
        xu = jnp.concatenate([x, u.astype(x.dtype)])
        return matvec(F.astype(x.dtype), xu) + f.astype(x.dtype)

    def observe(
        self, belief: LinearState, obs: LinearState, *, key: PRNGKeyArray
    ) -> LinearState:
        """The state that was seen, with its time where the dynamics vary."""
        return obs

    def readout(self, belief: LinearState) -> Readout[Array]:
        """The state itself, and the time where the dynamics vary."""
        return Readout.of(belief)
