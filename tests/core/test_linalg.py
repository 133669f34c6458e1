"""Small-matrix algebra and Gaussians against NumPy and SciPy."""

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from forethought.core import linalg
from forethought.core.gaussian import Gaussian, kl_divergence

SIZES = (1, 3, linalg.UNROLLED, linalg.UNROLLED + 1, 2 * linalg.SMALL + 1)


def positive(random, size):
    root = random.normal(size=(size, size))
    return root @ root.T + 0.1 * np.eye(size)


@pytest.mark.parametrize("size", SIZES)
def test_products_equal_numpy_on_both_sides_of_every_switch(size, precision):
    dtype, tolerance = (jnp.float32, 1e-4) if precision == 32 else (jnp.float64, 1e-12)
    random = np.random.default_rng(size)
    A, B = random.normal(size=(size, 4)), random.normal(size=(4, size))
    x = random.normal(size=size)
    ours = [jnp.asarray(array, dtype) for array in (A, B, x)]
    product = linalg.matmul(ours[0], ours[1])
    assert product.dtype == dtype
    np.testing.assert_allclose(product, A @ B, rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        linalg.matvec(ours[1], ours[2]), B @ x, rtol=0, atol=tolerance
    )
    np.testing.assert_allclose(
        linalg.quadratic_form(product, ours[2]), x @ A @ B @ x, rtol=10 * tolerance
    )


@pytest.mark.parametrize("size", SIZES)
def test_cholesky_and_solve_equal_scipy_on_both_sides_of_the_switch(size, x64):
    random = np.random.default_rng(size)
    A, B = positive(random, size), random.normal(size=(size, 3))
    L, good = linalg.cholesky(jnp.asarray(A))
    assert good
    np.testing.assert_allclose(L, np.linalg.cholesky(A), atol=1e-12)
    X, good = linalg.solve_positive(jnp.asarray(A), jnp.asarray(B))
    assert good
    np.testing.assert_allclose(X, scipy.linalg.solve(A, B), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_a_matrix_that_is_not_positive_is_told(size):
    A = np.eye(size)
    A[-1, -1] = -0.5
    for matrix in (A, np.full((size, size), np.nan)):
        assert not linalg.cholesky(jnp.asarray(matrix, jnp.float32))[1]
        right = jnp.ones((size, 1), jnp.float32)
        assert not linalg.solve_positive(jnp.asarray(matrix, jnp.float32), right)[1]


def test_only_the_lower_triangle_is_read():
    for size in SIZES:
        A = positive(np.random.default_rng(0), size).astype(np.float32)
        L, _ = linalg.cholesky(jnp.tril(jnp.asarray(A)))
        whole, _ = linalg.cholesky(jnp.asarray(A))
        np.testing.assert_array_equal(L, whole)


def test_gradients_pass_through_the_solution(x64):
    A = jnp.asarray(positive(np.random.default_rng(2), 3))
    b = jnp.ones((3, 1))

    def total(A):
        A = linalg.symmetrise(jnp.asarray(A))
        return jnp.sum(linalg.solve_positive(A, b)[0])

    jax.test_util.check_grads(total, (A,), order=1, rtol=1e-4)


def test_the_symmetric_part_is_symmetric_and_keeps_what_was():
    A = jnp.array([[1.0, 2.0], [4.0, 3.0]])
    np.testing.assert_array_equal(linalg.symmetrise(A), [[1.0, 3.0], [3.0, 3.0]])


def test_arrays_keep_their_dtype_and_integers_become_floats():
    assert linalg.as_float(np.ones(2, np.float32)).dtype == jnp.float32
    assert jnp.issubdtype(linalg.as_float([1, 2]).dtype, jnp.floating)


@pytest.fixture
def pair(x64):
    random = np.random.default_rng(5)
    return [
        Gaussian(jnp.asarray(random.normal(size=3)), jnp.asarray(positive(random, 3)))
        for _ in range(2)
    ]


def test_the_density_is_scipys(pair):
    p, x = pair[0], np.array([0.3, -1.0, 2.0])
    oracle = scipy.stats.multivariate_normal(p.mean, p.cov).logpdf(x)
    np.testing.assert_allclose(p.log_prob(jnp.asarray(x)), oracle, rtol=1e-12)


def test_the_density_of_no_covariance_is_no_number():
    p = Gaussian(jnp.zeros(2), jnp.diag(jnp.array([1.0, -1.0])))
    assert np.isnan(p.log_prob(jnp.zeros(2)))


def test_samples_have_the_mean_and_the_covariance(pair):
    p, count = pair[0], 20_000
    keys = jax.random.split(jax.random.key(0), count)
    x = np.asarray(jax.vmap(lambda key: p.sample(key=key))(keys))
    # Five standard errors: sqrt(S_ii / N), and sqrt((S_ij² + S_ii S_jj) / N).
    S = np.asarray(p.cov)
    variance = np.diag(S)
    error = 5 * np.sqrt(variance / count)
    assert (np.abs(x.mean(0) - np.asarray(p.mean)) < error).all()
    error = 5 * np.sqrt((S**2 + variance[:, None] * variance[None]) / count)
    assert (np.abs(np.cov(x.T) - S) < error).all()


def test_the_divergence_is_the_mean_difference_of_log_densities(pair):
    p, q = pair
    # Exact by cubature: the log-density ratio is quadratic, so the 2n points
    # m ± √n Lᵢ integrate it without error.
    L = np.sqrt(3) * np.linalg.cholesky(p.cov).T
    points = jnp.asarray(np.asarray(p.mean) + np.concatenate([L, -L]))
    ratio = jax.vmap(lambda x: p.log_prob(x) - q.log_prob(x))(points)
    np.testing.assert_allclose(kl_divergence(p, q), ratio.mean(), rtol=1e-10)
    np.testing.assert_allclose(kl_divergence(p, p), 0, atol=1e-12)


def test_conditioning_is_that_of_the_joint_distribution(pair):
    p = pair[0]
    A = jnp.array([[1.0, 0.5, 0.0], [0.0, -1.0, 2.0]])
    b, y = jnp.array([0.1, 0.2]), jnp.array([1.0, -1.0])
    W = jnp.array([[0.3, 0.1], [0.1, 0.2]])
    seen = p.affine(A, b, W)
    S, A_, W_ = (np.asarray(array) for array in (p.cov, A, W))
    cross = S @ A_.T
    gain = cross @ np.linalg.inv(A_ @ cross + W_)
    after = p.condition(A, b, W, y)
    np.testing.assert_allclose(seen.cov, A_ @ cross + W_, rtol=1e-12)
    np.testing.assert_allclose(after.mean, p.mean + gain @ (y - seen.mean), rtol=1e-10)
    np.testing.assert_allclose(after.cov, S - gain @ cross.T, rtol=1e-9, atol=1e-12)
