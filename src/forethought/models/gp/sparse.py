r"""Sparse regression: many rows, seen through a few inducing points.

The function's values $u = f(Z)$ at inducing points $Z$ stand for the data, and what is
known of them is chosen as near the truth as a Gaussian can be, by a bound below the
evidence:

$$\log p \ge \log \mathcal N\big(y;\, Hw,\, Q + \sigma^2 I\big)
  - \tfrac{1}{2\sigma^2} \operatorname{tr}(k(X, X) - Q), \qquad
  Q = k(X, Z)\, k(Z, Z)^{-1} k(Z, X)$$

With $Z = X$ it is the evidence itself. $Z$ are the centres of the data by k-means.

**Notation.** $k(Z, Z) = L L^\top$; $B = L^{-1} k(Z, X) / \sigma$; $A = I + B B^\top$.

References:
    Titsias, Variational learning of inducing variables in sparse Gaussian processes,
    2009, equation 9. Bauer et al., Understanding probabilistic sparse Gaussian process
    approximations, 2016, arXiv:1606.04820: FITC, the other choice, may take noise for
    what it leaves out, and then calls far too little of it noise.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Scalar

from forethought.core.linalg import solve_positive
from forethought.models.gp.factors import product
from forethought.models.gp.kernels import Kernel
from forethought.models.gp.regression import along

TURNS = 10
"""Of k-means."""


class Induced(eqx.Module):
    """What data tell of one output through inducing points, under one kernel."""

    evidence: Scalar
    """The bound, as `Conditioned.evidence`."""
    line: Float[Array, " coefficient"]
    weights: Float[Array, " point"]
    """Of the kernel at each point, zero where there is none."""
    root: Float[Array, "point point"]
    r"""$R$, with $k(x, Z) R^\top R\, k(Z, x)$ what data take off the variance."""
    spread: Float[Array, "point point"]
    """Its product with standard normal numbers is how weights vary."""
    prior: Float[Array, "point point"]
    """$L^{-1}$, zero where there is no point."""
    gaps: Float[Array, " row"]
    """How far off each row is, had it been left out."""
    variances: Float[Array, " row"]
    """And how far off it was expected to be, squared."""

    def wander(
        self, prior: Float[Array, " point"], xi: Float[Array, " point"]
    ) -> Float[Array, " point"]:
        """As `Conditioned.wander`, at the inducing points."""
        return self.spread @ xi - (self.prior @ prior) @ self.prior


class _Parts(eqx.Module):
    evidence: Scalar
    line: Array
    L: Array
    B: Array
    LA: Array
    gap: Array
    solved: Array


def bound(
    kernel: Kernel,
    z: Float[Array, "point input"],
    there: Bool[Array, " point"],
    x: Float[Array, "row input"],
    y: Float[Array, " row"],
    valid: Bool[Array, " row"],
    *,
    line: bool = False,
) -> Scalar:
    """The bound below the evidence, which is differentiated by JAX.

    Args:
        kernel: Of one output.
        z: Inducing points.
        there: Which of them there are.
        x: Inputs.
        y: Targets.
        valid: Which rows hold data.
        line: As for `regression.condition`.
    """
    return _parts(kernel, z, there, x, y, valid, line).evidence


def induce(
    kernel: Kernel,
    z: Float[Array, "point input"],
    there: Bool[Array, " point"],
    x: Float[Array, "row input"],
    y: Float[Array, " row"],
    valid: Bool[Array, " row"],
    *,
    line: bool = False,
) -> Induced:
    """Regression under a kernel that is given; arguments as for `bound`."""
    parts = _parts(kernel, z, there, x, y, valid, line)
    sigma = jnp.exp(kernel.log_noise)
    eye = jnp.eye(z.shape[0], dtype=z.dtype)
    solve = jax.scipy.linalg.solve_triangular
    prior = jnp.where(there[None, :], solve(parts.L, eye, lower=True), 0)
    white = solve(parts.LA, parts.B, lower=True)
    weights = solve(parts.LA, white @ parts.gap, lower=True, trans=1) / sigma
    # I - A^-1 has the eigenvectors of B B', and is never negative by them.
    values, vectors = jnp.linalg.eigh(product(parts.B, parts.B.T))
    shares = jnp.sqrt(jnp.maximum(values, 0) / (1 + jnp.maximum(values, 0)))
    diagonal = (1 - jnp.sum(white * white, axis=0)) / kernel.noise
    diagonal = jnp.where(valid, diagonal, jnp.ones_like(y))
    return Induced(
        parts.evidence,
        parts.line,
        weights @ prior,
        product(shares[:, None] * vectors.T, prior),
        product(prior.T, solve(parts.LA, eye, lower=True, trans=1)),
        prior,
        parts.solved / diagonal,
        1 / diagonal,
    )


def _parts(
    kernel: Kernel,
    z: Array,
    there: Array,
    x: Array,
    y: Array,
    valid: Array,
    line: bool,
) -> _Parts:
    noise, count = kernel.noise, jnp.sum(valid).astype(y.dtype)
    eye = jnp.eye(z.shape[0], dtype=z.dtype)
    # Rounding is kept from taking away that the covariance of points is positive.
    extra = jnp.sqrt(jnp.finfo(z.dtype).eps) * kernel.signal
    Kzz = jnp.where(there[:, None] & there[None, :], kernel(z, z), 0)
    Kzz = Kzz + jnp.diag(jnp.where(there, extra, jnp.ones_like(z[:, 0])))
    L = jnp.linalg.cholesky(Kzz, symmetrize_input=False)
    Kzx = jnp.where(there[:, None] & valid[None, :], kernel(z, x), 0)
    B = jax.scipy.linalg.solve_triangular(L, Kzx, lower=True) / jnp.sqrt(noise)
    LA = jnp.linalg.cholesky(eye + product(B, B.T), symmetrize_input=False)

    def solve(v: Array) -> Array:
        """What the inverse of the rows' covariance makes of columns."""
        inner = jax.scipy.linalg.cho_solve((LA, True), product(B, v))
        return (v - product(B.T, inner)) / noise

    gap, w = jnp.where(valid, y, 0), jnp.zeros(x.shape[1] + 1, x.dtype)
    if line:
        H = along(x) * valid[:, None].astype(x.dtype)
        information = product(H.T, solve(H)) + jnp.eye(w.shape[0], dtype=w.dtype)
        found, _ = solve_positive(information, product(H.T, solve(gap[:, None])))
        # At the most probable line the evidence does not change with it.
        w = jax.lax.stop_gradient(found[:, 0])
        gap = gap - H @ w
    solved = solve(gap[:, None])[:, 0]
    left = count * kernel.signal / noise - jnp.sum(B * B)
    evidence = -0.5 * gap @ solved - jnp.sum(jnp.log(jnp.diag(LA))) - 0.5 * w @ w
    evidence = evidence - 0.5 * count * jnp.log(2 * math.pi * noise) - 0.5 * left
    return _Parts(evidence, w, L, B, LA, gap, solved)


def centres(
    x: Float[Array, "row input"],
    valid: Bool[Array, " row"],
    count: int,
    *,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "point input"], Bool[Array, " point"]]:
    """Points amid the data by k-means, or the data themselves where these are fewer.

    Args:
        x: Inputs.
        valid: Which rows hold data.
        count: The most points.
        key: Draws the rows to begin at.

    References:
        Lloyd, Least squares quantization in PCM, 1982, doi:10.1109/TIT.1982.1056489.
    """
    drawn = jax.random.uniform(key, valid.shape, x.dtype)
    order = jnp.argsort(jnp.where(valid, drawn, 2.0))[:count]
    there = valid[order]

    def turn(_: Array, z: Array) -> Array:
        # Of the squared distance, what differs between centres.
        far = 0.5 * jnp.sum(z * z, axis=1)[None] - product(x, z.T)
        nearest = jnp.argmin(jnp.where(there[None], far, jnp.inf), axis=1)
        nearest = jnp.where(valid, nearest, count)
        sums = jax.ops.segment_sum(along(x), nearest, count)
        size = sums[:, -1:]
        return jnp.where(size > 0, sums[:, :-1] / jnp.maximum(size, 1), z)

    return jax.lax.fori_loop(0, TURNS, turn, x[order]), there
