"""Distributions against SciPy, and against their own draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from forethought.policies.distributions import Categorical, Normal

COUNT = 20_000
PAIRS = {
    "normal": (
        Normal(jnp.array([0.3, -1.0]), jnp.array([-0.4, 0.2])),
        Normal(jnp.array([0.0, -0.5]), jnp.array([0.1, 0.0])),
    ),
    "categorical": (
        Categorical(jnp.array([0.2, -1.0, 0.7])),
        Categorical(jnp.array([0.0, 0.5, -0.5])),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_entropy_and_divergence_are_means_over_draws(name):
    one, other = PAIRS[name]
    keys = jax.random.split(jax.random.key(0), COUNT)
    draws = jax.vmap(lambda key: one.sample(key=key))(keys)
    own = np.asarray(jax.vmap(one.log_prob)(draws))
    ratio = own - np.asarray(jax.vmap(other.log_prob)(draws))
    for values, expected in ((-own, one.entropy()), (ratio, one.divergence(other))):
        error = 4 * np.std(values) / np.sqrt(COUNT)
        assert abs(np.mean(values) - float(expected)) < error
    assert float(one.divergence(one)) == pytest.approx(0, abs=1e-6)


def test_densities_are_those_of_scipy():
    one, _ = PAIRS["normal"]
    draw = np.array([0.5, 2.0])
    expected = stats.norm.logpdf(draw, one.mean, np.exp(one.log_std)).sum()
    assert float(one.log_prob(jnp.asarray(draw))) == pytest.approx(expected, rel=1e-5)
    some, _ = PAIRS["categorical"]
    shares = np.exp([float(some.log_prob(jnp.asarray(i))) for i in range(3)])
    np.testing.assert_allclose(shares, jax.nn.softmax(some.logits), rtol=1e-5)


def test_the_mode_is_the_likeliest_draw():
    assert int(PAIRS["categorical"][0].mode) == 2
    np.testing.assert_array_equal(PAIRS["normal"][0].mode, PAIRS["normal"][0].mean)
