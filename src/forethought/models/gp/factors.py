r"""Inverses of large covariances, by products of matrices.

A Cholesky factor is inverted by halves, and the inverse of the covariance is built from
that in panels: both skip what is zero, and leave the work to products of matrices,
which processors do several times faster than triangular solutions.

**Notation.** $K = L L^\top$, $R = L^{-1}$, $K^{-1} = R^\top R$.
"""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LEAF = 128
"""Up to this size a triangle is inverted by the library."""
PANELS = 8
"""The most; each has at least half a leaf."""


def product(A: Float[Array, "n k"], B: Float[Array, "k m"]) -> Float[Array, "n m"]:
    """The product in full precision on every device."""
    return jnp.matmul(A, B, precision=jax.lax.Precision.HIGHEST)


def invert_triangle(L: Float[Array, "n n"]) -> Float[Array, "n n"]:
    r"""The inverse of a lower triangular matrix.

    $$\begin{bmatrix} A & 0 \\ B & C \end{bmatrix}^{-1} =
      \begin{bmatrix} A^{-1} & 0 \\ -C^{-1} B A^{-1} & C^{-1} \end{bmatrix}$$
    """
    n = L.shape[0]
    if n <= LEAF:
        eye = jnp.eye(n, dtype=L.dtype)
        return jax.scipy.linalg.solve_triangular(L, eye, lower=True)
    half = n // 2
    A, C = invert_triangle(L[:half, :half]), invert_triangle(L[half:, half:])
    B = -product(C, product(L[half:, :half], A))
    above = jnp.zeros((half, n - half), L.dtype)
    return jnp.block([[A, above], [B, C]])


def lower_gram(R: Float[Array, "n n"]) -> Float[Array, "n n"]:
    r"""The lower triangle of $R^\top R$ for a lower triangular $R$; zeros above it."""
    n = R.shape[0]
    panels = max(1, min(PANELS, 2 * n // LEAF))
    ends = [round(i * n / panels) for i in range(panels + 1)]
    found = jnp.zeros_like(R)
    for a, b in itertools.pairwise(ends):
        panel = product(R[a:, a:b].T, R[a:, :b])
        found = found.at[a:b, :b].set(panel)
    return jnp.tril(found)
