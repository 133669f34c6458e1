"""Data sets of Minari, by its own package, which is an extra.

minari:pendulum/random-v0     one that lies where Minari keeps them; nothing is
                              downloaded
a folder                      the same, wherever it lies
"""

import json
import pathlib
from typing import Any

import numpy as np

from forethought.core.words import unknown
from forethought.data.sources.arrays import from_arrays
from forethought.data.sources.table import CELLS, Table

PREFIX = "minari:"


def minari() -> Any:
    """The package that reads them.

    Raises:
        ValueError: It is not installed.
    """
    try:
        import h5py  # noqa: F401
        import minari
    except ImportError as error:
        raise ValueError(
            "Minari's data sets need the package minari, which comes with an extra: "
            "pip install 'forethought[minari]'."
        ) from error
    return minari


def is_minari(path: pathlib.Path) -> bool:
    """Whether a folder holds a data set of Minari, or is its inner one."""
    return _inner(path) is not None


def read_minari(source: str) -> Table:
    """The table of a data set.

    Args:
        source: A folder, or a name after "minari:".

    Raises:
        ValueError: There is none of that name, it is damaged, or its observations and
            actions are no numbers; or Minari is not installed.
    """
    package = minari()
    try:
        if source.startswith(PREFIX):
            name = source.removeprefix(PREFIX)
            known = package.list_local_datasets()
            if name not in known:
                hint = str(unknown("Minari data set", name, known)) if known else ""
                hint = (
                    hint or f"Minari keeps no data set here, and none named {name!r}."
                )
                raise ValueError(f"{hint} It is fetched by: minari download {name}")
            data = package.load_dataset(name)
        else:
            data = package.MinariDataset(_inner(pathlib.Path(source)))
        return _table(source, data)
    except (
        OSError,
        KeyError,
        TypeError,
        AssertionError,
        json.JSONDecodeError,
    ) as error:
        words = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{source} cannot be read by Minari: {words}.") from error


def _inner(path: pathlib.Path) -> pathlib.Path | None:
    for each in (path, path / "data"):
        if (each / "metadata.json").is_file():
            return each
    return None


def _table(source: str, data: Any) -> Table:
    from gymnasium import spaces

    discrete = isinstance(data.action_space, spaces.Discrete)
    if int(data.total_steps) * _width(data.observation_space) > CELLS:
        raise ValueError(f"{source} holds more than is read at once.")
    parts: dict[str, list[np.ndarray]] = {}

    def put(name: str, array: np.ndarray) -> None:
        parts.setdefault(name, []).append(array)

    for number, episode in enumerate(data.iterate_episodes()):
        count = len(episode.rewards)
        seen = _leaves(source, "obs", episode.observations)
        for name, array in seen.items():
            put(name, array[:count])
            put(f"next_{name}", array[1 : count + 1])
        for name, array in _leaves(source, "action", episode.actions).items():
            put(name, array - int(data.action_space.start) if discrete else array)
        put("reward", np.asarray(episode.rewards))
        put("terminated", np.asarray(episode.terminations))
        put("truncated", np.asarray(episode.truncations))
        put("episode", np.full(count, number))
    if not parts:
        raise ValueError(f"{source} has no episodes.")
    arrays = {name: np.concatenate(each) for name, each in parts.items()}
    return from_arrays(source, arrays, discrete=discrete)


def _width(space: Any) -> int:
    from gymnasium import spaces

    return spaces.flatdim(space)


def _leaves(source: str, name: str, tree: Any) -> dict[str, np.ndarray]:
    """Arrays of rows, of a dictionary by their keys, in the order of letters."""
    if isinstance(tree, dict):
        found = {}
        for key in sorted(tree):
            found |= _leaves(source, f"{name}.{key}", tree[key])
        return found
    if isinstance(tree, tuple):
        return _leaves(source, name, {str(i): each for i, each in enumerate(tree)})
    array = np.asarray(tree)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{source} needs numbers, but its {name} holds {array.dtype}.")
    return {name: array.reshape(len(array), -1) if array.ndim > 2 else array}
