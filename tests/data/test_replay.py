"""The memory against a notebook: plain Python lists of what every lane saw.

Rows are of a type of the tests' own, so that every promise holds for any type.
"""

import itertools
from typing import Any, NamedTuple

import equinox as eqx
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.data.parts import grown, newest, power_of_two
from forethought.data.replay import Replay
from forethought.data.transitions import Transition

add = eqx.filter_jit(lambda replay, state, rows: replay.add(state, rows))
extend = eqx.filter_jit(lambda replay, state, block: replay.extend(state, block))
cut = eqx.filter_jit(lambda replay, state: replay.cut(state))
ordered = eqx.filter_jit(lambda replay, state: replay.ordered(state))
sample = eqx.filter_jit(
    lambda replay, state, count, key: replay.sample(state, count, key=key)
)
window = eqx.filter_jit(
    lambda replay, state, count, length, key: (
        replay.window(state, count, length, key=key),
        replay.stretches(state, length),
    )
)
STEPS, LENGTH = 20, 3


@eqx.filter_jit
def all_of(replay, rows, cuts, steps, key):
    """All that a memory can say once it has lived through some first steps."""

    def step(state, inputs):
        t, row, over = inputs
        added = replay.add(state, row)
        after = jax.tree.map(
            lambda a, b: jnp.where(over, a, b), replay.cut(added), added
        )
        after = jax.tree.map(lambda a, b: jnp.where(t < steps, a, b), after, state)
        return after, replay.newest(added, 1)

    times = jnp.arange(STEPS, dtype=jnp.int32)
    state, at_once = jax.lax.scan(step, replay.init(one()), (times, rows, cuts))
    length = min(LENGTH, replay.capacity)
    drawn = replay.sample(state, 16, key=key)
    windows = replay.window(state, 16, length, key=key)
    count = replay.stretches(state, length)
    return state, at_once, replay.ordered(state), drawn, (windows, count)


class Row(NamedTuple):
    """A row of the tests' own, in NumPy's arrays."""

    obs: Any
    action: Any
    reward: Any
    next_obs: Any
    terminated: Any
    truncated: Any
    kept: Any


def rows_of(number, terminated, truncated):
    """Rows that saw a number, and then the next one, in whatever shape it has."""
    number = np.asarray(number, np.int32)
    real = number.astype(jnp.result_type(float))

    def seen(number, real):
        image = np.broadcast_to(number[..., None, None], (*number.shape, 2, 3))
        return {"camera": image.astype(np.uint8), "joints": (real[..., None], number)}

    after = seen(number + 1, real + 1)
    return Row(
        *(seen(number, real), -number[..., None], real, after),
        *(np.asarray(terminated, bool), np.asarray(truncated, bool), 2 * real),
    )


def lived(ends, cuts=()):
    """Numbers `[time, lane]` of a life whose episodes end, or are cut, after steps."""
    ends = np.asarray(ends)
    number = np.zeros(ends.shape, np.int32)
    for lane in range(ends.shape[1]):
        now = 1000 * lane
        for t in range(len(ends)):
            number[t, lane] = now
            now += 17 if ends[t, lane] or t in cuts else 1
    return number


def life(ends, cuts=()):
    return rows_of(lived(ends, cuts), np.asarray(ends) == 1, np.asarray(ends) == 2)


def at(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def one():
    return rows_of(0, False, False)


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def sound(rows):
    """Every leaf of a row tells the same number, or the next one."""
    same(rows, rows_of(rows.obs["joints"][1], rows.terminated, rows.truncated))


def remembered(replay, state):
    rows, valid = ordered(replay, state)
    keep = np.asarray(valid)
    assert keep.tolist() == [i < int(state.size) for i in range(len(keep))]
    return jax.tree.map(lambda leaf: np.asarray(leaf)[keep], rows)


def told(rows):
    return np.asarray(rows.reward).astype(int)


class Notebook:
    """What a memory should remember of a life, by lists alone."""

    def __init__(self, replay, numbers, ends, cuts):
        self.lanes = range(replay.lanes)
        self.numbers, self.there = numbers, len(numbers)
        spare = replay.capacity - 1
        spare = spare if replay.spare is None else min(spare, replay.spare)
        for step in reversed(range(max(0, len(numbers) - replay.capacity), self.there)):
            for lane in self.lanes:
                seen = [
                    number
                    for t in range(step, len(numbers))
                    for number in (
                        [(t, 0), (t, 1)]
                        if ends[t][lane] or t in cuts or t == len(numbers) - 1
                        else [(t, 0)]
                    )
                ]
                # The newest one's own is free.
                if len(seen) > replay.capacity + 1 + spare:
                    return
            self.there = step

    def rows(self):
        return self.numbers[self.there :].reshape(-1).tolist()

    def stretches(self, length):
        """Numbers of each stretch within one episode."""
        found = []
        for lane in self.lanes:
            column = self.numbers[self.there :, lane].tolist()
            for start in range(len(column) - length + 1):
                stretch = column[start : start + length]
                if all(b == a + 1 for a, b in itertools.pairwise(stretch)):
                    found.append(tuple(stretch))
        return found


KINDS = {
    "one": Replay(1, 2),
    "one-lane": Replay(7),
    "ring": Replay(6, 2),
    "crowded": Replay(6, 2, spare=1),
    "no-spare": Replay(5, spare=0),
    "all": Replay(STEPS, 2),
}


@hypothesis.settings(max_examples=60)
@hypothesis.given(
    kind=st.sampled_from(sorted(KINDS)),
    steps=st.integers(1, STEPS),
    ends=st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=40, max_size=40),
    cuts=st.sets(st.integers(0, STEPS - 1), max_size=3),
    seed=st.integers(0, 1000),
)
def test_a_replay_is_a_notebook_of_the_newest_steps(kind, steps, ends, cuts, seed):
    replay, key = KINDS[kind], jax.random.key(seed)
    ends = np.reshape(ends, (STEPS, 2))[:, : replay.lanes]
    rows = life(ends, cuts)
    state, *found = all_of(
        replay, rows, np.isin(np.arange(STEPS), list(cuts)), np.int32(steps), key
    )
    # Slices of NumPy's arrays compile nothing.
    found = jax.tree.map(np.asarray, found)
    at_once, (kept, valid), drawn, (windows, count) = found
    notes = Notebook(replay, lived(ends, cuts)[:steps], ends, cuts)
    # Each step can be read as soon as it was added, with what was seen next.
    same(at(at_once, slice(0, steps)), at(rows, slice(0, steps)))
    assert int(state.size) == len(notes.rows())
    np.testing.assert_array_equal(valid, np.arange(len(valid)) < len(notes.rows()))
    kept = at(kept, slice(0, len(notes.rows())))
    fields = at(rows, slice(notes.there, steps))
    same(kept, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), fields))
    same(newest(state, steps - notes.there), fields)
    assert newest(state, steps - notes.there + 1) is None
    sound(drawn)
    assert set(told(drawn).tolist()) <= set(notes.rows())
    wanted = notes.stretches(min(LENGTH, replay.capacity))
    assert int(count) == len(wanted)
    if wanted:
        sound(windows)
        assert set(map(tuple, told(windows).tolist())) <= set(wanted)


@pytest.mark.parametrize("kind", ["ring", "crowded", "no-spare", "all"])
def test_extending_is_adding_step_by_step_to_the_last_place_of_the_rings(kind):
    replay = KINDS[kind]
    random = np.random.default_rng(1)
    ends = random.choice(3, (STEPS, replay.lanes), p=[0.4, 0.3, 0.3])
    rows = life(ends, {6})
    added = extended = replay.init(one())
    for t in range(STEPS):
        added = add(replay, added, at(rows, t))
        added = cut(replay, added) if t == 6 else added
    for first, end in [(0, 5), (5, 7), (7, 12), (12, 17), (17, STEPS)]:
        extended = extend(replay, extended, at(rows, slice(first, end)))
        extended = cut(replay, extended) if end == 7 else extended
    same(added, extended)


def test_more_ends_than_there_is_room_for_forget_the_oldest_steps_of_all_lanes():
    replay = Replay(8, 2, spare=2)
    ends = np.zeros((STEPS, 2), int)
    ends[-8:, 1] = 1
    state, rows = replay.init(one()), life(ends)
    for first in range(0, STEPS, 5):
        state = extend(replay, state, at(rows, slice(first, first + 5)))
    # Of one lane's 8 + 2 + 1 observations, each of the last rows needs two.
    assert told(remembered(replay, state)).tolist() == lived(ends)[-5:].ravel().tolist()


def chi_square(counts):
    """In standard deviations from its mean, if all are equally likely."""
    counts = np.asarray(counts)
    expected = np.sum(counts) / len(counts)
    found = np.sum((counts - expected) ** 2) / expected
    return (found - (len(counts) - 1)) / np.sqrt(2 * (len(counts) - 1))


def in_episodes(kind, added=STEPS):
    """A memory of episodes of different lengths in two lanes."""
    ends = np.zeros((STEPS, KINDS[kind].lanes), int)
    ends[[3, 5, 14], 0] = 1
    ends[[6, 15, 16], -1] = 2
    rows, state = life(ends), KINDS[kind].init(one())
    for t in range(added):
        state = add(KINDS[kind], state, at(rows, t))
    return state, Notebook(KINDS[kind], lived(ends)[:added], ends, set())


@pytest.mark.parametrize(
    ("kind", "added"), [("ring", 4), ("ring", STEPS), ("crowded", STEPS)]
)
def test_sampling_is_uniform_over_what_is_there(kind, added):
    state, notes = in_episodes(kind, added)
    drawn = told(sample(KINDS[kind], state, 4096, jax.random.key(3)))
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == sorted(notes.rows())
    assert chi_square(counts) < 4


def test_windows_are_uniform_over_stretches_within_one_episode():
    state, notes = in_episodes("all")
    drawn, _ = window(KINDS["all"], state, 4096, LENGTH, jax.random.key(3))
    values, counts = np.unique(told(drawn), axis=0, return_counts=True)
    assert set(map(tuple, values.tolist())) == set(notes.stretches(LENGTH))
    assert chi_square(counts) < 4


def test_windows_that_are_drawn_otherwise_are_found_out():
    _, notes = in_episodes("all")
    stretches = notes.stretches(LENGTH)
    # Any start: it would cross the ends of episodes.
    starts = np.lib.stride_tricks.sliding_window_view(notes.numbers, LENGTH, axis=0)
    assert not set(map(tuple, starts.reshape(-1, LENGTH).tolist())) <= set(stretches)
    # An episode first, then a start in it: short ones would come too often.
    random = np.random.default_rng(0)
    episodes = [[a] for a in stretches[:1]]
    for a, b in itertools.pairwise(stretches):
        episodes[-1:] = (
            [[*episodes[-1], b]] if b[0] == a[0] + 1 else [episodes[-1], [b]]
        )
    drawn = [
        episode[random.integers(len(episode))]
        for episode in (episodes[random.integers(len(episodes))] for _ in range(4096))
    ]
    assert chi_square(np.unique(drawn, axis=0, return_counts=True)[1]) > 4


def test_the_same_key_draws_the_same_rows_and_another_key_draws_others():
    state, _ = in_episodes("all")
    a, b, c = (sample(KINDS["all"], state, 16, jax.random.key(k)) for k in (0, 0, 1))
    same(a, b)
    assert a.reward.tolist() != c.reward.tolist()


def test_images_are_kept_once_and_come_back_in_bytes():
    replay = Replay(64)
    image = jnp.zeros((32, 32, 3), jnp.uint8)
    no = jnp.array(False)
    example = Transition(image, jnp.zeros(2), jnp.zeros(()), image, no, no)
    state = replay.init(example)
    used = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert used < 1.25 * 64 * image.nbytes  # twice would be 2
    images = jnp.arange(10, dtype=jnp.uint8).reshape(-1, 1, 1, 1, 1)
    images = jnp.broadcast_to(images, (10, 1, *image.shape))
    few = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (9, 1, *leaf.shape)), example
    )
    few = eqx.tree_at(
        lambda row: (row.obs, row.next_obs), few, (images[:9], images[1:])
    )
    state = extend(replay, state, few)
    drawn, count = window(replay, state, 5, 4, jax.random.key(0))
    assert drawn.obs.dtype == drawn.next_obs.dtype == jnp.uint8
    assert drawn.obs.shape == (5, 4, *image.shape) and int(count) == 6
    np.testing.assert_array_equal(drawn.obs + 1, drawn.next_obs)


def test_adding_in_a_scan_is_adding_in_a_loop():
    replay, rows = KINDS["crowded"], life(np.eye(STEPS, 2, -4, int))
    looped = replay.init(one())
    for t in range(STEPS):
        looped = add(replay, looped, at(rows, t))
    scanned, _ = jax.lax.scan(
        lambda state, row: (replay.add(state, row), None), replay.init(one()), rows
    )
    same(looped, scanned)


def test_vmap_over_seeds_is_a_loop_over_seeds():
    replay = KINDS["no-spare"]
    both = life(np.eye(8, 2, -3, int))
    both = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1)[:, :, None], both)
    keys = jax.random.split(jax.random.key(0), 2)

    @jax.jit
    def remember_and_draw(rows, key):
        state = replay.extend(replay.init(one()), at(rows, slice(0, 5)))
        state = replay.add(replay.cut(replay.add(state, at(rows, 5))), at(rows, 6))
        drawn = replay.window(state, 6, 2, key=key)
        return state, replay.sample(state, 6, key=key), drawn

    together = jax.vmap(remember_and_draw)(both, keys)
    for i in range(2):
        same(at(together, i), remember_and_draw(at(both, i), keys[i]))


def test_more_data_compile_nothing(compilations):
    replay, rows = KINDS["ring"], life(np.zeros((STEPS, 2), int))
    state, key = replay.init(one()), jax.random.key(0)

    def all_verbs(state, t):
        state = cut(replay, add(replay, state, at(rows, t)))
        sample(replay, state, 16, key)
        window(replay, state, 16, LENGTH, key)
        ordered(replay, state)
        return state

    state = all_verbs(all_verbs(state, 0), 1)
    before = compilations.count
    for t in range(2, 9):
        state = all_verbs(state, t)
    assert compilations.count == before
    assert int(state.size) == 12


def test_memory_may_be_donated_so_that_nothing_is_copied():
    replay, rows = Replay(3), life(np.zeros((4, 1), int))
    give = jax.jit(replay.extend, donate_argnums=0)
    state = give(replay.init(one()), at(rows, slice(0, 2)))
    larger = jax.jit(Replay(4).extend, donate_argnums=0)
    state = larger(grown(state, 4), at(rows, slice(2, 4)))
    assert told(remembered(Replay(4), state)).tolist() == [0, 1, 2, 3]


def test_dtypes_are_kept(precision):
    def remember_and_draw():
        replay = Replay(2)
        state = replay.add(replay.init(one()), rows_of([0], [False], [False]))
        state = replay.extend(replay.cut(state), rows_of([[0]], [[False]], [[True]]))
        return state, replay.sample(state, 3, key=jax.random.key(0))

    state, drawn = jax.eval_shape(remember_and_draw)
    for rows, seen in ((state.rows, state.observations), (drawn, drawn.next_obs)):
        assert rows.reward.dtype == rows.kept.dtype == f"float{precision}"
        assert seen["camera"].dtype == jnp.uint8
        assert rows.action.dtype == jnp.int32
        assert rows.terminated.dtype == bool
    counted = (state.at, state.ahead, state.steps, state.oldest)
    assert {leaf.dtype for leaf in counted} == {jnp.dtype("int32")}


@pytest.mark.parametrize(
    ("kind", "added"), [("no-spare", 3), ("one-lane", 9), ("crowded", STEPS)]
)
def test_a_grown_replay_remembers_the_same_and_goes_on(kind, added):
    replay, (state, notes) = KINDS[kind], in_episodes(kind, added)
    larger = grown(state, replay.capacity + 1)
    assert larger.capacity == 8
    after = Replay(larger.capacity, replay.lanes)
    same(remembered(replay, state), remembered(after, larger))
    onward = 5000 + np.arange(4)[:, None] + np.zeros((1, replay.lanes), int)
    ends = np.zeros_like(onward)
    larger = extend(after, after.cut(larger), rows_of(onward, ends, ends))
    kept = remembered(after, larger)
    sound(kept)
    whole = [*notes.rows(), *onward.reshape(-1).tolist()]
    assert told(kept).tolist() == whole[-8 * replay.lanes :]
    with pytest.raises(ValueError, match="capacity above the present 8, got 8"):
        grown(larger, 8)


def test_power_of_two_is_the_smallest_that_suffices():
    sizes = (0, 1, 2, 3, 4, 5, 1000)
    assert [power_of_two(n) for n in sizes] == [1, 1, 2, 4, 4, 8, 1024]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0,), "whole capacity of at least 1, got 0"),
        ((4, 0), "whole lanes of at least 1, got 0"),
        ((4, 1, -1), "whole spare of at least 0, got -1"),
    ],
)
def test_sizes_that_are_too_small_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        Replay(*sizes)


def other(part, value):
    rows = rows_of([0, 5], [False] * 2, [False] * 2)
    return eqx.tree_at(lambda t: getattr(t, part), rows, value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda: rows_of([0] * 3, [False] * 3, [False] * 3), r"shape \(2, 2, 3\)"),
        (lambda: other("obs", jnp.zeros((2, 3))), "the structure of its example"),
        (lambda: other("action", jnp.zeros((2, 3), jnp.int32)), r"'action' of shape"),
        (lambda: other("action", jnp.zeros((2, 1), jnp.int8)), "dtype int32, got"),
        (lambda: other("action", jnp.zeros((3, 1), jnp.int32)), r"shape \(2, 1\)"),
        (one, r"camera.* of shape \(2, 2, 3\) .* got shape \(2, 3\)"),
    ],
    ids=["lanes", "structure", "shape", "dtype", "ragged", "no-lane"],
)
def test_rows_that_do_not_fit_are_refused_in_one_sentence(rows, message):
    replay = Replay(4, 2)
    with pytest.raises(ValueError, match=rf"Replay.add needs .*{message}"):
        replay.add(replay.init(one()), rows())


@pytest.mark.parametrize("time", [0, 5])
def test_a_block_of_no_steps_or_too_many_is_refused(time):
    none = np.zeros((time, 1), int)
    with pytest.raises(
        ValueError, match=f"from 1 to 4 steps, its capacity, got {time}"
    ):
        Replay(4).extend(Replay(4).init(one()), rows_of(none, none, none))


def test_what_is_seen_next_has_to_be_like_what_was_seen():
    odd = eqx.tree_at(lambda t: t.next_obs["camera"], one(), jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"next_obs of the structure, .* of obs"):
        Replay(4).init(odd)


def test_another_replays_state_and_draws_of_nothing_are_refused():
    replay, key = Replay(4), jax.random.key(0)
    state = replay.init(one())
    with pytest.raises(ValueError, match=r"capacity, 5, .* of capacity 4 and 1 lanes"):
        Replay(5).add(state, rows_of([0], [False], [False]))
    with pytest.raises(ValueError, match="lanes, 2, got one"):
        Replay(4, 2).ordered(state)
    with pytest.raises(ValueError, match="count of at least 1, got 0"):
        replay.sample(state, 0, key=key)
    with pytest.raises(ValueError, match="length of at least 1, got 0"):
        replay.window(state, 1, 0, key=key)
    with pytest.raises(ValueError, match="length of at most 4, its capacity, got 5"):
        replay.window(state, 1, 5, key=key)
