import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from forethought.core.spaces import Box, Discrete, free_box, require_box

FINITE = st.floats(-100, 100, width=32)


@given(
    low=hnp.arrays(np.float32, 3, elements=FINITE),
    width=hnp.arrays(np.float32, 3, elements=st.floats(0, 10, width=32)),
    seed=st.integers(0, 1000),
)
def test_every_sample_of_a_box_lies_in_it_and_clipping_leaves_it_alone(
    low, width, seed
):
    box = Box(low, low + width)
    sample = box.sample(key=jax.random.key(seed))
    assert np.all(sample >= box.low) and np.all(sample <= box.high)
    np.testing.assert_array_equal(box.clip(sample), sample)


def test_a_half_free_side_keeps_its_finite_bound():
    box = Box([0.0, -jnp.inf], [jnp.inf, 1.0])
    samples = jax.vmap(lambda key: box.sample(key=key))(
        jax.random.split(jax.random.key(0), 100)
    )
    assert np.all(np.isfinite(samples))
    assert np.all(samples[:, 0] >= 0) and np.all(samples[:, 1] <= 1)


def test_a_box_knows_whether_it_has_limits():
    assert Box([-1.0], [jnp.inf]).bounded
    assert not free_box(3).bounded


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        ([1.0], [-1.0], "reversed"),
        ([0.0], [1.0, 2.0], "one shape"),
        ([jnp.nan], [1.0], "numbers"),
    ],
)
def test_a_box_that_is_none_is_refused_in_one_sentence(low, high, words):
    with pytest.raises(ValueError, match=words):
        Box(low, high)


def test_a_planner_that_needs_a_box_is_named_when_it_gets_none():
    with pytest.raises(TypeError, match="CEM plans over continuous actions"):
        require_box(Discrete(3), "CEM")


def test_a_discrete_space_without_elements_is_refused():
    with pytest.raises(ValueError, match="n >= 1"):
        Discrete(0)
