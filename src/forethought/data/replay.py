r"""Memory of what happened, as a value: `init`, `add`, `sample`.

A `ReplayState` is a pytree of preallocated arrays on the device, so that collecting,
remembering and learning can be one compiled program: `add` and `sample` work inside
`jax.jit`, `jax.lax.scan` and `jax.vmap`, and more data never compile anything again.
It is a ring: once `capacity` rows are there, the oldest one is overwritten.

$$\text{row of the } k\text{-th transition} = k \bmod \text{capacity}$$

For fitting to all that was seen, `ordered` gives every row from the oldest to the
newest with a mask. A memory that should not forget starts small and is doubled on
the host by `grown`: capacities are powers of two, so that what is compiled for one
capacity is compiled only logarithmically often.
"""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from forethought.data.transitions import Transition


class ReplayState(eqx.Module):
    """What a replay memory holds."""

    rows: Transition
    """Leaves of shape `[capacity, ...]`; rows never written are zero."""
    position: Int[Array, ""]
    """The row that is written next."""
    size: Int[Array, ""]
    """How many rows were written, at most the capacity."""

    @property
    def capacity(self) -> int:
        """How many rows there is room for."""
        return self.rows.reward.shape[0]


class Replay(eqx.Module):
    """A ring buffer of transitions.

    ```python
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from forethought.data.replay import Replay
    >>> from forethought.data.transitions import Transition
    >>> no = jnp.array(False)
    >>> seen = Transition(jnp.ones(3), jnp.ones(1), jnp.array(2.0), jnp.ones(3), no, no)
    >>> replay = Replay(capacity=8)
    >>> state = replay.init(seen)
    >>> state = replay.add(state, jax.tree.map(lambda leaf: leaf[None], seen))
    >>> replay.sample(state, 4, key=jax.random.key(0)).reward.tolist()
    [2.0, 2.0, 2.0, 2.0]

    ```

    Args:
        capacity: How many transitions are kept: the newest ones.

    Raises:
        ValueError: The capacity is no whole number of at least one.
    """

    capacity: int = eqx.field(static=True)

    def __check_init__(self):
        if not isinstance(self.capacity, int) or self.capacity < 1:
            raise ValueError(
                f"Replay needs a whole capacity of at least 1, got {self.capacity!r}."
            )

    def init(self, example: Transition) -> ReplayState:
        """An empty memory for transitions like the example.

        Args:
            example: One transition; its shapes and dtypes count, its values do not.
        """
        rows = jax.tree.map(
            lambda leaf: jnp.zeros((self.capacity, *leaf.shape), leaf.dtype),
            _shapes(example),
        )
        # Two arrays, as one cannot be donated to a compiled function twice.
        return ReplayState(rows, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def add(self, state: ReplayState, batch: Transition) -> ReplayState:
        """Remember a batch, its first row first.

        Args:
            state: The memory.
            batch: Transitions, leaves of shape `[n, ...]` with n at most the capacity.

        Raises:
            ValueError: The batch is larger than the capacity, or of another
                structure, shape or dtype than the example that the memory was
                made for.
        """
        self._check(state)
        count = _batch_size(state.rows, batch)
        if count > self.capacity:
            raise ValueError(
                f"Replay.add needs a batch of at most {self.capacity} transitions, its "
                f"capacity, got {count}."
            )
        steps = jnp.arange(count, dtype=jnp.int32)
        index = (state.position + steps) % self.capacity
        rows = jax.tree.map(
            lambda old, new: old.at[index].set(new, unique_indices=True),
            state.rows,
            batch,
        )
        position = (state.position + count) % self.capacity
        return ReplayState(
            rows, position, jnp.minimum(state.size + count, self.capacity)
        )

    def sample(
        self, state: ReplayState, count: int, *, key: PRNGKeyArray
    ) -> Transition:
        """Draw uniformly, with replacement, from what is there.

        It is the caller's duty that something is there: an empty memory returns rows
        of zeros. Otherwise a row that was never written is never returned.

        Args:
            state: The memory.
            count: How many to draw.
            key: Where the randomness comes from.

        Returns:
            Transitions, leaves of shape `[count, ...]`.

        Raises:
            ValueError: The count is less than one.
        """
        self._check(state)
        if count < 1:
            raise ValueError(f"Replay.sample needs a count of at least 1, got {count}.")
        end = jnp.maximum(state.size, 1)
        index = jax.random.randint(key, (count,), 0, end, dtype=jnp.int32)
        return jax.tree.map(lambda leaf: leaf[index], state.rows)

    def ordered(
        self, state: ReplayState
    ) -> tuple[Transition, Bool[Array, " capacity"]]:
        """All that is there, from the oldest to the newest.

        Returns:
            Transitions, leaves of shape `[capacity, ...]`, and which of them hold
            something: the first `state.size` ones.
        """
        self._check(state)
        steps = jnp.arange(self.capacity, dtype=jnp.int32)
        full = state.size == self.capacity
        index = (jnp.where(full, state.position, 0) + steps) % self.capacity
        rows = jax.tree.map(lambda leaf: leaf[index], state.rows)
        return rows, steps < state.size

    def newest(self, state: ReplayState, count: int) -> Transition:
        """The rows added last, the oldest of them first.

        It is the caller's duty that so many are there.

        Args:
            state: The memory.
            count: How many, at most the capacity.
        """
        steps = jnp.arange(count, dtype=jnp.int32)
        index = (state.position - count + steps) % self.capacity
        return jax.tree.map(lambda leaf: leaf[index], state.rows)

    def _check(self, state: ReplayState) -> None:
        if state.capacity != self.capacity:
            raise ValueError(
                f"Replay needs a state of its capacity, {self.capacity}, got one of "
                f"capacity {state.capacity}."
            )


def power_of_two(rows: int) -> int:
    """The smallest power of two that is at least `rows`."""
    return 1 << max(rows - 1, 0).bit_length()


def grown(state: ReplayState, capacity: int) -> ReplayState:
    """The same memory with more room; not for use inside compiled code.

    ```python
    state = grown(state, 2 * state.capacity)
    replay = Replay(state.capacity)
    ```

    Args:
        state: The memory.
        capacity: How much room is needed; rounded up to a power of two.

    Returns:
        A memory of that capacity that holds the same transitions in the same order.

    Raises:
        ValueError: The capacity is not larger than it was.
    """
    if capacity <= state.capacity:
        raise ValueError(
            f"grown needs a capacity above the present {state.capacity}, got "
            f"{capacity}."
        )
    capacity = power_of_two(capacity)
    rows, _ = Replay(state.capacity).ordered(state)
    rows = jax.tree.map(
        lambda leaf: (
            jnp.zeros((capacity, *leaf.shape[1:]), leaf.dtype)
            .at[: leaf.shape[0]]
            .set(leaf)
        ),
        rows,
    )
    return ReplayState(rows, jnp.copy(state.size), jnp.copy(state.size))


def newest(state: ReplayState, count: int) -> Transition | None:
    """The transitions added last, the oldest of them first, on the host.

    Args:
        state: The memory.
        count: How many.

    Returns:
        NumPy leaves of shape `[count, ...]`, or None where fewer are kept.
    """
    if count > int(state.size):
        return None
    index = (int(state.position) - count + np.arange(count)) % state.capacity
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], state.rows)


def to_arrays(state: ReplayState) -> dict[str, np.ndarray]:
    """The memory as plain arrays under flat names, ready for `numpy.savez`.

    Dtypes that NumPy's files do not know, such as bfloat16, become unsigned integers
    of the same bits.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in _named(state).items()}
    return {
        name: array.view(f"u{array.itemsize}") if array.dtype.kind == "V" else array
        for name, array in arrays.items()
    }


def from_arrays(example: Transition, arrays: Mapping[str, Any]) -> ReplayState:
    """The memory that `to_arrays` took apart.

    Args:
        example: One transition of the kind that the memory holds.
        arrays: What `to_arrays` returned; the capacity is theirs.

    Raises:
        ValueError: An array is missing, is not known, or has another shape or dtype
            than the example asks for; or the counters contradict each other.
    """
    reward = np.asarray(arrays.get("rows.reward", ()))
    capacity = reward.shape[0] if reward.ndim else 0
    if capacity < 1:
        raise ValueError(
            "A saved replay needs an array 'rows.reward' of shape [capacity], got "
            f"{'none' if 'rows.reward' not in arrays else f'shape {reward.shape}'}."
        )
    like = jax.eval_shape(Replay(capacity).init, example)
    wanted = _named(like)
    leaves = []
    for name, leaf in wanted.items():
        if name not in arrays:
            raise ValueError(f"A saved replay needs an array {name!r}, got none.")
        array = np.asarray(arrays[name])
        dtype = np.dtype(leaf.dtype)
        if dtype.kind == "V" and array.dtype == np.dtype(f"u{dtype.itemsize}"):
            array = array.view(dtype)
        if (array.shape, array.dtype) != (leaf.shape, dtype):
            raise ValueError(
                f"A saved replay needs {name!r} of shape {leaf.shape} and dtype "
                f"{dtype}, got shape {array.shape} and dtype {array.dtype}."
            )
        leaves.append(array)
    if strange := sorted(set(arrays) - set(wanted)):
        raise ValueError(
            f"A saved replay needs only the arrays of its example, got {strange[0]!r} "
            "as well."
        )
    state = jax.tree.unflatten(jax.tree.structure(like), leaves)
    size, position = int(state.size), int(state.position)
    sound = position == size if size < capacity else 0 <= position < size == capacity
    if not (sound and size >= 0):
        raise ValueError(
            f"A saved replay of capacity {capacity} needs counters that agree, got "
            f"size {size} and position {position}."
        )
    return jax.tree.map(jnp.asarray, state)


def _shapes(tree: Any) -> Any:
    return jax.eval_shape(lambda tree: tree, tree)


def _named(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path)[1:]: leaf for path, leaf in leaves}


def _batch_size(rows: Transition, batch: Transition) -> int:
    """The length of the batch, once it was checked against the memory's rows."""
    wanted, given = jax.tree.structure(rows), jax.tree.structure(batch)
    if wanted != given:
        raise ValueError(
            "Replay.add needs a batch of the structure of its example, "
            f"{wanted}, got {given}."
        )
    named = _named(_shapes(batch))
    reward = named["reward"].shape
    if len(reward) != 1:
        raise ValueError(
            f"Replay.add needs a batch with one leading axis, got a reward of shape "
            f"{reward}."
        )
    for (name, new), old in zip(named.items(), jax.tree.leaves(rows), strict=True):
        shape = (*reward, *old.shape[1:])
        if (new.shape, new.dtype) != (shape, old.dtype):
            raise ValueError(
                f"Replay.add needs {name!r} of shape {shape} and dtype {old.dtype}, "
                f"got shape {new.shape} and dtype {new.dtype}."
            )
    return reward[0]
