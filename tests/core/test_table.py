import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.table import Table, from_dense, pick

KEY = jax.random.key(0)
NEXT = [[[0, 1], [1, 1]], [[0, 0], [1, 0]]]
ODDS = [[[0.25, 0.75], [1.0, 0.0]], [[1.0, 0.0], [0.5, 0.5]]]
EARNED = [[[1.0, 2.0], [3.0, 0.0]], [[0.0, 0.0], [4.0, -4.0]]]
ENDS = [[[False, True], [False, False]], [[False, False], [False, False]]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"next_state": [[[0, 2], [1, 1]], [[0, 0], [1, 0]]]}, r"\[0, 2\), got 2"),
        ({"next_state": [[[0, -1], [1, 1]], [[0, 0], [1, 0]]]}, "got -1 after state 0"),
        ({"probability": np.full((2, 2, 2), 0.6)}, "sum to 1, got"),
        ({"probability": np.tile([1.5, -0.5], (2, 2, 1))}, "not negative"),
        ({"probability": np.full((2, 2, 2), np.nan)}, "sum to 1, got"),
        ({"reward": np.full((2, 2, 2), np.inf)}, "finite rewards, got inf"),
        ({"reward": np.zeros((2, 2, 3))}, r"one shape .* reward \[2, 2, 3\]"),
        ({"terminated": np.zeros((2, 2), bool)}, "one shape"),
        ({"next_state": [0, 1]}, "one shape"),
        ({"start": 2}, r"\[0, 2\), got 2"),
        ({"start": -1}, "got -1"),
        ({"start": [0.5, 0.6]}, "sums to 1"),
        ({"start": [1.0]}, r"start of shape \[2\]"),
    ],
)
def test_a_table_refuses_what_is_no_decision_process(changes, words):
    given = {
        "next_state": NEXT,
        "probability": ODDS,
        "reward": EARNED,
        "terminated": ENDS,
    }
    with pytest.raises(ValueError, match=words) as error:
        Table(**(given | changes))
    assert "\n" not in str(error.value)


def test_outcomes_come_as_often_as_they_are_probable(precision):
    """20,000 draws: within four sigma of a binomial."""
    table = Table(NEXT, ODDS, EARNED, ENDS)
    count = 20_000
    draw = jax.jit(
        jax.vmap(lambda key: table.draw(jnp.asarray(0), jnp.asarray(0), key=key))
    )
    drawn = jax.tree.map(np.asarray, draw(jax.random.split(KEY, count)))
    sigma = np.sqrt(0.25 * 0.75 / count)
    assert abs(float(np.mean(drawn.state)) - 0.75) < 4 * sigma
    np.testing.assert_array_equal(drawn.terminated, drawn.state == 1)
    np.testing.assert_array_equal(drawn.reward, drawn.state + 1.0)
    assert drawn.reward.dtype == table.probability.dtype


def test_what_is_impossible_is_never_picked(precision):
    weights = jnp.asarray([0.0, 0.1, 0.0, 0.2, 1e-3, 0.0])
    picked = jax.jit(jax.vmap(lambda key: pick(weights, key=key)))(
        jax.random.split(KEY, 20_000)
    )
    assert set(np.unique(picked).tolist()) == {1, 3, 4}


def test_matrices_and_tables_say_the_same():
    table = Table(NEXT, ODDS, EARNED, ENDS, start=[0.25, 0.75])
    dense = table.dense()
    np.testing.assert_allclose(dense.P[0, 0], [0.25, 0.0])  # the rest ends there
    np.testing.assert_allclose(dense.P[0, 1], [0.0, 1.0])
    np.testing.assert_allclose(dense.R, [[1.75, 3.0], [0.0, 0.0]])


def test_a_table_of_matrices_gives_them_back():
    generator = np.random.default_rng(0)
    P = generator.dirichlet(np.ones(5), (5, 3)) * (generator.random((5, 3, 5)) < 0.6)
    P[..., 0] += 1 - P.sum(-1)
    R = generator.normal(size=(5, 3, 5))
    dense = from_dense(P, R).dense()
    np.testing.assert_allclose(dense.P, P, atol=1e-6)
    np.testing.assert_allclose(dense.R, (P * R).sum(-1), atol=1e-5)
    ending = from_dense(P, R[:, :, 0], terminated=np.arange(5) == 0).dense()
    np.testing.assert_allclose(ending.P[..., 0], 0.0)
    np.testing.assert_allclose(ending.P[..., 1:], P[..., 1:], atol=1e-6)
    np.testing.assert_allclose(ending.R, R[:, :, 0], atol=1e-5)


def test_matrices_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"got \[2, 3, 3\] and \[2, 3\]"):
        from_dense(np.ones((2, 3, 3)) / 3, np.zeros((2, 3)))
