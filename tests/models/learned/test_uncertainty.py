"""Mixtures by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from forethought.models.learned.uncertainty import (
    coverage,
    mixture_cdf,
    mixture_doubt,
    mixture_moments,
    mixture_nll,
)

MEANS = jnp.array([[-1.0, 0.0], [3.0, 0.0]])
VARIANCES = jnp.array([[1.0, 2.0], [3.0, 4.0]])


def test_moments_of_a_mixture_are_those_computed_by_hand():
    mean, variance = mixture_moments(MEANS, VARIANCES)
    np.testing.assert_allclose(mean, [1.0, 0.0])
    np.testing.assert_allclose(variance, [2.0 + 4.0, 3.0])


def draws(count):
    member_key, noise_key = jax.random.split(jax.random.key(0))
    member = jax.random.randint(member_key, (count,), 0, 2)
    noise = jax.random.normal(noise_key, (count, 2))
    return MEANS[member] + jnp.sqrt(VARIANCES)[member] * noise


def test_averaging_members_into_one_gaussian_does_not_describe_the_mixture():
    y = draws(40_000)
    right = mixture_moments(MEANS, VARIANCES)[1]
    averaged = jnp.mean(VARIANCES, axis=0)
    found = jnp.var(y, axis=0)
    # Standard error of the variance: below 6 * sqrt(2 / 40000) = 0.042; five of them.
    np.testing.assert_allclose(found, right, atol=0.21)
    assert abs(float(found[0] - averaged[0])) > 3
    true = jnp.mean(jax.vmap(lambda y: mixture_nll(MEANS, VARIANCES, y))(y))
    one = jax.vmap(
        lambda y: mixture_nll(jnp.mean(MEANS, axis=0)[None], averaged[None], y)
    )
    assert float(jnp.mean(one(y))) > float(true) + 0.1


def test_the_likelihood_of_two_members_is_that_computed_by_hand():
    y = jnp.array([1.0, 1.0])

    def density(gap, variance):
        return math.exp(-(gap**2) / 2 / variance) / math.sqrt(2 * math.pi * variance)

    first = density(2, 1) * density(1, 2)
    second = density(2, 3) * density(1, 4)
    np.testing.assert_allclose(
        mixture_nll(MEANS, VARIANCES, y), -math.log((first + second) / 2), rtol=1e-6
    )


def test_doubt_is_the_noise_on_average_and_the_members_distance_from_their_mean():
    noise, apart = mixture_doubt(MEANS, VARIANCES)
    np.testing.assert_allclose(noise, np.mean(VARIANCES, axis=0), rtol=1e-6)
    np.testing.assert_allclose(np.mean(apart), (4 + 4) / 4)
    np.testing.assert_array_equal(mixture_doubt(MEANS[:1], VARIANCES[:1])[1], 0)


def test_central_intervals_cover_their_share_of_the_mixtures_own_draws():
    y = draws(10_000)
    levels = jnp.array([0.5, 0.9])
    cdf = jax.vmap(lambda y: mixture_cdf(MEANS, VARIANCES, y))(y)
    # Standard error at most 0.005; five of them.
    np.testing.assert_allclose(
        coverage(cdf, levels), np.array([[0.5] * 2, [0.9] * 2]), atol=0.025
    )
    narrow = jax.vmap(lambda y: mixture_cdf(MEANS, VARIANCES / 4, y))(y)
    assert float(coverage(narrow, levels)[1, 1]) < 0.7


def test_members_without_noise_have_finite_likelihoods(precision):
    zero = jnp.zeros((2, 1))
    assert bool(jnp.isfinite(mixture_nll(zero, zero, jnp.ones(1))))
    assert mixture_nll(zero, zero, jnp.ones(1)).dtype == zero.dtype
