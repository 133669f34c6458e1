r"""What every iterative search shares: its loop, its record, its end.

| a search that | is |
|---|---|
| notes a row of numbers at every turn | `iterate` |
| trains until nothing is gained any more | `early_stopping` |
| moves parameters by a rule of Optax | `take_step` |

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
from jaxtyping import Array, ArrayLike, Bool, Int, PyTree, Scalar

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
