"""The arrays of a replay memory, and how a row is found in them.

`ReplayState` explains itself beside `forethought.data.replay.Replay`, which fills it.
"""

from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from forethought.data.transitions import Row

R = TypeVar("R", bound=Row)


class ReplayState(eqx.Module, Generic[R]):
    """What a replay memory holds."""

    rows: R
    """Leaves of shape `[capacity, lane, ...]`, with None for what was seen."""
    observations: PyTree[Array]
    """Leaves of shape `[room, lane, ...]`; what was never written is zero."""
    at: Int[Array, "capacity lane"]
    """The number of the observation that a row saw."""
    ahead: Int[Array, " lane"]
    """The number that the next observation gets."""
    steps: Int[Array, ""]
    """Steps of each lane so far, those that are forgotten among them."""
    oldest: Int[Array, ""]
    """The first step that is still there."""

    @property
    def capacity(self) -> int:
        """How many steps of each lane there is room for."""
        return self.at.shape[0]

    @property
    def lanes(self) -> int:
        """How many environments it remembers."""
        return self.at.shape[1]

    @property
    def room(self) -> int:
        """How many observations of each lane there is room for."""
        return jax.tree.leaves(self.observations)[0].shape[0]

    @property
    def size(self) -> Int[Array, ""]:
        """How many rows are there, over all lanes."""
        return (self.steps - self.oldest) * self.lanes


def read(state: ReplayState[R], step: Array, lane: Array) -> R:
    """Rows by the numbers of their steps and lanes, with what was seen.

    Leaves have the axes of `step` and `lane`, which are the same.
    """

    def take(tree: Any, place: Array) -> Any:
        return jax.tree.map(
            lambda leaf: leaf.at[place, lane].get(mode="promise_in_bounds"), tree
        )

    place = step % state.capacity
    at = take(state.at, place)
    return together(
        take(state.rows, place),
        take(state.observations, at % state.room),
        take(state.observations, (at + 1) % state.room),
    )


def overwritten(
    state: ReplayState, at: Int[Array, "step lane"]
) -> Bool[Array, " step"]:
    """Whether what was seen at some steps is gone in any lane."""
    newest = state.at[(state.steps - 1) % state.capacity] + 1
    return jnp.any(at <= newest[None] - state.room, axis=1)


def _seen(row: Any) -> tuple[Any, Any]:
    return row.obs, row.next_obs


def apart(row: Any) -> tuple[Any, Any, Any]:
    """A row without what was seen, and what was seen."""
    return eqx.tree_at(_seen, row, (None, None)), row.obs, row.next_obs


def together(rest: Any, obs: Any, after: Any) -> Any:
    """A row again."""
    return eqx.tree_at(_seen, rest, (obs, after), is_leaf=lambda node: node is None)


def example_of(state: ReplayState[R]) -> R:
    """The shapes and dtypes of one row of one lane."""
    row = together(state.rows, state.observations, state.observations)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), row
    )


def shapes(tree: Any) -> Any:
    """Shapes and dtypes in the place of arrays."""
    return jax.eval_shape(lambda tree: tree, tree)


def alike(one: Any, other: Any) -> bool:
    """Whether two pytrees have one structure, with the same shapes and dtypes."""

    def kinds(tree: Any) -> list:
        return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]

    same = jax.tree.structure(one) == jax.tree.structure(other)
    return same and kinds(one) == kinds(other)


def require_fitting(
    verb: str, state: ReplayState, rows: Any, axes: tuple[int, ...]
) -> None:
    """Refuse rows of another kind than those that the memory was made for.

    Args:
        verb: Who refuses.
        state: The memory.
        rows: What is to be added.
        axes: Sizes of their leading axes.

    Raises:
        ValueError: Naming the first leaf that does not fit.
    """
    wanted = together(state.rows, state.observations, state.observations)
    structures = jax.tree.structure(wanted), jax.tree.structure(rows)
    if structures[0] != structures[1]:
        raise ValueError(
            f"Replay.{verb} needs rows of the structure of its example, "
            f"{structures[0]}, got {structures[1]}."
        )
    given = jax.tree_util.tree_flatten_with_path(shapes(rows))[0]
    for (path, new), old in zip(given, jax.tree.leaves(wanted), strict=True):
        shape = (*axes, *old.shape[2:])
        if (new.shape, new.dtype) != (shape, old.dtype):
            raise ValueError(
                f"Replay.{verb} needs {jax.tree_util.keystr(path)[1:]!r} of shape "
                f"{shape} and dtype {old.dtype}, got shape {new.shape} and dtype "
                f"{new.dtype}."
            )
