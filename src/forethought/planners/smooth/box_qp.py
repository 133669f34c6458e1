r"""Quadratic programmes with limits on each variable, by projected Newton steps.

The backward pass of iLQR minimises a small quadratic at every step. Where actions have
limits that is a box-constrained quadratic programme. Its solution splits the variables
into *clamped* ones, which lie at a limit that the gradient pushes them against, and
*free* ones, among which the gradient vanishes; the feedback gains of clamped actions
are zero, those of the free ones come from the same factorisation.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from forethought.core.linalg import dot, matvec, quadratic_form, solve_positive


class BoxSolution(eqx.Module):
    """The minimum, and which variables are free there."""

    x: Float[Array, " n"]
    free: Bool[Array, " n"]
    solved: Bool[Array, ""]
    """Whether the free block was positive definite and the gradient vanished in it."""
    iterations: Int[Array, ""]


def box_qp(
    H: Float[Array, "n n"],
    g: Float[Array, " n"],
    low: Float[Array, " n"],
    high: Float[Array, " n"],
    start: Float[Array, " n"],
    *,
    iterations: int = 50,
) -> BoxSolution:
    r"""Minimise a quadratic within limits.

    $$\min_x \; \tfrac12 x^\top H x + g^\top x
      \quad \text{subject to} \quad \text{low} \le x \le \text{high}$$

    Each iteration finds the clamped variables, takes the Newton step among the free
    ones, and projects it onto the box at the longest of a few step sizes that decreases
    the objective enough.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.planners.smooth.box_qp import box_qp
    >>> H, g = jnp.array([[2.0, 1.0], [1.0, 2.0]]), jnp.array([-8.0, -1.0])
    >>> solution = box_qp(H, g, -jnp.ones(2), jnp.ones(2), jnp.zeros(2))
    >>> [round(x, 3) for x in solution.x.tolist()], solution.free.tolist()
    ([1.0, 0.0], [False, True])

    ```

    Args:
        H: Symmetric and positive definite, shape `[n, n]`.
        g: Shape `[n]`.
        low: Lower limits, shape `[n]`; minus infinity where there is none.
        high: Upper limits, shape `[n]`.
        start: A first guess, shape `[n]`; it is projected onto the box.
        iterations: At most so many Newton steps; a handful is usual.

    Returns:
        The minimum, the free variables, whether it was found, and after how many steps.

    References:
        Tassa, Mansard and Todorov, Control-limited differential dynamic programming,
        2014, §III.B and algorithm 1; Bertsekas, Projected Newton methods for
        optimization problems with simple constraints, 1982.

    Note:
        The paper backtracks one step size at a time; here they are tried side by side,
        which takes the same step. The Armijo constant 0.1 is the paper's.
    """
    start = jnp.clip(start, low, high)
    if H.shape[0] == 1:
        return _interval(H, g, low, high)
    precision = jnp.finfo(H.dtype).eps
    diagonal = jnp.eye(H.shape[0], dtype=bool)
    sizes = 0.5 ** jnp.arange(10, dtype=H.dtype)

    def objective(x: Array) -> Array:
        return 0.5 * quadratic_form(H, x) + dot(g, x)

    def split(x: Array) -> tuple[Array, Array, Array]:
        """Gradient, free variables, and whether the gradient vanishes in them."""
        slope = matvec(H, x) + g
        free = ~(((x <= low) & (slope > 0)) | ((x >= high) & (slope < 0)))
        free = free & (low < high)
        # Rounding in Hx + g is what the gradient cannot get below.
        noise = 8 * precision * (matvec(jnp.abs(H), jnp.abs(x)) + jnp.abs(g))
        return slope, free, jnp.all(~free | (jnp.abs(slope) <= noise))

    def unfinished(carry):
        _, _, stationary, good, iteration = carry
        return ~stationary & good & (iteration < iterations)

    def newton(carry):
        x, _, _, _, iteration = carry
        slope, free, _ = split(x)
        both = free[:, None] & free[None, :]
        block = jnp.where(both, H, jnp.where(diagonal, 1, 0).astype(H.dtype))
        right = jnp.where(free, slope, jnp.zeros_like(slope))
        step, positive = solve_positive(block, right[:, None])
        trials = jnp.clip(
            x[None] - sizes[:, None] * step[:, 0][None], low[None], high[None]
        )
        decrease = objective(x) - jax.vmap(objective)(trials)
        expected = jnp.sum(slope[None] * (x[None] - trials), axis=1)
        enough = (decrease >= 0.1 * expected) & (expected > 0)
        best = trials[jnp.argmax(enough)]
        # Where no step is long enough to be seen in the objective, x is the answer to
        # rounding; the full projected step still improves it.
        best = jnp.where(jnp.any(enough), best, trials[0])
        x = jnp.where(positive, best, x)
        _, free, stationary = split(x)
        stationary = stationary | ~jnp.any(enough)
        return x, free, stationary, positive, iteration + 1

    _, free, stationary = split(start)
    carry = (start, free, stationary, jnp.asarray(True), jnp.asarray(0))
    x, free, stationary, good, iteration = jax.lax.while_loop(unfinished, newton, carry)
    return BoxSolution(x, free, good & stationary, iteration)


def _interval(H: Array, g: Array, low: Array, high: Array) -> BoxSolution:
    """The closed form for one variable."""
    positive = H[0, 0] > 0
    curvature = jnp.where(positive, H[0, 0], jnp.ones_like(H[0, 0]))
    unlimited = -g / curvature
    x = jnp.clip(unlimited, low, high)
    free = (unlimited > low) & (unlimited < high)
    return BoxSolution(x, free, positive, jnp.asarray(0))
