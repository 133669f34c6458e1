"""Tables that are made of whole arrays, as NumPy's files and others hold them.

    obs [row, observation]  action [row, action]  reward [row]  episode [row]  …

An array with two axes is a column for each of its second; `obs_names` says their names
where it is there. With three axes, the first one is the episode. Where observations are
one more than actions, the last one is what was seen at the end.
"""

import collections
import fnmatch
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from forethought.data.bits import UNREADABLE, unpacked
from forethought.data.sources.columns import GUESSES
from forethought.data.sources.table import CELLS, Table

LARGEST = 8 * CELLS
"""Bytes of a file that is read as a whole, at most."""
NAMES = "_names"
"""What the array is called after that names the columns of another one."""


def read_npz(path: str | os.PathLike) -> Table:
    """The table of an `.npz` file, of which nothing is unpickled.

    Raises:
        ValueError: It is damaged, holds what is no number, or arrays that do not fit.
        OSError: It cannot be read.
    """
    source = os.fspath(path)
    if (size := pathlib.Path(path).stat().st_size) > LARGEST:
        raise ValueError(f"{source} has {size:,} bytes, more than is read at once.")
    try:
        arrays = unpacked(pathlib.Path(path).read_bytes())
    except UNREADABLE as error:
        raise ValueError(f"{source} is no NPZ file of numbers: {error}.") from error
    if not arrays:
        raise ValueError(f"{source} holds no arrays.")
    return from_arrays(source, arrays)


def from_arrays(
    source: str, arrays: Mapping[str, np.ndarray], *, discrete: bool = False
) -> Table:
    """A table of arrays by name.

    Args:
        source: What they were read from.
        arrays: Of rows, or of episodes of rows.
        discrete: Whether the action is the number of a choice.

    Raises:
        ValueError: Arrays have different numbers of rows or more axes than that.
    """
    named = {
        name: array
        for name, array in arrays.items()
        if not (name.endswith(NAMES) and array.dtype.kind in "US") and array.ndim
    }
    named = _flat(source, named)
    rows = _rows(source, named)
    fitting = {name: each for name, each in named.items() if len(each) == rows}
    aside = [name for name in named if name not in fitting]
    columns: dict[str, np.ndarray | list[str]] = {}
    for name, array in fitting.items():
        if array.ndim == 1:
            columns[name] = _column(array)
        else:
            own = _names(name, array, arrays)
            columns |= {each: array[:, i] for i, each in enumerate(own)}
    notes = (f"Left aside for another length: {', '.join(aside)}.",) if aside else ()
    return Table(source, columns, np.arange(rows), notes=notes, discrete=discrete)


def _flat(source: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by row: episodes one after the other, what was seen last taken along."""
    if deep := [name for name, array in arrays.items() if array.ndim > 3]:
        shape = arrays[deep[0]].shape
        raise ValueError(
            f"{source} needs arrays by row, or by episode and row, but {deep[0]!r} has "
            f"the shape {shape}."
        )
    stacked = [array.shape[:2] for array in arrays.values() if array.ndim == 3]
    if not stacked:
        return _seen_last(arrays, 0)
    episodes, steps = stacked[0][0], min(shape[1] for shape in stacked)
    own = {
        name: array
        for name, array in arrays.items()
        if array.ndim > 1
        and array.shape[0] == episodes
        and array.shape[1] in (steps, steps + 1)
    }
    flat = {
        name: array.reshape(-1, *array.shape[2:])
        for name, array in _seen_last(own, 1).items()
    }
    labels = np.repeat(np.arange(episodes), steps)
    return {name: each for name, each in arrays.items() if name not in own} | {
        "episode": labels,
        **flat,
    }


def _seen_last(arrays: dict[str, np.ndarray], axis: int) -> dict[str, np.ndarray]:
    """With the next observations, where there is one more of them than of actions."""
    lengths = {
        array.shape[axis] for name, array in arrays.items() if _is(name, "action")
    }
    if len(lengths) != 1:
        return arrays
    (steps,) = lengths
    found = {}
    for name, array in arrays.items():
        if _is(name, "obs") and array.shape[axis] == steps + 1:
            now, later = (np.arange(steps) + i for i in (0, 1))
            found[name] = array.take(now, axis)
            found[f"next_{name}"] = array.take(later, axis)
        else:
            found[name] = array
    return found


def _rows(source: str, arrays: Mapping[str, np.ndarray]) -> int:
    """How many rows most arrays have; what is known by its name has to have as many."""
    if not arrays:
        raise ValueError(f"{source} holds no arrays with rows.")
    counts = collections.Counter(len(array) for array in arrays.values())
    known = {
        name: array.shape
        for name, array in arrays.items()
        if any(_is(name, role) for role in GUESSES)
    }
    if len({shape[0] for shape in known.values()}) > 1:
        told = ", ".join(f"{name} {list(shape)}" for name, shape in known.items())
        raise ValueError(f"{source} needs as many rows of each array, got {told}.")
    rows = next(iter(known.values()))[0] if known else counts.most_common(1)[0][0]
    width = sum(np.prod(array.shape[1:], dtype=int) for array in arrays.values())
    if rows * width > CELLS:
        raise ValueError(
            f"{source} has {rows:,} rows of {width:,} numbers, more than is read at "
            "once."
        )
    if not rows:
        raise ValueError(f"{source} has no rows.")
    return rows


def _is(name: str, role: str) -> bool:
    """Whether an array is called what is usual for a role."""
    patterns = (each for group in GUESSES[role] for each in group)
    word = name.lower().removeprefix("next_")
    return any(fnmatch.fnmatchcase(word, pattern) for pattern in patterns)


def _names(name: str, array: np.ndarray, arrays: Mapping[str, np.ndarray]) -> list[str]:
    """What the columns of an array are called."""
    width = array.shape[1]
    told = arrays.get(name.removeprefix("next_") + NAMES)
    if told is not None and told.shape == (width,):
        own = [str(each) for each in told.tolist()]
        if len(set(own)) == width:
            return [f"{name}.{each}" for each in own]
    return [f"{name}{i}" for i in range(width)]


def _column(array: np.ndarray) -> np.ndarray | list[str]:
    if array.dtype.kind == "S":
        return [each.decode("utf-8", "replace") for each in array.tolist()]
    return array.tolist() if array.dtype.kind == "U" else array
