r"""Memory of what happened, as a value: `init`, `add`, `sample`, `window`.

A `ReplayState` is a pytree of preallocated arrays on the device, so that collecting,
remembering and learning can be one compiled program: everything here
works inside `jax.jit`, `jax.lax.scan` and `jax.vmap`, and more data
never compile anything again.

Each environment has a lane, and all lanes step together. Two rings hold a lane's
steps. One has a place for each of the newest `capacity` steps, with all of a row but
what was seen; the other holds what was seen, once, in its own dtype:

    step       0  1  2   3  4        rows:          step modulo capacity
    number     0  1  2   4  5        observations:  number modulo room
    seen       a  b  c d e  f g      d and g are the last of their episodes, or lanes

Row $k$ saw observation number `at[k]`, and next number `at[k] + 1`, which is also what
row $k + 1$ saw unless the episode ended between them. So numbers go up by one within
an episode and by two where one ends: a stretch of $L$ rows lies within one episode
exactly if its numbers rise by $L - 1$.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from forethought.data.rings import (
    R,
    ReplayState,
    alike,
    apart,
    overwritten,
    read,
    require_fitting,
    shapes,
)

SMALL = 1024
"""Bytes of an observation up to which room is made for as many ends as there may be."""


class Replay(eqx.Module):
    """A memory of the newest steps, any rows.

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

    Within an episode, `next_obs` of a row has to be `obs` of the next one of its lane,
    as it is kept only once; where acting goes on elsewhere without an end, say `cut`.

    Args:
        capacity: How many steps of each lane are kept: the newest ones.
        lanes: How many environments are stepped together.
        spare: How many ends of episodes among these steps there is room for, as each
            keeps an observation more. Where there are more of them, the oldest steps
            are forgotten sooner, in all lanes alike. If None, as many as there may be
            for observations of at most 1,024 bytes, else an eighth of the capacity
            and at least eight.

    Raises:
        ValueError: One is no whole number, or is too small.

    Note:
        Steps and observations are counted in 32 bits: up to $2^{30}$ steps of a lane.
    """

    capacity: int = eqx.field(static=True)
    lanes: int = eqx.field(static=True, default=1)
    spare: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        needs = {"capacity": (self.capacity, 1), "lanes": (self.lanes, 1)}
        if self.spare is not None:
            needs["spare"] = (self.spare, 0)
        for name, (value, least) in needs.items():
            if not isinstance(value, int) or value < least:
                raise ValueError(
                    f"Replay needs a whole {name} of at least {least}, got {value!r}."
                )

    def init(self, example: R) -> ReplayState[R]:
        """An empty memory for rows like the example.

        Args:
            example: One row of one lane; its shapes and dtypes count, its values do
                not.

        Raises:
            ValueError: `next_obs` is not like `obs`, or nothing is seen.
        """
        rest, obs, after = apart(shapes(example))
        if not (jax.tree.leaves(obs) and alike(obs, after)):
            raise ValueError(
                "Replay needs next_obs of the structure, shapes and dtypes of obs, "
                f"got {after} and {obs}."
            )

        def ring(length: int, tree: Any) -> Any:
            return jax.tree.map(
                lambda leaf: jnp.zeros((length, self.lanes, *leaf.shape), leaf.dtype),
                tree,
            )

        # No two of them are one array, which could not be donated twice.
        return ReplayState(
            rows=ring(self.capacity, rest),
            observations=ring(self._room(obs), obs),
            at=jnp.zeros((self.capacity, self.lanes), jnp.int32),
            ahead=jnp.zeros(self.lanes, jnp.int32),
            steps=jnp.zeros((), jnp.int32),
            oldest=jnp.zeros((), jnp.int32),
        )

    def add(self, state: ReplayState[R], rows: R) -> ReplayState[R]:
        """Remember one step of every lane; it can be read at once, `next_obs` too.

        Args:
            state: The memory.
            rows: Leaves of shape `[lane, ...]`.

        Raises:
            ValueError: The rows are of another number, structure, shape or dtype than
                those that the memory was made for.
        """
        self._check(state)
        require_fitting("add", state, rows, (self.lanes,))
        rows = jax.tree.map(jnp.asarray, rows)
        rest, obs, after = apart(rows)
        at, place = state.ahead, state.steps % self.capacity

        def put(ring: Array, new: Array) -> Array:
            return jax.lax.dynamic_update_index_in_dim(ring, new, place, 0)

        def see(ring: Array, obs: Array, after: Array) -> Array:
            for number, seen in ((at, obs), (at + 1, after)):
                slot = number % state.room
                if self.lanes == 1:  # cheaper by far than a scatter
                    ring = jax.lax.dynamic_update_index_in_dim(ring, seen, slot[0], 0)
                else:
                    lane = jnp.arange(self.lanes, dtype=jnp.int32)
                    ring = ring.at[slot, lane].set(seen, unique_indices=True)
            return ring

        ended = (rows.terminated | rows.truncated).astype(jnp.int32)
        steps = state.steps + 1
        low = jnp.maximum(state.oldest, steps - self.capacity)
        after_it = ReplayState(
            rows=jax.tree.map(put, state.rows, rest),
            observations=jax.tree.map(see, state.observations, obs, after),
            at=put(state.at, at),
            ahead=at + 1 + ended,
            steps=steps,
            oldest=low,
        )
        if state.room >= 2 * self.capacity:
            return after_it
        # One more step takes at most two numbers, and so at most two steps away.
        two = jnp.arange(2, dtype=jnp.int32)
        gone = overwritten(after_it, after_it.at[(low + two) % self.capacity])
        fewer = low + jnp.sum(jnp.cumprod(gone.astype(jnp.int32)), dtype=jnp.int32)
        return eqx.tree_at(lambda state: state.oldest, after_it, fewer)

    def extend(self, state: ReplayState[R], block: R) -> ReplayState[R]:
        """Remember many steps of every lane: the same as adding one after another.

        Args:
            state: The memory.
            block: Leaves of shape `[time, lane, ...]`, with at most `capacity` steps.

        Raises:
            ValueError: There are more steps than the capacity, or they are of another
                structure, shape or dtype than those that the memory was made for.
        """
        self._check(state)
        time = jnp.shape(block.terminated)[0] if jnp.ndim(block.terminated) else 0
        require_fitting("extend", state, block, (time, self.lanes))
        if not 0 < time <= self.capacity:
            raise ValueError(
                f"Replay.extend needs from 1 to {self.capacity} steps, its capacity, "
                f"got {time}."
            )
        block = jax.tree.map(jnp.asarray, block)
        rest, obs, after = apart(block)
        ended = (block.terminated | block.truncated).astype(jnp.int32)
        numbers = jnp.cumsum(ended + 1, axis=0, dtype=jnp.int32)
        before = jnp.concatenate([jnp.zeros_like(numbers[:1]), numbers[:-1]])
        at = state.ahead[None] + before
        place = (state.steps + jnp.arange(time, dtype=jnp.int32)) % self.capacity
        lane = jnp.broadcast_to(jnp.arange(self.lanes, dtype=jnp.int32), at.shape)

        def put(ring: Array, new: Array) -> Array:
            return ring.at[place].set(new, unique_indices=True)

        def see(ring: Array, obs: Array, after: Array) -> Array:
            # What the next row saw, it writes itself; what came too early is not kept.
            last = ended.astype(bool).at[-1].set(True)
            for number, seen, own in ((at, obs, True), (at + 1, after, last)):
                kept = own & (number > at[-1:] + 1 - state.room)
                slot = jnp.where(kept, number % state.room, state.room)
                ring = ring.at[slot, lane].set(seen, mode="drop")
            return ring

        steps = state.steps + time
        low = jnp.maximum(state.oldest, steps - self.capacity)
        after_it = ReplayState(
            rows=jax.tree.map(put, state.rows, rest),
            observations=jax.tree.map(see, state.observations, obs, after),
            at=put(state.at, at),
            ahead=state.ahead + numbers[-1],
            steps=steps,
            oldest=low,
        )
        if state.room >= 2 * self.capacity:
            return after_it
        logical = low + jnp.arange(self.capacity, dtype=jnp.int32)
        gone = overwritten(after_it, after_it.at[logical % self.capacity])
        fewer = low + jnp.sum(gone & (logical < steps), dtype=jnp.int32)
        return eqx.tree_at(lambda state: state.oldest, after_it, fewer)

    def cut(self, state: ReplayState[R]) -> ReplayState[R]:
        """Say that what comes next does not go on from the newest rows.

        Where acting was interrupted without an end, the newest row keeps its
        `next_obs`, and no window crosses the gap.
        """
        self._check(state)
        newest = state.at[(state.steps - 1) % self.capacity]
        ahead = jnp.where(state.steps > 0, newest + 2, state.ahead)
        return eqx.tree_at(lambda state: state.ahead, state, ahead)

    def sample(self, state: ReplayState[R], count: int, *, key: PRNGKeyArray) -> R:
        """Draw rows uniformly, with replacement, from what is there.

        It is the caller's duty that something is there: an empty memory returns rows
        of zeros. Otherwise a row that was never written is never returned.

        Args:
            state: The memory.
            count: How many to draw.
            key: Where the randomness comes from.

        Returns:
            Rows, leaves of shape `[count, ...]`.

        Raises:
            ValueError: The count is less than one.
        """
        self._check(state)
        _require_one("sample", count=count)
        end = jnp.maximum(state.size, 1)
        index = jax.random.randint(key, (count,), 0, end, dtype=jnp.int32)
        return read(state, state.oldest + index // self.lanes, index % self.lanes)

    def window(
        self, state: ReplayState[R], count: int, length: int, *, key: PRNGKeyArray
    ) -> R:
        """Draw stretches uniformly, with replacement, from all within one episode.

        It is the caller's duty that there is one: `stretches` counts them. Each call
        looks at all numbers of the memory, so draw many at once.

        Args:
            state: The memory.
            count: How many to draw.
            length: Steps of each; its last row may be the last one of an episode.
            key: Where the randomness comes from.

        Returns:
            Rows, leaves of shape `[count, length, ...]`, the oldest first.

        Raises:
            ValueError: The count or the length is less than one, or the length is
                above the capacity.
        """
        self._check(state)
        _require_one("window", count=count, length=length)
        upto = jnp.cumsum(self._starts(state, length).reshape(-1), dtype=jnp.int32)
        end = jnp.maximum(upto[-1], 1)
        drawn = jax.random.randint(key, (count,), 0, end, dtype=jnp.int32)
        index = jnp.searchsorted(upto, drawn, side="right").astype(jnp.int32)
        index = jnp.minimum(index, upto.shape[0] - 1)
        step = (index // self.lanes)[:, None] + jnp.arange(length, dtype=jnp.int32)[
            None
        ]
        lane = jnp.broadcast_to((index % self.lanes)[:, None], step.shape)
        return read(state, step, lane)

    def stretches(self, state: ReplayState[R], length: int) -> Int[Array, ""]:
        """How many stretches of so many steps lie within one episode."""
        self._check(state)
        _require_one("stretches", length=length)
        return jnp.sum(self._starts(state, length), dtype=jnp.int32)

    def ordered(self, state: ReplayState[R]) -> tuple[R, Bool[Array, " row"]]:
        """All that is there, from the oldest to the newest; lanes take turns.

        Returns:
            Rows, leaves of shape `[capacity * lanes, ...]`, and which of them hold
            something: the first `state.size` ones.
        """
        self._check(state)
        index = jnp.arange(self.capacity * self.lanes, dtype=jnp.int32)
        rows = read(state, state.oldest + index // self.lanes, index % self.lanes)
        return rows, index < state.size

    def newest(self, state: ReplayState[R], steps: int) -> R:
        """The last steps of every lane, the oldest first; lanes take turns.

        It is the caller's duty that so many are there.

        Args:
            state: The memory.
            steps: How many of each lane, at most the capacity.

        Returns:
            Rows, leaves of shape `[steps * lanes, ...]`.
        """
        self._check(state)
        index = jnp.arange(steps * self.lanes, dtype=jnp.int32)
        step = state.steps - steps + index // self.lanes
        return read(state, step, index % self.lanes)

    def _room(self, obs: PyTree) -> int:
        """How many observations of a lane are kept."""
        most, spare = self.capacity - 1, self.spare
        if spare is None:
            leaves = jax.tree.leaves(obs)
            large = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) > SMALL
            spare = max(8, self.capacity // 8) if large else most
        return self.capacity + 1 + min(spare, most)

    def _starts(self, state: ReplayState, length: int) -> Bool[Array, "capacity lane"]:
        """With which rows a stretch within one episode begins, by their places."""
        if length > self.capacity:
            raise ValueError(
                f"Replay needs a length of at most {self.capacity}, its capacity, got "
                f"{length}."
            )
        place = jnp.arange(self.capacity, dtype=jnp.int32)
        step = state.oldest + (place - state.oldest) % self.capacity
        ends = jnp.roll(state.at, 1 - length, axis=0)
        there = step + length <= state.steps
        return there[:, None] & (ends - state.at == length - 1)

    def _check(self, state: ReplayState) -> None:
        if (state.capacity, state.lanes) != (self.capacity, self.lanes):
            raise ValueError(
                f"Replay needs a state of its capacity, {self.capacity}, and of as "
                f"many lanes, {self.lanes}, got one of capacity {state.capacity} and "
                f"{state.lanes} lanes."
            )


def _require_one(verb: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"Replay.{verb} needs a {name} of at least 1, got {size}.")
