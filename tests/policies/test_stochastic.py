"""Policies that say what they draw from: it is what they act by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.readout import Readout
from forethought.core.spaces import Box, Discrete
from forethought.policies.categorical import CategoricalPolicy
from forethought.policies.gaussian import GaussianPolicy
from forethought.policies.mlp import MLPPolicy

LIMITS = Box([-2.0, 1.0], [2.0, 1.5])
SIZES = {"width": 8, "depth": 1, "key": jax.random.key(0)}
SEEN = Readout(jnp.array([0.3, -1.0, 2.0]))
POLICIES = {
    "mlp": MLPPolicy(3, LIMITS, **SIZES),
    "gaussian": GaussianPolicy(3, LIMITS, **SIZES),
    "categorical": CategoricalPolicy(3, Discrete(4), **SIZES),
}


@pytest.mark.parametrize("name", POLICIES)
def test_it_acts_by_what_it_says_that_it_draws_from(name):
    policy = POLICIES[name]
    dist, keys = policy.distribution(SEEN), jax.random.split(jax.random.key(1), 500)
    draws = jax.vmap(lambda key: dist.sample(key=key))(keys)
    actions, told = jax.vmap(lambda key: policy.act(SEEN, key=key, mode="explore"))(
        keys
    )
    np.testing.assert_allclose(actions, jax.vmap(policy.realise)(draws), rtol=1e-5)
    if name != "mlp":  # which says the density of the action, squashed
        np.testing.assert_allclose(told, jax.vmap(dist.log_prob)(draws), rtol=1e-5)
    best, _ = policy.act(SEEN, key=keys[0], mode="exploit")
    np.testing.assert_allclose(best, policy.realise(dist.mode))


def test_a_first_policy_acts_around_the_middle_and_over_all_of_its_limits():
    policy = POLICIES["gaussian"]
    middle, _ = policy.act(SEEN, key=jax.random.key(0), mode="exploit")
    np.testing.assert_allclose(middle, [0.0, 1.25], atol=0.02)
    keys = jax.random.split(jax.random.key(2), 500)
    actions = jax.vmap(lambda key: policy.act(SEEN, key=key, mode="explore")[0])(keys)
    np.testing.assert_allclose(np.min(actions, axis=0), LIMITS.low)
    np.testing.assert_allclose(np.max(actions, axis=0), LIMITS.high)
    choices = POLICIES["categorical"].distribution(SEEN)
    np.testing.assert_allclose(jax.nn.softmax(choices.logits), 0.25, atol=0.01)


def test_a_policy_whose_limits_are_traced_is_refused():
    def make(low):
        return GaussianPolicy(3, Box(low, [1.0]), **SIZES)

    with pytest.raises(ValueError, match="limits that are numbers"):
        jax.eval_shape(make, jnp.array([-1.0]))
