"""Noise that is scaled to what was held out: known factors are found again."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.models.learned.calibration import FACTORS, calibrated
from forethought.models.learned.mlp import MLP

NOISE = np.array([0.5, 3.0])
STEP = FACTORS[1] / FACTORS[0]


@pytest.fixture(scope="module")
def members():
    """Three networks that agree, and claim a variance of one where there is another."""
    one = MLP(2, 2, 4, 1, key=jax.random.key(0))
    weights = (*one.weights[:-1], one.weights[-1].at[:, 2:].set(0))
    one = eqx.tree_at(lambda n: n.weights, one, weights)
    high = jnp.full(2, 20.0)  # no bound is near
    one = eqx.tree_at(lambda n: n.max_log_variance, one, high)
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (3, *leaf.shape)), one)


def held(members, count=2000):
    """Inputs, and answers with noise about what members say."""
    x = jax.random.normal(jax.random.key(1), (count, 2))
    mean, _ = answers(members, x)
    noise = jax.random.normal(jax.random.key(2), mean[0].shape)
    return x, mean[0] + NOISE.astype(mean.dtype)[None] * noise


def answers(members, x):
    return eqx.filter_vmap(lambda member: jax.vmap(member)(x))(members)


def test_variances_become_those_of_what_was_held_out_and_means_stay(members):
    x, y = held(members)
    found = jax.jit(calibrated)(members, x, y, jnp.asarray(2000))
    (mean, variance), (same, wrong) = (answers(each, x) for each in (found, members))
    np.testing.assert_array_equal(mean, same)
    wanted = np.broadcast_to(NOISE**2, variance.shape)
    assert np.all(np.abs(np.log(variance / wanted)) < np.log(STEP))
    assert np.all(np.abs(np.log(wrong / wanted)) > 2 * np.log(STEP))


def test_rows_that_are_padding_have_no_say_and_few_change_nothing(members):
    x, y = held(members)
    far = y.at[700:].add(1e3)
    some, few = (
        jax.jit(calibrated)(members, x, far, jnp.asarray(count)) for count in (700, 99)
    )
    plain = jax.jit(calibrated)(members, x, y, jnp.asarray(700))
    for one, other in ((some, plain), (few, members)):
        for left, right in zip(
            jax.tree.leaves(one), jax.tree.leaves(other), strict=True
        ):
            np.testing.assert_allclose(left, right, rtol=1e-6)


def test_nothing_is_taken_from_what_members_disagree_by(members):
    x, y = held(members)
    shift = jnp.array([-9.0, 0.0, 9.0])
    apart = eqx.tree_at(
        lambda n: n.biases[-1], members, members.biases[-1] + shift[:, None]
    )
    found = jax.jit(calibrated)(apart, x, y, jnp.asarray(2000))
    np.testing.assert_array_equal(answers(found, x)[0], answers(apart, x)[0])
    # They disagree by more than they err: no noise is left to claim.
    variance = answers(found, x)[1][0]
    np.testing.assert_allclose(
        variance / answers(apart, x)[1][0], FACTORS[0], rtol=1e-4
    )
