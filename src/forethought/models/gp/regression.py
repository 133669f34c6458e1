r"""Exact Gaussian process regression of one output.

$$y_i = f(x_i) + w^\top h(x_i) + \sigma \epsilon_i, \qquad f \sim \mathcal{GP}(0, k),
  \qquad K = k(X, X) + \sigma^2 I, \qquad \alpha = K^{-1} (y - H w)$$

The evidence $p(y \mid X)$ is the marginal likelihood of a kernel:

$$\log p = -\tfrac12 (y - Hw)^\top \alpha - \tfrac12 \log\det K - \tfrac n2 \log 2\pi,
  \qquad \frac{\partial \log p}{\partial\theta} = \tfrac12 \operatorname{tr}\Big(
  (\alpha\alpha^\top - K^{-1}) \frac{\partial K}{\partial\theta}\Big)$$

Rows that hold no data are rows of the unit matrix: they change neither.

**Notation.** $X$ inputs and $y$ targets, standardised; $h(x) = (x, 1)$ where a line is
fitted, $H$ its rows, $w$ its coefficients.

References:
    Rasmussen and Williams, Gaussian processes for machine learning, 2006: algorithm
    2.1, equations 5.8 and 5.9 (evidence), 5.10 to 5.12 (leaving one out).
"""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from forethought.core.linalg import solve_positive
from forethought.models.gp.factors import invert_triangle, lower_gram, product
from forethought.models.gp.kernels import Kernel


class Conditioned(eqx.Module):
    """What data tell of one output, under one kernel."""

    evidence: Scalar
    r"""$\log p(y \mid X)$, with $-\tfrac12 \|w\|^2$ where a line is fitted."""
    line: Float[Array, " coefficient"]
    """$w$: of each input, and a constant; zeros where none is fitted."""
    weights: Float[Array, " row"]
    r"""$\alpha$, zero where there are no data."""
    root: Float[Array, "row row"]
    r"""$R$, lower triangular, with $R^\top R = K^{-1}$ where there are data."""
    spread: Scalar
    """The standard deviation of the noise, and of what keeps $K$ positive."""

    def wander(
        self, prior: Float[Array, " row"], xi: Float[Array, " row"]
    ) -> Float[Array, " row"]:
        """What the weights of a function that is drawn differ by from the mean's.

        Args:
            prior: Its values before data were seen.
            xi: Standard normal numbers.

        References:
            Wilson et al., Efficiently sampling functions from Gaussian process
            posteriors, 2020, arXiv:2002.09309, equation 12 (Matheron's rule).
        """
        return -((self.root @ (prior + self.spread * xi)) @ self.root)


def condition(
    kernel: Kernel,
    x: Float[Array, "row input"],
    y: Float[Array, " row"],
    valid: Bool[Array, " row"],
    *,
    line: bool = False,
) -> Conditioned:
    r"""Regression under a kernel that is given.

    Args:
        kernel: Of one output.
        x: Inputs.
        y: Targets.
        valid: Which rows hold data.
        line: Whether a straight line goes before the process. Its coefficients are
            drawn from $\mathcal N(0, 1)$, and those that are most probable are taken
            for certain.

    Returns:
        All of it; NaN where rounding took away that $K$ is positive.

    Note:
        A multiple $n \epsilon s^2$ of the unit matrix, $\epsilon$ the spacing of floats
        at one, keeps rounding from taking away that $K$ is positive. In float64 that
        is lost in any noise; in float32 it is a floor below the noise.
    """
    K = jnp.where(valid[:, None] & valid[None, :], kernel(x, x), 0)
    on_diagonal = kernel.noise + jitter(kernel, valid)
    K = K + jnp.diag(jnp.where(valid, on_diagonal, jnp.ones_like(y)))
    L = jnp.linalg.cholesky(K, symmetrize_input=False)
    root = jnp.where(valid[None, :], invert_triangle(L), 0)
    y, count = jnp.where(valid, y, 0), jnp.sum(valid).astype(y.dtype)
    w = jnp.zeros(x.shape[1] + 1, x.dtype)
    gap, penalty = y, jnp.zeros_like(count)
    if line:
        H = along(x) * valid[:, None].astype(x.dtype)
        white = product(root, H)
        information = product(white.T, white) + jnp.eye(w.shape[0], dtype=w.dtype)
        found, _ = solve_positive(information, (white.T @ (root @ y))[:, None])
        w = found[:, 0]
        gap, penalty = y - H @ w, 0.5 * w @ w
    alpha = (root @ gap) @ root
    evidence = -0.5 * gap @ alpha - jnp.sum(jnp.log(jnp.diag(L))) - penalty
    evidence = evidence - 0.5 * count * math.log(2 * math.pi)
    return Conditioned(evidence, w, alpha, root, jnp.sqrt(on_diagonal))


def slopes(
    kernel: Kernel,
    x: Float[Array, "row input"],
    y: Float[Array, " row"],
    valid: Bool[Array, " row"],
    found: Conditioned,
) -> Kernel:
    r"""The gradient of the evidence by the kernel's numbers, in closed form.

    No matrix is made for each of them: with $P$ the product, entry by entry, of
    $\alpha\alpha^\top - K^{-1}$ and $-2\,\partial k/\partial r^2$, a length's is
    $\tfrac12 \sum_{ij} P_{ij} (x_{id} - x_{jd})^2 / \ell_d^2$. Those of signal and
    noise follow from $\operatorname{tr}(K^{-1} K) = n$.

    Args:
        kernel: Of one output.
        x: Inputs.
        y: Targets.
        valid: Which rows hold data.
        found: What `condition` found.
    """
    alpha = found.weights
    count = jnp.sum(valid).astype(y.dtype)
    P = alpha[:, None] * alpha[None, :] - lower_gram(found.root)
    P = jnp.tril(P * kernel.bends(x, x), -1)
    z = x * jnp.exp(-kernel.log_lengths)[None]
    sums = jnp.sum(P, axis=1) + jnp.sum(P, axis=0)
    by_length = sums @ (z * z) - 2 * jnp.sum(z * product(P, z), axis=0)
    gap = jnp.where(valid, y, 0)
    gap = gap - jnp.where(valid, along(x) @ found.line, 0)
    trace = alpha @ alpha - jnp.sum(found.root**2)
    return Kernel(
        by_length,
        gap @ alpha - count - kernel.noise * trace,
        kernel.noise * trace,
        kernel.kind,
    )


def left_out(
    y: Float[Array, " row"], valid: Bool[Array, " row"], found: Conditioned
) -> tuple[Float[Array, " row"], Float[Array, " row"]]:
    r"""How far off each row is, had it been left out, and the variance expected.

    $$y_i - \mu_{-i} = \alpha_i / [K^{-1}]_{ii}, \qquad
      \sigma^2_{-i} = 1 / [K^{-1}]_{ii}$$
    """
    diagonal = jnp.where(valid, jnp.sum(found.root**2, axis=0), jnp.ones_like(y))
    return found.weights / diagonal, 1 / diagonal


def along(x: Float[Array, "row input"]) -> Float[Array, "row coefficient"]:
    """What a line's coefficients are of: inputs, and a constant."""
    return jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)


def jitter(kernel: Kernel, valid: Bool[Array, " row"]) -> Scalar:
    """What keeps a covariance of so many rows positive."""
    eps = jnp.finfo(kernel.log_signal.dtype).eps
    return jnp.sum(valid).astype(kernel.log_signal.dtype) * eps * kernel.signal
