"""A Gaussian over weights is the best that there is, and no surer than the data."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.models.learned.bayesian import BayesianNetwork, BoundSettings
from forethought.models.learned.mlp import MLP, UNITS
from forethought.models.learned.rows import Rows
from forethought.models.learned.transforms import Transform
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


@eqx.filter_jit
def wide():
    """A posterior over networks of two layers, far from its prior."""
    network = MLP(2, 1, 4, 1, key=KEY)
    posterior = GaussianMLP(network, 2.0)
    return eqx.tree_at(
        lambda p: p.log_std,
        posterior,
        jax.tree.map(lambda log_std: log_std + 2.0, posterior.log_std),
    )


def test_the_divergence_is_what_quadrature_over_each_weight_finds():
    posterior = wide()
    total = 0.0
    for W, b, log_W, log_b in zip(
        posterior.mean.weights,
        posterior.mean.biases,
        *posterior.log_std,
        strict=True,
    ):
        for m, log_s, tau in (
            (W, log_W, 2.0 / W.shape[0] ** 0.5),
            (b, log_b, 1.0),
        ):
            s = np.exp(np.asarray(log_s, float))
            # By quadrature over each weight, and not by the closed form.
            z = np.linspace(-12, 12, 20_001)
            theta = np.asarray(m, float)[..., None] + s[..., None] * z
            log_q = -0.5 * z**2 - np.log(s)[..., None]
            log_p = -0.5 * (theta / tau) ** 2 - np.log(tau)
            density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
            total += np.sum(density * (log_q - log_p)) * (z[1] - z[0])
    np.testing.assert_allclose(posterior.divergence(), total, rtol=1e-5)


def test_a_layers_noise_has_the_moments_of_its_weights_draws():
    x = jnp.array([1.0, -2.0, 0.5])

    @jax.jit
    def both():
        network = MLP(3, 2, depth=0, probabilistic=False, key=KEY)
        posterior = GaussianMLP(network, 1.0)
        many = jax.vmap(lambda key: posterior.draw(key=key)(x)[0])(
            jax.random.split(KEY, 4000)
        )
        mean, above = (posterior.noisy(x, noise * jnp.ones(2))[0] for noise in (0, 1))
        return many, mean, above - mean

    many, mean, std = map(np.asarray, both())
    np.testing.assert_allclose(many.mean(0), mean, atol=5 * np.max(std) / 4000**0.5)
    np.testing.assert_allclose(many.std(0), std, rtol=5 / 8000**0.5)


def test_a_network_that_fell_back_to_its_prior_has_no_active_units():
    posterior = wide()
    nothing = eqx.tree_at(
        lambda p: p.mean.weights,
        posterior,
        replace_fn=lambda W: jax.tree.map(jnp.zeros_like, W),
    )
    sure = eqx.tree_at(
        lambda p: p.mean.weights[1], nothing, replace_fn=lambda W: W.at[2, 0].set(9.0)
    )
    assert (int(nothing.active()), int(sure.active())) == (0, 1)


def test_mixed_units_are_some_of_each():
    x = jnp.linspace(-3, 3, 5)
    mixed, tanh, silu = jax.jit(
        lambda x: [UNITS[name](x) for name in ("mixed", "tanh", "silu")]
    )(x)
    np.testing.assert_allclose(mixed[:2], tanh[:2], rtol=1e-6)
    np.testing.assert_allclose(mixed[2:], silu[2:], rtol=1e-6)


def test_a_sample_is_known_by_its_number_alone():
    x = jnp.array([[0.3, -1.0], [2.0, 0.5]])

    @jax.jit
    def answers(x):
        """Each sample's means of two rows."""
        model = BayesianNetwork(Transform(1, 1), size=3, width=4, key=KEY)
        return model.grouped(jnp.broadcast_to(x, (3, 2, 2)))[0]

    first, second = answers(x), answers(x[::-1])
    np.testing.assert_allclose(first, second[:, ::-1], rtol=1e-5)
    assert len({float(mean) for mean in first[:, 0, 0]}) == 3


@pytest.mark.long
def test_ends_are_learned_by_each_sample():
    fitting = BoundSettings(epochs=1, updates=4, batch=8)
    model = BayesianNetwork(
        Transform(1, 1),
        size=2,
        width=4,
        termination="learned",
        fitting=fitting,
        key=KEY,
    )
    obs = np.linspace(-1, 1, 60, dtype=np.float32)[:, None]
    rows = Rows.pad(obs, obs, obs[:, 0], 2 * obs, obs[:, 0] > 0.5)
    model, metrics = model.fit(rows, key=KEY)
    assert metrics["end_nats"].shape == (2,)
    ends = (
        model.ends(jnp.array([[[0.0]], [[0.0]]])),
        model.ends(jnp.array([[[2.0]], [[2.0]]])),
    )
    assert np.all(ends[0] < 0.1) and np.all(ends[1] > 0.9)


def test_an_unknown_termination_is_refused(unchecked):
    with pytest.raises(ValueError, match="BayesianNetwork needs a termination that"):
        BayesianNetwork(Transform(1, 1), termination="never", key=KEY)
