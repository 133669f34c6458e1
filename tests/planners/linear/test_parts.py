"""Matrices that are read off a problem hold at the steps that they are asked for."""

import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.gaussian import Gaussian, moments
from forethought.core.readout import Readout
from forethought.core.spaces import free_box
from forethought.core.types import Stamped
from forethought.models.linear.dynamics import Linear
from forethought.models.linear.kalman import LinearGaussian
from forethought.objectives.quadratic import Quadratic
from forethought.planners.linear.parts import linear_parts
from forethought.problem import Problem

TIMES = np.arange(1.0, 6.0, dtype=np.float32)
LINEAR = Linear(np.eye(1, 2, dtype=np.float32))


def test_a_step_has_its_own_disturbance_and_the_look_that_ends_it():
    each = jnp.asarray(TIMES)[:, None, None]
    model = LinearGaussian(LINEAR, each, 10 * each, 100 * each)
    problem = Problem(model, Quadratic(np.eye(2), C_final=np.eye(1)), free_box(1))
    parts = linear_parts(problem).during(jnp.asarray([2, 3, 4]), jnp.dtype("float32"))
    assert parts.W is not None and parts.H is not None and parts.N is not None
    np.testing.assert_array_equal(parts.W[:, 0, 0], [3, 4, 5])
    np.testing.assert_array_equal(parts.H[:, 0, 0], [40, 50, 50])
    np.testing.assert_array_equal(parts.N[:, 0, 0], [400, 500, 500])
    # What is constant gets no axis of time.
    assert parts.F.shape == (1, 2) and parts.C.shape == (2, 2)


def test_without_noise_there_is_none_to_be_read():
    problem = Problem(LINEAR, Quadratic(np.eye(2)), free_box(1))
    parts = linear_parts(problem).during(jnp.arange(3), jnp.dtype("float16"))
    assert parts.W is None and parts.H is None and parts.N is None
    assert parts.C_final is None
    assert parts.C.dtype == jnp.float16


@pytest.mark.parametrize("doubted", [False, True])
def test_what_is_known_of_a_state_has_moments_and_the_time_that_it_says(doubted):
    x, cov, t = jnp.ones(2), jnp.eye(2), jnp.asarray(4)
    value = Gaussian(x, cov) if doubted else x
    assert Readout.of(value).time is None and Readout.of(Stamped(value, t)).time == 4
    mean, spread = moments(Readout.of(Stamped(value, t)).x)
    np.testing.assert_array_equal(mean, x)
    assert (spread is not None) == doubted
