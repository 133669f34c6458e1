import errno
import io
import json
import os
import pickle
import shutil

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.runs.store import checkpoint
from forethought.runs.store.checkpoint import Unusable, load, save


class Part(eqx.Module):
    weights: jax.Array
    name: str = eqx.field(static=True)


def tree_of(value):
    return {
        "part": Part(jnp.full((2, 3), value, jnp.float32), "static"),
        "key": jax.random.key(value),
        "keys": jax.random.split(jax.random.key(value, impl="rbg"), 3),
        "half": jnp.array([value, 0.1], jnp.bfloat16),
        "host": np.array([value, np.nan, np.inf]),
        "scalar": np.float64(value / 3),
        "counts": (jnp.array(value, jnp.int8), np.uint64(2**63 + value)),
        "flags": jnp.array([True, False]),
        "empty": jnp.zeros((0, 4)),
        "python": [value, value / 3, value % 2 == 0],
        "function": jax.nn.relu,
        "nothing": None,
    }


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert type(x) is type(y)
        assert jnp.result_type(x) == jnp.result_type(y) if not callable(x) else x is y
        if checkpoint._is_key(x):
            assert (jax.random.key_data(x) == jax.random.key_data(y)).all()
        elif not callable(x):
            assert np.asarray(x).dtype == np.asarray(y).dtype
            np.testing.assert_array_equal(x, y)


def small(value):
    return {"x": jnp.arange(8) * value, "y": np.full(3, float(value))}


def test_a_tree_comes_back_as_it_was_saved(tmp_path):
    host = {"episodes": 4, "settings": {"seed": 2**70, "rate": 0.1}, "seen": [1, None]}
    path = save(tmp_path, 7, tree_of(7), host)
    assert sorted(each.name for each in path.iterdir()) == [
        "done",
        "host.json",
        "leaves.npz",
    ]
    assert (path / "done").read_bytes() == b""
    step, tree, again, notices, _ = load(tmp_path, tree_of(0))
    assert (step, again, notices) == (7, host, ())
    same(tree, tree_of(7))


def test_one_whose_rest_cannot_be_read_is_passed_over_and_the_reason_told(tmp_path):
    save(tmp_path, 1, small(1), {"pages": 8})
    save(tmp_path, 2, small(2), {"pages": 16})

    def rest(host):
        if host["pages"] > 8:
            raise Unusable("lacks pages")
        return list(range(host["pages"]))

    found = load(tmp_path, small(0), rest)
    assert found.step == 1 and len(found.rest) == 8
    assert "of step 2 lacks pages" in found.notices[0]


def test_a_renamed_one_is_passed_over(tmp_path):
    save(tmp_path, 1, small(1), {})
    path = save(tmp_path, 2, small(2), {})
    path.rename(path.with_name("90"))
    step, _, _, notices, _ = load(tmp_path, small(0))
    assert step == 1
    assert "step 90 is not what its folder's name says" in notices[0]


def test_float64_comes_back_in_float64(tmp_path, x64):
    tree = {"x": jnp.array([1 / 3]), "n": jnp.array(2**40)}
    save(tmp_path, 0, tree, {})
    same(load(tmp_path, jax.tree.map(jnp.zeros_like, tree)).tree, tree)


def test_a_tree_of_shapes_is_enough_to_load_into(tmp_path):
    tree = {"x": jnp.arange(3.0), "key": jax.random.key(5)}
    save(tmp_path, 1, tree, {})
    same(load(tmp_path, jax.eval_shape(lambda: tree)).tree, tree)


def test_the_newest_are_kept_and_the_newest_is_loaded(tmp_path):
    for step in (5, 9, 10, 100):
        save(tmp_path, step, small(step), {"step": step})
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {"9", "10", "100"}
    assert load(tmp_path, small(0)).step == 100


def test_whoever_goes_back_leaves_the_later_ones_behind(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step, small(step), {})
    save(tmp_path, 2, small(20), {}, keep=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["2"]
    same(load(tmp_path, small(0)).tree, small(20))


class Killed(BaseException):
    """As good as SIGKILL: nothing on the disk changes once it was raised."""


class Disk:
    """Counts what changes the disk, and fails from the `limit`-th change on."""

    def __init__(self, monkeypatch, error, limit, lasting):
        self.count, self.limit = 0, limit
        self.error, self.lasting = error, lasting
        for module, name in [
            (os, "replace"),
            (os, "fsync"),
            (os, "mkdir"),
            (os, "rmdir"),
            (os, "unlink"),
        ]:
            monkeypatch.setattr(module, name, self.counted(getattr(module, name)))
        monkeypatch.setattr(checkpoint, "open", self.open, raising=False)

    def change(self):
        self.count += 1
        if self.count == self.limit or (self.lasting and self.count > self.limit):
            raise self.error()

    def counted(self, call):
        def change(*args, **kwargs):
            self.change()
            return call(*args, **kwargs)

        return change

    def open(self, path, mode):
        if mode == "rb":
            return open(path, mode)
        self.change()
        disk = self

        class File(io.FileIO):
            def write(self, content):
                try:
                    disk.change()
                except BaseException:
                    super().write(bytes(content)[: len(content) // 2])
                    raise
                return super().write(content)

        return File(path, "w")


def changes_of_a_save(monkeypatch, folder, step):
    with monkeypatch.context() as patch:
        disk = Disk(patch, Killed, 10**9, lasting=True)
        save(folder, step, small(step), {"n": step}, keep=2)
    return disk.count


@pytest.mark.parametrize("step", [3, 2], ids=["a new step", "the same step again"])
def test_killed_between_any_two_writes_an_undamaged_one_is_left(
    tmp_path, monkeypatch, step
):
    before = tmp_path / "before"
    for older in (1, 2):
        save(before, older, small(older), {"n": older})
    trial = tmp_path / "trial"
    shutil.copytree(before, trial)
    total = changes_of_a_save(monkeypatch, trial, step)
    assert total > 15
    found = []
    for limit in range(1, total + 1):
        shutil.rmtree(trial)
        shutil.copytree(before, trial)
        with monkeypatch.context() as patch:
            Disk(patch, Killed, limit, lasting=True)
            try:
                save(trial, step, small(step), {"n": step}, keep=2)
            except Killed:
                pass
        loaded = load(trial, small(0))
        assert loaded.step in (2, step)
        same(loaded.tree, small(loaded.step))
        assert loaded.host == {"n": loaded.step}
        found.append(loaded.step)
        # The next save succeeds and clears what the killed one left behind.
        save(trial, 4, small(4), {})
        names = {path.name for path in (trial / "checkpoints").iterdir()}
        assert "4" in names and all(name.isdigit() for name in names)
        assert load(trial, small(0)).notices == ()
    assert set(found) == {2, step}


def test_a_full_disk_is_said_and_leaves_the_older_ones(tmp_path, monkeypatch):
    trial = tmp_path / "trial"
    for older in (1, 2):
        save(trial, older, small(older), {"n": older})

    def full():
        return OSError(errno.ENOSPC, "No space left on device")

    refused = 0
    for limit in range(1, 30):
        with monkeypatch.context() as patch:
            disk = Disk(patch, full, limit, lasting=False)
            try:
                save(trial, 3, small(3), {"n": 3})
                if disk.count < limit:
                    break
            except OSError as error:
                refused += 1
                assert str(error) == (
                    f"The checkpoint of step 3 cannot be written to {trial}"
                    "/checkpoints: No space left on device; those saved before are "
                    "intact."
                )
        loaded = load(trial, small(0))
        assert loaded.step in (2, 3)
        same(loaded.tree, small(loaded.step))
    assert refused > 8


def damaged(path, kind):
    content = bytearray(path.read_bytes())
    if kind == "cut":
        del content[len(content) // 2 :]
    elif kind == "empty":
        content.clear()
    else:
        content[int(kind * len(content))] ^= 0x10
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["leaves.npz", "host.json"])
@pytest.mark.parametrize("kind", ["cut", "empty", 0.0, 0.2, 0.5, 0.7, 0.95])
def test_a_damaged_one_is_passed_over_and_that_is_said(tmp_path, name, kind):
    save(tmp_path, 1, small(1), {"a": 1})
    path = save(tmp_path, 2, small(2), {"a": 2})
    damaged(path / name, kind)
    step, tree, host, notices, _ = load(tmp_path, small(0))
    assert (step, host) == (1, {"a": 1})
    same(tree, small(1))
    assert len(notices) == 1
    assert notices[0].startswith("The checkpoint of step 2 ")
    assert notices[0].endswith("; the one of step 1 is used instead.")


def test_every_flipped_bit_of_the_arrays_is_noticed(tmp_path):
    path = save(tmp_path, 1, {"x": jnp.arange(4)}, {}) / "leaves.npz"
    content = path.read_bytes()
    for i in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[i] ^= 1 << i % 8
        path.write_bytes(bytes(flipped))
        with pytest.raises(ValueError, match="that of step 1 is damaged"):
            load(tmp_path, {"x": jnp.arange(4)})


def test_one_that_was_never_finished_is_passed_over(tmp_path):
    save(tmp_path, 1, small(1), {})
    (save(tmp_path, 2, small(2), {}) / "done").unlink()
    assert load(tmp_path, small(0)).notices == (
        "The checkpoint of step 2 was never finished; the one of step 1 is used "
        "instead.",
    )


def test_without_any_checkpoint_loading_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"complete checkpoint in .*there is none"):
        load(tmp_path, small(0))


class Bomb:
    fired = False

    def __reduce__(self):
        return (setattr, (Bomb, "fired", True))


@pytest.mark.parametrize("raw", [False, True], ids=["in an archive", "bare pickle"])
def test_loading_never_executes_code(tmp_path, raw):
    path = save(tmp_path, 1, {"x": np.zeros(1)}, {})
    if raw:
        (path / "leaves.npz").write_bytes(pickle.dumps(Bomb()))
    else:
        np.savez(path / "leaves.npz", **{"0": np.array([Bomb()], object)})
    record = json.loads((path / "host.json").read_text())
    record["sha256"] = checkpoint._checksum(
        (path / "leaves.npz").read_bytes(), record["content"]
    )
    (path / "host.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="that of step 1 cannot be read"):
        load(tmp_path, {"x": np.zeros(1)})
    assert not Bomb.fired


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"x": jnp.zeros(3), "k": jax.random.key(0), "z": 1}, r"\['z'\] is not in"),
        ({"x": jnp.zeros(3)}, r"leaf \['k'\] is only in the checkpoint"),
        ({"x": jnp.zeros(4), "k": jax.random.key(0)}, r"\['x'\] is float32\[3\] in"),
        ({"x": jnp.zeros(3, int), "k": jax.random.key(0)}, r"int32\[3\] here"),
        ({"x": jnp.zeros(3), "k": jax.random.key(0, impl="rbg")}, r"\['k'\].*\(rbg\)"),
        ({"x": jnp.zeros(3), "k": jnp.zeros(2, jnp.uint32)}, r"\['k'\] is .*random"),
    ],
    ids=["missing", "extra", "shape", "dtype", "generator", "no key"],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, like, message):
    save(tmp_path, 1, {"x": jnp.zeros(3), "k": jax.random.key(0)}, {})
    with pytest.raises(ValueError, match=message):
        load(tmp_path, like)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"a": (1, 2)}, "'a' would change"),
        ({"a": {1: 2}}, "'a' would change"),
        ({"a": float("nan")}, "that JSON can hold, but"),
        ({"a": jnp}, "that JSON can hold, but"),
    ],
)
def test_host_state_that_json_would_change_is_refused(tmp_path, host, message):
    with pytest.raises(TypeError, match=message):
        save(tmp_path, 1, {}, host)
    assert list(tmp_path.iterdir()) == []


def test_objects_and_impossible_steps_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"leaf \['x'\] has dtype object"):
        save(tmp_path, 1, {"x": np.array([None])}, {})
    with pytest.raises(ValueError, match="step >= 0 and keep >= 1, got step=-1"):
        save(tmp_path, -1, {}, {})
