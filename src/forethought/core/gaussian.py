r"""Multivariate normal distributions, as data.

What a Kalman filter, a Gaussian process and a local model share: densities, samples,
conditioning on linear observations and passing through affine maps. Covariances are
factorised by Cholesky, never inverted.

**Notation.** $x \sim \mathcal N(m, S)$, $S = L L^\top$.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from forethought.core.linalg import (
    cholesky,
    matmul,
    matvec,
    root,
    solve_positive,
    symmetrise,
)
from forethought.core.types import Action, ravel


class Gaussian(eqx.Module):
    r"""The distribution $\mathcal N(m, S)$.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.core.gaussian import Gaussian
    >>> x = Gaussian(jnp.zeros(2), jnp.diag(jnp.array([1.0, 4.0])))
    >>> round(float(x.log_prob(jnp.zeros(2))), 4)
    -2.531

    ```

    Args:
        mean: $m$, shape `[dimension]`.
        cov: $S$, a covariance (not a standard deviation), symmetric and positive
            definite, shape `[dimension, dimension]`.
    """

    mean: Float[Array, " dimension"]
    cov: Float[Array, "dimension dimension"]

    def log_prob(self, x: Float[Array, " dimension"]) -> Scalar:
        """The logarithm of the density at `x`; NaN where the covariance is not one."""
        L, positive = cholesky(self.cov)
        white = jax.scipy.linalg.solve_triangular(L, x - self.mean, lower=True)
        size = self.mean.shape[0]
        log_prob = -0.5 * (jnp.sum(white * white) + size * math.log(2 * math.pi))
        return jnp.where(positive, log_prob - jnp.sum(jnp.log(jnp.diag(L))), jnp.nan)

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, " dimension"]:
        """One draw: $m + L z$ with standard normal $z$; $S$ may be singular."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + matvec(root(self.cov), noise)

    def unwhiten(
        self, z: Float[Array, "point dimension"]
    ) -> Float[Array, "point dimension"]:
        """The points $m + L z$, for each $z$ that would be standard normal."""
        return self.mean[None] + matmul(z, root(self.cov).T)

    def affine(
        self,
        A: Float[Array, "image dimension"],
        b: Float[Array, " image"],
        noise: Float[Array, "image image"] | None = None,
    ) -> "Gaussian":
        r"""The distribution of $A x + b + \epsilon$, $\epsilon \sim \mathcal N(0, W)$.

        Args:
            A: Shape `[image, dimension]`.
            b: Shape `[image]`.
            noise: $W$, shape `[image, image]`; none by default.
        """
        cov = symmetrise(matmul(A, matmul(self.cov, A.T)))
        return Gaussian(matvec(A, self.mean) + b, cov if noise is None else cov + noise)

    def condition(
        self,
        A: Float[Array, "image dimension"],
        b: Float[Array, " image"],
        noise: Float[Array, "image image"],
        y: Float[Array, " image"],
    ) -> "Gaussian":
        r"""The distribution of $x$ once $y = A x + b + \epsilon$ was seen.

        $$G = S A^\top (A S A^\top + W)^{-1}, \qquad
          m' = m + G (y - A m - b), \qquad
          S' = (I - G A) S (I - G A)^\top + G W G^\top$$

        Args:
            A: Shape `[image, dimension]`.
            b: Shape `[image]`.
            noise: $W$, the covariance of $\epsilon$, shape `[image, image]`.
            y: What was seen, shape `[image]`.

        References:
            Joseph's form of the update, which stays symmetric and positive: Bucy and
            Joseph, Filtering for Stochastic Processes with Applications to Guidance,
            1968.
        """
        seen = self.affine(A, b, noise)
        gain = solve_positive(seen.cov, matmul(A, self.cov))[0].T
        keep = jnp.eye(self.mean.shape[0], dtype=self.cov.dtype) - matmul(gain, A)
        cov = matmul(keep, matmul(self.cov, keep.T))
        cov = cov + matmul(gain, matmul(noise, gain.T))
        return Gaussian(self.mean + matvec(gain, y - seen.mean), symmetrise(cov))


def sigma_points(dimension: int, dtype: DTypeLike) -> Float[Array, "point dimension"]:
    r"""The $2n$ points $\pm \sqrt n\, e_j$.

    The mean of a polynomial of third order over them is its expectation under a
    standard normal distribution; `Gaussian.unwhiten` moves them to any other one.

    References:
        Arasaratnam and Haykin, Cubature Kalman filters, 2009,
        doi:10.1109/TAC.2009.2019800, eq. 31 and 32; the unscented transform with
        $\kappa = 0$.
    """
    far = math.sqrt(dimension) * jnp.eye(dimension, dtype=dtype)
    return jnp.concatenate([far, -far])


class Response(eqx.Module):
    r"""An action that answers an uncertain state, and is jointly normal with it.

    Args:
        mean: Shape `[action]`.
        cov: The action's covariance, shape `[action, action]`.
        cross: That of state and action, $\operatorname{cov}(x, u)$, shape
            `[state, action]`.
    """

    mean: Float[Array, " action"]
    cov: Float[Array, "action action"]
    cross: Float[Array, "state action"]

    def joint(self, x: Gaussian) -> Gaussian:
        """The distribution of state and action together, $[x; u]$."""
        above = jnp.concatenate([x.cov, self.cross], axis=1)
        below = jnp.concatenate([self.cross.T, self.cov], axis=1)
        mean = jnp.concatenate([x.mean, self.mean])
        return Gaussian(mean, jnp.concatenate([above, below]))


def moments(x: PyTree) -> tuple[Float[Array, " dimension"], Array | None]:
    """Mean and covariance of a state: itself, and None, where it is known exactly.

    Args:
        x: A `Gaussian`, or any pytree of numbers, which is seen as one vector.
    """
    return (x.mean, x.cov) if isinstance(x, Gaussian) else (ravel(x)[0], None)


def joint_moments(
    x: PyTree, action: Action | Response
) -> tuple[Float[Array, " both"], Array | None]:
    """Mean of state and action, and the covariance of what of them is uncertain.

    Args:
        x: As for `moments`.
        action: Known, or a `Response` to a `Gaussian` state.

    Returns:
        The mean, shape `[state + action]`, and the covariance of as many of its first
        coordinates as are uncertain; None where none is.
    """
    if isinstance(action, Response):
        both = action.joint(x)
        return both.mean, both.cov
    mean, cov = moments(x)
    return jnp.concatenate([mean, action.astype(mean.dtype)]), cov


def kl_divergence(p: Gaussian, q: Gaussian) -> Scalar:
    r"""How far $p$ is from $q$, in nats.

    $$\mathrm{KL}(p \| q) = \tfrac12 \Big( \operatorname{tr}(S_q^{-1} S_p)
      + (m_q - m_p)^\top S_q^{-1} (m_q - m_p) - n
      + \log \frac{\det S_q}{\det S_p} \Big)$$
    """
    L_p, _ = cholesky(p.cov)
    L_q, _ = cholesky(q.cov)
    gap = jnp.concatenate([L_p, (q.mean - p.mean)[:, None]], axis=1)
    white = jax.scipy.linalg.solve_triangular(L_q, gap, lower=True)
    logs = jnp.sum(jnp.log(jnp.diag(L_q))) - jnp.sum(jnp.log(jnp.diag(L_p)))
    return 0.5 * (jnp.sum(white * white) - p.mean.shape[0]) + logs
