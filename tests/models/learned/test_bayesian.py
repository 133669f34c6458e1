"""A Gaussian over weights is the best that there is, and no surer than the data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.models.learned.mlp import MLP
from forethought.models.learned.variational import GaussianMLP, maximise

ROWS, INPUTS, NOISE, PRIOR = 200, 5, 0.3, 0.7
KEY = jax.random.key(0)


def regression():
    """Correlated inputs and a target that is linear in them, with known noise."""
    rng = np.random.default_rng(0)
    mixed = np.eye(INPUTS) + 0.5 * np.ones((INPUTS, INPUTS))
    x = rng.normal(size=(ROWS, INPUTS)) @ mixed / 1.5
    y = x @ rng.normal(size=INPUTS) + 0.4 + NOISE * rng.normal(size=ROWS)
    return x, y


def closed_form(x, y):
    """Mean, mean-field and marginal deviations of Bayesian linear regression."""
    design = np.hstack([x, np.ones((len(x), 1))])
    prior = np.diag([*[PRIOR**-2] * INPUTS, 1.0])
    precision = design.T @ design / NOISE**2 + prior
    mean = np.linalg.solve(precision, design.T @ y / NOISE**2)
    marginal = np.sqrt(np.diag(np.linalg.inv(precision)))
    return mean, 1 / np.sqrt(np.diag(precision)), marginal


@pytest.fixture(scope="module")
def errors():
    """How far one fitted layer is off, in deviations and as shares of them."""
    x, y = regression()
    mean, std, marginal = closed_form(x, y)
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)[:, None]
    network = MLP(INPUTS, 1, depth=0, probabilistic=False, key=KEY)

    def loss(mean, variance, y):
        return jnp.sum((y - mean) ** 2) / (2 * NOISE**2)

    @jax.jit
    def fit(temperature):
        return maximise(
            GaussianMLP(network, PRIOR * INPUTS**0.5),
            loss,
            x,
            y,
            jnp.ones(ROWS, bool),
            lambda posterior: posterior.divergence(),
            epochs=1,
            updates=12_000,
            batch=ROWS,
            learning_rate=1e-2,
            temperature=temperature,
            key=KEY,
        )[0]

    def of(temperature):
        found = fit(jnp.asarray(temperature))
        m, s = (
            np.concatenate([np.ravel(weights[0]), biases[0]])
            for weights, biases in (
                (found.mean.weights, found.mean.biases),
                jax.tree.map(jnp.exp, found.log_std),
            )
        )
        return (
            np.max(np.abs(m - mean) / std),
            np.max(np.abs(s / std - 1)),
            np.max(np.abs(s / marginal - 1)),
        )

    return {temperature: of(temperature) for temperature in (1.0, 0.1)}


def test_one_layer_is_the_mean_field_optimum_of_bayesian_regression(errors):
    of_mean, of_std, of_marginal = errors[1.0]
    assert of_mean < 0.02 and of_std < 0.02
    # Which is not the exact marginal: inputs are correlated.
    assert of_marginal > 0.2


def test_a_cold_posterior_is_told_from_the_right_one(errors):
    assert errors[0.1][1] > 0.5
