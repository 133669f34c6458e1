r"""Mixtures of Gaussians, fitted by expectation maximisation.

$$p(x) = \sum_k \pi_k\, \mathcal N(x; \mu_k, \Sigma_k)$$

A local model borrows from it what a handful of roll-outs cannot tell: points of all
steps share a few clusters, and a step whose points fall into some of them inherits
their moments (`Mixture.prior`).

**Notation.** $\rho_{nk}$ is the *responsibility* of cluster $k$ for point $n$: how
probable it is that the point is one of the cluster's.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from forethought.core.gaussian import Gaussian
from forethought.core.linalg import cholesky
from forethought.core.optimise import Record, iterate


class Mixture(eqx.Module):
    r"""A mixture of Gaussians with full covariances.

    Args:
        weights: $\pi_k$, shape `[cluster]`; they add up to one.
        means: Shape `[cluster, dimension]`.
        covs: Shape `[cluster, dimension, dimension]`.
    """

    weights: Float[Array, " cluster"]
    means: Float[Array, "cluster dimension"]
    covs: Float[Array, "cluster dimension dimension"]

    def log_joint(
        self, points: Float[Array, "point dimension"]
    ) -> Float[Array, "cluster point"]:
        r"""$\log \pi_k + \log \mathcal N(x_n; \mu_k, \Sigma_k)$."""

        def one(weight, mean, cov):
            L, _ = cholesky(cov)
            # Many points, few dimensions: a product is faster than substitution.
            one = jnp.eye(mean.shape[0], dtype=mean.dtype)
            inverse = jax.scipy.linalg.solve_triangular(L, one, lower=True)
            white = (points - mean[None]) @ inverse.T
            volume = jnp.sum(jnp.log(jnp.diag(L))) - jnp.log(weight)
            constant = 0.5 * mean.shape[0] * math.log(2 * math.pi)
            return -0.5 * jnp.sum(white * white, axis=1) - (volume + constant)

        parts = self.weights, self.means, self.covs
        return jax.lax.map(lambda part: one(*part), parts)

    def responsibilities(
        self, points: Float[Array, "point dimension"]
    ) -> Float[Array, "cluster point"]:
        r"""$\rho$: of each point, they add up to one."""
        return jax.nn.softmax(self.log_joint(points), axis=0)

    def moments(self, shares: Float[Array, " cluster"]) -> Gaussian:
        r"""Mean and covariance of the mixture with other weights $w$.

        $$\mu = \sum_k w_k \mu_k, \qquad
          \Phi = \sum_k w_k \big(\Sigma_k + (\mu_k - \mu)(\mu_k - \mu)^\top\big)$$

        Args:
            shares: $w$; they add up to one.
        """
        mean = shares @ self.means
        gaps = self.means - mean[None]
        within = jnp.tensordot(shares, self.covs, axes=1)
        return Gaussian(mean, within + (shares[:, None] * gaps).T @ gaps)


def fit_mixture(
    points: Float[Array, "point dimension"],
    valid: Bool[Array, " point"],
    clusters: int,
    *,
    floor: float = 1e-6,
    gain: float = 1e-3,
    limit: int = 100,
    start: Mixture | None = None,
    key: PRNGKeyArray,
) -> tuple[Mixture, Record]:
    r"""The mixture that makes points most probable, as far as steps uphill find it.

    Each step takes the responsibilities under the last mixture for counts:

    $$N_k = \sum_n \rho_{nk}, \quad \pi_k = \frac{N_k}{N}, \quad
      \mu_k = \frac{1}{N_k} \sum_n \rho_{nk} x_n, \quad
      \Sigma_k = \frac{1}{N_k} \sum_n \rho_{nk} (x_n - \mu_k)(x_n - \mu_k)^\top
        + \epsilon I$$

    Args:
        points: Of about unit scale.
        valid: Which of them hold data.
        clusters: How many; one that no point falls into keeps a weight of about zero.
        floor: $\epsilon$, so that a cluster of few points has a volume.
        gain: It ends when a step gains less than this, in nats per point.
        limit: The most steps.
        start: A mixture to begin with; by default as k-means++ seeds it.
        key: Draws the seeds.

    Returns:
        The mixture, and a record of the mean log-likelihood before each step.

    References:
        Dempster, Laird and Rubin, Maximum likelihood from incomplete data via the EM
        algorithm, 1977. Arthur and Vassilvitskii, k-means++: the advantages of careful
        seeding, 2007, §2.2.

    Note:
        Without a floor the likelihood never falls; with it, by no more than the floor
        itself can cost.
    """
    first = _seeded(points, valid, clusters, floor, key) if start is None else start
    count = jnp.maximum(jnp.sum(valid), 1).astype(points.dtype)

    def step(state, _):
        mixture, last, _ = state
        joint = mixture.log_joint(points)
        total = jax.nn.logsumexp(joint, axis=0)
        found = jnp.sum(jnp.where(valid, total, 0)) / count
        shares = jnp.where(valid[None], jnp.exp(joint - total[None]), 0)
        after = _counted(points, shares, floor)
        return (after, found, found - last), found[None]

    unknown = jnp.full((), -jnp.inf, points.dtype)
    (mixture, _, _), record = iterate(
        step,
        (first, unknown, -unknown),
        Record.blank(limit, (1,), points.dtype),
        unfinished=lambda state: ~(state[2] < gain),
    )
    return mixture, record


def _counted(
    points: Array, shares: Float[Array, "cluster point"], floor: float
) -> Mixture:
    """The mixture of points that are shared out among clusters."""
    counts = jnp.sum(shares, axis=1) + 10 * jnp.finfo(points.dtype).eps
    means = shares @ points / counts[:, None]
    jitter = floor * jnp.eye(points.shape[1], dtype=points.dtype)

    def spread(share, count, mean):
        gaps = points - mean[None]
        # Turned first, by itself: a product that turns its left side as it goes is
        # twenty times slower in a loop on a CPU.
        turned = jax.lax.optimization_barrier((share[:, None] * gaps).T)
        return turned @ gaps / count + jitter

    # One cluster after another: none needs more memory than the points themselves.
    covs = jax.lax.map(lambda each: spread(*each), (shares, counts, means))
    return Mixture(counts / jnp.sum(counts), means, covs)


def _seeded(
    points: Array, valid: Array, clusters: int, floor: float, key: PRNGKeyArray
) -> Mixture:
    """Clusters of the points next to seeds, each seed drawn far from those before."""
    keys = jax.random.split(key, clusters)
    outside = jnp.where(valid, 0, -jnp.inf).astype(points.dtype)
    first = points[jax.random.categorical(keys[0], outside)]

    def far(seed):
        return jnp.sum((points - seed[None]) ** 2, axis=1)

    def add(near, key):
        seed = points[jax.random.categorical(key, jnp.log(near) + outside)]
        squares = far(seed)
        return jnp.minimum(near, squares), squares

    _, squares = jax.lax.scan(add, far(first), keys[1:])
    nearest = jnp.argmin(jnp.concatenate([far(first)[None], squares]), axis=0)
    own = jax.nn.one_hot(nearest, clusters, axis=0, dtype=points.dtype)
    return _counted(points, jnp.where(valid[None], own, 0), floor)
