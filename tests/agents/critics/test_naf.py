"""Normalised advantage functions: their maximum is where they say."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.agents.critics.naf import NAF
from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.environments.base import EnvironmentSpec

SPEC = EnvironmentSpec(Box([-1.0] * 3, [1.0] * 3), Box([-2.0, 0.0], [2.0, 1.0]), 10)
NAF_1 = NAF(width=8, depth=1, critics=1)


@pytest.fixture(scope="module")
def known():
    return NAF_1.init(SPEC, key=jax.random.key(4))


def test_the_best_of_a_grid_is_what_is_done_and_no_better_than_said(known):
    obs = jnp.array([0.4, -0.2, 0.9])
    grid = np.linspace(-1, 1, 101)
    units = jnp.asarray(list(itertools.product(grid, grid)), jnp.float32)
    actions = jax.vmap(known.limits.action)(units)
    judge = eqx.filter_jit(jax.vmap(lambda u: NAF_1.judge(known, obs, u)[0]))
    values = np.asarray(judge(actions))
    said = float(NAF_1.pool(NAF_1.bootstrap(known, obs, key=jax.random.key(0))))
    done, _ = NAF_1.policy(known).act(
        Readout(obs), key=jax.random.key(0), mode="exploit"
    )
    best = np.asarray(units[np.argmax(values)])
    np.testing.assert_allclose(known.limits.unit(done), best, atol=0.02)
    assert values.max() <= said + 1e-6
    assert values.max() == pytest.approx(said, abs=1e-3)
    # L is no diagonal matrix: the best of one side depends on the other.
    _, m, L = known.critics[0].parts(obs)
    assert abs(float(L[1, 0])) > 1e-3 and float(jnp.max(jnp.abs(m))) < 1
    assert float(L[0, 1]) == 0


def test_values_are_the_quadratic_form_that_is_written(known):
    obs, unit = jnp.array([0.1, 0.0, -0.5]), jnp.array([0.5, -0.25])
    V, m, L = (np.asarray(each, float) for each in known.critics[0].parts(obs))
    off = np.asarray(unit, float) - m
    wanted = V - 0.5 * off @ L @ L.T @ off
    found = NAF_1.judge(known, obs, known.limits.action(unit))
    assert float(found[0]) == pytest.approx(wanted, rel=1e-5)
