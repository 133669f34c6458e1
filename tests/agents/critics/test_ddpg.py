"""Deterministic actor–critics: what critics converge to, delays, slow copies."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from forethought.agents.critics.base import Aims, followed, fresh_memory
from forethought.agents.critics.ddpg import DDPG
from forethought.agents.critics.targets import Judge, Lens, OneStep, Steps
from forethought.core.spaces import Box
from forethought.environments.base import EnvironmentSpec
from forethought.models.learned.mlp import MLP

A = np.array([[0.7, 0.2], [-0.1, 0.6]])
B = np.array([[0.0], [0.3]])
K = np.array([[-0.3, -0.5]])
NOISE, GAMMA, WIDEST = 0.1, 0.8, 20.0
SPEC = EnvironmentSpec(Box([-1.0] * 2, [1.0] * 2), Box([-WIDEST], [WIDEST]), None)
# The actor never moves: what is learned is the value of the policy u = K x.
FIXED = DDPG(critics=1, gamma=GAMMA, delay=10**9, batch=64, tau=0.02)


def lyapunov():
    """$V(x) = -x^T P x - c$ of the policy, under the cost $|x|^2 + u^2$."""
    closed = A + B @ K
    P = scipy.linalg.solve_discrete_lyapunov(GAMMA**0.5 * closed.T, np.eye(2) + K.T @ K)
    return P, GAMMA * NOISE**2 * np.trace(P) / (1 - GAMMA)


def with_linear_actor(known):
    """The knowledge whose actor is u = K x, as far as squashing is straight."""
    line = MLP(2, 1, 1, 0, probabilistic=False, key=jax.random.key(0))
    weights = (jnp.asarray(K.T / WIDEST, jnp.float32),)
    line = eqx.tree_at(lambda line: line.weights, line, weights)
    actor = dataclasses.replace(known.actor, network=line)
    memories = (known.memories[0], fresh_memory(FIXED, actor))
    return dataclasses.replace(known, actor=actor, slow_actor=actor, memories=memories)


def learned(settings, ended=0.0, updates=10_000):
    """The critic after many batches of steps, a share of which count as ends."""
    known = settings.init(SPEC, key=jax.random.key(0))
    known = with_linear_actor(known)
    a, b, k = (jnp.asarray(each, jnp.float32) for each in (A, B, K))
    lens = Lens(jnp.zeros(2), jnp.ones(2))

    @eqx.filter_jit
    def run(known, ended):
        def update(known, key):
            keys = jax.random.split(key, 5)
            x = jax.random.uniform(keys[0], (64, 2), minval=-1, maxval=1)
            u = x @ k.T
            after = x @ a.T + u @ b.T + NOISE * jax.random.normal(keys[1], (64, 2))
            over = jax.random.uniform(keys[2], (64,)) < ended
            reward = -jnp.sum(x**2, 1) - jnp.sum(u**2, 1)
            discount = jnp.where(over, 0.0, GAMMA)
            steps = Steps(x, u, reward, after, discount)
            judge = Judge(settings, known, lens)
            aims, _ = OneStep().aims(judge, None, steps, key=keys[3])
            known, told = settings.improve(known, aims, key=keys[4])
            return known, told["td_error"]

        keys = jax.random.split(jax.random.key(1), updates)
        return jax.lax.scan(update, known, keys)[0]

    return run(known, jnp.asarray(ended))


def misfit(known):
    """Root mean square error of values, in spreads of the true ones."""
    P, c = lyapunov()
    x = np.random.default_rng(0).uniform(-0.9, 0.9, (400, 2))
    wanted = -np.einsum("ni,ij,nj->n", x, P, x) - c
    key = jax.random.key(0)
    judge = jax.vmap(lambda x: FIXED.bootstrap(known, x, key=key)[0])
    found = np.asarray(judge(jnp.asarray(x, jnp.float32)))
    return np.sqrt(np.mean((found - wanted) ** 2)) / np.sqrt(np.mean(wanted**2))


def test_a_critic_of_a_fixed_policy_becomes_the_lyapunov_solution():
    assert misfit(learned(FIXED)) < 0.02


def test_it_does_not_where_cuts_count_as_ends():
    """A fifth of all steps: values to come are cut short."""
    assert misfit(learned(FIXED, ended=0.2, updates=3000)) > 0.1


def test_it_does_not_where_slow_copies_stand_still():
    frozen = eqx.tree_at(lambda ddpg: ddpg.tau, FIXED, 1e-9)
    assert misfit(learned(frozen, updates=3000)) > 0.1


def test_the_actor_of_td3_moves_at_every_second_update():
    td3 = DDPG.td3(width=4, depth=1)
    known = td3.init(SPEC, key=jax.random.key(0))
    aims = Aims(jnp.ones((3, 2)), jnp.ones((3, 1)), jnp.ones(3), jnp.ones((3, 2)))
    improve, moved = eqx.filter_jit(td3.improve), []
    for _ in range(4):
        before = known
        known, _ = improve(known, aims, key=jax.random.key(1))
        moved.append(not eqx.tree_equal(before.actor, known.actor))
        assert not eqx.tree_equal(before.critics, known.critics)
    assert moved == [False, True, False, True]


def test_a_blurred_target_stays_within_the_limits_and_the_least_counts():
    td3 = DDPG.td3(width=4, depth=1, smoothing=3.0)
    known = td3.init(SPEC, key=jax.random.key(0))
    obs = jnp.array([0.5, -0.5])
    keys = jax.random.split(jax.random.key(1), 50)
    found = jax.vmap(lambda key: td3.bootstrap(known, obs, key=key))(keys)
    corners = [td3.judge(known, obs, jnp.array([u])) for u in np.linspace(-20, 20, 101)]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    assert np.all(found >= low[None] - 1e-4) and np.all(found <= high[None] + 1e-4)
    assert float(td3.pool(found[0])) == float(jnp.min(found[0]))


def test_slow_copies_follow_by_a_share_or_are_copied_hard():
    slow, fast = jnp.zeros(2), jnp.ones(2)
    soft, hard = DDPG(tau=0.25), DDPG(tau=1.0, copy_every=3)
    np.testing.assert_allclose(followed(soft, slow, fast, jnp.asarray(1)), 0.25)
    found = [float(followed(hard, slow, fast, jnp.asarray(n))[0]) for n in range(1, 7)]
    assert found == [0, 0, 1, 0, 0, 1]


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="DDPG needs tau in"):
        DDPG(tau=0.0)
