"""Transitions as the content of a file, which `reading` reads as the same again."""

import csv
import io
import pathlib
from collections.abc import Callable

import numpy as np

from forethought.data.bits import packed
from forethought.data.logged import Logged
from forethought.data.sources.arrays import NAMES
from forethought.data.sources.columns import PREFIXES
from forethought.data.sources.parquet import pyarrow

Columns = dict[str, np.ndarray]


def encoder(path: pathlib.Path) -> Callable[[Logged, np.ndarray | None], bytes]:
    """What makes the content of a file of that name.

    It is called with the transitions, and with the time of each row or None.

    Raises:
        ValueError: Nothing is written under such a suffix, or a package is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in ENCODERS:
        raise ValueError(
            f"Data are written to a file that ends in {', '.join(ENCODERS)}, got "
            f"{path.name!r}."
        )
    if suffix == ".parquet":
        pyarrow()
    return ENCODERS[suffix]


def to_csv(data: Logged, time: np.ndarray | None) -> bytes:
    """A line for each row; numbers as Python writes them, so that none is rounded."""
    columns = _columns(data, time)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    plain = [
        (array + 0 if array.dtype == bool else array).tolist()
        for array in columns.values()
    ]
    writer.writerows(zip(*plain, strict=True))
    return text.getvalue().encode()


def to_parquet(data: Logged, time: np.ndarray | None) -> bytes:
    """The same columns, compressed."""
    arrow, buffer = pyarrow(), io.BytesIO()
    arrow.parquet.write_table(arrow.table(_columns(data, time)), buffer)
    return buffer.getvalue()


def to_npz(data: Logged, time: np.ndarray | None) -> bytes:
    """Whole arrays by their names."""
    arrays = {**_single(data, time), "obs": data.obs, "action": data.action}
    arrays |= {
        "next_obs": data.next_obs,
        f"obs{NAMES}": np.array(data.obs_names),
        f"action{NAMES}": np.array(data.action_names),
    }
    return packed(arrays)


ENCODERS = {".csv": to_csv, ".parquet": to_parquet, ".npz": to_npz}


def _columns(data: Logged, time: np.ndarray | None) -> Columns:
    single = _single(data, time)
    action = data.action if data.action.ndim > 1 else data.action[:, None]
    found = {name: single.pop(name) for name in ("episode", "time") if name in single}
    for names, block, prefix in (
        (data.obs_names, data.obs, PREFIXES["obs"]),
        (data.action_names, action, PREFIXES["action"]),
        (data.obs_names, data.next_obs, "next_" + PREFIXES["obs"]),
    ):
        found |= {f"{prefix}{name}": block[:, i] for i, name in enumerate(names)}
        if prefix == PREFIXES["action"]:
            found |= single
    return found


def _single(data: Logged, time: np.ndarray | None) -> Columns:
    """Columns that there is one of."""
    found = {"episode": data.episode}
    if time is not None:
        found["time"] = time
    if data.reward is not None:
        found["reward"] = data.reward
    return {**found, "terminated": data.terminated, "truncated": data.truncated}
