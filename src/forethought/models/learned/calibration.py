r"""Noise that fits what was held out: one factor on the variances of each output.

Members learn their noise together with their means, and each covers its own errors.
Their mixture errs less than any of them, so that where data hold little noise it claims
far more than there is. One number per output mends that:

$$c_i = \arg\min_c \sum_n \operatorname{CRPS}\Big(\mathcal N\big(\bar\mu_{n,i},\;
  \tfrac cE \sum_e \sigma_{e,n,i}^2 + \tfrac1E \sum_e (\mu_{e,n,i} - \bar\mu_{n,i})^2
  \big),\, y_{n,i}\Big)$$

over the rows that no member learned from. Means stay as they are, and so does what
members disagree by: where they disagree more than they err, nothing is taken from that.

References:
    Laves et al., Well-calibrated regression uncertainty in medical imaging with deep
    learning, 2020, section 2.3 (one factor, of one network, by the likelihood);
    Gneiting and Raftery, Strictly proper scoring rules, prediction, and estimation,
    2007, doi:10.1198/016214506000001437, equation 21 (the score of a Gaussian).

Note:
    By the likelihood a few strange rows set the factor for all: errors of deterministic
    worlds have heavy tails, and intervals of 50 % held 74 % of what a pendulum did, in
    the place of 63 %.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from forethought.models.learned.mlp import MLP
from forethought.models.learned.rows import summed
from forethought.models.learned.uncertainty import TINY, mixture_doubt

FACTORS = tuple(10 ** (i / 8 - 3) for i in range(33))
"""From a thousandth to ten."""
ENOUGH = 100
"""Rows of which a factor is made, at least: of 50 it would be off by a fifth."""


def calibrated(
    members: MLP,
    x: Float[Array, "row input"],
    y: Float[Array, "row output"],
    count: Int[Array, ""],
) -> MLP:
    """Members whose variances are scaled to fit the first `count` rows.

    Args:
        members: Leaves with a leading axis `[member]`; probabilistic.
        x: Inputs, standardised.
        y: Targets, standardised.
        count: How many rows are there; of fewer than `ENOUGH` nothing is learned.
    """
    factors = jnp.asarray(FACTORS, y.dtype)

    def scores(x, y):
        mean, variance = jax.lax.map(lambda each: jax.vmap(each)(x), members)
        aleatoric, epistemic = jax.vmap(mixture_doubt, 1)(mean, variance)
        noise = factors[:, None, None] * aleatoric[None]
        spread = jnp.sqrt(noise + epistemic[None] + TINY)
        off = (y - jnp.mean(mean, axis=0))[None] / spread
        density = jnp.exp(-0.5 * off**2) / math.sqrt(2 * math.pi)
        found = spread * (off * (2 * jax.scipy.special.ndtr(off) - 1) + 2 * density)
        return found - spread / math.sqrt(math.pi)

    total = summed(scores, x, y, count, len(FACTORS))
    best = factors[jnp.argmin(total, axis=0)]
    best = jnp.where(count >= ENOUGH, best, jnp.ones_like(best))
    return jax.vmap(lambda member: member.with_noise(best))(members)
