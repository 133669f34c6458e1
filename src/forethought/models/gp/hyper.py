r"""Kernels by the evidence, and what data then tell.

The numbers of a kernel are those under which the data are most probable, with a price
on those that no data could have told:

$$\min_\theta \; -\log p(y \mid X, \theta) + \sum_d \Big(
  \frac{\log \ell_d}{\log \ell_{\max}} \Big)^{30} + \Big(
  \frac{\log (s / \sigma)}{\log \mathrm{SNR}_{\max}} \Big)^{30}$$

Each output is searched for by itself, from several places; the best end is kept.

**Notation.** As in `forethought.models.gp.regression`.

References:
    Deisenroth, Fox and Rasmussen, Gaussian processes for data-efficient learning in
    robotics and control, 2015, doi:10.1109/TPAMI.2013.218; the price is that of
    `hypCurb` in the authors' code.
"""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar

from forethought.core.given.settings import (
    Count,
    Factor,
    Positive,
    Whole,
    check_ranges,
)
from forethought.core.optimise import quasi_newton
from forethought.models.gp.kernels import Kernel
from forethought.models.gp.regression import condition, slopes
from forethought.models.gp.sparse import bound

POWER, SPREAD = 30, 0.7
"""Of the price, and of the logarithms of numbers that a search begins anew with."""


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """How the numbers of kernels are found.

    Args:
        restarts: Searches that begin at random, besides the one that begins where the
            model stands.
        evaluations: The most of one search.
        floor: The least standard deviation of the noise, in the data's.
        longest: A length beyond this, or below its inverse, has a price; in the
            standard deviations of the input.
        signal_to_noise: A ratio of standard deviations beyond this has a price.

    Raises:
        ValueError: A setting lies outside its range.
    """

    restarts: Whole = 1
    evaluations: Count = 100
    floor: Positive = 1e-3
    longest: Factor = 100.0
    signal_to_noise: Factor = 500.0

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self)


class Searched(eqx.Module):
    """What was found for one output."""

    kernel: Kernel
    price: Scalar
    """What was minimised."""
    evaluations: Int[Array, ""]
    """Of all searches together."""


def search(
    kernel: Kernel,
    x: Float[Array, "row input"],
    y: Float[Array, " row"],
    valid: Bool[Array, " row"],
    settings: SearchSettings,
    inducing: tuple[Float[Array, "point input"], Bool[Array, " point"]] | None = None,
    *,
    line: bool = False,
    key: PRNGKeyArray,
) -> Searched:
    """The kernel of one output under which data are most probable.

    Args:
        kernel: Where the first search begins.
        x: Inputs, standardised.
        y: Targets, standardised.
        valid: Which rows hold data.
        settings: How.
        inducing: Points that stand for the data, and which of them there are, where
            the bound of `forethought.models.gp.sparse` is climbed.
        line: Whether a straight line goes before the process.
        key: Draws where the other searches begin.
    """

    def evidence(kernel: Kernel) -> tuple[Scalar, Kernel]:
        if inducing is not None:
            return jax.value_and_grad(bound)(kernel, *inducing, x, y, valid, line=line)
        found = condition(kernel, x, y, valid, line=line)
        return found.evidence, slopes(kernel, x, y, valid, found)

    def function(theta: Array) -> tuple[Scalar, Array]:
        found, back = jax.vjp(lambda theta: _kernel(theta, kernel, settings), theta)
        value, by_kernel = evidence(found)
        price, slope = jax.value_and_grad(_price)(theta, settings)
        return price - value, slope - back(by_kernel)[0]

    def one(theta: Array):
        return quasi_newton(function, theta, limit=settings.evaluations)

    first = _theta(kernel, settings)
    fresh = jnp.zeros_like(first).at[:-2].set(0.5 * math.log(x.shape[1]))
    fresh = fresh.at[-1].set(math.log(0.1))
    noise = jax.random.normal(key, (settings.restarts, first.shape[0]), first.dtype)
    starts = jnp.concatenate([first[None], fresh[None] + SPREAD * noise])
    # One after another: a search that has ended costs nothing.
    found = jax.lax.map(one, starts)
    best = jnp.argmin(found.value)
    return Searched(
        _kernel(found.x[best], kernel, settings),
        found.value[best],
        jnp.sum(found.evaluations),
    )


def _kernel(theta: Array, like: Kernel, settings: SearchSettings) -> Kernel:
    """The kernel of what is searched for, its noise above the floor."""
    floor = 2 * math.log(settings.floor)
    noise = 0.5 * jnp.logaddexp(2 * theta[-1], jnp.full_like(theta[-1], floor))
    return Kernel(theta[:-2], theta[-2], noise, like.kind)


def _theta(kernel: Kernel, settings: SearchSettings) -> Array:
    """What is searched for, of a kernel; of one at its floor, a little above it."""
    least = settings.floor**2
    noise = 0.5 * jnp.log(jnp.maximum(kernel.noise - least, 0.01 * least))
    return jnp.concatenate([kernel.log_lengths, jnp.stack([kernel.log_signal, noise])])


def _price(theta: Array, settings: SearchSettings) -> Scalar:
    lengths = theta[:-2] / math.log(settings.longest)
    ratio = (theta[-2] - theta[-1]) / math.log(settings.signal_to_noise)
    return jnp.sum(lengths**POWER) + ratio**POWER
