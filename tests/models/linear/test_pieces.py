"""Local linear models of places, against worlds whose pieces are known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.models.learned.rows import Rows
from forethought.models.learned.transforms import Transform
from forethought.models.linear.pieces import Pieces, latest_rows
from forethought.models.linear.posterior import Regression

KEY = jax.random.key(0)


def bent(count, seed=0, slopes=(-0.8, 0.5)):
    """Rows of a world that is straight on each side of zero."""
    rng = np.random.default_rng(seed)
    obs = rng.uniform(-1, 1, (count, 1))
    action = rng.uniform(-1, 1, (count, 1))
    change = np.where(obs < 0, slopes[0], slopes[1]) * obs + 0.3 * action
    return obs, action, obs[:, 0], obs + change


def fitted(rows, **fields):
    model = Pieces(Transform(1, 1), size=1, noise=1e-3, key=KEY, **fields)
    return model.fit(Rows.pad(*rows), key=KEY)


def error(model, rows):
    """Root of the mean square, in standard deviations of the change."""
    obs, action, _, next_obs = (jnp.asarray(part, jnp.float32) for part in rows)
    x = jax.vmap(model.transform.inputs)(obs, action)
    y = model.grouped(x[None])[0][0]
    found = jax.vmap(model.transform.restore)(obs, y)[0]
    return float(jnp.std(found - next_obs) / model.transform.output_scale[0])


def test_pieces_find_a_bend_that_one_map_misses():
    test = bent(400, seed=1)
    several, told = fitted(bent(500), pieces=8)
    one, told_of_one = fitted(bent(500), pieces=1)
    assert error(several, test) < 0.12 < 0.5 < error(one, test)
    assert float(told["holdout"]) < float(told_of_one["holdout"]) - 1


def test_one_piece_is_the_map_of_all_rows():
    rows = Rows.pad(*bent(60))
    model = Pieces(Transform(1, 1), size=1, pieces=1, key=KEY)
    found, _ = model.fit(rows, key=KEY)
    x = jax.vmap(found.transform.inputs)(rows.obs, rows.action)
    y = jax.vmap(found.transform.targets)(rows.obs, rows.next_obs, rows.reward)
    whole = jax.jit(Regression.fit)(x, y, rows.valid)
    np.testing.assert_allclose(found.weights[0, 0], whole.M, atol=1e-4)


def test_only_the_latest_rows_are_looked_at():
    old, new = bent(64, seed=1, slopes=(2.0, 2.0)), bent(64, seed=2)
    other = bent(64, seed=3, slopes=(-3.0, 1.0))
    both, else_ = (
        fitted(
            [np.concatenate(pair) for pair in zip(first, new, strict=True)],
            pieces=2,
            latest=64,
        )
        for first in (old, other)
    )
    jax.tree.map(np.testing.assert_array_equal, *map(leaves, (both[0], else_[0])))
    rows = Rows.pad(*(np.concatenate(pair) for pair in zip(old, new, strict=True)))
    np.testing.assert_array_equal(
        latest_rows(rows, 64).obs, jnp.asarray(new[0], jnp.float32)
    )


def leaves(model):
    return jax.tree.leaves(eqx.filter(model, eqx.is_array))


@pytest.mark.parametrize("count", [2, 3])
def test_a_row_that_counts_so_often_is_there_so_often(count, x64):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 2)), rng.normal(size=(9, 1))
    often, there = np.ones(9), jnp.ones(9, bool)
    often[:3] = count
    fit = jax.jit(Regression.fit)
    counted = fit(x, y, there, share=jnp.asarray(often))
    repeated = [np.repeat(part, often.astype(int), axis=0) for part in (x, y)]
    written = fit(*repeated, jnp.ones(len(repeated[0]), bool))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.abs(a), np.abs(b), rtol=1e-9),
        counted,
        written,
    )


def test_a_setting_out_of_range_is_refused():
    with pytest.raises(ValueError, match="Pieces needs ridge > 0"):
        Pieces(Transform(1, 1), ridge=0.0, key=KEY)
