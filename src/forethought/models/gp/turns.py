r"""Sines and cosines of angles that are known as a Gaussian, by their moments.

$$\mathbb E \sin x_a = e^{-v_a/2} \sin m_a, \qquad
  \operatorname{cov}(x, \sin x_a) = \operatorname{cov}(x, x_a)\, e^{-v_a/2} \cos m_a$$

and so on by products of exponentials $e^{i x}$, exactly.

**Notation.** $x \sim \mathcal N(m, S)$, $v_a = S_{aa}$.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from forethought.core.gaussian import Gaussian


def with_turns(x: Gaussian, angles: tuple[int, ...]) -> Gaussian:
    """The moments of a vector with the sines and then the cosines of some of it behind.

    Args:
        x: What is known of the vector.
        angles: Which of its numbers are angles, in radians.
    """
    at = jnp.array(angles)
    m, S = x.mean[at], x.cov[at][:, at]
    v = jnp.diag(S)
    shrunk = jnp.exp(-0.5 * v)
    mean = jnp.concatenate([shrunk * jnp.sin(m), shrunk * jnp.cos(m)])
    by_sin = x.cov[:, at] * (shrunk * jnp.cos(m))[None]
    by_cos = -x.cov[:, at] * (shrunk * jnp.sin(m))[None]
    cross = jnp.concatenate([by_sin, by_cos], axis=1)
    # e^{(v + w) / 2} is what both have lost; what s adds is told from one, not to one.
    lost = 0.5 * shrunk[:, None] * shrunk[None, :]
    more, less = jnp.expm1(S) * lost, jnp.expm1(-S) * lost
    apart, sum_ = m[:, None] - m[None, :], m[:, None] + m[None, :]
    sines = more * jnp.cos(apart) - less * jnp.cos(sum_)
    cosines = more * jnp.cos(apart) + less * jnp.cos(sum_)
    mixed = more * jnp.sin(apart) + less * jnp.sin(sum_)
    own: Array = jnp.block([[sines, mixed], [mixed.T, cosines]])
    cov: Float[Array, "more more"] = jnp.block([[x.cov, cross], [cross.T, own]])
    return Gaussian(jnp.concatenate([x.mean, mean]), cov)
