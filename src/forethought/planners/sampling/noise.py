r"""Coloured noise: random sequences whose power falls as $1 / f^\beta$.

White noise ($\beta = 0$) shakes a machine on the spot; red noise ($\beta = 2$) moves
it somewhere. Sampling planners that draw action sequences with a suitable colour
explore far more with the same number of samples.
"""

import math
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from forethought.core.given.settings import Range

Colour = Annotated[float, Range(at_least=0, at_most=10)]
"""The exponent of a power law; steeper ones leave nothing but the slowest wave."""
SHORT = 128
"""Up to this length the basis is a matrix; beyond it a fast Fourier transform."""


def spectral_basis(horizon: int, beta: float) -> np.ndarray:
    r"""A matrix that turns white noise into coloured noise of unit mean variance.

    $$\varepsilon_t = \sum_f f^{-\beta/2} \left(a_f \cos 2 \pi f t
      + b_f \sin 2 \pi f t\right), \qquad a_f, b_f \sim \mathcal N(0, 1)$$

    with $f = k / \text{horizon}$; the constant term has the weight of the lowest
    frequency.

    Args:
        horizon: Length of a sequence.
        beta: The exponent; 0 is white, 1 pink, 2 red.

    Returns:
        Shape `[horizon, horizon]`: rows are amplitudes, columns are times.

    References:
        Timmer and König, On generating power law noise, 1995. The constant term
        follows Pinneri et al., Sample-efficient cross-entropy method for real-time
        planning, 2020; here it is counted in the variance, there it comes on top.
    """
    time = np.arange(horizon)
    rows = [np.ones(horizon)]
    for k in range(1, horizon // 2 + 1):
        angle = 2 * np.pi * k * time / horizon
        rows.append(np.cos(angle) * (1.0 if 2 * k == horizon else np.sqrt(2)))
        if 2 * k < horizon:
            rows.append(np.sin(angle) * np.sqrt(2))
    return np.asarray(rows) * _weights(horizon, beta)[:, None]


def coloured_noise(
    beta: float,
    shape: tuple[int, int, int],
    dtype: DTypeLike,
    *,
    truncation: float | None = None,
    key: PRNGKeyArray,
) -> Float[Array, "population horizon action"]:
    """Independent coloured sequences for each candidate and action dimension.

    Args:
        beta: The exponent of the power law, a static number.
        shape: Population, horizon and action dimension.
        dtype: Of the result.
        truncation: Standard deviations at which the normal is cut, at every time;
            None keeps its tails.
        key: Consumed.

    Returns:
        Zero-mean Gaussian noise of unit variance at every time; a truncated one is not
        widened to unit variance.

    Note:
        Coloured noise is truncated by its ranks: each value becomes the value of the
        truncated normal that has the same cumulative probability, so that every time
        has exactly that distribution, and values in a row stay alike.
    """
    if beta == 0 and truncation is not None:
        return jax.random.truncated_normal(key, -truncation, truncation, shape, dtype)
    white = jax.random.normal(key, shape, dtype)
    if beta == 0:
        return white
    coloured = jax.vmap(lambda white: colour(white, beta))(white)
    return coloured if truncation is None else truncate(coloured, truncation)


def truncate(noise: Array, truncation: float) -> Array:
    r"""Standard normal values as values of the normal cut at $\pm b$, rank for rank.

    $$\operatorname{erf}(y / \sqrt 2)
      = \operatorname{erf}(b / \sqrt 2) \operatorname{erf}(z / \sqrt 2)$$
    """
    root = math.sqrt(2)
    share = math.erf(truncation / root)
    cut = root * jax.lax.erf_inv(share * jax.lax.erf(noise / root))
    return jnp.clip(cut, -truncation, truncation)


def colour(
    white: Float[Array, "horizon action"], beta: float
) -> Float[Array, "horizon action"]:
    """White noise, as amplitudes of the basis, made coloured."""
    if beta == 0:
        return white
    horizon = white.shape[0]
    if horizon <= SHORT:
        basis = jnp.asarray(spectral_basis(horizon, beta), white.dtype)
        return jnp.einsum("fa,ft->ta", white, basis)
    scaled = white * _column(_weights(horizon, beta) * _heights(horizon), white)
    # Rows go cosine, sine, cosine, sine; a spectrum joins the two.
    waves = 2 * ((horizon - 1) // 2)
    pairs = jax.lax.complex(scaled[1 : waves + 1 : 2], -scaled[2 : waves + 1 : 2])
    ends = jax.lax.complex(scaled, jnp.zeros_like(scaled))
    spectrum = jnp.concatenate([ends[:1], pairs, ends[waves + 1 :]])
    return jnp.fft.irfft(spectrum, horizon, axis=0)


def whiten(
    sequence: Float[Array, "horizon action"], beta: float
) -> Float[Array, "horizon action"]:
    r"""The amplitudes of which a sequence is made: `colour` undone.

    With the covariance $\Sigma$ of coloured noise,
    $a^\top \Sigma^{-1} b = \text{whiten}(a) \cdot \text{whiten}(b)$ for each action.
    """
    if beta == 0:
        return sequence
    horizon = sequence.shape[0]
    if horizon <= SHORT:
        # The rows of the basis are orthogonal.
        basis = spectral_basis(horizon, beta)
        dual = basis / np.sum(basis**2, axis=1, keepdims=True)
        return jnp.einsum("ta,ft->fa", sequence, jnp.asarray(dual, sequence.dtype))
    spectrum = jnp.fft.rfft(sequence, axis=0)
    waves = (horizon - 1) // 2
    inner = spectrum[1 : waves + 1]
    pairs = jnp.stack([inner.real, -inner.imag], axis=1)
    pairs = pairs.reshape(2 * waves, sequence.shape[1])
    ends = spectrum.real
    scaled = jnp.concatenate([ends[:1], pairs, ends[waves + 1 :]])
    heights = _weights(horizon, beta) * _heights(horizon)
    return scaled / _column(heights, sequence)


def _weights(horizon: int, beta: float) -> np.ndarray:
    r"""The amplitude of each row of the basis, $f^{-\beta/2}$, of unit norm."""
    frequencies = np.maximum((np.arange(horizon) + 1) // 2, 1)
    weights = frequencies ** (-beta / 2)
    return weights / np.linalg.norm(weights)


def _heights(horizon: int) -> np.ndarray:
    """What a row of unit amplitude is in a discrete spectrum."""
    heights = np.full(horizon, horizon / math.sqrt(2))
    heights[0] = horizon
    if horizon % 2 == 0:
        heights[-1] = horizon
    return heights


def _column(numbers: np.ndarray, like: Array) -> Array:
    return jnp.asarray(numbers[:, None], like.dtype)
