"""A student comes to do what it was shown, and no row that is not valid teaches it."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.agents.imitation.imitate import (
    Demonstrations,
    ImitationSettings,
    imitate,
)
from forethought.core.readout import Readout
from forethought.core.spaces import Box, Discrete, free_box
from forethought.policies.categorical import policy_for

KEY = jax.random.key(0)
GAIN = np.array([[-1.0, 0.5]])
QUICK = ImitationSettings(epochs=60, learning_rate=0.01)


def shown(count=256, spoilt=0):
    """What a linear teacher does; the last rows are another's, and not valid."""
    obs = jax.random.normal(KEY, (count, 2))
    action = obs @ GAIN.T.astype(obs.dtype)
    valid = jnp.arange(count) < count - spoilt
    return Demonstrations(obs, jnp.where(valid[:, None], action, 50.0), valid)


def gain_of(policy):
    def act(x):
        return policy.act(Readout(x), key=KEY, mode="exploit")[0]

    return jax.jacfwd(act)(jnp.zeros(2))


def linear(box=None):
    return policy_for(2, box or free_box(1), depth=0, key=KEY)


def test_a_linear_student_finds_the_gain_of_a_linear_teacher(precision):
    student, told = imitate(linear(), shown(), QUICK, key=KEY)
    np.testing.assert_allclose(gain_of(student), GAIN, rtol=0.02, atol=1e-3)
    assert told["imitation_loss"] < 0.01
    assert student.network.biases[0].dtype == f"float{precision}"


def test_rows_that_are_not_valid_teach_nothing():
    student, _ = imitate(linear(), shown(spoilt=64), QUICK, key=KEY)
    np.testing.assert_allclose(gain_of(student), GAIN, rtol=0.02, atol=1e-3)
    # The broken variant: one that takes every row for a label.
    every = dataclasses.replace(shown(spoilt=64), valid=jnp.ones(256, bool))
    misled, _ = imitate(linear(), every, QUICK, key=KEY)
    assert np.max(np.abs(gain_of(misled) - GAIN)) > 0.5


def test_without_a_row_nothing_is_learned():
    none = dataclasses.replace(shown(), valid=jnp.zeros(256, bool))
    before = linear()
    after, told = imitate(before, none, QUICK, key=KEY)
    np.testing.assert_array_equal(gain_of(after), gain_of(before))
    assert np.isfinite(told["imitation_loss"])


def test_limits_stop_no_student_that_went_beyond_them():
    """Actions beyond limits have no slope; draws do."""
    student = linear(Box([-1.0], [1.0]))
    far = (jnp.full(1, 5.0),)
    student = eqx.tree_at(lambda student: student.network.biases, student, far)
    rows = shown()
    rows = dataclasses.replace(rows, action=jnp.zeros((256, 1)))
    after, _ = imitate(student, rows, ImitationSettings(learning_rate=0.02), key=KEY)
    acted, _ = after.act(Readout(jnp.zeros(2)), key=KEY, mode="exploit")
    assert abs(float(acted[0])) < 0.05


def test_choices_are_imitated_by_their_likelihood():
    obs = jax.random.normal(KEY, (256, 2))
    rows = Demonstrations(obs, (obs[:, 0] > 0).astype(int), jnp.ones(256, bool))
    student = policy_for(2, Discrete(2), depth=0, key=KEY)
    settings = ImitationSettings(learning_rate=0.01)
    student, told = imitate(student, rows, settings, loss="likelihood", key=KEY)
    chosen = jax.vmap(
        lambda obs: student.act(Readout(obs), key=KEY, mode="exploit")[0]
    )(obs)
    assert np.mean(chosen == rows.action) > 0.97
    assert told["imitation_loss"] < 0.3


def test_a_second_fit_compiles_nothing(compilations):
    rows, key = shown(), jax.random.key(1)
    student, _ = imitate(linear(), rows, QUICK, key=KEY)
    before = compilations.count
    imitate(student, rows, QUICK, key=key)
    assert compilations.count == before


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"holdout": 1.0}, {"clip": 0.0}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(
        ValueError, match=f"ImitationSettings needs {next(iter(setting))}"
    ):
        ImitationSettings(**setting)
