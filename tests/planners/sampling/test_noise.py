import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.planners.sampling.noise import (
    SHORT,
    colour,
    coloured_noise,
    spectral_basis,
    whiten,
)


@pytest.mark.parametrize("horizon", [1, 2, 7, 32])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_coloured_noise_has_unit_variance_at_every_time(horizon, beta):
    variance = np.sum(spectral_basis(horizon, beta) ** 2, axis=0)
    np.testing.assert_allclose(variance, 1.0, rtol=1e-12)


def test_the_power_of_coloured_noise_falls_with_its_exponent():
    beta, horizon = 2.0, 64
    basis = spectral_basis(horizon, beta)
    power = np.mean(np.abs(np.fft.rfft(basis, axis=1)) ** 2, axis=0)[1:-1]
    slope = np.polyfit(np.log(np.arange(1, horizon // 2)), np.log(power), 1)[0]
    np.testing.assert_allclose(slope, -beta, atol=1e-6)


@pytest.mark.parametrize("horizon", [SHORT + 1, SHORT + 2])
def test_long_sequences_are_coloured_by_the_same_basis(horizon, x64):
    white = jax.random.normal(jax.random.key(0), (horizon, 2), jnp.float64)
    coloured = colour(white, 1.5)
    expected = spectral_basis(horizon, 1.5).T @ np.asarray(white)
    np.testing.assert_allclose(coloured, expected, atol=1e-12)
    np.testing.assert_allclose(whiten(coloured, 1.5), white, atol=1e-10)


def test_samples_follow_the_covariance_of_the_basis():
    noise = coloured_noise(1.0, (20_000, 6, 2), jnp.float32, key=jax.random.key(0))
    basis = spectral_basis(6, 1.0)
    # 20,000 samples: six sigma of a covariance entry are about 0.06.
    np.testing.assert_allclose(
        np.cov(noise[:, :, 0], rowvar=False), basis.T @ basis, atol=0.06
    )
    correlation = np.corrcoef(noise[:, 0, 0], noise[:, 0, 1])[0, 1]
    assert abs(correlation) < 6 / np.sqrt(20_000)
