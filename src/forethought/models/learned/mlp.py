r"""Networks that predict: a mean, or a mean and its own noise.

A deterministic network answers with a mean. A probabilistic one answers with a
Gaussian whose variance depends on its input, so that it can tell noise in the data
from what it has not learned. Its log-variance is kept between two bounds that are
learned with it, one pair per output: a network that is asked far from its data would
otherwise answer with a variance of zero or of infinity.

| units | far from the data they |
|---|---|
| `relu`, `silu` | grow, or fall silent |
| `tanh` | stay where they are |
| `mixed` | the first half of a layer as tanh, the rest as SiLU |

**Notation.** $x, y$ input and output, standardised; $\mu, \sigma^2$ mean and
variance; $\ell = \log\sigma^2$.
"""

import itertools
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from forethought.core.given.settings import Count, Whole, require

Units = Literal["relu", "silu", "tanh", "mixed"]


class MLP(eqx.Module):
    r"""A multilayer perceptron, $x \mapsto (\mu, \sigma^2)$.

    $$\sigma^2 = e^{\ell_{\min}} + e^{\ell_{\max}}
      \frac{1}{1 + e^{\ell_{\max} - \ell}}$$

    with $\ell$ what the last layer answers. It grows as $e^\ell$ between the bounds.

    Args:
        inputs: Dimension of $x$.
        outputs: Dimension of $y$.
        width: Units of each hidden layer.
        depth: How many hidden layers; none is a linear map.
        probabilistic: Whether the variance is predicted; otherwise it is zero.
        units: What hidden units do with what they are given.
        key: Draws the weights, from a normal truncated at two standard deviations of
            $1 / (2\sqrt{n})$, with $n$ the layer's inputs; biases are zero.

    Raises:
        ValueError: A size is less than one.

    References:
        Chua et al., Deep reinforcement learning in a handful of trials using
        probabilistic dynamics models, 2018, arXiv:1805.12114, section 4 and appendix
        A.1.

    Note:
        The bounds start at 0.5 and −10 and the weights as in the authors' code; ours
        bound the variance of standardised outputs. Their two softplus functions of
        the log-variance are the same function, written in the variance.
    """

    weights: tuple[Float[Array, "_ _"], ...]
    biases: tuple[Float[Array, " _"], ...]
    max_log_variance: Float[Array, " output"]
    min_log_variance: Float[Array, " output"]
    probabilistic: bool = eqx.field(static=True)
    units: Units = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 200,
        depth: int = 3,
        *,
        probabilistic: bool = True,
        units: Units = "silu",
        key: PRNGKeyArray,
    ):
        require("MLP", Count, inputs=inputs, outputs=outputs, width=width)
        require("MLP", Whole, depth=depth)
        head = outputs * 2 if probabilistic else outputs
        sizes = (inputs, *([width] * depth), head)
        keys = jax.random.split(key, len(sizes) - 1)
        shapes = list(itertools.pairwise(sizes))
        # All layers at once: a draw of each shape takes long to compile.
        most = max(n * m for n, m in shapes)
        drawn = jax.vmap(lambda key: jax.random.truncated_normal(key, -2, 2, (most,)))
        self.weights = tuple(
            row[: n * m].reshape(n, m) / (2 * n**0.5)
            for row, (n, m) in zip(drawn(keys), shapes, strict=True)
        )
        self.biases = tuple(jnp.zeros(m) for m in sizes[1:])
        # Sums, because a filled array is weakly typed and would recompile a fit.
        self.max_log_variance = jnp.zeros(outputs) + 0.5
        self.min_log_variance = jnp.zeros(outputs) - 10.0
        self.probabilistic, self.units = probabilistic, units

    def __call__(
        self, x: Float[Array, " input"]
    ) -> tuple[Float[Array, " output"], Float[Array, " output"]]:
        """Mean and variance; a deterministic network's variance is zero."""
        for W, b in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = self.active(x @ W + b)
        return self.answer(x @ self.weights[-1] + self.biases[-1])

    def active(self, x: Float[Array, " unit"]) -> Float[Array, " unit"]:
        """What a hidden layer answers."""
        return UNITS[self.units](x)

    def answer(
        self, y: Float[Array, " head"]
    ) -> tuple[Float[Array, " output"], Float[Array, " output"]]:
        """What the numbers of the last layer mean: mean and variance."""
        if not self.probabilistic:
            return y, jnp.zeros_like(y)
        mean, raw = jnp.split(y, 2)
        top, bottom = self.max_log_variance, self.min_log_variance
        variance = jnp.exp(bottom) + jnp.exp(top) * jax.nn.sigmoid(raw - top)
        return mean, variance

    def with_noise(self, factor: Float[Array, " output"]) -> "MLP":
        """The network with variances that are so many times as large."""
        more = jnp.log(factor)
        mean, raw = jnp.split(self.biases[-1], 2)
        return eqx.tree_at(
            lambda network: (
                network.biases[-1],
                network.max_log_variance,
                network.min_log_variance,
            ),
            self,
            (
                jnp.concatenate([mean, raw + more]),
                self.max_log_variance + more,
                self.min_log_variance + more,
            ),
        )

    def rescaled(
        self,
        input_scale: Float[Array, " input"],
        input_shift: Float[Array, " input"],
        output_scale: Float[Array, " output"],
        output_shift: Float[Array, " output"],
    ) -> "MLP":
        r"""The network $x \mapsto (t + s\mu, s^2\sigma^2)$ of the input $a x + c$.

        The log-variance and both of its bounds move together by $2 \log s$, which
        multiplies the variance by $s^2$ exactly.

        Args:
            input_scale: $a$.
            input_shift: $c$.
            output_scale: $s$, above zero.
            output_shift: $t$.
        """
        first, last = self.weights[0], self.weights[-1]
        scale, shift = output_scale, output_shift
        log_scale = 2 * jnp.log(output_scale)
        bias = self.biases[-1]
        if self.probabilistic:
            mean, raw = jnp.split(bias, 2)
            bias = jnp.concatenate([scale * mean + shift, raw + log_scale])
            scale = jnp.concatenate([scale, jnp.ones_like(scale)])
        else:
            bias = scale * bias + shift
        return eqx.tree_at(
            lambda network: (
                network.weights[0],
                network.biases[0],
                network.weights[-1],
                network.biases[-1],
                network.max_log_variance,
                network.min_log_variance,
            ),
            self,
            (
                input_scale[:, None] * first,
                self.biases[0] + input_shift @ first,
                last * scale[None],
                bias,
                self.max_log_variance + log_scale,
                self.min_log_variance + log_scale,
            ),
        )


def silu(x: Float[Array, " unit"]) -> Float[Array, " unit"]:
    r"""$x / (1 + e^{-x})$, written by the hyperbolic tangent, which is cheaper."""
    return 0.5 * x * (1 + jnp.tanh(0.5 * x))


def mixed(x: Float[Array, " unit"]) -> Float[Array, " unit"]:
    """The hyperbolic tangent of the first half, SiLU of the rest."""
    half = x.shape[0] // 2
    return jnp.concatenate([jnp.tanh(x[:half]), silu(x[half:])])


UNITS = {"relu": jax.nn.relu, "silu": silu, "tanh": jnp.tanh, "mixed": mixed}
