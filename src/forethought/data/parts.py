"""A memory on the host: in parts, to be kept elsewhere, put together again, or grown.

A part is what came since some step: rows by step, and of each lane the observations
whose numbers are new. Parts that follow one another make the same memory again, each
ring's every place included, whatever the memory has forgotten in between.

A memory that should not forget starts small and is doubled by `grown`: capacities are
powers of two, so that what is compiled for one capacity is compiled only
logarithmically often.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from forethought.data.replay import Replay
from forethought.data.rings import R, ReplayState, example_of, together


class Counters(NamedTuple):
    """The numbers of a memory, as the host counts: they are plain."""

    steps: int
    oldest: int
    ahead: list[int]
    """Of each lane."""


class Part(NamedTuple):
    """Consecutive steps of a memory, in NumPy's arrays."""

    first: int
    """The number of the first of these steps."""
    rows: Any
    """Leaves of shape `[time, lane, ...]`, with None for what was seen."""
    at: np.ndarray
    """The number of the observation that each row saw, of shape `[time, lane]`."""
    begin: np.ndarray
    """The number of each lane's first observation here, of shape `[lane]`."""
    end: np.ndarray
    """One more than that of its last, of shape `[lane]`."""
    observations: Any
    """Leaves of shape `[number, ...]`: those of the first lane, then of the second."""


def power_of_two(rows: int) -> int:
    """The smallest power of two that is at least `rows`."""
    return 1 << max(rows - 1, 0).bit_length()


def counters(state: ReplayState) -> Counters:
    """How far a memory is."""
    return Counters(int(state.steps), int(state.oldest), state.ahead.tolist())


def part_since(state: ReplayState, before: Counters | None = None) -> Part:
    """What a memory holds that it did not hold before.

    Only that crosses from the device, rounded up to a power of two.

    Args:
        state: The memory.
        before: How far it was then; everything is new if None.
    """
    begin, first = np.zeros(state.lanes, np.int32), 0
    if before is not None:
        # What was ahead then may have been seen already, or not.
        begin, first = np.maximum(np.asarray(before.ahead, np.int32) - 1, 0), before[0]
    steps = int(state.steps)
    step = np.arange(max(first, steps - state.capacity), steps)
    newest = np.asarray(state.at[(steps - 1) % state.capacity])
    end = (newest + 2 if steps else begin).astype(np.int32)
    begin = np.clip(begin, end - state.room, end)
    number, lane = _numbers(begin, end)
    rows, at = _take((state.rows, state.at), step % state.capacity)
    observations = _take(state.observations, number % state.room, lane)
    return Part(steps - len(step), rows, at, begin, end, observations)


def put_together(
    replay: Replay, example: R, parts: Iterable[Part], counted: Counters
) -> ReplayState[R]:
    """The memory that was taken apart.

    Args:
        replay: What it is a memory of.
        example: One row of one lane.
        parts: The oldest first; they reach back so far that they hold all that the
            rings held.
        counted: How far the memory was.
    """
    like = jax.eval_shape(replay.init, example)
    rows, at, observations = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype),
        (like.rows, like.at, like.observations),
    )
    for part in parts:
        place = (part.first + np.arange(len(part.at))) % like.capacity
        number, lane = _numbers(part.begin, part.end)
        _put((rows, at), (part.rows, part.at), place)
        _put(observations, part.observations, (number % like.room, lane))
    return ReplayState(
        *jax.tree.map(jnp.asarray, (rows, observations, at)),
        ahead=jnp.asarray(counted.ahead, jnp.int32),
        steps=jnp.asarray(counted.steps, jnp.int32),
        oldest=jnp.asarray(counted.oldest, jnp.int32),
    )


def grown(state: ReplayState[R], capacity: int) -> ReplayState[R]:
    """The same memory with more room; not for use inside compiled code.

    ```python
    state = grown(state, 2 * state.capacity)
    replay = Replay(state.capacity, state.lanes)
    ```

    Args:
        state: The memory.
        capacity: How many steps of each lane there has to be room for; rounded up to
            a power of two.

    Returns:
        A memory of that capacity that holds the same rows in the same order, with as
        much room for what is seen as `Replay` makes unless told otherwise, and with
        no less than before.

    Raises:
        ValueError: The capacity is not larger than it was.
    """
    if capacity <= state.capacity:
        raise ValueError(
            f"grown needs a capacity above the present {state.capacity}, got "
            f"{capacity}."
        )
    capacity, example = power_of_two(capacity), example_of(state)
    like = jax.eval_shape(Replay(capacity, state.lanes).init, example)
    larger = Replay(capacity, state.lanes, max(like.room, state.room) - capacity - 1)
    return put_together(larger, example, [part_since(state)], counters(state))


def newest(state: ReplayState[R], steps: int) -> R | None:
    """The last steps of every lane, the oldest first, on the host.

    Args:
        state: The memory.
        steps: How many of each lane.

    Returns:
        NumPy leaves of shape `[steps, lane, ...]`, or None where fewer are kept.
    """
    last = int(state.steps)
    if steps > last - int(state.oldest):
        return None
    step = np.arange(last - steps, last)[:, None]
    lane = np.arange(state.lanes)[None]

    def take(tree: Any, place: np.ndarray) -> Any:
        return jax.tree.map(lambda leaf: np.asarray(leaf)[place, lane], tree)

    at = take(state.at, step % state.capacity)
    return together(
        take(state.rows, step % state.capacity),
        take(state.observations, at % state.room),
        take(state.observations, (at + 1) % state.room),
    )


def _numbers(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of a part's observations, lane after lane, and their lanes."""
    lane = np.repeat(np.arange(len(begin)), end - begin)
    spans = zip(begin, end, strict=True)
    return np.concatenate([np.arange(*span) for span in spans]), lane


def _take(tree: PyTree, *index: np.ndarray) -> Any:
    """Entries of a ring, in NumPy's arrays."""
    count = len(index[0])
    padding = (0, power_of_two(count) - count)
    padded = tuple(np.pad(each, padding).astype(np.int32) for each in index)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], _gather(tree, padded))


@eqx.filter_jit
def _gather(tree: PyTree[Array], index: tuple) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _put(tree: Any, new: Any, index: Any) -> None:
    for old, leaf in zip(jax.tree.leaves(tree), jax.tree.leaves(new), strict=True):
        old[index] = leaf
