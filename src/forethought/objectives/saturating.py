r"""A cost that saturates: nothing is lost by being far away instead of very far.

$$c(x) = 1 - \exp\Big(-\frac{d^2}{2 w^2}\Big), \qquad
  d^2 = (\bar x - z)^\top C\, (\bar x - z)$$

With $C / w^2 = F F^\top$ of as many columns as its rank,

$$\mathbb E\, c = 1 - |A|^{-1/2}
  \exp\big(-\tfrac12 (\bar m - z)^\top F A^{-1} F^\top (\bar m - z)\big), \qquad
  A = I + F^\top \bar S F$$

**Notation.** $\bar x$ is the state with the sines and then the cosines of its angles
behind, $\bar m, \bar S$ its mean and covariance; $z$ the goal, $w$ the width.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Scalar

from forethought.core.gaussian import Gaussian, Response, moments
from forethought.core.given.settings import Positive, require
from forethought.core.linalg import Values, as_float, require_convex, require_finite
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.types import Action
from forethought.models.gp.turns import with_turns
from forethought.objectives.expected import AbstractExpecting

RANK = 1e-9
"""An eigenvalue below this, relative to the largest, counts as zero."""


class Saturating(AbstractExpecting):
    r"""Minus the cost of the state that a step leads to; nothing beyond the horizon.

    The reward lies in $(-1, 0]$, zero at the goal. Of a `Gaussian` the expected cost is
    taken in closed form; with angles it is that of a Gaussian of the same moments.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.core.readout import Readout
    >>> from forethought.objectives.saturating import Saturating
    >>> goal = Saturating([0.0], [[1.0]], width=0.5)
    >>> seen = Readout(jnp.array([0.5]))
    >>> round(float(goal.judge(seen, jnp.zeros(1), seen)[0]), 4)
    -0.3935

    ```

    Args:
        goal: $z$, shape `[state + 2 angles]`.
        C: Weights of the squared distance, positive semidefinite and not zero.
        width: $w$: how far away most is lost, in units of $d$.
        angles: Numbers of the state that are angles, in radians.

    Raises:
        ValueError: Shapes do not go together, the weights are no such matrix (the
            lowest eigenvalue is named), or the width is not positive.

    References:
        Deisenroth, Fox and Rasmussen, Gaussian processes for data-efficient learning in
        robotics and control, 2015, doi:10.1109/TPAMI.2013.218, equations 43 and 44.
    """

    goal: Float[Array, " seen"]
    factor: Float[Array, "seen rank"]
    """$F$."""
    angles: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        goal: Values,
        C: Values,
        *,
        width: float = 1.0,
        angles: tuple[int, ...] = (),
    ):
        require("Saturating", Positive, width=width)
        goal, C = as_float(goal), as_float(C)
        size = goal.shape[0] if goal.ndim == 1 else 0
        if C.shape != (size, size) or 3 * len(angles) > size:
            raise ValueError(
                "Saturating needs a goal of shape [seen] and C of shape [seen, seen], "
                "with sines and cosines of angles behind the state, got "
                f"{list(goal.shape)} and {list(C.shape)} for {len(angles)} angles."
            )
        require_finite("Saturating", goal=goal, C=C)
        require_convex("Saturating", "C", C)
        values, vectors = np.linalg.eigh(np.asarray(C, float))
        kept = values > RANK * max(values.max(), 0.0)
        if not kept.any():
            raise ValueError("Saturating needs C to weigh something, got zeros.")
        factor = vectors[:, kept] * np.sqrt(values[kept]) / width
        self.goal, self.factor = goal, jnp.asarray(factor, C.dtype)
        self.angles = tuple(angles)

    def judge(
        self, before: Readout, action: Action | Response, after: Readout
    ) -> tuple[Scalar, Scalar]:
        """Minus the cost of where the step leads, and one: nothing ends."""
        reward = -self.cost(after.x)
        return reward, jnp.ones_like(reward)

    def beyond(self, seen: Readout) -> Scalar:
        """Nothing."""
        mean, _ = moments(seen.x)
        return jnp.zeros((), mean.dtype)

    def cost(self, x: PyTree) -> Scalar:
        """The cost of a state, or its expectation under a `Gaussian`."""
        mean, cov = moments(x)
        if cov is not None and self.angles:
            wide = with_turns(Gaussian(mean, cov), self.angles)
            mean, cov = wide.mean, wide.cov
        elif self.angles:
            turned = mean[jnp.array(self.angles)]
            mean = jnp.concatenate([mean, jnp.sin(turned), jnp.cos(turned)])
        F = self.factor.astype(mean.dtype)
        gap = F.T @ (mean - self.goal.astype(mean.dtype))
        if cov is None:
            return -jnp.expm1(-0.5 * gap @ gap)
        L = jnp.linalg.cholesky(jnp.eye(F.shape[1], dtype=F.dtype) + F.T @ cov @ F)
        white = jax.scipy.linalg.solve_triangular(L, gap, lower=True)
        return -jnp.expm1(-0.5 * white @ white - jnp.sum(jnp.log(jnp.diag(L))))


def widened(objective: AbstractJudge, factor: Scalar | float) -> AbstractJudge:
    """An objective whose saturating costs, if it has any, are wider by a factor."""

    def wider(node: PyTree) -> PyTree:
        if not isinstance(node, Saturating):
            return node
        return eqx.tree_at(lambda each: each.factor, node, node.factor / factor)

    return jax.tree.map(wider, objective, is_leaf=lambda n: isinstance(n, Saturating))
