"""A memory that was written piece by piece, and comes back place by place."""

import json
import os
import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.data.replay import Replay
from forethought.data.transitions import Transition
from forethought.runs.store import checkpoint
from forethought.runs.store.journal import append, prune, restore

extend = eqx.filter_jit(lambda replay, state, block: replay.extend(state, block))
BLOCK = 4
KINDS = {
    "all": Replay(64, 2),
    "ring": Replay(8, 2),
    "crowded": Replay(8, 2, spare=1),
}


def block(i, lanes=2):
    """The i-th few steps of a life whose episodes end at odd times."""
    random = np.random.default_rng(i)
    number = BLOCK * i + np.arange(BLOCK)[:, None] + 500 * np.arange(lanes)
    ended = random.random((BLOCK, lanes)) < 0.3
    image = np.broadcast_to(number[..., None], (BLOCK, lanes, 1000)).astype(np.uint8)
    seen = {"camera": image, "place": number.astype(np.int32)}
    after = {"camera": image + np.uint8(1), "place": seen["place"] + np.int32(1)}
    return Transition(
        *jax.tree.map(
            jnp.asarray,
            (
                *(seen, number.astype(jnp.bfloat16)[..., None]),
                *(number.astype(np.float32), after),
                *(ended, ~ended & (number % 7 == 0), number.astype(np.float16)),
            ),
        )
    )


def example(lanes=2):
    return jax.tree.map(lambda leaf: leaf[0, 0], block(0, lanes))


def lived(kind, blocks, state=None):
    """A memory after some of these blocks; it is interrupted after every third."""
    replay = KINDS[kind]
    state = replay.init(example()) if state is None else state
    for i in blocks:
        state = extend(replay, state, block(i))
        state = replay.cut(state) if i % 3 == 2 else state
    return state


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and isinstance(x, jax.Array)
        np.testing.assert_array_equal(x, y)


def restored(folder, record, kind):
    return restore(folder, record, KINDS[kind], example())


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_comes_back_place_by_place_and_goes_on(kind, tmp_path):
    state, record = lived(kind, []), None
    # Nothing at all, one block, more than a ring holds, nothing new.
    for blocks in ([], [0], [1, 2], [3, 4, 5, 6], [], [7], [8]):
        state = lived(kind, blocks, state)
        record = json.loads(json.dumps(append(tmp_path, state, record)))
        same(restored(tmp_path, record, kind), state)
        # Who goes on from what was restored remembers the same.
        state = restored(tmp_path, record, kind)
    same(state, lived(kind, range(9)))


def test_what_was_cut_with_nothing_new_stays_cut(tmp_path):
    state = lived("all", [0])
    record = append(tmp_path, state)
    state = KINDS["all"].cut(state)
    record = append(tmp_path, state, record)
    assert len(record["files"]) == 1
    same(restored(tmp_path, record, "all"), state)


def used(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_disk_grows_with_what_happened_and_not_with_how_often_it_was_saved(
    tmp_path,
):
    """Written again each time, eight times as much would take 36 times the place."""
    state, record, after = lived("all", []), None, {}
    again = 0
    for i in range(8):
        state = lived("all", [i], state)
        record = append(tmp_path, state, record)
        append(tmp_path / str(i), state)
        again += used(tmp_path / str(i))
        after[i + 1] = used(tmp_path / "replay")
    assert all(size <= 1.3 * n * after[1] for n, size in after.items())
    assert again > 2 * after[8]


def test_what_is_seen_is_written_once(tmp_path):
    replay = Replay(64)
    image = jnp.zeros((64, 1, 40, 40), jnp.uint8)
    none, no = jnp.zeros((64, 1)), jnp.zeros((64, 1), bool)
    rows = Transition(image, none, none, image, no, no)
    one = jax.tree.map(lambda leaf: leaf[0, 0], rows)
    append(tmp_path, replay.extend(replay.init(one), rows))
    assert used(tmp_path) < 1.1 * image.nbytes  # twice would be 2


def test_a_ring_that_is_smaller_than_the_run_needs_only_its_newest_files(tmp_path):
    state, record = lived("ring", []), None
    for i in range(9):
        state = lived("ring", [i], state)
        record = append(tmp_path, state, record)
        prune(tmp_path, [record])
        same(restored(tmp_path, record, "ring"), state)
    names = sorted(path.name for path in (tmp_path / "replay").iterdir())
    assert names == ["20-24.npz", "24-28.npz", "28-32.npz", "32-36.npz"]


def save(folder, interval, state, record, kept):
    """As a run saves: the journal, the checkpoint that names its files, tidying."""
    record = append(folder, state, record)
    checkpoint.save(folder, interval, {"x": jnp.asarray(interval)}, {"record": record})
    prune(folder, [*kept[-2:], record])
    return record


def test_a_run_that_was_killed_between_any_two_writes_can_be_gone_on_from(
    tmp_path, monkeypatch
):
    states = [lived("ring", range(i + 1)) for i in range(6)]

    class Killed(BaseException):
        pass

    def interrupted(folder, calls):
        """Killed before so many-th of all that reaches the disk; how many there are."""
        count = 0

        def counting(function):
            def call(*args, **kwargs):
                nonlocal count
                count += 1
                if count == calls:
                    raise Killed
                return function(*args, **kwargs)

            return call

        records = []
        with monkeypatch.context() as patch:
            for name in ("replace", "fsync", "unlink", "mkdir"):
                patch.setattr(os, name, counting(getattr(os, name)))
            try:
                for i, state in enumerate(states):
                    before = records[-1] if records else None
                    records.append(save(folder, i, state, before, records))
            except Killed:
                pass
        return count

    total = interrupted(tmp_path / "whole", 0)
    found = set()
    for calls in range(1, total, 3):
        folder = tmp_path / str(calls)
        interrupted(folder, calls)
        if not checkpoint.any_finished(folder):
            continue
        step, _, host, *_ = checkpoint.load(folder, {"x": jnp.asarray(0)})
        found.add(step)
        state = restored(folder, host["record"], "ring")
        same(state, states[step])
        # What was written after that is ignored, and replaced.
        state = lived("ring", [step + 1], state)
        record = save(folder, step + 1, state, host["record"], [host["record"]])
        same(restored(folder, record, "ring"), state)
    assert found == set(range(6))


def test_what_was_written_after_a_checkpoint_is_replaced_or_removed(tmp_path):
    state = lived("all", [0])
    first = append(tmp_path, state)
    abandoned = append(tmp_path, lived("all", [1, 2], state), first)
    other = lived("all", [5], state)
    second = append(tmp_path, other, first)
    prune(tmp_path, [first, second])
    same(restored(tmp_path, second, "all"), other)
    with pytest.raises(ValueError, match=r"needs replay/4-12\.npz, but .* No such"):
        restored(tmp_path, abandoned, "all")
    # The same steps again, but other ones: the older record finds that out.
    third = append(tmp_path, lived("all", [6], state), first)
    assert third["files"][-1]["name"] == second["files"][-1]["name"]
    with pytest.raises(ValueError, match=r"4-8.npz .* damaged \(its checksum is wrong"):
        restored(tmp_path, second, "all")


@pytest.mark.parametrize("harm", ["flipped", "cut", "emptied", "removed", "pickled"])
def test_a_damaged_file_is_refused_in_one_sentence(harm, tmp_path):
    record = append(tmp_path, lived("all", [0, 1]))
    path = tmp_path / "replay" / "0-8.npz"
    content = bytearray(path.read_bytes())
    match harm:
        case "flipped":
            content[len(content) // 2] ^= 1
        case "cut":
            content = content[:-7]
        case "emptied":
            content = b""
        case "pickled":
            content = pickle.dumps({"rows": 1})
    path.write_bytes(content)
    if harm == "removed":
        path.unlink()
    with pytest.raises(ValueError, match=r"^\S.* needs (replay/)?0-8.npz.*\.$"):
        restored(tmp_path, record, "all")


def test_a_memory_of_another_size_or_of_other_rows_is_refused(tmp_path):
    record = append(tmp_path, lived("all", [0]))
    with pytest.raises(ValueError, match=r"64 steps of 2 lanes .*, got 8 steps of 2"):
        restored(tmp_path, record, "ring")
    other = eqx.tree_at(lambda row: row.reward, example(), jnp.zeros((), jnp.int32))
    with pytest.raises(ValueError, match=r"'rows/reward' of .* dtype float32 instead"):
        restore(tmp_path, record, KINDS["all"], other)
    other = eqx.tree_at(lambda row: row.kept, example(), {"value": jnp.zeros(())})
    with pytest.raises(ValueError, match=r"0-4.npz .* holds no 'rows/kept/value'"):
        restore(tmp_path, record, KINDS["all"], other)


def test_a_journal_that_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    state = lived("all", [0])
    record = append(tmp_path, state)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            append(tmp_path, lived("all", [1], state), record)
    assert [path.name for path in (tmp_path / "replay").iterdir()] == ["0-4.npz"]
    same(restored(tmp_path, record, "all"), state)
