r"""Linear algebra of small matrices, in a form that compiles whole.

A sweep through time on a CPU is fast when its loop body holds nothing but arithmetic
that XLA can fuse: then the whole loop becomes one native function, about ten times
faster than a loop that calls a library at every step. So up to a size of `SMALL`
products are written as broadcast, multiply, sum, and the Cholesky factor is unrolled
entry by entry; beyond it the library routines are called.

**Batches last.** Products and solutions take any further axes at the end of their
arrays as a batch. A CPU then works on many small matrices at once with full vectors,
several times faster than on the same matrices with the batch in front.

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


def require_symmetric(owner: str, name: str, values: Array) -> None:
    """Refuse a matrix, or any of a sequence, that differs from its transpose.

    Raises:
        ValueError: Naming the owner, the matrix, and by how much.
    """
    if isinstance(values, Tracer):
        return
    matrices, slack = _with_slack(values)
    gap = float(np.abs(matrices - matrices.swapaxes(1, 2)).max(initial=0))
    if not gap <= slack:
        raise ValueError(
            f"{owner} needs a symmetric {name}, but it differs from its transpose by "
            f"{gap:.3g}."
        )


def require_convex(
    owner: str, name: str, values: Array, *, definite: bool = False
) -> None:
    """Refuse a matrix, or any of a sequence, that is not symmetric and convex.

    Args:
        owner: Who needs it.
        name: How it is called.
        values: Shape `[n, n]` or `[time, n, n]`; traced ones pass unseen.
        definite: Whether eigenvalues of zero are refused too.

    Raises:
        ValueError: Naming the owner, the matrix, its lowest eigenvalue and the step.
    """
    if isinstance(values, Tracer):
        return
    require_symmetric(owner, name, values)
    matrices, slack = _with_slack(values)
    eigenvalues = np.linalg.eigvalsh(matrices)[:, 0]
    step = int(eigenvalues.argmin())
    lowest = float(eigenvalues[step])
    where = f" at step {step}" if values.ndim == 3 else ""
    if definite and not lowest > slack:
        raise ValueError(
            f"{owner} needs a positive definite {name}, but its lowest eigenvalue is "
            f"{lowest:.3g}{where}."
        )
    if not lowest >= -slack:
        raise ValueError(
            f"{owner} needs a positive semidefinite {name}, but its lowest eigenvalue"
            f" is {lowest:.3g}{where}."
        )


def _with_slack(values: Array) -> tuple[np.ndarray, float]:
    """Matrices in float64, shape `[time, n, n]`, and what rounding may do to them."""
    array = np.asarray(values, np.float64).reshape(-1, *values.shape[-2:])
    scale = max(float(np.abs(array).max(initial=0)), np.finfo(np.float64).tiny)
    return array, 100 * float(jnp.finfo(values.dtype).eps) * scale


def matmul(
    A: Float[Array, "n k *batch"], B: Float[Array, "k m *batch"]
) -> Float[Array, "n m *batch"]:
    """The product $A B$, in full precision on every device."""
    if max(*A.shape[:2], *B.shape[:2]) > 2 * SMALL:
        highest = jax.lax.Precision.HIGHEST
        return jnp.einsum("ik...,kj...->ij...", A, B, precision=highest)
    if A.ndim > 2:
        # Sums written out run along the batch, where a reduction would not.
        total = A[:, 0, None] * B[None, 0]
        for k in range(1, A.shape[1]):
            total = total + A[:, k, None] * B[None, k]
        return total
    return jnp.sum(A[:, :, None] * B[None, :, :], axis=1)


def matvec(
    A: Float[Array, "n k *batch"], b: Float[Array, "k *batch"]
) -> Float[Array, "n *batch"]:
    """The product $A b$, in full precision on every device."""
    if max(A.shape[:2]) > 2 * SMALL:
        highest = jax.lax.Precision.HIGHEST
        return jnp.einsum("ik...,k...->i...", A, b, precision=highest)
    return jnp.sum(A * b[None, :], axis=1)


def dot(
    a: Float[Array, "n *batch"], b: Float[Array, "n *batch"]
) -> Float[Array, " *batch"]:
    r"""The inner product $a^\top b$."""
    return jnp.sum(a * b, axis=0)


def transpose(A: Float[Array, "n k *batch"]) -> Float[Array, "k n *batch"]:
    r"""The transpose $A^\top$ of every matrix."""
    return jnp.swapaxes(A, 0, 1)


def symmetrise(A: Float[Array, "n n *batch"]) -> Float[Array, "n n *batch"]:
    r"""The symmetric part $\tfrac12 (A + A^\top)$, which rounding takes away."""
    return 0.5 * (A + transpose(A))


def quadratic_form(
    A: Float[Array, "n n *batch"], x: Float[Array, "n *batch"]
) -> Float[Array, " *batch"]:
    r"""The number $x^\top A x$."""
    return dot(x, matvec(A, x))


def trace_of_product(
    A: Float[Array, "n n *batch"], B: Float[Array, "n n *batch"]
) -> Float[Array, " *batch"]:
    r"""The number $\operatorname{tr}(A B)$, for a symmetric $A$ or $B$."""
    return jnp.sum(A * B, axis=(0, 1))


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


def root(S: Float[Array, "n n"]) -> Float[Array, "n n"]:
    r"""A lower triangular $L$ with $L L^\top = S$, for a semidefinite $S$.

    Where `S` is singular the columns that rounding alone would fill are zero, and so
    are their derivatives.
    """
    size, columns = jnp.diag(S), []
    tiny = 10 * jnp.finfo(S.dtype).eps
    for i in range(S.shape[0]):
        good = S[i, i] > tiny * size[i]
        scale = jax.lax.rsqrt(jnp.where(good, S[i, i], jnp.ones_like(S[i, i])))
        column = jnp.where(good & (jnp.arange(S.shape[0]) >= i), S[:, i] * scale, 0)
        columns.append(column)
        S = S - column[:, None] * column[None, :]
    return jnp.stack(columns, axis=1)


def solve_positive(
    A: Float[Array, "n n *batch"], B: Float[Array, "n m *batch"]
) -> tuple[Float[Array, "n m *batch"], Bool[Array, " *batch"]]:
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
        if A.ndim > 2:
            return jax.vmap(solve_positive, in_axes=-1, out_axes=-1)(A, B)
        factor, positive = cholesky(A)
        return jax.scipy.linalg.cho_solve((factor, True), B), positive
    # A = L D L' needs no square roots and one division a row, and those are what the
    # recursions through time wait for.
    one = jnp.ones_like(A[0, 0])
    L: list[list[Array]] = []
    reciprocals: list[Array] = []
    Y: list[Array] = []
    positive = jnp.ones(A.shape[2:], bool)
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
            row = row - L[i][j][None] * Y[j]
        Y.append(row)
    X: list[Array] = list(Y)
    for i in reversed(range(n)):
        row = Y[i] * reciprocals[i][None]
        for j in range(i + 1, n):
            row = row - L[j][i][None] * X[j]
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
