r"""Minimisation of a smooth function of few numbers, with its gradient.

The method of Broyden, Fletcher, Goldfarb and Shanno: the inverse of the Hessian is
learned from how gradients change. Each turn of one loop evaluates the function once, so
that however costly it is to compile, it is compiled once.

$$H \leftarrow (I - \rho s y^\top) H (I - \rho y s^\top) + \rho s s^\top, \qquad
  s = x' - x, \quad y = g' - g, \quad \rho = 1 / s^\top y$$

**Notation.** $f, g$ value and gradient; $d = -H g$ the direction, $t$ the step along
it.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

ENOUGH, FLAT = 1e-4, 0.9
"""Of the first slope: what a step has to gain, and what slope may be left."""
TRIES = 20
"""Steps along one direction before the search gives up."""


class Minimum(eqx.Module):
    """What a search has found."""

    x: Float[Array, " number"]
    value: Scalar
    evaluations: Int[Array, ""]
    converged: Bool[Array, ""]
    """Whether it ended by itself: without slope, or without gain."""


class _Search(eqx.Module):
    x: Array
    value: Array
    slope: Array
    inverse: Array
    """$H$; the unit matrix until a step was taken."""
    first: Array
    """Whether none was."""
    step: Array
    low: Array
    high: Array
    tries: Array
    evaluations: Array
    done: Array


def quasi_newton(
    function: Callable[[Array], tuple[Scalar, Array]],
    x: Float[Array, " number"],
    *,
    limit: int,
    reach: float = 1.0,
    tolerance: float = 1e-9,
) -> Minimum:
    r"""The lowest point that a descent from `x` meets.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.quasi_newton import quasi_newton
    >>> f = jax.value_and_grad(lambda x: jnp.sum((x - jnp.array([1.0, 3.0])) ** 4))
    >>> found = quasi_newton(f, jnp.zeros(2), limit=50)
    >>> bool(found.value < 1e-4)
    True

    ```

    Args:
        function: Value and gradient. Where one of them is not finite, the step there
            was too long.
        x: Where to begin.
        limit: The most evaluations.
        reach: The longest first step along a direction, in each number.
        tolerance: The search ends where a step gains less than this of the value, or
            the slope is less; ten times the spacing of floats at least.

    References:
        Nocedal and Wright, Numerical optimization, 2nd edition, 2006, algorithm 6.1;
        steps by bisection to the weak conditions of Wolfe: Lewis and Overton,
        Nonsmooth optimization via quasi-Newton methods, 2013,
        doi:10.1007/s10107-012-0514-2, algorithm 2.6.
    """
    eye = jnp.eye(x.shape[0], dtype=x.dtype)
    small = max(tolerance, 10 * float(jnp.finfo(x.dtype).eps))
    endless = jnp.asarray(jnp.inf, x.dtype)

    def towards(search: _Search) -> Array:
        direction = -search.inverse @ search.slope
        longest = jnp.max(jnp.abs(direction))
        return direction * jnp.minimum(1, reach / jnp.maximum(longest, 1e-30))

    def turn(search: _Search) -> _Search:
        direction = towards(search)
        there = search.x + search.step * direction
        value, slope = function(there)
        finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(slope))
        down = search.slope @ direction
        gained = finite & (value <= search.value + ENOUGH * search.step * down)
        flat = slope @ direction >= FLAT * down
        last = search.tries + 1 >= TRIES
        taken = gained & (flat | last)
        low = jnp.where(gained, search.step, search.low)
        high = jnp.where(gained, search.high, search.step)
        middle = jnp.where(jnp.isfinite(high), 0.5 * (low + high), 2 * low)
        # What is learned of the Hessian is dropped where a step was in vain.
        s, y = there - search.x, slope - search.slope
        product = s @ y
        learns = taken & (product > 0)
        scale = jnp.where(search.first, product / jnp.maximum(y @ y, 1e-30), 1)
        rho = 1 / jnp.where(learns, product, 1)
        left = eye - rho * s[:, None] * y[None, :]
        inverse = scale * (left @ search.inverse @ left.T)
        inverse = inverse + rho * s[:, None] * s[None, :]
        gain = search.value - value
        size = jnp.maximum(jnp.abs(value), 1)
        ends = taken & ((gain <= small * size) | (jnp.max(jnp.abs(slope)) <= small))

        def pick(new: Array, old: Array) -> Array:
            return jnp.where(taken, new, old)

        return _Search(
            pick(there, search.x),
            pick(value, search.value),
            pick(slope, search.slope),
            jnp.where(learns, inverse, search.inverse),
            search.first & ~learns,
            pick(jnp.ones_like(middle), middle),
            pick(jnp.zeros_like(low), low),
            pick(endless, high),
            pick(jnp.zeros_like(search.tries), search.tries + 1),
            search.evaluations + 1,
            ends | (~taken & (last | ~jnp.isfinite(search.value))),
        )

    # The first turn goes nowhere, and finds value and slope where it stands.
    zero, one = jnp.zeros((), x.dtype), jnp.ones((), x.dtype)
    none, no = jnp.zeros((), jnp.int32), jnp.asarray(False)
    still = jnp.zeros_like(x)
    search = _Search(x, endless, still, eye, ~no, one, zero, endless, none, none, no)
    search = jax.lax.while_loop(
        lambda search: ~search.done & (search.evaluations < limit), turn, search
    )
    converged = search.done & jnp.isfinite(search.value)
    return Minimum(search.x, search.value, search.evaluations, converged)
