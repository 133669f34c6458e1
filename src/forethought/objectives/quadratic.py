"""The quadratic objective, with cross terms, linear terms, and time-varying arrays."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from forethought.core.gaussian import Response, joint_moments, moments
from forethought.core.given.settings import Part, require
from forethought.core.linalg import (
    Values,
    as_float,
    dot,
    matvec,
    require_convex,
    require_finite,
    trace_of_product,
)
from forethought.core.readout import Readout
from forethought.core.types import Action
from forethought.objectives.expected import AbstractExpecting


@jax.custom_jvp
def _quadratic(C: Array, c: Array, z: Array) -> Array:
    r"""The number $\tfrac12 z^\top C z + z^\top c$, for a symmetric $C$."""
    return dot(z, 0.5 * matvec(C, z) + c)


@_quadratic.defjvp
def _(primals, tangents):
    # Its slope is Cz + c because C is symmetric: half the work of the general rule,
    # in the innermost loop of every planner that takes gradients.
    C, c, z = primals
    dC, dc, dz = tangents
    slope = matvec(C, z) + c
    half = 0.5 * (slope + c)
    return dot(z, half), dot(slope, dz) + dot(z, 0.5 * matvec(dC, z) + dc)


class Quadratic(AbstractExpecting):
    r"""A quadratic cost; the reward is its negative.

    $$c_t(x, u) = \tfrac12 \begin{bmatrix} x \\ u \end{bmatrix}^\top C_t
      \begin{bmatrix} x \\ u \end{bmatrix}
      + \begin{bmatrix} x \\ u \end{bmatrix}^\top c_t, \qquad
      c_T(x) = \tfrac12 x^\top C_T x + x^\top c_T$$

    The state is `ravel` of what the model reads out. Of a `Gaussian` the expected cost
    is taken: that of its mean $m$, and half the trace of the state's block of $C_t$
    times its covariance $S$. Where `C` or `c` has a leading time axis the model must
    read out the time; beyond the last entry the last one holds. An action that is a
    `Response` is as uncertain as the state, and counts with it.

    $$\mathbb E\, c_t(x, u) = c_t(m, u) + \tfrac12 \operatorname{tr}(C_{t,xx} S)$$

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.core.readout import Readout
    >>> from forethought.objectives.quadratic import Quadratic
    >>> cost = Quadratic(jnp.eye(3), C_final=10.0 * jnp.eye(2))
    >>> seen, u = Readout(jnp.array([1.0, 0.0])), jnp.array([2.0])
    >>> float(cost.judge(seen, u, seen)[0]), float(cost.beyond(seen))
    (-2.5, -5.0)

    ```

    Args:
        C: Shape `[state + action, state + action]`, or `[time, ...]`; symmetric,
            positive semidefinite, its action block positive definite.
        c: Shape `[state + action]` or `[time, state + action]`; zero by default.
        C_final: Shape `[state, state]`, positive semidefinite; zero by default.
        c_final: Shape `[state]`; zero by default.
        gamma: Discount factor of one step, in (0, 1].

    Raises:
        ValueError: A shape is wrong, time axes differ, an entry is not finite, a matrix
            is not symmetric or not convex, or `gamma` lies outside its range. The
            message names which, and the lowest eigenvalue.

    Note:
        Arrays that are being traced cannot be looked at, so they are not checked. The
        action block of `C` is known once the state's size is: here where a terminal
        cost is given, otherwise when LQR first meets the objective.
    """

    C: Float[Array, "*time both both"]
    c: Float[Array, "*time both"]
    C_final: Float[Array, "state state"] | None
    c_final: Float[Array, " state"] | None
    gamma: float = eqx.field(static=True)

    def __init__(
        self,
        C: Values,
        c: Values | None = None,
        C_final: Values | None = None,
        c_final: Values | None = None,
        *,
        gamma: float = 1.0,
    ):
        C = as_float(C)
        if C.ndim not in (2, 3) or C.shape[-1] != C.shape[-2]:
            raise ValueError(
                "Quadratic needs C of shape [state + action, state + action], or that "
                f"with a leading time axis, got {list(C.shape)}."
            )
        both = C.shape[-1]
        c = jnp.zeros(C.shape[:-1], C.dtype) if c is None else as_float(c)
        if c.ndim not in (1, 2) or c.shape[-1] != both:
            raise ValueError(
                f"Quadratic needs c of shape [{both}], or that with a leading time "
                f"axis, to go with C of shape {list(C.shape)}, got {list(c.shape)}."
            )
        if C.ndim == 3 and c.ndim == 2 and C.shape[0] != c.shape[0]:
            raise ValueError(
                "Quadratic needs C and c of one length in time, got "
                f"{C.shape[0]} and {c.shape[0]}."
            )
        if C.ndim == 2 and c.ndim == 2:
            C = jnp.broadcast_to(C, (c.shape[0], *C.shape))
        if C.ndim == 3 and c.ndim == 1:
            c = jnp.broadcast_to(c, (C.shape[0], *c.shape))
        require_finite("Quadratic", C=C, c=c)
        require_convex("Quadratic", "C", C)
        self.C, self.c, self.gamma = C, c, gamma
        self.C_final, self.c_final = _terminal(C_final, c_final, both, C.dtype)
        require("Quadratic", Part, gamma=gamma)
        if self.C_final is not None:
            self.require_action_cost(self.C_final.shape[0])

    @property
    def time_varying(self) -> bool:
        """Whether the cost depends on the time, which the readout must then carry."""
        return self.C.ndim == 3

    def require_action_cost(self, state: int) -> None:
        """Refuse a cost whose action block is not positive definite.

        Args:
            state: How many coordinates the state has.

        Raises:
            ValueError: Naming the lowest eigenvalue of the block.
        """
        block = self.C[..., state:, state:]
        require_convex("Quadratic", "action block of C", block, definite=True)

    def judge(
        self, before: Readout, action: Action | Response, after: Readout
    ) -> tuple[Scalar, Scalar]:
        """Minus the cost of the state and the action taken in it, and `gamma`.

        Raises:
            TypeError: The arrays vary in time, and the time is not read out.
        """
        xu, cov = joint_moments(before.x, action)
        C, c = self._at(before)
        reward = -_expected(C.astype(xu.dtype), c.astype(xu.dtype), xu, cov)
        return reward, jnp.asarray(self.gamma, xu.dtype)

    def beyond(self, seen: Readout) -> Scalar:
        """Minus the terminal cost."""
        state, cov = moments(seen.x)
        if self.C_final is None or self.c_final is None:
            return jnp.zeros((), state.dtype)
        C, c = self.C_final.astype(state.dtype), self.c_final.astype(state.dtype)
        return -_expected(C, c, state, cov)

    def _at(self, seen: Readout) -> tuple[Array, Array]:
        """The arrays of the step at which something was read out."""
        if not self.time_varying:
            return self.C, self.c
        if seen.time is None:
            raise TypeError(
                "A Quadratic with arrays that vary in time needs a model that reads "
                "out the time, such as Linear with a time axis."
            )
        t = jnp.clip(seen.time, 0, self.C.shape[0] - 1)
        return self.C[t], self.c[t]


def _expected(C: Array, c: Array, z: Array, cov: Array | None) -> Array:
    """The expected cost where the first coordinates of `z` are uncertain."""
    cost = _quadratic(C, c, z)
    if cov is None:
        return cost
    n = cov.shape[0]
    return cost + 0.5 * trace_of_product(C[:n, :n], cov)


def _terminal(
    C_final: Values | None, c_final: Values | None, both: int, dtype: jnp.dtype
) -> tuple[Array | None, Array | None]:
    """Both terminal arrays, checked, or neither."""
    if C_final is None and c_final is None:
        return None, None
    V = None if C_final is None else as_float(C_final)
    v = None if c_final is None else as_float(c_final)
    if V is None:
        V = jnp.zeros(v.shape * 2 if v is not None else (), dtype)
    if v is None:
        v = jnp.zeros(V.shape[:1], dtype)
    state = v.shape[0] if v.ndim == 1 else 0
    if V.shape != (state, state) or not 0 < state < both:
        raise ValueError(
            "Quadratic needs C_final of shape [state, state] and c_final of shape "
            f"[state], with 0 < state < {both}, got {list(V.shape)} and "
            f"{list(v.shape)}."
        )
    require_finite("Quadratic", C_final=V, c_final=v)
    require_convex("Quadratic", "C_final", V)
    return V, v
