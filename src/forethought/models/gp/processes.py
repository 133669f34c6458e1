r"""Gaussian processes side by side, one for each output, that share their inputs.

Each is held in one form, whether it saw all rows or was taught through inducing points:

$$\mu(x) = w^\top h(x) + k(x, Z)\, \beta, \qquad
  \sigma_f^2(x) = k(x, x) - \| R\, k(Z, x) \|^2$$

so that what is done with it need not ask. The number of points $Z$ is part of its
shape; rows beyond those that hold something are zeros.

**Notation.** $Z$ the data or inducing points, $\beta$ their weights, $R$ a root of what
data take off the variance; $w$ the coefficients of a line.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from forethought.models.gp.factors import product
from forethought.models.gp.kernels import Kernel, Kind, first_guess
from forethought.models.gp.regression import along


class Processes(eqx.Module):
    """Gaussian processes that are fitted, or were never fitted.

    Args:
        inputs: Dimension of $x$.
        outputs: How many processes.
        points: How many points it has room for.
        kind: The kernel of all of them.
    """

    kernel: Kernel
    """Leaves with a leading axis `[output]`."""
    line: Float[Array, "output coefficient"]
    points: Float[Array, "point input"]
    weights: Float[Array, "output point"]
    root: Float[Array, "output point point"]

    def __init__(self, inputs: int, outputs: int, points: int, kind: Kind):
        self.kernel = first_guess(inputs, outputs, kind)
        self.line = jnp.zeros((outputs, inputs + 1))
        self.points = jnp.zeros((points, inputs))
        self.weights = jnp.zeros((outputs, points))
        self.root = jnp.zeros((outputs, points, points))

    def moments(
        self, x: Float[Array, "row input"]
    ) -> tuple[Float[Array, "row output"], Float[Array, "row output"]]:
        """Mean and variance of each function at some inputs, without noise."""

        def one(each: tuple) -> tuple[Array, Array]:
            kernel, line, weights, root = each
            k = kernel(x, self.points)
            white = product(k, root.T)
            left = kernel.signal - jnp.sum(white * white, axis=1)
            return along(x) @ line + k @ weights, jnp.maximum(left, 0)

        # One after another: on a CPU a product with a batch axis takes longer.
        mean, variance = jax.lax.map(
            one, (self.kernel, self.line, self.weights, self.root)
        )
        return mean.T, variance.T

    def narrowed(self, points: int) -> "Processes":
        """The same of the first points alone, where no others hold anything."""
        return eqx.tree_at(
            lambda held: (held.points, held.weights, held.root),
            self,
            (
                self.points[:points],
                self.weights[:, :points],
                self.root[:, :points, :points],
            ),
        )

    def precision(self) -> Float[Array, "output point point"]:
        r"""$R^\top R$ of each output."""
        return jax.lax.map(lambda root: product(root.T, root), self.root)
