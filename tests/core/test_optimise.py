"""Loops, records and early stops on sequences whose answers are plain."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from forethought.core.optimise import (
    Record,
    early_stopping,
    iterate,
    quasi_newton,
    take_step,
)

SCORES = jnp.array([5.0, 3.0, 2.9, 2.8, 4.0, 1.0, 6.0, 6.0])
"""Of the start, and after each of seven epochs."""


def train(patience, threshold=0.0, limit=7, scores=SCORES):
    """Parameters that count their epochs, scored by a list."""
    return early_stopping(
        lambda params, memory, i: ({"w": params["w"] + 1}, memory + i),
        lambda params: scores[params["w"]],
        {"w": jnp.asarray(0)},
        jnp.asarray(0),
        limit=limit,
        patience=patience,
        threshold=threshold,
    )


@pytest.mark.parametrize(
    ("patience", "threshold", "epochs", "best"),
    [(1, 0.0, 4, 3), (2, 0.0, 7, 5), (2, 0.5, 3, 3), (3, 0.5, 4, 3), (4, 0.5, 7, 5)],
)
def test_training_ends_once_patience_is_exhausted(patience, threshold, epochs, best):
    found = train(patience, threshold)
    assert int(found.epochs) == epochs
    assert int(found.best["w"]) == best
    assert float(found.score) == float(SCORES[best])


def test_small_gains_add_up_to_an_improvement():
    found = train(2, 0.15)
    # 2.9 is none, but 2.8 lies 0.2 below 3.0, from where it is measured.
    assert int(found.epochs) == 7


def test_the_curve_is_nan_beyond_the_end():
    curve = np.asarray(train(2, 0.5).curve)
    np.testing.assert_array_equal(curve[:3], SCORES[1:4])
    assert curve.shape == (7,) and np.isnan(curve[3:]).all()


def test_the_start_is_kept_where_nothing_is_better():
    found = train(3, scores=SCORES.at[0].set(0.5))
    assert int(found.best["w"]) == 0 and float(found.score) == 0.5


def test_a_score_that_is_nan_is_never_the_best():
    found = train(7, scores=SCORES.at[5].set(jnp.nan))
    assert int(found.best["w"]) == 3 and int(found.epochs) == 7


def test_a_batch_of_trainings_equals_one_after_another():
    scores = jnp.stack([SCORES, SCORES[::-1], SCORES + 1])
    batch = jax.vmap(lambda scores: train(2, 0.5, scores=scores))(scores)
    for i, each in enumerate(scores):
        alone = train(2, 0.5, scores=each)
        jax.tree.map(
            lambda all_, one, i=i: np.testing.assert_array_equal(all_[i], one),
            batch,
            alone,
        )


def count_down(state, unfinished, limit=5):
    return iterate(
        lambda x, i: (x - 1, jnp.stack([x, i.astype(x.dtype)])),
        jnp.asarray(state),
        Record.blank(limit, (2,), jnp.asarray(state).dtype),
        unfinished=unfinished,
    )


def test_a_loop_ends_when_it_has_finished_and_repeats_its_last_row():
    state, record = count_down(3.0, lambda x: x > 0)
    assert float(state) == 0 and int(record.count) == 3
    found = record.columns("x", "i")
    np.testing.assert_array_equal(found["x"], [3, 2, 1, 1, 1])
    np.testing.assert_array_equal(found["i"], [0, 1, 2, 2, 2])


def test_a_loop_ends_when_its_record_is_full():
    state, record = count_down(9.0, lambda x: x > 0)
    assert float(state) == 4 and int(record.count) == 5
    np.testing.assert_array_equal(record.columns("x", "i")["x"], [9, 8, 7, 6, 5])


def test_a_loop_that_has_finished_before_it_began_tells_zeros():
    state, record = count_down(-1.0, lambda x: x > 0)
    assert float(state) == -1 and int(record.count) == 0
    np.testing.assert_array_equal(record.padded(), np.zeros((5, 2)))


def test_a_row_that_does_not_count_leaves_no_trace():
    record = Record.blank(2, (), float).add(jnp.asarray(7.0))
    same = record.add(jnp.asarray(8.0), counts=jnp.asarray(False))
    np.testing.assert_array_equal(same.padded(), [7, 7])
    full = same.add(jnp.asarray(9.0))
    same = full.add(jnp.asarray(1.0), counts=jnp.asarray(False))
    np.testing.assert_array_equal(same.padded(), [7, 9])
    assert int(same.count) == 2


@pytest.mark.parametrize("name", ["sgd", "adam", "lbfgs"])
def test_an_optimiser_of_optax_steps_downhill_on_any_pytree(name):
    def cost(params):
        return jnp.sum(params["a"] ** 2) + params["b"] ** 2

    optimiser = getattr(optax, name)(0.1)
    params = {"a": jnp.ones(2), "b": jnp.asarray(-2.0)}
    value, grads = jax.value_and_grad(cost)(params)
    line = {"value": value, "grad": grads, "value_fn": cost} if name == "lbfgs" else {}
    moved, memory = take_step(optimiser, params, optimiser.init(params), grads, **line)
    assert float(cost(moved)) < float(value)
    assert jax.tree.structure(memory) == jax.tree.structure(optimiser.init(params))
    if name == "sgd":
        np.testing.assert_allclose(moved["b"], -1.6, rtol=1e-6)


def test_a_quasi_newton_search_finds_the_end_of_a_bent_valley_past_what_is_not_finite():
    def valley(x):
        bent = 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        # A step that is too long meets no number at all.
        return jnp.where(jnp.abs(x[0]) > 1.5, jnp.nan, bent)

    with jax.enable_x64(True):
        function = jax.value_and_grad(valley)
        found = jax.jit(lambda x: quasi_newton(function, x, limit=200))(
            jnp.array([-1.2, 1.0])
        )
        np.testing.assert_allclose(found.x, 1, atol=1e-4)
        # Steepest descent alone would need some thousands of evaluations.
        assert found.converged and found.evaluations < 80
        lost = quasi_newton(function, jnp.array([2.0, 1.0]), limit=200)
        assert not lost.converged and lost.evaluations == 1
