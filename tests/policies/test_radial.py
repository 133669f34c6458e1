"""Radial basis functions and squashing: moments against samples and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from forethought.core.gaussian import Gaussian
from forethought.core.readout import Readout
from forethought.core.spaces import Box, free_box
from forethought.policies import squashed
from forethought.policies.affine import TimeVarying
from forethought.policies.follow import Moments
from forethought.policies.radial import features, taught
from forethought.policies.squashed import Squashed

KEY = jax.random.key(0)
MEAN = np.array([0.2, -0.3, 0.4])
ROOT = np.array([[0.5, 0.0, 0.0], [0.2, 0.4, 0.0], [-0.1, 0.1, 0.6]])
BOX = Box([-2.0, 1.0], [2.0, 1.5])


def radial(angles=()):
    """Six bumps for two actions."""
    keys = jax.random.split(KEY, 3)
    seen = 3 + len(angles)
    return taught(
        jax.random.normal(keys[0], (6, seen)),
        jax.random.normal(keys[1], (2, 6)),
        0.3 * jax.random.normal(keys[2], (2, seen)),
        angles,
    )


def affine():
    """Two actions of three numbers."""
    K = jnp.array([[[0.8, -0.4, 0.3], [0.2, 1.0, -0.5]]])
    return TimeVarying(
        K, jnp.array([[0.3, -0.6]]), jnp.zeros((1, 3)), jnp.zeros((1, 2, 2))
    )


def state(scale=1.0):
    return Gaussian(jnp.asarray(MEAN), scale * jnp.asarray(ROOT @ ROOT.T))


@jax.jit
def response(policy, x):
    return policy.respond(Readout(x), mode="exploit")


def off(policy, count=200_000):
    """How many standard errors a policy's moments are off samples, at most."""
    told = response(policy, state())
    x = MEAN + np.random.default_rng(1).normal(size=(count, 3)) @ ROOT.T
    u = jax.jit(jax.vmap(lambda x: policy.act(Readout(x), key=KEY, mode="exploit")[0]))(
        jnp.asarray(x)
    )
    u = np.asarray(u)
    du, dx = u - u.mean(0), x - x.mean(0)
    pairs = (
        (told.mean, u),
        (told.cov, du[:, :, None] * du[:, None, :]),
        (told.cross, dx[:, :, None] * du[:, None, :]),
    )
    return [
        float(np.max(np.abs(one - each.mean(0)) / (each.std(0) / np.sqrt(count))))
        for one, each in pairs
    ]


@pytest.mark.parametrize("policy", [radial, lambda: Squashed(affine(), BOX)])
def test_moments_are_those_of_samples(policy, x64):
    assert max(off(policy())) < 4.5


def test_sines_and_cosines_that_change_places_are_caught(x64, monkeypatch):
    def swapped(x, angles):
        n, k = x.mean.shape[0], len(angles)
        found = squashed_turns(x, angles)
        at = jnp.array([*range(n), *range(n + k, n + 2 * k), *range(n, n + k)])
        return Gaussian(found.mean, found.cov[at][:, at])

    squashed_turns = squashed.with_turns
    monkeypatch.setattr(squashed, "with_turns", swapped)
    policy = Squashed(affine(), BOX)
    jax.clear_caches()
    assert max(off(policy)) > 20


@pytest.mark.parametrize("angles", [(), (1,)])
def test_of_a_state_that_is_known_the_response_is_the_action_and_its_slope(angles, x64):
    policy = radial(angles)

    def act(x):
        return policy.act(Readout(x), key=KEY, mode="exploit")[0]

    told, x = response(policy, state(1e-10)), jnp.asarray(MEAN)
    slope = jax.jacfwd(act)(x)
    np.testing.assert_allclose(told.mean, act(x), rtol=1e-8)
    spread = 1e-10 * ROOT @ ROOT.T
    np.testing.assert_allclose(told.cross, spread @ slope.T, rtol=1e-6)
    np.testing.assert_allclose(told.cov, slope @ spread @ slope.T, atol=1e-13)


@pytest.mark.parametrize("limited", [False, True])
def test_gradients_by_all_parameters_and_the_state_equal_differences(limited, x64):
    inner = radial((1,))
    policy = Squashed(inner, BOX) if limited else inner
    flat, restore = ravel_pytree((policy, state()))

    def number(flat):
        policy, x = restore(flat)
        told = policy.respond(Readout(x), mode="exploit")
        return jnp.sum(told.mean) + jnp.sum(jnp.sin(3 * told.cov)) + jnp.sum(told.cross)

    value = jax.jit(number)
    slope = jax.jit(jax.grad(number))(flat)
    for seed in range(3):
        way = np.random.default_rng(seed).normal(size=flat.shape)
        ends = [float(value(flat + step * way)) for step in (1e-5, -1e-5)]
        np.testing.assert_allclose(
            slope @ way, (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-8
        )


def test_it_does_about_what_it_was_told_at_its_centres(x64):
    policy = radial()
    told = (
        policy.weights
        @ jnp.exp(
            -0.5
            * jnp.sum(
                (
                    (policy.centres[:, None] - policy.centres[None])[None]
                    * jnp.exp(-policy.log_lengths)[:, None, None]
                )
                ** 2,
                axis=3,
            )
        )[0].T
    )
    targets = jax.random.normal(jax.random.split(KEY, 3)[1], (2, 6))
    np.testing.assert_allclose(told[0], targets[0], atol=1e-2)


def test_angles_are_seen_by_sine_and_cosine_behind_the_rest():
    seen = features(jnp.array([0.0, np.pi / 2, 3.0]), (1,))
    np.testing.assert_allclose(seen, [0.0, 3.0, 1.0, 0.0], atol=1e-6)


def test_squashed_actions_keep_to_their_limits_and_reach_them():
    policy = Squashed(affine(), BOX)
    x = 5 * jax.random.normal(KEY, (500, 3))
    u = jax.vmap(lambda x: policy.act(Readout(x), key=KEY, mode="exploit")[0])(x)
    low, high, u = np.asarray(BOX.low), np.asarray(BOX.high), np.asarray(u)
    assert np.all(u >= low - 1e-6) and np.all(u <= high + 1e-6)
    np.testing.assert_allclose(u.min(0), low, atol=1e-2)
    np.testing.assert_allclose(u.max(0), high, atol=1e-2)


def test_moments_are_followed_within_limits_that_a_policy_keeps_to_by_itself(x64):
    seen, wide = Readout(state()), Box([-2.0, 0.0], [2.0, 2.0])
    policy = Squashed(radial(), BOX)
    for space in (BOX, wide, free_box(2)):
        told, _ = Moments("exploit").act(policy, seen, space, key=KEY)
        assert told.mean.shape == (2,)
    tight = Box([-1.0, 1.0], [1.0, 1.5])
    for wrong, space in ((radial(), BOX), (policy, tight)):
        with pytest.raises(TypeError, match="keeps to them"):
            Moments("exploit").act(wrong, seen, space, key=KEY)


def test_a_limit_that_is_missing_is_refused():
    with pytest.raises(ValueError, match="two limits for each side"):
        Squashed(affine(), Box([-2.0, -np.inf], [2.0, 1.0]))
    with pytest.raises(ValueError, match="traced"):
        jax.eval_shape(lambda box: Squashed(affine(), box).centre, BOX)
