r"""What Gaussian processes answer to a Gaussian: exact moments.

Inputs are $x \sim \mathcal N(m, S)$, each output is $y = f(x)$ with $f$ from a
posterior under the squared exponential. Then mean, covariance and input–output
covariance of $y$ are integrals of Gaussians against Gaussians, in closed form, though
$y$ is no Gaussian:

$$\mathbb E\, y_a = \beta_a^\top q_a, \qquad
  \operatorname{cov}(x, y_a) = S V_a, \qquad
  V_a = (S + \Lambda_a)^{-1} \sum_i \beta_{ai} q_{ai} \nu_i$$

$$\operatorname{cov}(y_a, y_b) = \beta_a^\top Q^{ab} \beta_b
  - \mathbb E y_a\, \mathbb E y_b + \delta_{ab}\big(s_a^2
  - \operatorname{tr}(K_a^{-1} Q^{aa})\big)$$

$$q_{ai} = s_a^2\, |S \Lambda_a^{-1} + I|^{-1/2}
  e^{-\frac12 \nu_i^\top (S + \Lambda_a)^{-1} \nu_i}, \qquad
  Q^{ab}_{ij} = \frac{k_a(z_i, m)\, k_b(z_j, m)}{|S T + I|^{1/2}}\,
  e^{\frac12 \zeta_{ij}^\top T^{-1/2} H\, T^{-1/2} \zeta_{ij}}$$

with $T = \Lambda_a^{-1} + \Lambda_b^{-1}$, $H = (I + \tilde S)^{-1} \tilde S$ and
$\tilde S = T^{1/2} S T^{1/2}$, so that $S$ is never inverted and may be singular.

The exponent of $Q$ is $e_i + e_j + r_i^\top \zeta_j$: one pass over pairs of points
gives the sum *and* its derivatives by $e$, $r$ and $\zeta$, which are sums of the same
exponentials. So nothing of the size of $Q$ is kept for a gradient.

**Notation.** $z_i$ points and $\nu_i = z_i - m$; $\Lambda_a$ the diagonal matrix of
squared lengths, $\zeta_{ij} = \Lambda_a^{-1} \nu_i + \Lambda_b^{-1} \nu_j$;
$\beta$ weights; $K^{-1}$ what data take off the variance.

References:
    Deisenroth, Fox and Rasmussen, Gaussian processes for data-efficient learning in
    robotics and control, 2015, doi:10.1109/TPAMI.2013.218, equations 14 to 23; after
    Quiñonero-Candela et al., Propagation of uncertainty in Bayesian kernel models,
    2003.

Note:
    Variances are differences of numbers as large as $\beta^2$: the ratio of signal to
    noise, squared, is lost in digits. Float32 has too few of them.
"""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from forethought.core.linalg import symmetrise
from forethought.models.gp.factors import product
from forethought.models.gp.processes import Processes


def match(
    processes: Processes,
    precision: Float[Array, "output point point"],
    mean: Float[Array, " input"],
    cov: Float[Array, "input input"],
) -> tuple[
    Float[Array, " output"],
    Float[Array, "output output"],
    Float[Array, "input output"],
]:
    r"""Moments of what is answered to a Gaussian, without noise.

    Args:
        processes: Under the squared exponential.
        precision: $K^{-1}$ of each output (`Processes.precision`).
        mean: $m$.
        cov: $S$, which may be singular.

    Returns:
        Mean, covariance, and the slope $V$ with $\operatorname{cov}(x, y) = S V$.
    """
    kernel, betas = processes.kernel, processes.weights
    nu = processes.points - mean[None]
    first, slope = jax.vmap(means, (0, 0, 0, None, None))(
        kernel.log_lengths, kernel.log_signal, betas, nu, cov
    )
    size = betas.shape[0]
    pairs = [(a, a) for a in range(size)]
    pairs.extend(itertools.combinations(range(size), 2))
    a, b = (jnp.array(each) for each in zip(*pairs, strict=True))
    parts = jax.vmap(exponents, (0, 0, 0, 0, None, None))(
        *(kernel.log_lengths[a], kernel.log_signal[a]),
        *(kernel.log_lengths[b], kernel.log_signal[b]),
        *(nu, cov),
    )
    own = jax.tree.map(lambda part: part[:size], parts)
    mixed = jax.tree.map(lambda part: part[size:], parts)
    second = jnp.diag(_sums(*own, betas, betas, precision) + kernel.signal)
    if size > 1:
        a, b = a[size:], b[size:]
        found = _sums(*mixed, betas[a], betas[b], None)
        second = second.at[a, b].set(found).at[b, a].set(found)
    second = second - first[:, None] * first[None, :]
    # A line adds what it makes of the inputs, and how that goes with the rest.
    line, constant = processes.line[:, :-1], processes.line[:, -1]
    spread = product(line, cov)
    both = product(spread, slope.T)
    second = second + product(spread, line.T) + both + both.T
    return first + line @ mean + constant, symmetrise(second), (slope + line).T


def means(
    log_lengths: Array, log_signal: Array, beta: Array, nu: Array, cov: Array
) -> tuple[Array, Array]:
    """Mean of one output, and the slope of its covariance with the inputs."""
    inverse = jnp.exp(-log_lengths)
    eye = jnp.eye(nu.shape[1], dtype=nu.dtype)
    L = jnp.linalg.cholesky(eye + inverse[:, None] * cov * inverse[None])
    solve = jax.scipy.linalg.solve_triangular
    white = solve(L, (nu * inverse[None]).T, lower=True)
    logs = 2 * log_signal - jnp.sum(jnp.log(jnp.diag(L)))
    weighted = beta * jnp.exp(logs - 0.5 * jnp.sum(white * white, axis=0))
    slope = solve(L, white @ weighted, lower=True, trans=1) * inverse
    return jnp.sum(weighted), slope


def exponents(
    lengths_a: Array,
    signal_a: Array,
    lengths_b: Array,
    signal_b: Array,
    nu: Array,
    cov: Array,
) -> tuple[Array, Array, Array, Array]:
    r"""$e$ of both outputs, $r$ of the first and $\zeta$ of the second."""
    one, two = jnp.exp(-2 * lengths_a), jnp.exp(-2 * lengths_b)
    scale = jnp.sqrt(one + two)
    tilde = scale[:, None] * cov * scale[None]
    eye = jnp.eye(nu.shape[1], dtype=nu.dtype)
    L = jnp.linalg.cholesky(eye + tilde)
    # (I + S)^-1 S = I - (I + S)^-1 would cancel where S is small.
    H = symmetrise(jax.scipy.linalg.cho_solve((L, True), tilde))
    H = H / scale[:, None] / scale[None]
    logs = 0.5 * jnp.sum(jnp.log(jnp.diag(L)))
    z_a, z_b = nu * one[None], nu * two[None]
    r_a, r_b = product(z_a, H), product(z_b, H)
    e_a = 2 * signal_a - 0.5 * jnp.sum((nu - r_a) * z_a, axis=1) - logs
    e_b = 2 * signal_b - 0.5 * jnp.sum((nu - r_b) * z_b, axis=1) - logs
    return e_a, e_b, r_a, z_b


def _pass(
    e: Array, f: Array, r: Array, z: Array, a: Array, b: Array, less: Array | None
) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    r"""The sum over pairs of points, and its derivatives by $e, f, r, z$."""
    weights = a[:, None] * b[None, :]
    if less is not None:
        weights = weights - less
    terms = weights * jnp.exp(e[:, None] + f[None, :] + product(r, z.T))
    one = jnp.ones_like(e)[:, None]
    along_r = product(terms, jnp.concatenate([z, one], axis=1))
    along_z = product(terms.T, jnp.concatenate([r, one], axis=1))
    by_e, by_f = along_r[:, -1], along_z[:, -1]
    return jnp.sum(by_e), (by_e, by_f, along_r[:, :-1], along_z[:, :-1])


def _passes(*parts: Array | None) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    # One pair of outputs after another: a pass fills the processor's cache.
    return jax.lax.map(lambda each: _pass(*each), parts)


@jax.custom_jvp
def _sums(
    e: Float[Array, "pair point"],
    f: Float[Array, "pair point"],
    r: Float[Array, "pair point input"],
    z: Float[Array, "pair point input"],
    a: Float[Array, "pair point"],
    b: Float[Array, "pair point"],
    less: Float[Array, "pair point point"] | None,
) -> Float[Array, " pair"]:
    r"""$\sum_{ij} (a_i b_j - D_{ij})\, e^{e_i + f_j + r_i^\top z_j}$ of each pair."""
    return _passes(e, f, r, z, a, b, less)[0]


@_sums.defjvp
def _sums_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """The derivative by the exponents; the processes are taken as they are."""
    found, slopes = _passes(*primals)
    moved = jnp.zeros_like(found)
    for slope, tangent in zip(slopes, tangents[:4], strict=True):
        axes = tuple(range(1, slope.ndim))
        moved = moved + jnp.sum(slope * tangent, axis=axes)
    return found, moved
