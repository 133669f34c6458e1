r"""Sequences of actions as splines: fewer numbers to search, smoother motion.

A sampling planner that draws every action of a long horizon searches a space of
hundreds of dimensions. A spline is set by a few *knots* instead, one every so many
steps, and what lies between follows from its degree:

| degree | between knots | sequences |
|---|---|---|
| 0 | held | steps |
| 1 | straight lines through the knots | continuous |
| 3 | cubic pieces | smooth twice over |

They are B-splines: an action is a weighted mean of the `degree + 1` knots around it.
So a sequence stays within any limits that its knots keep, and what a knot says is
forgotten once it has passed. A spline of one step a knot and degree 0 is the sequence
itself.

**In time.** A plan moves on by single steps, its knots do not. A `Spline` is therefore
read from a *phase*, the steps since its first knot: to shift it by a step is to read
it one step later, exactly, and every so many steps the first knot is dropped.
"""

from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from forethought.core.given.settings import AbstractSettings, Range, Steps, check_ranges
from forethought.planners.base import shift_actions

Degree = Annotated[int, Range(at_least=0, at_most=3)]
"""Of the pieces between two knots."""
WEIGHTS = 4_000_000
"""Of knots in actions, a matrix that the host inverts."""


class Spline(AbstractSettings):
    r"""Uniform B-splines over the steps of a plan.

    $$u_t = \sum_{k=0}^{d} c_{i+k}\, N_d(s - i + d - k), \qquad
      s = t / \text{every}, \quad i = \lfloor s \rfloor$$

    with $N_0$ one on $[0, 1)$ and
    $N_d(x) = (x N_{d-1}(x) + (d + 1 - x) N_{d-1}(x - 1)) / d$.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.planners.sampling.spline import Spline
    >>> line = Spline(horizon=4, every=2, degree=1)
    >>> line(jnp.array([[0.0], [1.0], [3.0], [0.0]]), jnp.array(0))[:, 0].tolist()
    [0.0, 0.5, 1.0, 2.0]

    ```

    Args:
        horizon: Steps of a plan.
        every: Steps from one knot to the next.
        degree: $d$, of the pieces between knots: 0, 1, 2 or 3.

    Raises:
        ValueError: A setting lies outside its range, or horizon and hold are so long
            that too many weights would have to be inverted.

    References:
        de Boor, A practical guide to splines, 1978, ch. IX, eq. 14. Knots as the
        parameters of sampling planners: Howell et al., Predictive sampling: real-time
        behaviour synthesis with MuJoCo, 2022, arXiv 2212.00541, §III.
    """

    horizon: Steps = eqx.field(static=True)
    every: Steps = eqx.field(static=True, default=1)
    degree: Degree = eqx.field(static=True, default=0)

    def __check_init__(self):
        check_ranges(self)  # before one of them is divided by
        plain = self.every == 1 and self.degree == 0
        if not plain and self.knots * (self.horizon + self.every) > WEIGHTS:
            raise ValueError(
                f"A spline weighs {WEIGHTS:,} pairs of knots and steps at most, got "
                f"{self.knots:,} knots over {self.horizon:,} steps, each held for "
                f"{self.every:,}."
            )

    @property
    def knots(self) -> int:
        """How many knots reach over the horizon from every phase."""
        return (self.horizon + self.every - 2) // self.every + 1 + self.degree

    @property
    def first_knots(self) -> int:
        """How many of them reach over the horizon from phase zero."""
        return (self.horizon - 1) // self.every + 1 + self.degree

    def __call__(self, knots: Array, phase: Int[Array, ""] | int = 0) -> Array:
        """The actions of a plan that begins `phase` steps after the first knot.

        Args:
            knots: Shape `[knot, action]`, or `[knot]` for discrete actions (which only
                degree 0 can have); `first_knots` of them suffice from phase zero.
            phase: Steps, at least 0 and below `every`.

        Returns:
            Shape `[horizon, action]`, or `[horizon]`.
        """
        if self.degree == 0:
            return knots if self.every == 1 else knots[self._held(phase)]
        weights = jnp.asarray(self._weights()[:, : knots.shape[0]], knots.dtype)
        rows = jax.lax.dynamic_slice_in_dim(weights, phase, self.horizon)
        return rows @ knots

    def fit(
        self, actions: Float[Array, "horizon action"]
    ) -> Float[Array, "knot action"]:
        """The knots, read from phase zero, that come nearest to a sequence."""
        if self.every == 1 and self.degree == 0:
            return actions
        weights = self._weights()[: self.horizon]
        inverse = jnp.asarray(np.linalg.pinv(weights), actions.dtype)
        # Knots beyond the horizon are not determined: they repeat the last action.
        last = actions[-1:]
        return last + inverse @ (actions - last)

    def shift(
        self,
        knots: Array,
        phase: Int[Array, ""],
        last: Float[Array, " action"] | None = None,
    ) -> tuple[Array, Int[Array, ""]]:
        """Knots and phase of the plan that begins one step later.

        Args:
            knots: Shape `[knot, ...]`.
            phase: Steps since the first knot, below `every`.
            last: What a new knot is; by default it repeats the last.

        Returns:
            The knots, and the phase from which they are read.
        """
        moved = shift_actions(knots, last)
        if self.every == 1:
            return moved, phase
        passed = phase == self.every - 1
        phase = jnp.where(passed, 0, phase + 1).astype(phase.dtype)
        return jnp.where(passed, moved, knots), phase

    def _held(self, phase: Int[Array, ""] | int) -> Int[Array, " horizon"]:
        """The knot in force at each step, where knots are held."""
        phase = jnp.asarray(phase, jnp.int32)
        return (phase + jnp.arange(self.horizon, dtype=jnp.int32)) // self.every

    def _weights(self) -> np.ndarray:
        """Weight of each knot in each action, from the first knot on."""
        steps = np.arange(self.horizon + self.every - 1)
        x = steps[:, None] / self.every + self.degree - np.arange(self.knots)[None]
        return _basis(self.degree, x)


def _basis(degree: int, x: np.ndarray) -> np.ndarray:
    """The cardinal B-spline, which is zero outside `[0, degree + 1)`."""
    if degree == 0:
        return ((x >= 0) & (x < 1)).astype(float)
    rising, falling = _basis(degree - 1, x), _basis(degree - 1, x - 1)
    return (x * rising + (degree + 1 - x) * falling) / degree
