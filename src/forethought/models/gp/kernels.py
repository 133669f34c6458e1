r"""How alike a Gaussian process expects two answers to be.

| kernel | $k(x, z) / s^2$ | draws |
|---|---|---|
| squared exponential | $e^{-r^2/2}$ | are smooth to any order |
| Matérn 5/2 | $(1 + \sqrt5 r + \tfrac53 r^2)\, e^{-\sqrt5 r}$ | bend sharply twice |

**Notation.** $r^2 = \sum_d (x_d - z_d)^2 / \ell_d^2$; $\ell_d$ a length for each input
(automatic relevance determination), $s^2$ the variance of the function, $\sigma^2$ that
of the noise on it.

References:
    Rasmussen and Williams, Gaussian processes for machine learning, 2006, section 4.2.
"""

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Kind = Literal["squared-exponential", "matern"]
ROOT5 = math.sqrt(5)


class Kernel(eqx.Module):
    """A kernel and the noise beside it, by the logarithms of their numbers.

    Args:
        log_lengths: Shape `[input]`.
        log_signal: Of the standard deviation $s$ of the function.
        log_noise: Of the standard deviation of the noise.
        kind: Which of the two.
    """

    log_lengths: Float[Array, "*output input"]
    log_signal: Float[Array, "*output"]
    log_noise: Float[Array, "*output"]
    kind: Kind = eqx.field(static=True, default="squared-exponential")

    @property
    def signal(self) -> Float[Array, "*output"]:
        """The variance of the function, $s^2$."""
        return jnp.exp(2 * self.log_signal)

    @property
    def noise(self) -> Float[Array, "*output"]:
        r"""The variance of the noise, $\sigma^2$."""
        return jnp.exp(2 * self.log_noise)

    def __call__(
        self, x: Float[Array, "row input"], z: Float[Array, "other input"]
    ) -> Float[Array, "row other"]:
        """The covariance of the function's values, without noise."""
        return self._values(self._squares(x, z))

    def bends(
        self, x: Float[Array, "row input"], z: Float[Array, "other input"]
    ) -> Float[Array, "row other"]:
        r"""What lengths do: $-2\, \partial k / \partial r^2$.

        A derivative by $\log\ell_d$ is this times $(x_d - z_d)^2 / \ell_d^2$.
        """
        squares = self._squares(x, z)
        if self.kind == "squared-exponential":
            return self._values(squares)
        r = ROOT5 * _distance(squares)
        return 5 / 3 * self.signal * (1 + r) * jnp.exp(-r)

    def frequencies(
        self, count: int, *, key: PRNGKeyArray
    ) -> Float[Array, "wave input"]:
        """Draws from the spectrum, which is the kernel's Fourier transform.

        Args:
            count: How many.
            key: Consumed.
        """
        lengths = jnp.exp(self.log_lengths)[None]
        of_normal, of_tail = jax.random.split(key)
        shape, dtype = (count, lengths.shape[1]), lengths.dtype
        drawn = jax.random.normal(of_normal, shape, dtype) / lengths
        if self.kind == "squared-exponential":
            return drawn
        # Student's t distribution with five degrees of freedom.
        five = jax.random.chisquare(of_tail, 5, shape=(count, 1), dtype=dtype)
        return drawn * jnp.sqrt(5 / five)

    def _values(self, squares: Array) -> Array:
        if self.kind == "squared-exponential":
            return jnp.exp(2 * self.log_signal - 0.5 * squares)
        r = ROOT5 * _distance(squares)
        return self.signal * (1 + r + r * r / 3) * jnp.exp(-r)

    def _squares(self, x: Array, z: Array) -> Array:
        # Differences keep the digits of near points, which a product of matrices would
        # lose; written out, the sum over inputs runs along full vectors.
        scale = jnp.exp(-self.log_lengths)
        x, z = x * scale[None], z * scale[None]
        total = jnp.zeros((x.shape[0], z.shape[0]), x.dtype)
        for d in range(x.shape[1]):
            gap = x[:, d, None] - z[None, :, d]
            total = total + gap * gap
        return total


def _distance(squares: Array) -> Array:
    """The root, whose slope at zero is zero too, as it is of the whole kernel."""
    return jnp.sqrt(jnp.maximum(squares, jnp.finfo(squares.dtype).tiny))


def first_guess(inputs: int, outputs: int, kind: Kind) -> Kernel:
    r"""Kernels for standardised numbers of which nothing is known.

    Lengths of $\sqrt{D}$ see two rows drawn at random as neither near nor far.
    """
    lengths = jnp.zeros((outputs, inputs)) + 0.5 * math.log(inputs)
    # Sums, because a filled array is weakly typed and would recompile a fit.
    zeros = jnp.zeros(outputs)
    return Kernel(lengths, zeros + 0.0, zeros + math.log(0.1), kind)
