"""Soft actor–critic: entropies by quadrature, and a pendulum that it swings up."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.agents.critics.base import Aims
from forethought.agents.critics.sac import SAC, drawn
from forethought.core.spaces import Box, Discrete
from forethought.environments.base import EnvironmentSpec

SPEC = EnvironmentSpec(Box([-1.0] * 2, [1.0] * 2), Box([-2.0], [4.0]), 10)
DRAWS = 20_000
OBS = jnp.array([0.3, -0.7])


@pytest.fixture(scope="module")
def sac():
    return SAC(width=4, depth=1, entropy=-0.5)


@pytest.fixture(scope="module")
def known(sac):
    return sac.init(SPEC, key=jax.random.key(0))


def density(known, unit):
    """Of an action in half widths: that of the normal it is squashed from."""
    mean, variance = (np.asarray(each, float)[0] for each in known.policy.network(OBS))
    z = np.arctanh(unit)
    normal = np.exp(-0.5 * (z - mean) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
    return normal / (1 - unit**2)


def entropy_by_quadrature(known):
    unit = np.tanh(np.linspace(-8, 8, 20_001))
    p = density(known, unit)
    p, unit = p[p > 0], unit[p > 0]
    assert np.trapezoid(p, unit) == pytest.approx(1, abs=1e-5)
    return -np.trapezoid(p * np.log(p), unit)


@pytest.fixture(scope="module")
def draws(known):
    keys = jax.random.split(jax.random.key(1), DRAWS)
    one = lambda key: drawn(known.policy, known.limits, OBS, key=key)  # noqa: E731
    unit, log_prob = eqx.filter_jit(jax.vmap(one))(keys)
    return np.asarray(unit)[:, 0], np.asarray(log_prob)


def test_log_probabilities_are_those_of_actions_in_half_widths(known, draws):
    unit, log_prob = draws
    inside = np.abs(unit) < 0.999  # arctanh loses digits beyond
    found = np.log(density(known, unit[inside].astype(float)))
    np.testing.assert_allclose(log_prob[inside], found, atol=2e-3)


def test_the_entropy_is_that_of_quadrature_and_without_the_correction_it_is_not(
    known, draws
):
    """20,000 draws, four sigmas; the density of what is squashed misses by hundreds."""
    unit, log_prob = draws
    wanted = entropy_by_quadrature(known)
    sigma = np.std(log_prob) / DRAWS**0.5
    assert abs(-np.mean(log_prob) - wanted) < 4 * sigma
    uncorrected = log_prob + np.log(1 - unit.astype(float) ** 2)
    assert abs(-np.mean(uncorrected) - wanted) > 40 * sigma


@pytest.mark.parametrize("asked", [-0.5, 3.0])
def test_the_temperature_descends_what_is_missing_of_the_entropy(sac, known, asked):
    """The gradient in its logarithm is H - H_asked: by quadrature, in four sigmas."""
    sac = eqx.tree_at(lambda sac: sac.entropy, sac, asked)
    here = jnp.broadcast_to(OBS, (DRAWS, 2))
    aims = Aims(here[:1], jnp.zeros((1, 1)), jnp.zeros(1), here)
    after, told = eqx.filter_jit(sac.improve)(known, aims, key=jax.random.key(2))
    excess = entropy_by_quadrature(known) - asked
    assert float(told["temperature_gradient"]) == pytest.approx(abs(excess), abs=0.03)
    moved = float(after.log_temperature - known.log_temperature)
    assert moved == pytest.approx(-np.sign(excess) * sac.learning_rate, rel=1e-3)


def test_what_is_expected_counts_entropy_to_come(sac, known):
    key = jax.random.key(3)
    unit, log_prob = drawn(known.policy, known.limits, OBS, key=key)
    found = sac.bootstrap(known, OBS, key=key)
    action = known.limits.action(unit)
    bare = sac.judge(known, OBS, action)  # slow copies begin alike
    np.testing.assert_allclose(found, bare - 0.2 * log_prob, rtol=1e-5)
    assert float(sac.pool(found)) == pytest.approx(float(jnp.min(found)))


@pytest.mark.parametrize(
    ("action", "told"),
    [(Discrete(3), "Box"), (Box([-np.inf], [1.0]), "two limits")],
)
def test_actions_without_slope_or_limits_are_refused(sac, action, told):
    spec = EnvironmentSpec(SPEC.observation, action, 10)
    with pytest.raises(TypeError, match=f"SAC needs actions .*{told}"):
        sac.init(spec, key=jax.random.key(0))


def test_observations_that_are_no_vectors_are_refused(sac):
    spec = EnvironmentSpec(Discrete(3), SPEC.action, 10)
    with pytest.raises(TypeError, match="SAC learns from observations"):
        sac.init(spec, key=jax.random.key(0))
