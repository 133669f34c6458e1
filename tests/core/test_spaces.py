import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
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


def drawn(low, high, key=0):
    """A thousand of each side, at once."""
    box = Box(np.array(low, np.float32), np.array(high, np.float32))
    return np.asarray(jax.jit(lambda: box.sample((1000,), key=jax.random.key(key)))())


def test_a_side_with_one_limit_is_exponential_away_from_it_and_free_ones_normal():
    inf = np.inf
    found = drawn([5, -inf, 0, -1, -inf], [inf, -5, inf, 1, inf])
    # Five sigma of the means of 1,000 draws, of deviation 1 (0.58 where uniform).
    np.testing.assert_allclose(found.mean(0), [6, -6, 1, 0, 0], atol=5 / 1000**0.5)
    away = np.stack([found[:, 0] - 5, -5 - found[:, 1], found[:, 2]], 1)
    assert np.all(away >= 0)
    assert scipy.stats.kstest(away.ravel(), "expon").pvalue > 0.01
    assert scipy.stats.kstest(found[:, 4], "norm").pvalue > 0.01


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (5.0, np.inf),
        (1e9, np.inf),
        (-np.inf, -3e38),
        (-3.4e38, 3.4e38),
        (0.0, np.finfo(np.float32).max),
        (-np.finfo(np.float32).max, np.inf),
    ],
)
def test_draws_vary_and_are_finite_however_far_the_limits(low, high):
    found = drawn([low], [high])
    assert np.isfinite(found).all() and np.unique(found).size > 900
    assert np.all(found >= np.float32(low)) and np.all(found <= np.float32(high))


def test_the_middle_lies_inside_and_what_rests_is_where_to_begin():
    inf = np.inf
    low, high = [5.0, -inf, -9.0, -inf, 1.0, 0.2], [inf, -5.0, inf, inf, 4.0, 0.2]
    box = Box(low, high)
    centre, scale = box.centre_and_scale(np.float32)
    np.testing.assert_allclose(centre, [5, -5, 0, 0, 2.5, 0.2])
    np.testing.assert_allclose(scale, [1, 1, 1, 1, 1.5, 0])
    rests = Box([-1.0, 0.0], [1.0, 3.0], rest=[0.25, 9.0])
    np.testing.assert_allclose(rests.centre_and_scale(np.float32)[0], [0.25, 3])
    np.testing.assert_allclose(rests.in_half_widths(jnp.array([0.75, 0.0])), [0.5, -2])
    fixed = Box([0.2], [0.2])
    np.testing.assert_array_equal(fixed.in_half_widths(jnp.array([[0.2], [7.0]])), 0)


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


@pytest.mark.parametrize("rest", [[jnp.nan], [0.0, 0.0]])
def test_a_rest_that_is_none_is_refused(rest):
    with pytest.raises(ValueError, match="needs a rest of that shape"):
        Box([-1.0], [1.0], rest)


def test_a_planner_that_needs_a_box_is_named_when_it_gets_none():
    with pytest.raises(TypeError, match="CEM plans over continuous actions"):
        require_box(Discrete(3), "CEM")


def test_a_discrete_space_without_elements_is_refused():
    with pytest.raises(ValueError, match="n >= 1"):
        Discrete(0)
