r"""Linear algebra of small matrices, in a form that compiles whole.

A sweep through time on a CPU is fast when its loop body holds nothing but arithmetic
that XLA can fuse: then the whole loop becomes one native function, about ten times
faster than a loop that calls a library at every step. So up to a size of `SMALL`
products are written as broadcast, multiply, sum, and the Cholesky factor is unrolled
entry by entry; beyond it the library routines are called.

**Notation.** $A = L L^\top$ is the Cholesky factorisation, $L$ lower triangular. A
matrix is *positive* when every pivot of that factorisation is greater than zero.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float

Values = ArrayLike | Sequence
"""What a constructor accepts for an array: nested lists too."""

SMALL = 12
"""Up to this size matrix products are fused arithmetic instead of library calls."""
UNROLLED = 6
"""Up to this size Cholesky factors are unrolled instead of library calls."""


def as_float(values: Values) -> Array:
    """An array of a floating dtype: that of `values`, or the default one."""
    array = values if isinstance(values, Array) else np.asarray(values)
    if jnp.issubdtype(array.dtype, jnp.inexact):
        return jnp.asarray(array)
    return jnp.asarray(array, dtype=float)


def require_finite(owner: str, **arrays: Array) -> None:
    """Refuse arrays that hold infinities or NaN; traced ones pass unseen.

    Raises:
        ValueError: Naming the owner and the array.
    """
    for name, values in arrays.items():
        if isinstance(values, Tracer):
            continue
        if not np.isfinite(np.asarray(values)).all():
            raise ValueError(f"{owner} needs finite entries, but {name} has others.")


def matmul(A: Float[Array, "n k"], B: Float[Array, "k m"]) -> Float[Array, "n m"]:
    """The product $A B$, in full precision on every device."""
    if max(*A.shape, *B.shape) > 2 * SMALL:
        return jnp.matmul(A, B, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(A[:, :, None] * B[None, :, :], axis=1)


def matvec(A: Float[Array, "n k"], b: Float[Array, " k"]) -> Float[Array, " n"]:
    """The product $A b$, in full precision on every device."""
    if max(A.shape) > 2 * SMALL:
        return jnp.matmul(A, b, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(A * b[None, :], axis=1)


def dot(a: Float[Array, " n"], b: Float[Array, " n"]) -> Float[Array, ""]:
    r"""The inner product $a^\top b$."""
    return jnp.sum(a * b)


def symmetrise(A: Float[Array, "n n"]) -> Float[Array, "n n"]:
    r"""The symmetric part $\tfrac12 (A + A^\top)$, which rounding takes away."""
    return 0.5 * (A + A.T)


def quadratic_form(A: Float[Array, "n n"], x: Float[Array, " n"]) -> Float[Array, ""]:
    r"""The number $x^\top A x$."""
    return dot(x, matvec(A, x))


def cholesky(A: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Bool[Array, ""]]:
    """The Cholesky factor of a symmetric matrix, and whether the matrix is positive.

    Only the lower triangle of `A` is read. Where the matrix is not positive the
    factor is meaningless; it is finite up to the size `UNROLLED`.

    Args:
        A: Symmetric, shape `[n, n]`.

    Returns:
        The lower factor, shape `[n, n]`, and a test that is also false where `A` holds
        a NaN.
    """
    n = A.shape[0]
    if n > UNROLLED:
        L = jnp.linalg.cholesky(A, symmetrize_input=False)
        return L, jnp.all(jnp.isfinite(L))
    entries, positive = _unrolled_cholesky(A)
    zero = jnp.zeros_like(A[0, 0])
    rows = [jnp.stack([*row, *([zero] * (n - len(row)))]) for row in entries]
    return jnp.stack(rows), positive


def solve_positive(
    A: Float[Array, "n n"], B: Float[Array, "n m"]
) -> tuple[Float[Array, "n m"], Bool[Array, ""]]:
    """Solve $A X = B$ for a symmetric positive $A$ by its Cholesky factors.

    Args:
        A: Symmetric, shape `[n, n]`; only its lower triangle is read.
        B: Right-hand sides, shape `[n, m]`.

    Returns:
        The solution, shape `[n, m]`, and whether `A` is positive; where it is not the
        solution is meaningless.
    """
    n = A.shape[0]
    if n > UNROLLED:
        factor, positive = cholesky(A)
        return jax.scipy.linalg.cho_solve((factor, True), B), positive
    # A = L D L' needs no square roots and one division a row, and those are what the
    # recursions through time wait for.
    one = jnp.ones_like(A[0, 0])
    L: list[list[Array]] = []
    reciprocals: list[Array] = []
    Y: list[Array] = []
    positive = jnp.asarray(True)
    for i in range(n):
        scaled: list[Array] = []
        for j in range(i):
            entry = A[i, j]
            for k in range(j):
                entry = entry - scaled[k] * L[j][k]
            scaled.append(entry)
        L.append([entry * r for entry, r in zip(scaled, reciprocals, strict=True)])
        pivot = A[i, i]
        for entry, unscaled in zip(L[i], scaled, strict=True):
            pivot = pivot - entry * unscaled
        good = pivot > 0
        positive = positive & good
        reciprocals.append(1 / jnp.where(good, pivot, one))
        row = B[i]
        for j in range(i):
            row = row - L[i][j] * Y[j]
        Y.append(row)
    X: list[Array] = list(Y)
    for i in reversed(range(n)):
        row = Y[i] * reciprocals[i]
        for j in range(i + 1, n):
            row = row - L[j][i] * X[j]
        X[i] = row
    return jnp.stack(X), positive


def _unrolled_cholesky(A: Array) -> tuple[list[list[Array]], Array]:
    """The lower factor as rows of scalars; a bad pivot is replaced by one."""
    L: list[list[Array]] = []
    positive = jnp.asarray(True)
    for i in range(A.shape[0]):
        row: list[Array] = []
        for j in range(i):
            entry = A[i, j]
            for k in range(j):
                entry = entry - row[k] * L[j][k]
            row.append(entry / L[j][j])
        pivot = A[i, i]
        for entry in row:
            pivot = pivot - entry * entry
        good = pivot > 0
        positive = positive & good
        row.append(jnp.sqrt(jnp.where(good, pivot, jnp.ones_like(pivot))))
        L.append(row)
    return L, positive
