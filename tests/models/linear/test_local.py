"""Local models: against formulas in NumPy, and on roll-outs that were held out."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.gaussian import Gaussian, Response
from forethought.core.spaces import free_box
from forethought.core.types import Stamped
from forethought.environments.analytic import CartPole
from forethought.models.learned.transforms import Transform
from forethought.models.linear.local import Local, LocalSettings, condition
from forethought.models.linear.rollouts import Rollouts
from forethought.objectives.quadratic import Quadratic
from forethought.planners import ILQR, LQR
from forethought.problem import Problem, rollout
from forethought.runs.store import checkpoint

STEPS, STATE, ACTION, NOISE = 20, 4, 1, 0.01
KEY = jax.random.key(0)
SETTINGS = LocalSettings(clusters=5)


def controller():
    """Actions that push a cart about, and feedback that keeps it near."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(STEPS, ACTION)).cumsum(0), np.array(
        [[-1.0, 2.0, -1.0, 0.3]]
    )


@jax.jit
def roll(keys):
    """Roll-outs of a cart-pole under noise, one for each key."""
    system, (nominal, K) = CartPole(), controller()

    def one(key):
        start_key, key = jax.random.split(key)
        x = 0.1 * jax.random.normal(start_key, (STATE,))

        def step(x, inputs):
            u, key = inputs
            action_key, noise_key = jax.random.split(key)
            u = u + jnp.asarray(K, x.dtype) @ x
            u = u + jax.random.normal(action_key, u.shape)
            after = system.step(x, u, key=noise_key)
            after = after + NOISE * jax.random.normal(noise_key, x.shape)
            return after, (x, u)

        inputs = jnp.asarray(nominal, x.dtype), jax.random.split(key, STEPS)
        last, (xs, us) = jax.lax.scan(step, x, inputs)
        return jnp.concatenate([xs, last[None]]), us

    return jax.vmap(one)(keys)


def rollouts(count, seed):
    obs, action = roll(jax.random.split(jax.random.key(seed), count))
    return Rollouts(obs, action, jnp.ones((count, STEPS), bool))


def begin(steps=STEPS, **settings):
    settings = SETTINGS if not settings else LocalSettings(clusters=5, **settings)
    return Local(Transform(STATE, ACTION), steps, settings=settings)


@pytest.fixture(scope="module")
def held():
    return rollouts(100, 99)


def miss(F, f, held):
    """The error of predictions, in standard deviations of a step's change."""
    z = np.concatenate([held.obs[:, :-1], held.action], axis=2)
    gaps = np.einsum("tij,ntj->nti", F, z) + f - held.obs[:, 1:]
    scale = np.std(np.diff(held.obs, axis=1), axis=(0, 1))
    return np.sqrt(np.mean((gaps / scale) ** 2))


def miss_of(model, held):
    linear = model.linear.dynamics
    return miss(np.asarray(linear.F), np.asarray(linear.f), held)


def miss_of_least_squares(data, held):
    """The same of a regression at each step by itself."""
    z = np.concatenate([data.obs[:, :-1], data.action], axis=2).astype(float)
    z = np.concatenate([z, np.ones_like(z[:, :, :1])], axis=2)
    y = np.asarray(data.obs[:, 1:], float)
    W = [np.linalg.lstsq(z[:, t], y[:, t])[0].T for t in range(STEPS)]
    return miss(np.stack(W)[:, :, :-1], np.stack(W)[:, :, -1], held)


def test_five_rollouts_are_enough_with_the_prior_and_not_without(held):
    misses = []
    for seed in range(5):
        data, key = rollouts(5, seed), jax.random.key(seed)
        model, _ = begin().fit(data, key=key)
        without, _ = begin(strength=1e-6).fit(data, key=key)
        misses.append(
            (
                miss_of(model, held),
                miss_of(without, held),
                miss_of_least_squares(data, held),
            )
        )
    print(np.round(misses, 3))
    misses = np.array(misses)
    assert np.all(misses[:, 2] > 3 * misses[:, 0])
    assert np.all(misses[:, 1] > 1.3 * misses[:, 0])


def test_with_five_hundred_rollouts_the_prior_does_not_matter(held):
    data = rollouts(500, 7)
    model, _ = begin().fit(data, key=KEY)
    ours, plain = miss_of(model, held), miss_of_least_squares(data, held)
    np.testing.assert_allclose(ours, plain, rtol=0.02)
