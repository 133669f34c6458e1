import collections
import io

import equinox as eqx
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.data.replay import (
    Replay,
    from_arrays,
    grown,
    power_of_two,
    to_arrays,
)
from forethought.data.transitions import Transition

add = eqx.filter_jit(lambda replay, state, batch: replay.add(state, batch))
ordered = eqx.filter_jit(lambda replay, state: replay.ordered(state))
sample = eqx.filter_jit(
    lambda replay, state, count, key: replay.sample(state, count, key=key)
)


def numbered(first, count):
    """Transitions that all differ: the k-th one has reward k."""
    k = np.arange(first, first + count, dtype=np.int32)
    reward = k.astype(jnp.result_type(float))
    images = np.broadcast_to(k[:, None, None], (count, 2, 3)).astype(np.uint8)

    def seen(k, reward, images):
        joints = reward[:, None] * np.array([[1, 2]], reward.dtype)
        return {"camera": images, "joints": (joints, k)}

    leaves = seen(k, reward, images), -k[:, None], reward
    after = seen(k + 1, reward + 1, images + 1)
    ends = k % 3 == 0, k % 5 == 0
    return Transition(*jax.tree.map(jnp.asarray, (*leaves, after, *ends)))


def one():
    return jax.tree.map(lambda leaf: leaf[0], numbered(0, 1))


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def remembered(replay, state):
    rows, valid = ordered(replay, state)
    keep = np.asarray(valid)
    assert keep.tolist() == [i < int(state.size) for i in range(replay.capacity)]
    return jax.tree.map(lambda leaf: np.asarray(leaf)[keep], rows)


@hypothesis.settings(max_examples=50)
@hypothesis.given(
    capacity=st.sampled_from([1, 4, 7]),
    sizes=st.lists(st.integers(1, 4), max_size=8),
    seed=st.integers(0, 1000),
)
def test_a_replay_is_a_deque_of_the_newest_transitions(capacity, sizes, seed):
    replay, model, seen = Replay(capacity), collections.deque(maxlen=capacity), 0
    everything = jax.tree.map(np.asarray, numbered(0, 32))
    state = replay.init(one())
    for size in (min(size, capacity) for size in sizes):
        state = add(replay, state, numbered(seen, size))
        model.extend(range(seen, seen + size))
        seen += size
        assert int(state.size) == len(model)
        rows = remembered(replay, state)
        assert rows.reward.tolist() == list(model)
        drawn = sample(replay, state, 16, jax.random.key(seed))
        assert set(drawn.reward.tolist()) <= set(model)
        # Every leaf of a row belongs to the same transition.
        same(rows, numbered(seen - len(model), len(model)))
        index = np.asarray(drawn.reward).astype(int)
        same(drawn, jax.tree.map(lambda leaf, k=index: leaf[k], everything))


@pytest.mark.parametrize("added", [5, 23], ids=["filling", "wrapped"])
def test_sampling_is_uniform_over_what_is_there(added):
    replay = Replay(8)
    state = replay.init(one())
    for k in range(added):
        state = add(replay, state, numbered(k, 1))
    kinds, count = min(added, 8), 4096
    drawn = np.asarray(sample(replay, state, count, jax.random.key(3)).reward)
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == list(range(added - kinds, added))
    # Chi-square has mean kinds - 1 and variance 2 (kinds - 1): within 4 sigmas.
    chi_square = np.sum((counts - count / kinds) ** 2) / (count / kinds)
    assert chi_square < kinds - 1 + 4 * np.sqrt(2 * (kinds - 1))


def test_the_same_key_draws_the_same_rows_and_another_key_draws_others():
    replay = Replay(16)
    state = add(replay, replay.init(one()), numbered(0, 16))
    a, b, c = (sample(replay, state, 16, jax.random.key(k)) for k in (0, 0, 1))
    same(a, b)
    assert a.reward.tolist() != c.reward.tolist()


def test_adding_in_a_scan_is_adding_in_a_loop():
    replay = Replay(5)
    batches = [numbered(3 * i, 3) for i in range(4)]
    looped = scanned = replay.init(one())
    for batch in batches:
        looped = replay.add(looped, batch)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
    scanned, _ = jax.lax.scan(
        lambda state, batch: (replay.add(state, batch), None), scanned, stacked
    )
    same(looped, scanned)


def test_vmap_over_seeds_is_a_loop_over_seeds():
    replay = Replay(4)
    firsts = [numbered(0, 3), numbered(50, 3)]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *firsts)
    keys = jax.random.split(jax.random.key(0), 2)

    def remember_and_draw(batch, key):
        state = replay.add(replay.add(replay.init(one()), batch), batch)
        return state, replay.sample(state, 6, key=key)

    together = jax.vmap(remember_and_draw)(both, keys)
    for i in range(2):
        alone = remember_and_draw(firsts[i], keys[i])
        same(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone)


def test_more_data_compile_nothing(compilations):
    replay = Replay(6)
    state = replay.init(one())
    batches = [numbered(4 * i, 4) for i in range(3)]
    key = jax.random.key(0)

    def all_verbs(state, batch):
        state = add(replay, state, batch)
        sample(replay, state, 3, key)
        ordered(replay, state)
        return state

    state = all_verbs(state, batches[0])
    before = compilations.count
    for batch in batches[1:]:
        state = all_verbs(state, batch)
    assert compilations.count == before
    assert int(state.size) == 6


def test_memory_may_be_donated_so_that_nothing_is_copied():
    replay = Replay(3)
    give = jax.jit(replay.add, donate_argnums=0)
    state = give(replay.init(one()), numbered(0, 2))
    larger = jax.jit(Replay(4).add, donate_argnums=0)
    state = larger(grown(state, 4), numbered(2, 2))
    assert remembered(Replay(4), state).reward.tolist() == [0, 1, 2, 3]


def test_dtypes_are_kept(precision):
    replay = Replay(2)
    batch = numbered(0, 2)
    state = replay.add(replay.init(one()), batch)
    for tree in (state.rows, replay.sample(state, 3, key=jax.random.key(0))):
        assert tree.reward.dtype == jnp.dtype(f"float{precision}")
        assert tree.obs["camera"].dtype == jnp.uint8
        assert tree.action.dtype == jnp.int32
        assert tree.terminated.dtype == bool
    assert state.position.dtype == state.size.dtype == jnp.int32


@pytest.mark.parametrize("added", [3, 6], ids=["filling", "wrapped"])
def test_a_grown_replay_remembers_the_same_and_goes_on(added):
    replay = Replay(5)
    state = replay.init(one())
    for k in range(added):
        state = add(replay, state, numbered(k, 1))
    larger = grown(state, 6)
    assert larger.capacity == 8
    after = Replay(larger.capacity)
    same(remembered(replay, state), remembered(after, larger))
    larger = add(after, larger, numbered(added, 4))
    newest = remembered(after, larger).reward.tolist()
    assert newest == list(range(max(added - 5, 0), added + 4))[-8:]
    with pytest.raises(ValueError, match="capacity above the present 8, got 8"):
        grown(larger, 8)


def test_power_of_two_is_the_smallest_that_suffices():
    assert [power_of_two(n) for n in (0, 1, 2, 3, 4, 5, 1000)] == [
        1,
        1,
        2,
        4,
        4,
        8,
        1024,
    ]


@pytest.mark.parametrize("added", [0, 3, 6])
def test_a_saved_replay_comes_back(added, precision):
    replay = Replay(4)
    state = replay.init(one())
    for k in range(added):
        state = replay.add(state, numbered(k, 1))
    file = io.BytesIO()
    np.savez(file, **to_arrays(state))
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        same(from_arrays(one(), dict(archive)), state)


def test_brain_floats_are_saved_as_their_bits():
    half = eqx.tree_at(lambda t: t.action, one(), jnp.array([1.5], jnp.bfloat16))
    state = Replay(2).init(half)
    state = Replay(2).add(state, jax.tree.map(lambda leaf: leaf[None], half))
    arrays = to_arrays(state)
    assert arrays["rows.action"].dtype == np.uint16
    same(from_arrays(half, arrays), state)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("rows.reward", None, r"'rows.reward' of shape \[capacity\], got none"),
        ("rows.reward", np.float32(1), r"'rows.reward' of shape \[capacity\]"),
        ("rows.action", None, "an array 'rows.action', got none"),
        ("rows.action", np.zeros((4, 2), np.int32), r"of shape \(4, 1\) .* \(4, 2\)"),
        ("rows.action", np.zeros((4, 1), np.int16), "dtype int32, .* dtype int16"),
        ("rows.mass", np.zeros(4), "'rows.mass' as well"),
        ("size", np.int32(5), "counters that agree, got size 5 and position 2"),
        ("size", np.int32(-1), "counters that agree"),
        ("position", np.int32(3), "counters that agree, got size 2 and position 3"),
    ],
)
def test_broken_files_are_refused_in_one_sentence(name, array, message):
    replay = Replay(4)
    arrays = to_arrays(replay.add(replay.init(one()), numbered(0, 2)))
    arrays.pop(name, None)
    if array is not None:
        arrays[name] = array
    with pytest.raises(ValueError, match=message):
        from_arrays(one(), arrays)


@pytest.mark.parametrize("capacity", [0, -3])
def test_a_capacity_below_one_is_refused(capacity):
    with pytest.raises(ValueError, match="capacity of at least 1, got"):
        Replay(capacity)


def other(part, value):
    return eqx.tree_at(lambda t: getattr(t, part), numbered(0, 2), value)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (lambda: numbered(0, 5), "at most 4 transitions, its capacity, got 5"),
        (lambda: other("obs", jnp.zeros((2, 3))), "the structure of its example"),
        (lambda: other("action", jnp.zeros((2, 3), jnp.int32)), r"'action' of shape"),
        (lambda: other("action", jnp.zeros((2, 1), jnp.int8)), "dtype int32, got"),
        (lambda: other("action", jnp.zeros((3, 1), jnp.int32)), r"shape \(2, 1\)"),
        (one, r"one leading axis, got a reward of shape \(\)"),
    ],
    ids=["too-large", "structure", "shape", "dtype", "ragged", "no-batch"],
)
def test_a_batch_that_does_not_fit_is_refused_in_one_sentence(batch, message):
    replay = Replay(4)
    with pytest.raises(ValueError, match=message):
        replay.add(replay.init(one()), batch())


def test_another_replays_state_and_empty_draws_are_refused():
    state = Replay(4).init(one())
    with pytest.raises(ValueError, match="of its capacity, 5, got one of capacity 4"):
        Replay(5).add(state, numbered(0, 1))
    with pytest.raises(ValueError, match="count of at least 1, got 0"):
        Replay(4).sample(state, 0, key=jax.random.key(0))
