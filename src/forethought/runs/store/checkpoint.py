"""All that a run needs to go on, written so that it cannot be lost.

    checkpoints/
      1200/
        leaves.npz   the arrays of one pytree, by their order in it: 0, 1, 2, …
        host.json    what each of them is, what the host counted, a SHA-256 of both
        done         empty, written last

A checkpoint is written under a hidden temporary name, flushed to the disk, and then
renamed as a whole; older ones are removed only after that. So whenever a save ends
early (the process killed, the disk full), one of those saved before is still there.
`load` believes nothing: it takes the newest one that is finished and whose checksum
is right, and says which ones it passed over and why.

Nothing is pickled, and loading executes nothing. The structure of the pytree, its
static fields and its leaves that are no arrays (functions, say) are not stored: they
come from the tree that the caller loads into, which is why the settings of a run
belong into `host`, where they can be compared before going on.
"""

import hashlib
import itertools
import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NotRequired, TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from forethought.data.bits import UNREADABLE, from_bits, to_bits, unpacked
from forethought.runs.store import files
from forethought.runs.store.files import flush, within
from forethought.runs.store.schema import parsed, require

ROOM = "checkpoints"
NAME = re.compile(r"(?P<whole>\d+)|\.(?P<unnamed>\d+)\.\d+\.tmp")


class Leaf(TypedDict):
    """What an array is."""

    path: str
    dtype: str
    shape: list[int]
    key: NotRequired[str]
    """The generator, where it holds random keys."""


class Content(TypedDict):
    """What `host.json` says beside the digest."""

    step: int
    leaves: list[Leaf]
    host: dict[str, Any]


class Stored(TypedDict):
    """What `host.json` holds."""

    content: Content
    sha256: str


class Checkpoint(NamedTuple):
    """What `load` found."""

    step: int
    tree: Any
    host: dict[str, Any]
    notices: tuple[str, ...]
    """A sentence for each newer checkpoint that could not be used."""
    rest: Any = None
    """What else belongs to it."""


def save(
    folder: str | os.PathLike,
    step: int,
    tree: Any,
    host: Mapping[str, Any],
    *,
    keep: int = 3,
) -> pathlib.Path:
    """Write a checkpoint, then remove those that it makes superfluous.

    Those of later steps are removed too: whoever saves an earlier step has gone back,
    and what came after it then is no longer what this run did.

    Args:
        folder: The run's folder.
        step: How far the run is; it names the checkpoint.
        tree: Any pytree. Arrays, typed random keys and Python's numbers are stored.
        host: What the host knows, as JSON has it: counters, settings.
        keep: How many checkpoints to keep.

    Returns:
        The checkpoint's folder.

    Raises:
        ValueError: The step is negative, or fewer than one is to be kept.
        TypeError: `host` would not come back from JSON as it is, or a leaf is an
            array of Python objects.
        ValueError: Checkpoints lie elsewhere, by a link.
        OSError: It could not be written; those saved before are as they were.
    """
    if step < 0 or keep < 1:
        raise ValueError(
            f"A checkpoint needs step >= 0 and keep >= 1, got step={step} and "
            f"keep={keep}."
        )
    arrays, leaves = _take_apart(tree)
    content = {"step": step, "leaves": leaves, "host": _json_of(host)}
    root = within(pathlib.Path(folder), ROOM)
    target = root / str(step)
    names = (root / f".{step}.{i}.tmp" for i in itertools.count())
    temporary = next(name for name in names if not name.exists())
    try:
        root.mkdir(parents=True, exist_ok=True)
        try:
            _write(temporary, arrays, content)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        # From here on the new one is complete, if under its temporary name: `load`
        # would find it.
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
        flush(root)
    except OSError as error:
        raise OSError(
            f"The checkpoint of step {step} cannot be written to {root}: "
            f"{error.strerror or error}; those saved before are intact."
        ) from error
    kept = 0
    for path, other, whole in _candidates(pathlib.Path(folder)):
        if whole and other <= step and kept < keep:
            kept += 1
        else:  # what cannot be removed now is tried again after the next save
            shutil.rmtree(path, ignore_errors=True)
    return target


def load(
    folder: str | os.PathLike,
    like: Any,
    rest: Callable[[dict[str, Any]], Any] = lambda host: None,
    *,
    part: str = "",
) -> Checkpoint:
    """Read the newest checkpoint that is complete and undamaged.

    Args:
        folder: The run's folder.
        like: A pytree of the structure, shapes and dtypes of the one saved; what is
            not stored is taken from it. Leaves may be `jax.ShapeDtypeStruct`s.
        rest: Reads what else belongs to a checkpoint, by what the host knew; one for
            which it raises `Unusable` is passed over.
        part: What the paths of those leaves begin with that are read, such as
            `.learner`; the others stay those of `like`.

    Returns:
        The step, the tree, what the host knew, a sentence for each newer checkpoint
        that was passed over, and the rest.

    Raises:
        ValueError: There is no usable checkpoint, or the one found does not fit
            `like`; the leaf is named.
    """
    content, arrays, more, notices = _newest(folder, rest)
    step = content["step"]
    tree = _put_together(step, content["leaves"], arrays, like, part)
    return Checkpoint(step, tree, content["host"], notices, more)


def any_finished(folder: str | os.PathLike) -> bool:
    """Whether any checkpoint was ever finished there, damaged since or not."""
    found = _candidates(pathlib.Path(folder))
    return any(whole or (path / "done").exists() for path, _, whole in found)


class Unusable(Exception):
    """Why a checkpoint cannot be used, as the end of a sentence."""


def _newest(
    folder: str | os.PathLike, rest: Callable[[dict[str, Any]], Any]
) -> tuple[dict[str, Any], dict[str, np.ndarray], Any, tuple[str, ...]]:
    """Content, arrays and rest of the newest usable one, and what was passed over."""
    root = pathlib.Path(folder)
    faults = []
    for path, step, _ in _candidates(root):
        try:
            content, arrays = _read(root, f"{ROOM}/{path.name}", step)
            more = rest(content["host"])
        except Unusable as fault:
            faults.append((step, str(fault)))
            continue
        notices = tuple(
            f"The checkpoint of step {other} {fault}; the one of step {step} is used "
            "instead."
            for other, fault in faults
        )
        return content, arrays, more, notices
    found = "; ".join(f"that of step {step} {fault}" for step, fault in faults)
    raise ValueError(
        f"Going on needs a complete checkpoint in {root / ROOM}, but "
        f"{found or 'there is none'}."
    )


def _candidates(root: pathlib.Path) -> list[tuple[pathlib.Path, int, bool]]:
    """Folders, their steps, and whether they bear their final name; newest first."""
    found, room = [], within(root, ROOM)
    for path in room.iterdir() if room.is_dir() else ():
        if match := NAME.fullmatch(path.name):
            whole = match["whole"] is not None
            found.append((path, int(match["whole"] or match["unnamed"]), whole))
    return sorted(found, key=lambda entry: entry[1:], reverse=True)


def _take_apart(tree: Any) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Plain arrays by number, and a description of each."""
    arrays, leaves = {}, []
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if not _is_stored(leaf):
            continue
        name = jax.tree_util.keystr(path)
        array, entry = leaf, {"path": name}
        if _is_key(leaf):
            entry["key"] = _implementation(leaf)
            array = jax.random.key_data(leaf)
        array = np.asarray(array)
        if array.dtype.hasobject:
            raise TypeError(
                f"A checkpoint needs arrays of numbers, but leaf {name} has dtype "
                f"{array.dtype}."
            )
        entry |= {"dtype": array.dtype.name, "shape": list(array.shape)}
        arrays[str(len(leaves))] = to_bits(array)
        leaves.append(entry)
    return arrays, leaves


def _put_together(
    step: int,
    leaves: list[dict[str, Any]],
    arrays: dict[str, np.ndarray],
    like: Any,
    part: str,
) -> Any:
    """The tree, once each leaf was compared with the one it is to replace."""
    flat, structure = jax.tree_util.tree_flatten_with_path(like)
    named = [(jax.tree_util.keystr(path), leaf) for path, leaf in flat]
    places = {
        name: i
        for i, (name, leaf) in enumerate(named)
        if _is_stored(leaf) and name.startswith(part)
    }
    read = [(i, each) for i, each in enumerate(leaves) if each["path"].startswith(part)]
    saved = [entry["path"] for _, entry in read]
    head = f"The checkpoint of step {step} needs to be loaded into what was saved, but"
    if strange := [name for name in saved if name not in places]:
        raise ValueError(f"{head} leaf {strange[0]} is only in the checkpoint.")
    if strange := [name for name in places if name not in saved]:
        raise ValueError(f"{head} leaf {strange[0]} is not in the checkpoint.")
    values = [leaf for _, leaf in flat]
    for i, entry in read:
        place = places[entry["path"]]
        wanted, array = values[place], arrays[str(i)]
        there, here = _kind(entry), _kind(_describe(wanted))
        if there != here:
            raise ValueError(
                f"{head} leaf {entry['path']} is {there} in the checkpoint and {here} "
                "here."
            )
        array = from_bits(array, jnp.dtype(entry["dtype"]))
        values[place] = _like(wanted, array, entry.get("key"))
    return jax.tree.unflatten(structure, values)


def _is_stored(leaf: Any) -> bool:
    kinds = jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct
    return isinstance(leaf, kinds | bool | int | float | complex)


def _is_key(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _implementation(key: Any) -> str:
    """The name of a key's generator; `key` may be a `jax.ShapeDtypeStruct`."""
    names = []
    jax.eval_shape(lambda key: names.append(str(jax.random.key_impl(key))), key)
    return names[0]


def _describe(leaf: Any) -> dict[str, Any]:
    if _is_key(leaf):
        like = jax.eval_shape(jax.random.key_data, leaf)
        entry = {"dtype": like.dtype.name, "shape": list(like.shape)}
        return entry | {"key": _implementation(leaf)}
    like = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return {"dtype": np.dtype(like.dtype).name, "shape": list(like.shape)}


def _kind(entry: dict[str, Any]) -> str:
    key = f" of random keys ({entry['key']})" if "key" in entry else ""
    return f"{entry['dtype']}{entry['shape']}{key}"


def _like(wanted: Any, array: np.ndarray, key: str | None) -> Any:
    """The array as the kind of thing that it replaces."""
    if key is not None:
        return jax.random.wrap_key_data(jnp.asarray(array), impl=key)
    if isinstance(wanted, np.generic):
        return array[()]
    if isinstance(wanted, np.ndarray):
        return array
    if isinstance(wanted, jax.Array | jax.ShapeDtypeStruct):
        return jnp.asarray(array)
    return type(wanted)(array.item())


def _json_of(host: Mapping[str, Any]) -> dict[str, Any]:
    """The host's state as JSON gives it back, which must be what it was."""
    try:
        given = json.loads(json.dumps(dict(host), allow_nan=False))
        same = given == dict(host)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"A checkpoint needs a host state that JSON can hold, but {error}."
        ) from error
    if not same:
        changed = [key for key in host if given.get(key) != host[key]]
        raise TypeError(
            "A checkpoint needs a host state that JSON gives back as it is (lists for "
            f"tuples, strings as keys), but {changed[0]!r} would change."
        )
    return given


def _write(
    folder: pathlib.Path, arrays: dict[str, np.ndarray], content: dict[str, Any]
) -> None:
    folder.mkdir()
    with open(folder / "leaves.npz", "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)  # pyright: ignore
        _flush_file(file)
    stored = (folder / "leaves.npz").read_bytes()
    record = {"content": content, "sha256": _checksum(stored, content)}
    with open(folder / "host.json", "wb") as file:
        file.write(json.dumps(record, indent=2).encode() + b"\n")
        _flush_file(file)
    with open(folder / "done", "wb") as file:
        _flush_file(file)
    flush(folder)


def _read(
    root: pathlib.Path, name: str, step: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a folder holds, if it is complete and nothing in it has changed."""
    if not (root / name / "done").is_file():
        raise Unusable("was never finished")
    try:
        record = parsed(files.read(root, f"{name}/host.json"))
        content = require(record, Stored, "host.json")["content"]
        stored = files.read(root, f"{name}/leaves.npz", most=files.MOST)
        if record["sha256"] != _checksum(stored, content):
            raise Unusable("is damaged (its checksum is wrong)")
        if content["step"] != step:
            raise Unusable("is not what its folder's name says")
        arrays = unpacked(stored)
        if missing := {str(i) for i in range(len(content["leaves"]))} - arrays.keys():
            raise Unusable(f"is damaged (it lacks array {min(missing)})")
    except UNREADABLE as error:
        raise Unusable(f"cannot be read ({error})") from error
    return content, arrays


def _checksum(stored: bytes, content: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(stored)
    digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()


def _flush_file(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
