r"""What an ensemble knows, and whether it is right about that.

An ensemble's prediction is a mixture: the member is drawn first, then the answer from
that member's Gaussian. Its variance has two parts, the noise that members predict and
the *disagreement* between them, and only the second shrinks with data.

**Notation.** Members $e = 1 \ldots E$ predict $\mathcal N(\mu_e, \sigma_e^2)$ with
diagonal variances.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

TINY = 1e-12
"""The least variance of a density, so that members without noise have one."""


def mixture_moments(
    means: Float[Array, "member output"], variances: Float[Array, "member output"]
) -> tuple[Float[Array, " output"], Float[Array, " output"]]:
    r"""Mean and variance of the mixture, per output.

    $$\mu = \tfrac1E \sum_e \mu_e, \qquad
      \sigma^2 = \tfrac1E \sum_e \sigma_e^2 + \tfrac1E \sum_e (\mu_e - \mu)^2$$

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.models.learned.uncertainty import mixture_moments
    >>> mixture_moments(jnp.array([[0.0], [2.0]]), jnp.array([[1.0], [3.0]]))[1]
    Array([3.], dtype=float32)

    ```

    Args:
        means: $\mu_e$, shape `[member, output]`.
        variances: $\sigma_e^2$, the same shape.
    """
    aleatoric, epistemic = mixture_doubt(means, variances)
    return jnp.mean(means, axis=0), aleatoric + epistemic


def mixture_doubt(
    means: Float[Array, "member output"], variances: Float[Array, "member output"]
) -> tuple[Float[Array, " output"], Float[Array, " output"]]:
    r"""Both parts of the mixture's variance, per output: noise and disagreement.

    $$\tfrac1E \sum_e \sigma_e^2, \qquad \tfrac1E \sum_e (\mu_e - \mu)^2$$

    Args:
        means: $\mu_e$, shape `[member, output]`.
        variances: $\sigma_e^2$, the same shape.

    References:
        Depeweg et al., Decomposition of uncertainty in Bayesian deep learning for
        efficient and risk-sensitive learning, 2018, arXiv:1710.07283, section 3 (by
        the law of total variance).
    """
    gaps = means - jnp.mean(means, axis=0)[None, :]
    return jnp.mean(variances, axis=0), jnp.mean(gaps**2, axis=0)


def mixture_nll(
    means: Float[Array, "member output"],
    variances: Float[Array, "member output"],
    y: Float[Array, " output"],
) -> Scalar:
    r"""The negative log-likelihood of one answer, in nats.

    $$-\log \tfrac1E \sum_e \prod_i \mathcal N(y_i; \mu_{e,i}, \sigma_{e,i}^2)$$

    Args:
        means: Shape `[member, output]`.
        variances: The same shape.
        y: What was seen, shape `[output]`.
    """
    variances = jnp.maximum(variances, TINY)
    gaps = y[None, :] - means
    exponents = gaps * gaps / variances + jnp.log(2 * math.pi * variances)
    logs = -0.5 * jnp.sum(exponents, axis=1)
    return math.log(means.shape[0]) - jax.nn.logsumexp(logs)


def mixture_cdf(
    means: Float[Array, "member output"],
    variances: Float[Array, "member output"],
    y: Float[Array, " output"],
) -> Float[Array, " output"]:
    r"""The distribution function per output: $\tfrac1E\sum_e\Phi((y-\mu_e)/\sigma_e)$.

    Uniform on $[0, 1]$ over data that the mixture describes.

    Args:
        means: Shape `[member, output]`.
        variances: The same shape.
        y: What was seen, shape `[output]`.
    """
    std = jnp.sqrt(jnp.maximum(variances, TINY))
    return jnp.mean(jax.scipy.special.ndtr((y[None, :] - means) / std), axis=0)


def coverage(
    cdf: Float[Array, "row output"], levels: Float[Array, " level"]
) -> Float[Array, "level output"]:
    r"""The share of rows within the mixture's central intervals, per output.

    An interval of level $p$ lies between the mixture's quantiles
    $\tfrac12 (1 - p)$ and $\tfrac12 (1 + p)$; a calibrated model covers a share $p$.

    Args:
        cdf: `mixture_cdf` of each row, shape `[row, output]`.
        levels: $p$, shape `[level]`.

    References:
        Kuleshov et al., Accurate uncertainties for deep learning using calibrated
        regression, 2018, arXiv:1807.00263, section 3 (there for one-sided intervals).
    """
    inside = jnp.abs(cdf - 0.5)[None, :, :] <= levels[:, None, None] / 2
    return jnp.mean(inside.astype(cdf.dtype), axis=1)
