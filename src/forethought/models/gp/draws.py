r"""Functions drawn from Gaussian processes: a posterior by its samples.

$$f_s(x) = w^\top h(x) + g_s(x) + k(x, Z)\, \beta_s, \qquad
  g_s(x) = s \sqrt{2 / F} \sum_{i=1}^F a_i \cos(\omega_i^\top x + b_i)$$

A function of the prior, $g_s$, is a sum of waves; how far it is from data is taken off
by the kernel, so that what is left of its chance is where no data are. Each function
has waves of its own, hence over many functions mean and variance are those of the
Gaussian process, whatever the number of waves $F$.

**Notation.** As in `forethought.models.gp.processes`; $\beta_s$ the weights of
function $s$.

References:
    Wilson et al., Efficiently sampling functions from Gaussian process posteriors,
    2020, arXiv:2002.09309, equation 13; Rahimi and Recht, Random features for
    large-scale kernel machines, 2007.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from forethought.models.gp.factors import product
from forethought.models.gp.kernels import Kernel
from forethought.models.gp.processes import Processes
from forethought.models.gp.regression import along


class Waves(eqx.Module):
    """Functions of a prior; leaves may have leading axes `[sample, output]`."""

    frequencies: Float[Array, "*functions wave input"]
    phases: Float[Array, "*functions wave"]
    heights: Float[Array, "*functions wave"]

    def __call__(self, x: Float[Array, "row input"]) -> Float[Array, " row"]:
        """The values of one function."""
        return jnp.cos(product(x, self.frequencies.T) + self.phases[None]) @ (
            self.heights
        )


class Draws(eqx.Module):
    """Functions of a posterior, numbered."""

    waves: Waves
    """Leaves `[sample, output, ...]`."""
    weights: Float[Array, "sample output point"]
    r"""$\beta_s$."""

    def __call__(
        self, processes: Processes, x: Float[Array, "sample row input"]
    ) -> Float[Array, "sample row output"]:
        """What each function answers to rows of its own."""

        def answer(sample: tuple) -> Array:
            waves, weights, rows = sample

            def one(each: tuple) -> Array:
                kernel, line, waves, weights = each
                known = along(rows) @ line + kernel(rows, processes.points) @ weights
                return known + waves(rows)

            return jax.lax.map(
                one, (processes.kernel, processes.line, waves, weights)
            ).T

        return jax.lax.map(answer, (self.waves, self.weights, x))


def draw_waves(kernel: Kernel, count: int, *, key: PRNGKeyArray) -> Waves:
    """One function of the prior of one output.

    Args:
        kernel: Of the output.
        count: $F$.
        key: Consumed.
    """
    of_frequencies, of_phases, of_heights = jax.random.split(key, 3)
    dtype = kernel.log_signal.dtype
    heights = jax.random.normal(of_heights, (count,), dtype)
    return Waves(
        kernel.frequencies(count, key=of_frequencies),
        jax.random.uniform(of_phases, (count,), dtype, maxval=2 * jnp.pi),
        heights * jnp.sqrt(2 * kernel.signal / count),
    )


def draw_prior(
    processes: Processes, samples: int, count: int, *, key: PRNGKeyArray
) -> Draws:
    """Functions before anything was seen.

    Args:
        processes: Never fitted.
        samples: How many functions.
        count: $F$, of each.
        key: Consumed.
    """
    number, points = processes.weights.shape
    keys = jax.random.split(key, (samples, number))
    drawn = jax.vmap(
        lambda keys: jax.vmap(lambda kernel, key: draw_waves(kernel, count, key=key))(
            processes.kernel, keys
        )
    )(keys)
    return Draws(drawn, jnp.zeros((samples, number, points)))
