r"""Scores of forecasts: errors, likelihoods, ranks among draws.

**Notation.** $P$ draws $x_1 \le \dots \le x_P$ of one number, $y$ what happened.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

FLAT = 1e-6
"""A spread below this share of the data's own is none."""


def overall(errors: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Errors of all dimensions in one, in standard deviations of the data."""
    with np.errstate(over="ignore"):  # of a linear map that ran away
        return np.asarray(np.sqrt(np.mean((errors / scale) ** 2, axis=-1)))


def rank(
    cloud: Float[Array, "step particle observation"],
    truth: Float[Array, "step observation"],
    ties: Float[Array, "step observation"],
) -> Float[Array, "step observation"]:
    r"""Where the truth lies among the draws, from 0 to 1.

    $$u = \frac{|\{x_i < y\}| + v\,(|\{x_i = y\}| + 1)}{P + 1}$$

    It is uniform exactly where the truth is one more draw of the same distribution,
    however few draws there are. The central interval of level $p$ holds the truth
    where $|u - \tfrac12| \le \tfrac p2$.

    Args:
        cloud: $x_i$.
        truth: $y$.
        ties: $v$, uniform.

    References:
        Czado, Gneiting and Held, Predictive model assessment for count data, 2009,
        section 2 (the randomised probability integral transform).
    """
    y = truth[:, None, :]
    below = jnp.sum(cloud < y, axis=1).astype(truth.dtype)
    equal = jnp.sum(cloud == y, axis=1).astype(truth.dtype)
    return (below + ties * (equal + 1)) / (cloud.shape[1] + 1)


def crps(
    cloud: Float[Array, "step particle observation"],
    truth: Float[Array, "step observation"],
) -> Float[Array, "step observation"]:
    r"""The continuous ranked probability score; less is better.

    $$\frac1P \sum_i |x_i - y| - \frac{1}{P (P - 1)} \sum_i (2 i - P - 1)\, x_i$$

    Of a single number it is the absolute error.

    Args:
        cloud: $x_i$, in any order.
        truth: $y$.

    References:
        Gneiting and Raftery, Strictly proper scoring rules, prediction, and
        estimation, 2007, equation 21; without bias of few draws as in Ferro, Fair
        scores for ensemble forecasts, 2014.
    """
    particles = cloud.shape[1]
    miss = jnp.mean(jnp.abs(cloud - truth[:, None, :]), axis=1)
    weights = 2 * jnp.arange(1, particles + 1) - particles - 1
    weights = weights.astype(cloud.dtype)[None, :, None]
    gaps = jnp.sum(weights * jnp.sort(cloud, axis=1), axis=1)
    return miss - gaps / max(particles * (particles - 1), 1)


def inside(rank: np.ndarray, level: float) -> np.ndarray:
    """1 where a rank lies within the central interval of a level, else 0."""
    return (np.abs(rank - 0.5) <= level / 2).astype(float)


def rms(values: np.ndarray) -> np.ndarray:
    """The root mean square over rows."""
    return np.sqrt(np.mean(values**2, axis=0))


def over_known(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The mean over starts of what is known, `[step, observation]`."""
    with np.errstate(over="ignore"):
        total = np.where(known[:, :, None], values, 0).sum(axis=0)
    return total / np.maximum(known.sum(axis=0), 1)[:, None]


def log_density(gaps: np.ndarray, spread: np.ndarray, moves: np.ndarray) -> float:
    """Mean log-likelihood of rows, over all dimensions that move."""
    spread = np.broadcast_to(spread, gaps.shape)
    logs = -0.5 * (gaps / spread) ** 2 - np.log(spread) - 0.5 * np.log(2 * np.pi)
    return float(np.mean(np.sum(logs[:, moves], axis=1)))


def first(one: np.ndarray, longer: np.ndarray) -> np.ndarray:
    """What many rows say of the first step, before what few say of all others."""
    return np.concatenate([one[None], longer[1:]])
