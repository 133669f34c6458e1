"""The density of squashed actions, against one integrated by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.policies.mlp import MLPPolicy

KEY = jax.random.key(0)


def test_the_log_probability_is_that_of_the_squashed_action(x64):
    """Its mean is minus the entropy, and the density integrates to one."""
    policy = MLPPolicy(2, Box([-3.0], [1.0]), width=4, depth=1, key=KEY)
    seen, count = Readout(jnp.array([0.5, -1.0])), 4000
    draws, told = jax.jit(
        jax.vmap(lambda key: policy.act(seen, key=key, mode="explore"))
    )(jax.random.split(KEY, count))
    mean, variance = (float(each[0]) for each in policy.network(seen.x))
    u = np.linspace(-3, 1, 200_001)[1:-1]
    z = np.arctanh((u + 1) / 2)
    density = np.exp(-0.5 * (z - mean) ** 2 / variance)
    density /= np.sqrt(2 * np.pi * variance) * 2 * (1 - np.tanh(z) ** 2)
    step = u[1] - u[0]
    np.testing.assert_allclose(density.sum() * step, 1, rtol=1e-6)
    at_draws = np.interp(np.asarray(draws)[:, 0], u, np.log(density))
    np.testing.assert_allclose(told, at_draws, rtol=1e-5, atol=1e-5)
    # Four sigmas of 4,000 draws; without the correction it is off by about 0.7.
    entropy = -(density * np.log(density)).sum() * step
    sigma = float(told.std()) / count**0.5
    assert abs(entropy + float(told.mean())) < 4 * sigma < 0.1


def test_exploiting_takes_the_middle_where_the_network_answers_zero():
    policy = MLPPolicy(2, Box([-3.0], [1.0]), width=4, depth=1, key=KEY)
    still = eqx.tree_at(
        lambda it: it.network, policy, jax.tree.map(jnp.zeros_like, policy.network)
    )
    action, _ = still.act(Readout(jnp.ones(2)), key=KEY, mode="exploit")
    np.testing.assert_array_equal(action, [-1])


def test_one_limit_alone_is_refused_and_so_are_limits_that_are_traced():
    with pytest.raises(ValueError, match="two limits for each side"):
        MLPPolicy(2, Box([-3.0], [np.inf]), key=KEY)
    with pytest.raises(ValueError, match="being traced"):
        jax.jit(lambda box: MLPPolicy(2, box, key=KEY))(Box([-3.0], [1.0]))
