"""The step of a trust region against a dense solution, and its bound."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.agents.on_policy.actor_critic import Batch
from forethought.agents.on_policy.trust_region import HALVINGS, natural_step
from forethought.core.readout import Readout
from forethought.core.spaces import Discrete
from forethought.policies.categorical import CategoricalPolicy

ROWS, DAMPING = 40, 1e-3


@eqx.filter_jit
def step(policy, rows, advantage, radius):
    """One program for all tests."""
    return natural_step(
        policy, rows, advantage, jnp.ones(ROWS), radius, damping=DAMPING, products=30
    )


@eqx.filter_jit
def draw(policy, obs, keys):
    dists = jax.vmap(lambda obs: policy.distribution(Readout(obs)))(obs)
    draws = jax.vmap(lambda dist, key: dist.sample(key=key))(dists, keys)
    return draws, jax.vmap(lambda dist, draw: dist.log_prob(draw))(dists, draws)


@pytest.fixture(scope="module")
def case():
    """A linear policy with three choices, what it drew, and how good that was."""
    rng = np.random.default_rng(0)
    policy = CategoricalPolicy(2, Discrete(3), width=1, depth=0, key=jax.random.key(0))
    obs = jnp.asarray(rng.normal(size=(ROWS, 2)), jnp.float32)
    draws, log_prob = draw(policy, obs, jax.random.split(jax.random.key(1), ROWS))
    advantage = jnp.asarray(rng.normal(size=ROWS), jnp.float32)
    return policy, Batch(obs, draws, log_prob, advantage, advantage)


def parameters(policy):
    """Weights and biases of its one layer, by rows."""
    network = policy.network
    return np.concatenate([network.weights[0].ravel(), network.biases[0]])


def shares(theta, obs):
    logits = obs @ theta[:6].reshape(2, 3) + theta[6:]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def divergence(old, new, rows):
    p, q = (shares(each, np.asarray(rows.obs)) for each in (old, new))
    return float(np.mean(np.sum(p * np.log(p / q), axis=1)))


def test_the_step_is_the_natural_gradient_solved_densely(case):
    policy, rows = case
    radius = 1e-3
    after, halved = step(policy, rows, rows.advantage, jnp.asarray(radius))
    start, obs = parameters(policy), np.asarray(rows.obs)
    # By hand: the slope of log p_a in the logits is e_a - p.
    p = shares(start, obs)
    inputs = np.concatenate([obs, np.ones((ROWS, 1))], axis=1)
    jacobians = np.einsum("ri,cd->rcid", inputs, np.eye(3)).reshape(ROWS, 3, 9)
    scores = np.eye(3)[np.asarray(rows.draw)] - p
    slope = np.mean(
        np.einsum("rc,rcp->rp", scores, jacobians)
        * np.asarray(rows.advantage)[:, None],
        axis=0,
    )
    inner = np.stack([np.diag(each) - np.outer(each, each) for each in p])
    fisher = np.mean(np.einsum("rcp,rcd,rdq->rpq", jacobians, inner, jacobians), axis=0)
    fisher += DAMPING * np.eye(9)
    x = np.linalg.solve(fisher, slope)
    x *= np.sqrt(2 * radius / (x @ fisher @ x))
    moved = (parameters(after) - start) * 2 ** int(halved)
    np.testing.assert_allclose(moved, x, rtol=2e-2, atol=1e-4)
    # Not so the gradient itself, as far along.
    plain = slope * np.sqrt(2 * radius / (slope @ fisher @ slope))
    assert np.abs(plain - x).max() > 0.1 * np.abs(x).max()


@pytest.mark.parametrize("radius", [1e-3, 0.1, 1.0])
def test_the_policy_stays_within_the_radius(case, radius):
    policy, rows = case
    after, halved = step(policy, rows, rows.advantage, jnp.asarray(radius))
    assert int(halved) < HALVINGS
    moved = divergence(parameters(policy), parameters(after), rows)
    assert 0 < moved <= radius
    # The search stopped at the longest step: twice as long would be too long.
    if int(halved):
        start = parameters(policy)
        longer = start + 2 * (parameters(after) - start)
        assert divergence(start, longer, rows) > radius


def test_where_nothing_is_gained_or_finite_the_policy_stays(case):
    policy, rows = case
    for advantage in (0 * rows.advantage, jnp.nan * rows.advantage):
        after, halved = step(policy, rows, advantage, jnp.asarray(0.1))
        assert int(halved) == HALVINGS
        np.testing.assert_array_equal(parameters(after), parameters(policy))
