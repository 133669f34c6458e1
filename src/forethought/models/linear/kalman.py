r"""The Kalman filter as a model: linear dynamics that are seen through noise.

The belief is the normal distribution of the state. An action moves and widens it, an
observation narrows it. Every planner runs on it: `LQR` takes its mean, which together
is the linear-quadratic-Gaussian regulator; others plan on mean and covariance under a
`Quadratic`, which takes the expected cost.

**Notation.** $x_t \sim \mathcal N(m_t, S_t)$ is the belief, $W_t$ and $N_t$ are the
covariances of what disturbs the state and the observation.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from forethought.core.gaussian import Gaussian, Response
from forethought.core.linalg import (
    Values,
    as_float,
    matvec,
    require_convex,
    require_finite,
)
from forethought.core.readout import Readout
from forethought.core.types import Action, Stamped
from forethought.models.base import AbstractModel
from forethought.models.linear.dynamics import Linear, at

GaussianState = Gaussian | Stamped[Gaussian]


class LinearGaussian(AbstractModel[GaussianState]):
    r"""Linear dynamics under noise, and a Kalman filter over their state.

    $$x_{t+1} = F_t \begin{bmatrix} x_t \\ u_t \end{bmatrix} + f_t + \epsilon_t, \quad
      \epsilon_t \sim \mathcal N(0, W_t), \qquad
      y_t = H_t x_t + h_t + \eta_t, \quad \eta_t \sim \mathcal N(0, N_t)$$

    The belief is a `Gaussian`, or `Stamped(Gaussian, t)` where any array has a leading
    time axis; beyond its last entry the last one holds.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.models.linear.dynamics import Linear
    >>> from forethought.models.linear.kalman import LinearGaussian
    >>> walk = LinearGaussian(Linear([[1.0, 0.0]]), [[1.0]], [[1.0]], [[1.0]])
    >>> key = jax.random.key(0)
    >>> belief = walk.predict(walk.init(key=key), jnp.zeros(1), key=key)
    >>> belief = walk.observe(belief, jnp.array([2.0]), key=key)
    >>> float(belief.mean[0]), float(belief.cov[0, 0])
    (1.0, 0.5)

    ```

    Args:
        dynamics: $F$ and $f$.
        W: Covariance of the disturbance, shape `[state, state]` or `[time, ...]`;
            positive semidefinite.
        H: What is seen of the state, shape `[obs, state]` or `[time, ...]`. Without it
            the state itself is seen, and exactly.
        N: Covariance of the observation's noise, shape `[obs, obs]` or `[time, ...]`;
            positive definite. It comes with `H`.
        h: Offset of the observation, shape `[obs]` or `[time, obs]`; zero by default.
        start: The belief before anything was seen; by default the origin, exactly.

    Raises:
        ValueError: A shape is wrong, one of `H` and `N` is missing, an entry is not
            finite, or a covariance is none; the message names its lowest eigenvalue.

    References:
        Kalman, A new approach to linear filtering and prediction problems, 1960, in the
        form of Joseph, which `Gaussian.condition` has.

    Note:
        The belief moves without chance. A planner that draws futures therefore sees
        the expected cost of acting with closed eyes, and no risk in it; `LQR` knows
        that the filter will look again.
    """

    dynamics: Linear
    W: Float[Array, "*time state state"]
    H: Float[Array, "*time obs state"] | None
    N: Float[Array, "*time obs obs"] | None
    h: Float[Array, "*time obs"] | None
    start: Gaussian

    def __init__(
        self,
        dynamics: Linear,
        W: Values,
        H: Values | None = None,
        N: Values | None = None,
        h: Values | None = None,
        *,
        start: Gaussian | None = None,
    ):
        n, dtype = dynamics.state_size, dynamics.F.dtype
        self.dynamics, self.W = dynamics, as_float(W)
        _require_shape("W", self.W, (n, n))
        require_finite("LinearGaussian", W=self.W)
        require_convex("LinearGaussian", "W", self.W)
        if (H is None) != (N is None):
            missing = "H" if H is None else "N"
            raise ValueError(
                "LinearGaussian needs H and N together, or neither where the state is "
                f"seen exactly; {missing} is missing."
            )
        if H is None or N is None:
            if h is not None:
                raise ValueError(
                    "LinearGaussian needs H and N to go with h, which would shift what "
                    "is seen; without them the state itself is seen."
                )
            self.H = self.N = self.h = None
        else:
            self.H, self.N = as_float(H), as_float(N)
            m = self.H.shape[-2] if self.H.ndim > 1 else 0
            self.h = jnp.zeros((m,), dtype) if h is None else as_float(h)
            _require_shape("H", self.H, (max(m, 1), n))
            _require_shape("N", self.N, (m, m))
            _require_shape("h", self.h, (m,))
            require_finite("LinearGaussian", H=self.H, N=self.N, h=self.h)
            require_convex("LinearGaussian", "N", self.N, definite=True)
        if start is None:
            start = Gaussian(jnp.zeros((n,), dtype), jnp.zeros((n, n), dtype))
        if start.mean.shape != (n,) or start.cov.shape != (n, n):
            raise ValueError(
                f"LinearGaussian needs a start over {n} states, got a mean of shape "
                f"{list(start.mean.shape)} and a covariance of shape "
                f"{list(start.cov.shape)}."
            )
        require_finite("LinearGaussian", mean=start.mean, cov=start.cov)
        require_convex("LinearGaussian", "covariance at the start", start.cov)
        self.start = start

    @property
    def time_varying(self) -> bool:
        """Whether the belief carries the time."""
        arrays = ((self.W, 2), (self.H, 2), (self.N, 2), (self.h, 1))
        return self.dynamics.time_varying or any(
            array is not None and array.ndim > rank for array, rank in arrays
        )

    def init(self, *, key: PRNGKeyArray) -> GaussianState:
        """The belief at the start, at time zero."""
        return Stamped(self.start, jnp.asarray(0)) if self.time_varying else self.start

    def predict(
        self, belief: GaussianState, action: Action | Response, *, key: PRNGKeyArray
    ) -> GaussianState:
        r"""One step: $A_t S A_t^\top + W_t$, with $A_t$ the state's part of $F_t$.

        Where the action answers the state, $F_t$ acts on the two together.
        """
        time, x = _open(belief)
        F = at(self.dynamics.F, 2, time).astype(x.mean.dtype)
        W = at(self.W, 2, time).astype(x.cov.dtype)
        if isinstance(action, Response):
            f = at(self.dynamics.f, 1, time).astype(x.mean.dtype)
            after = action.joint(x).affine(F, f, W)
        else:
            A, still = F[:, : self.dynamics.state_size], jnp.zeros_like(x.mean)
            u = action.astype(x.mean.dtype)
            mean = self.dynamics.move(x.mean, u, time)
            after = Gaussian(mean, x.affine(A, still, W).cov)
        return Stamped(after, time + 1) if isinstance(belief, Stamped) else after

    def observe(
        self, belief: GaussianState, obs: Array, *, key: PRNGKeyArray
    ) -> GaussianState:
        """The belief given what was seen; the state itself where there is no `H`."""
        if self.H is None or self.N is None or self.h is None:
            n = self.dynamics.state_size
            seen = Gaussian(obs, jnp.zeros((n, n), obs.dtype))
            return Stamped(seen, belief.time) if isinstance(belief, Stamped) else seen
        time, x = _open(belief)
        H, h, N = at(self.H, 2, time), at(self.h, 1, time), at(self.N, 2, time)
        H, h, N = (array.astype(x.mean.dtype) for array in (H, h, N))
        seen = x.condition(H, h, N, obs.astype(x.mean.dtype))
        return Stamped(seen, time) if isinstance(belief, Stamped) else seen

    def expect(self, belief: GaussianState) -> Float[Array, " obs"]:
        """The observation that the belief expects."""
        time, x = _open(belief)
        if self.H is None or self.h is None:
            return x.mean
        H, h = at(self.H, 2, time), at(self.h, 1, time)
        return matvec(H.astype(x.mean.dtype), x.mean) + h.astype(x.mean.dtype)

    def readout(self, belief: GaussianState) -> Readout[Gaussian]:
        """The belief itself, of which a `Quadratic` takes the expected cost."""
        return Readout.of(belief)


def _open(belief: GaussianState) -> tuple[Array, Gaussian]:
    """The time, which is zero where it does not matter, and the distribution."""
    seen = Readout.of(belief)
    return jnp.asarray(0) if seen.time is None else seen.time, seen.x


def _require_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    """Refuse an array that has neither this shape nor this one per step."""
    if array.ndim not in (len(shape), len(shape) + 1) or (
        array.shape[-len(shape) :] != shape
    ):
        raise ValueError(
            f"LinearGaussian needs {name} of shape {list(shape)}, or that with a "
            f"leading time axis, got {list(array.shape)}."
        )
