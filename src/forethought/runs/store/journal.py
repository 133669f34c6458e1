"""What a run remembers, on the disk: a journal that only grows.

    replay/
      0-400.npz      what the first 400 steps brought: rows by step, and what was seen
      400-650.npz    what came then; one file between two checkpoints

A checkpoint need not write a memory again: it keeps a *record*, plain numbers and the
names of the files that its memory is made of, with a SHA-256 of each. So the disk grows
with what happened, not with how often it was saved. Files are written as a whole
(temporary name, flush, rename) before the checkpoint that names them; whatever was
written after the checkpoint that a run goes on from is ignored, and later replaced or
removed.

Nothing is pickled, and reading executes nothing.
"""

import hashlib
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from forethought.data.bits import UNREADABLE, from_bits, packed, unpacked
from forethought.data.parts import Counters, Part, counters, part_since, put_together
from forethought.data.replay import Replay
from forethought.data.rings import R, ReplayState
from forethought.runs.store import files
from forethought.runs.store.plain import flatten, named

ROOM = "replay"
NAME = re.compile(r"\d+-\d+\.npz")
Record = dict[str, Any]
"""How far a memory was, and its files, as JSON has it."""


def append(
    folder: str | os.PathLike, state: ReplayState, before: Record | None = None
) -> Record:
    """Write what a memory holds that the journal does not hold yet.

    Args:
        folder: The run's folder.
        state: The memory.
        before: The record of the same memory as it was when it was written last, or
            when it was restored; None if it never was.

    Returns:
        A record that `restore` understands, for the next checkpoint to keep.

    Raises:
        OSError: It could not be written; what was written before is as it was.
    """
    now = counters(state)
    record = {
        "steps": now.steps,
        "oldest": now.oldest,
        "ahead": now.ahead,
        "sizes": _sizes(state),
        "files": [] if before is None else list(before["files"]),
    }
    was = None if before is None else _counted(before)
    if was is None or now.steps > was.steps:
        part = part_since(state, was)
        if part.first < now.steps:
            content = packed(_arrays(part))
            name = f"{part.first}-{now.steps}.npz"
            files.write(pathlib.Path(folder), f"{ROOM}/{name}", content)
            digest = hashlib.sha256(content).hexdigest()
            record["files"].append({"name": name, "end": now.steps, "sha256": digest})
    # Numbers of observations go up at least as fast as steps do.
    needed = now.steps - state.room
    record["files"] = [file for file in record["files"] if file["end"] > needed]
    return record


def restore(
    folder: str | os.PathLike, record: Record, replay: Replay, example: R
) -> ReplayState[R]:
    """The memory as it was when a record was made, every place of its rings included.

    Args:
        folder: The run's folder.
        record: What `append` returned.
        replay: What it is a memory of.
        example: One row of one lane.

    Raises:
        ValueError: A file is missing or damaged, or the memory was of another size or
            of other rows.
    """
    like = jax.eval_shape(replay.init, example)
    if record["sizes"] != _sizes(like):
        raise ValueError(
            f"The journal in {folder} needs a replay of the sizes that it was written "
            f"with, {_told(record['sizes'])}, got {_told(_sizes(like))}."
        )
    root = pathlib.Path(folder)
    parts = (_read(root, file, like) for file in record["files"])
    return put_together(replay, example, parts, _counted(record))


def prune(folder: str | os.PathLike, records: Iterable[Mapping[str, Any]]) -> None:
    """Remove the files of a journal that no record needs.

    Args:
        folder: The run's folder.
        records: Those of all checkpoints that are kept.
    """
    needed = {file["name"] for record in records for file in record["files"]}
    root = files.within(pathlib.Path(folder), ROOM)
    for path in root.iterdir() if root.is_dir() else ():
        if NAME.fullmatch(path.name) and path.name not in needed:
            path.unlink(missing_ok=True)


def _counted(record: Record) -> Counters:
    return Counters(record["steps"], record["oldest"], record["ahead"])


def _sizes(state: ReplayState) -> list[int]:
    return [state.capacity, state.lanes, state.room]


def _told(sizes: list[int]) -> str:
    capacity, lanes, room = sizes
    return f"{capacity} steps of {lanes} lanes with room for {room} observations"


def _arrays(part: Part) -> dict[str, np.ndarray]:
    """A part by flat names."""
    counts = {"first": np.int64(part.first), "begin": part.begin, "end": part.end}
    return {
        **flatten(part.rows, "rows"),
        **flatten(part.observations, "observations"),
        **{name: np.asarray(array) for name, array in counts.items()},
        "at": part.at,
    }


def _read(root: pathlib.Path, file: Mapping[str, Any], like: ReplayState) -> Part:
    """A part, once its file was compared with the record and the rows with ours.

    Raises:
        ValueError: They differ.
    """
    head = f"The journal needs {file['name']} in {root / ROOM}, but it"
    content = files.read(root, f"{ROOM}/{file['name']}", most=files.MOST)
    try:
        if hashlib.sha256(content).hexdigest() != file["sha256"]:
            raise ValueError("its checksum is wrong")
        arrays = unpacked(content)
        first, begin, end = (arrays[name] for name in ("first", "begin", "end"))
        time, numbers = file["end"] - int(first), int(np.sum(end - begin))
    except UNREADABLE as error:
        raise ValueError(f"{head} is damaged ({error}).") from error

    def taken(tree: Any, prefix: str, axes: tuple[int, ...]) -> Any:
        leaves = []
        for name, leaf in named(tree, prefix).items():
            if name not in arrays:
                raise ValueError(f"{head} holds no {name!r}.")
            array = from_bits(arrays[name], np.dtype(leaf.dtype))
            shape = (*axes, *leaf.shape[2:])
            if (array.shape, array.dtype) != (shape, leaf.dtype):
                raise ValueError(
                    f"{head} holds {name!r} of shape {array.shape} and dtype "
                    f"{array.dtype} instead of shape {shape} and dtype {leaf.dtype}."
                )
            leaves.append(array)
        return jax.tree.unflatten(jax.tree.structure(tree), leaves)

    return Part(
        first=int(first),
        rows=taken(like.rows, "rows", (time, like.lanes)),
        at=taken(like.at, "at", (time, like.lanes)),
        begin=begin,
        end=end,
        observations=taken(like.observations, "observations", (numbers,)),
    )
