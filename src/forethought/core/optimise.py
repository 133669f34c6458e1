r"""What every iterative search shares: its loop, its record, its end.

| a search that | is |
|---|---|
| notes a row of numbers at every turn | `iterate` |
| trains until nothing is gained any more | `early_stopping` |
| moves parameters by a rule of Optax | `take_step` |
| goes down a smooth function of few numbers | `quasi_newton` |

How a method decides that it has converged is its own and stays with it: by a gradient,
by a cost that no longer falls, by constraints that are met. It hands `iterate` a
predicate and the row that the turn is to leave in the `Record`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree, Scalar

ENOUGH, FLAT = 1e-4, 0.9
"""Of the first slope: what a step has to gain, and what slope may be left."""
TRIES = 20
"""Steps along one direction before the search gives up."""

Params = TypeVar("Params")
State = TypeVar("State")


class Record(eqx.Module):
    """What was noted of each iteration, of a number that is not known beforehand.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.core.optimise import Record
    >>> record = Record.blank(4, (2,), float).add(jnp.array([3.0, 1.0]))
    >>> columns = record.add(jnp.array([2.0, 0.5])).columns("cost", "step")
    >>> columns["cost"].tolist()
    [3.0, 2.0, 2.0, 2.0]

    ```
    """

    rows: Array
    """Shape `[limit, *row]`; what lies at and beyond `count` means nothing."""
    count: Int[Array, ""]
    """How many iterations there were."""

    @classmethod
    def blank(cls, limit: int, shape: tuple[int, ...], dtype: Any) -> "Record":
        """A record of no iterations.

        Args:
            limit: The most iterations that it holds.
            shape: Of the row of one iteration.
            dtype: Of the rows.
        """
        return cls(jnp.zeros((limit, *shape), dtype), jnp.zeros((), jnp.int32))

    @property
    def full(self) -> Bool[Array, ""]:
        """Whether there were as many iterations as it holds."""
        return self.count >= self.rows.shape[0]

    def add(self, row: Array, counts: ArrayLike = True) -> "Record":
        """With one more row, unless it does not count; a full one writes its last."""
        at = jnp.minimum(self.count, self.rows.shape[0] - 1)
        row = jnp.where(counts, row, self.rows[at])
        more = jnp.asarray(counts).astype(jnp.int32)
        return Record(self.rows.at[at].set(row), self.count + more)

    def padded(self) -> Array:
        """The rows, the last of them repeated to the end; zeros where there is none."""
        steps = jnp.arange(self.rows.shape[0], dtype=jnp.int32)
        there = (steps < self.count).reshape(-1, *(1,) * (self.rows.ndim - 1))
        last = jnp.maximum(self.count - 1, 0)
        return jnp.where(there, self.rows, self.rows[last][None])

    def columns(self, *names: str) -> dict[str, Array]:
        """Statistics by name, each of shape `[limit]`, as plans tell them."""
        return dict(zip(names, self.padded().T, strict=True))


def iterate(
    step: Callable[[State, Array], tuple[State, Array]],
    state: State,
    record: Record,
    *,
    unfinished: Callable[[State], Bool[Array, ""]],
) -> tuple[State, Record]:
    """Repeat a step until a search has finished or its record is full.

    Args:
        step: From the state and the number of the iteration to the next state and the
            row that is noted of it.
        state: Any pytree of arrays.
        record: Its length is the most iterations.
        unfinished: Asked before every iteration.
    """

    def turn(carry: tuple[State, Record]) -> tuple[State, Record]:
        state, record = carry
        state, row = step(state, record.count)
        return state, record.add(row)

    def more(carry: tuple[State, Record]) -> Bool[Array, ""]:
        state, record = carry
        return unfinished(state) & ~record.full

    return jax.lax.while_loop(more, turn, (state, record))


def take_step(
    optimiser: optax.GradientTransformation,
    params: Params,
    memory: optax.OptState,
    grads: PyTree,
    **extra: Any,
) -> tuple[Params, optax.OptState]:
    """Move parameters by one step of an optimiser.

    Args:
        optimiser: It minimises.
        params: Any pytree of arrays.
        memory: What the optimiser carries, from `optimiser.init(params)` on.
        grads: Of what is minimised.
        extra: What a line search needs: `value`, `grad` and `value_fn`.
    """
    update: Any = optimiser.update
    tree: Any = params
    # Optax raises Python numbers to integer powers, which strict promotion bars.
    with jax.numpy_dtype_promotion("standard"):
        updates, memory = update(grads, memory, params, **extra)
        tree = optax.apply_updates(tree, updates)
    return tree, memory


class Stopped(eqx.Module):
    """What a training that stopped by itself has found."""

    best: PyTree
    """The parameters of the lowest score."""
    score: Scalar
    epochs: Int[Array, ""]
    curve: Array
    """The score after each epoch, shape `[limit]`; NaN where it had stopped."""


class _Watch(eqx.Module):
    """Where a training stands, and the best that it met."""

    params: PyTree
    memory: PyTree
    best: PyTree
    score: Scalar
    mark: Scalar
    """The score that the next improvement is measured from."""
    stale: Int[Array, ""]
    """Epochs since the last improvement."""


def early_stopping(
    step: Callable[[Params, PyTree, Array], tuple[Params, PyTree]],
    score: Callable[[Params], Scalar],
    params: Params,
    memory: PyTree,
    *,
    limit: int,
    patience: int,
    threshold: ArrayLike = 0.0,
) -> Stopped:
    """Train for as long as the score falls, and keep what scored best.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.core.optimise import early_stopping
    >>> found = early_stopping(
    ...     lambda x, memory, i: (x + 1, memory),
    ...     lambda x: (x - 3) ** 2,
    ...     jnp.zeros(()), None, limit=100, patience=2,
    ... )
    >>> float(found.best), int(found.epochs)
    (3.0, 5)

    ```

    Args:
        step: One epoch: from parameters, the optimiser's memory and the number of the
            epoch to new ones of both.
        score: Of parameters, less is better; on data that are not learned from.
        params: What is trained, any pytree of arrays. Where no epoch scores better,
            these are the best.
        memory: Any pytree of arrays.
        limit: The most epochs.
        patience: Epochs without an improvement that end it.
        threshold: A score improves where it lies lower than at the last improvement
            by more than this. What is kept is the lowest score either way.
    """

    def epoch(watch: _Watch, i: Array) -> tuple[_Watch, Array]:
        params, memory = step(watch.params, watch.memory, i)
        found = score(params)
        better = found < watch.score
        improved = found < watch.mark - threshold
        after = _Watch(
            params=params,
            memory=memory,
            best=jax.tree.map(
                lambda new, old: jnp.where(better, new, old), params, watch.best
            ),
            score=jnp.where(better, found, watch.score),
            mark=jnp.where(improved, found, watch.mark),
            stale=jnp.where(improved, 0, watch.stale + 1),
        )
        return after, found

    first = score(params)
    start = _Watch(params, memory, params, first, first, jnp.zeros((), jnp.int32))
    watch, record = iterate(
        epoch,
        start,
        Record.blank(limit, (), first.dtype),
        unfinished=lambda watch: watch.stale < patience,
    )
    took = jnp.arange(limit, dtype=jnp.int32) < record.count
    curve = jnp.where(took, record.rows, jnp.nan)
    return Stopped(watch.best, watch.score, record.count, curve)


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
    limit: Int[Array, ""] | int,
    reach: float = 1.0,
    tolerance: float = 1e-9,
) -> Minimum:
    r"""The lowest point that a descent from `x` meets, for few numbers.

    The inverse $H$ of the Hessian is learned from how slopes change:

    $$H \leftarrow (I - \rho s y^\top) H (I - \rho y s^\top) + \rho s s^\top, \quad
      s = x' - x, \quad y = g' - g, \quad \rho = 1 / s^\top y$$

    Each turn of one loop evaluates the function once, so that however costly it is to
    compile, it is compiled once.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.optimise import quasi_newton
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
