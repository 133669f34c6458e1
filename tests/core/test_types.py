import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.results import NAMES, Result, name_of
from forethought.core.types import Opaque, Stamped, ravel
from forethought.core.words import unknown


def test_ravel_sees_inexact_leaves_and_puts_back_what_it_left_alone():
    belief = Stamped((jnp.array([1.0, 2.0]), Opaque(jnp.array([9.0]))), jnp.array(3))
    vector, unravel = ravel(belief)
    np.testing.assert_array_equal(vector, [1.0, 2.0])
    back = unravel(vector + 1)
    np.testing.assert_array_equal(back.value[0], [2.0, 3.0])
    np.testing.assert_array_equal(back.value[1].arrays, [9.0])
    assert int(back.time) == 3


@pytest.mark.parametrize("name", NAMES)
def test_every_result_code_has_its_name(name):
    assert name_of(getattr(Result, name)) == name


def test_an_unknown_name_is_answered_with_the_nearest():
    assert "did you mean 'pendulum'?" in str(unknown("task", "pendulm", ["pendulum"]))
    assert "known are acrobot" in str(unknown("task", "zzz", ["acrobot"]))
