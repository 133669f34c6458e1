"""Inducing points: the bound, what it tends to, and where the points lie."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import KEY, kernel, rows

from forethought.models.gp.regression import condition, left_out
from forethought.models.gp.sparse import bound, centres, induce


@pytest.mark.long
def test_with_all_data_as_points_it_is_exact_and_with_fewer_it_is_a_bound(x64):
    (x, y), (at, _) = rows(30), rows(10, seed=1)
    x, y, at = map(jnp.asarray, (x, y, at))
    k, valid = kernel(), jnp.ones(30, bool)
    there = jnp.ones(30, bool)

    @eqx.filter_jit
    def induced(there):
        return induce(k, x, there, x, y, valid, line=True)

    exact, full, some = (
        condition(k, x, y, valid, line=True),
        induced(there),
        induced(jnp.arange(30) < 12),
    )
    cross = k(at, x)
    assert abs(full.evidence - exact.evidence) < 1e-3
    np.testing.assert_allclose(full.line, exact.line, atol=1e-5)
    for one, other in (
        (cross @ full.weights, cross @ exact.weights),
        (
            jnp.sum((cross @ full.root.T) ** 2, 1),
            jnp.sum((cross @ exact.root.T) ** 2, 1),
        ),
        (full.gaps, left_out(y, valid, exact)[0]),
        (full.variances, left_out(y, valid, exact)[1]),
    ):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert some.evidence < exact.evidence - 1
    # What is not seen through few points is not known, rather than taken for noise.
    taken, all_of_it = (jnp.sum((cross @ f.root.T) ** 2) for f in (some, full))
    assert taken < all_of_it


def test_the_bound_has_the_derivatives_of_its_differences(x64):
    x, y = map(jnp.asarray, rows(12))
    k, valid = kernel(), jnp.ones(12, bool)

    @jax.jit
    def f(step):
        moved = eqx.tree_at(lambda k: k.log_noise, k, k.log_noise + step)
        return bound(moved, x[:5], valid[:5], x, y, valid, line=True)

    wanted = (f(1e-4) - f(-1e-4)) / 2e-4
    np.testing.assert_allclose(jax.jit(jax.grad(f))(0.0), wanted, rtol=1e-6)


def test_centres_lie_amid_the_data_and_are_the_data_where_these_are_few():
    rng = np.random.default_rng(0)
    corners = np.array([[-5.0, 0.0], [5.0, 0.0], [0.0, 5.0]], np.float32)
    x = jnp.asarray(np.repeat(corners, 20, 0) + 0.1 * rng.normal(size=(60, 2)))
    x = x.astype(jnp.float32)
    found, there = eqx.filter_jit(centres)(x, jnp.ones(60, bool), 12, key=KEY)
    gaps = jnp.linalg.norm(found[:, None] - corners[None], axis=-1)
    assert np.all(there) and np.all(jnp.min(gaps, axis=1) < 0.5)
    few, there = eqx.filter_jit(centres)(x, jnp.arange(60) < 7, 12, key=KEY)
    assert int(jnp.sum(there)) == 7
    np.testing.assert_allclose(
        np.sort(few[there], axis=0), np.sort(x[:7], axis=0), atol=1e-5
    )
