"""The box-constrained quadratic programme against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from forethought.planners.smooth.box_qp import box_qp

SOLVE = jax.jit(box_qp)


def random_programmes(size, count, seed):
    """Convex programmes with limits of which some bind, some not, some are absent."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        root = random.normal(size=(size, size))
        H = root @ root.T + 0.05 * np.eye(size)
        g = 3 * random.normal(size=size)
        low, high = -random.uniform(size=size), random.uniform(size=size)
        low[random.uniform(size=size) < 0.2] = -np.inf
        high[random.uniform(size=size) < 0.2] = np.inf
        yield H, g, low, high, random.normal(size=size)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_it_finds_the_minimum_that_scipy_finds(size, x64):
    for H, g, low, high, start in random_programmes(size, 20, size):
        root = np.linalg.cholesky(H)
        # ½|Lᵀx + L⁻¹g|² is the objective up to a constant.
        oracle = scipy.optimize.lsq_linear(
            root.T, -np.linalg.solve(root, g), (low, high), method="bvls", tol=1e-14
        ).x
        found = SOLVE(*map(jnp.asarray, (H, g, low, high, start)))
        assert found.solved
        np.testing.assert_allclose(found.x, oracle, rtol=1e-8, atol=1e-8)


def test_at_the_minimum_no_free_slope_is_left_and_clamped_ones_push_outwards(precision):
    dtype, tolerance = (jnp.float32, 1e-4) if precision == 32 else (jnp.float64, 1e-10)
    for programme in random_programmes(4, 20, 7):
        H, g, low, high, start = (jnp.asarray(array, dtype) for array in programme)
        found = SOLVE(H, g, low, high, start)
        assert found.solved and found.x.dtype == dtype
        x, free = np.asarray(found.x), np.asarray(found.free)
        slope = np.asarray(H) @ x + np.asarray(g)
        assert (x >= np.asarray(low)).all() and (x <= np.asarray(high)).all()
        assert np.abs(slope[free]).max(initial=0) < tolerance
        at_low = ~free & (x == np.asarray(low))
        assert (slope[at_low] >= 0).all()
        assert (slope[~free & ~at_low] <= 0).all()


def test_a_side_without_width_is_clamped_whichever_way_it_is_pushed():
    H, side = jnp.array([[2.0, 1.0], [1.0, 2.0]]), jnp.array([0.3, jnp.inf])
    for push in (-5.0, 5.0, -0.6 + 0.35):  # the last one pushes neither way
        found = SOLVE(
            H, jnp.array([push, 0.2]), -side.at[0].mul(-1), side, jnp.zeros(2)
        )
        assert found.solved and found.free.tolist() == [False, True]
        np.testing.assert_allclose(found.x, [0.3, -0.25], rtol=1e-6)


def test_an_indefinite_matrix_is_not_solved():
    H = jnp.array([[1.0, 2.0], [2.0, 1.0]])
    free = jnp.full((2,), jnp.inf)
    found = SOLVE(H, jnp.ones(2), -free, free, jnp.zeros(2))
    assert not found.solved
    assert np.isfinite(found.x).all()


def test_a_batch_is_solved_as_its_members_are(x64):
    programmes = list(random_programmes(3, 8, 3))
    stacked = [jnp.stack([jnp.asarray(p[i]) for p in programmes]) for i in range(5)]
    together = jax.jit(jax.vmap(box_qp))(*stacked)
    for i, programme in enumerate(programmes):
        alone = SOLVE(*map(jnp.asarray, programme))
        np.testing.assert_allclose(together.x[i], alone.x, rtol=1e-12, atol=1e-12)
