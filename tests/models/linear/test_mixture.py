"""Expectation maximisation against scikit-learn's, and moments by hand."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from forethought.models.linear.mixture import Mixture, fit_mixture

CLUSTERS, DIMENSION, COUNT = 4, 3, 400
KEY = jax.random.key(0)


def points(seed=0):
    """Clouds of several shapes, some of which touch."""
    rng = np.random.default_rng(seed)
    clouds = [
        rng.normal(size=(COUNT // CLUSTERS, DIMENSION))
        @ rng.normal(size=(DIMENSION, DIMENSION))
        + 2 * rng.normal(size=DIMENSION)
        for _ in range(CLUSTERS)
    ]
    return np.concatenate(clouds)


@functools.partial(jax.jit, static_argnames=("limit", "floor"))
def climb(found, valid, start=None, *, limit, floor=1e-6):
    return fit_mixture(
        found,
        valid,
        CLUSTERS,
        floor=floor,
        gain=-1.0,
        limit=limit,
        start=start,
        key=KEY,
    )


def padded(found):
    """Points among which some are none."""
    more = np.concatenate([found, 9 * np.ones((100, DIMENSION))])
    return jnp.asarray(more), jnp.arange(len(more)) < len(found)


def test_steps_are_those_of_scikit_learn_whatever_lies_in_the_padding(x64):
    found = points()
    start, _ = climb(*padded(found), limit=1)
    ours, _ = climb(*padded(found), start, limit=25)
    theirs = GaussianMixture(
        CLUSTERS,
        tol=0,
        max_iter=25,
        weights_init=np.asarray(start.weights),
        means_init=np.asarray(start.means),
        precisions_init=np.linalg.inv(start.covs),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs.fit(found)
    np.testing.assert_allclose(ours.weights, theirs.weights_, atol=1e-9)
    np.testing.assert_allclose(ours.means, theirs.means_, atol=1e-9)
    np.testing.assert_allclose(ours.covs, theirs.covariances_, atol=1e-9)
    np.testing.assert_allclose(
        ours.responsibilities(jnp.asarray(found)).T,
        theirs.predict_proba(found),
        atol=1e-9,
    )


def test_no_step_makes_the_points_less_probable(x64):
    for seed in range(4):
        _, record = climb(*padded(points(seed)), limit=25, floor=0.0)
        gains = np.diff(record.padded()[:, 0])
        assert gains.min() > -1e-12 and gains.sum() > 0.1


def test_moments_of_a_mixture_are_those_computed_by_hand():
    mixture = Mixture(
        jnp.array([0.5, 0.5]),
        jnp.array([[-1.0, 0.0], [3.0, 0.0]]),
        jnp.stack([jnp.eye(2), jnp.array([[3.0, 1.0], [1.0, 2.0]])]),
    )
    found = mixture.moments(jnp.array([0.25, 0.75]))
    np.testing.assert_allclose(found.mean, [2.0, 0.0])
    # Within: .25 * 1 + .75 * 3; between: .25 * 3^2 + .75 * 1^2.
    np.testing.assert_allclose(found.cov, [[2.5 + 3.0, 0.75], [0.75, 1.75]])


def test_density_of_a_mixture_is_that_computed_by_hand():
    mixture = Mixture(
        jnp.array([0.25, 0.75]),
        jnp.array([[0.0], [2.0]]),
        jnp.array([[[1.0]], [[4.0]]]),
    )
    joint = np.exp(mixture.log_joint(jnp.array([[1.0]])))[:, 0]
    root = np.sqrt(2 * np.pi)
    expected = [0.25 * np.exp(-0.5) / root, 0.75 * np.exp(-0.125) / root / 2]
    np.testing.assert_allclose(joint, expected, rtol=1e-6)
    shares = mixture.responsibilities(jnp.array([[1.0]]))[:, 0]
    np.testing.assert_allclose(shares, joint / joint.sum(), rtol=1e-6)


def test_fewer_points_than_clusters_leave_a_mixture(precision):
    dtype = f"float{precision}"
    few = jnp.asarray(np.ones((3, DIMENSION)), dtype).at[0, 0].set(2)
    found, record = jax.jit(lambda few: fit_mixture(few, few[:, 0] > 0, 5, key=KEY))(
        few
    )
    for leaf in jax.tree.leaves((found, record.rows)):
        assert np.isfinite(leaf).all() and leaf.dtype == dtype
    np.testing.assert_allclose(found.weights.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(
        found.moments(found.weights).mean, few.mean(0), rtol=1e-4
    )
