"""Read logged transitions, whatever they were written in."""

import os
import pathlib
import stat
from collections.abc import Callable

from forethought.core.words import unknown
from forethought.data.logged import Logged
from forethought.data.sources.arrays import read_npz
from forethought.data.sources.columns import Patterns, choose
from forethought.data.sources.minari import PREFIX, is_minari, read_minari
from forethought.data.sources.parquet import read_parquet
from forethought.data.sources.table import Table
from forethought.data.sources.text import read_text
from forethought.data.sources.transitions import transitions
from forethought.data.sources.values import Bounds

READERS: dict[str, Callable[[str | os.PathLike], Table]] = {
    "text": read_text,
    "parquet": read_parquet,
    "npz": read_npz,
}
SUFFIXES = {
    ".csv": "text",
    ".tsv": "text",
    ".txt": "text",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".npz": "npz",
}
HEADS = {
    b"PAR1": "parquet",
    b"PK\x03\x04": "npz",
    b"\x93NUMPY": "a single array: save obs, action and others together by numpy.savez",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file: of these, only data sets of Minari are read, "
    "by their folder",
    b"\x1f\x8b": "compressed: unpack it first",
    b"\x80": "a pickle, which is never loaded",
}
"""How files begin, and what they are, or why they are not read."""


def read(
    path: str | os.PathLike,
    *,
    obs: Patterns = None,
    action: Patterns = None,
    reward: str | None = None,
    episode: str | None = None,
    time: str | None = None,
    terminated: str | None = None,
    truncated: str | None = None,
    bounds: Bounds | None = None,
    drop_bad: bool = False,
    discrete: bool = False,
) -> Logged:
    """Read transitions from a file or a data set.

    Columns are named or matched by patterns, several of them in one string or in a
    list (`"pos* vel*"`); where nothing is said, they are guessed from usual names, and
    `notes` of what is returned says so. An empty string says that there is none.

    Args:
        path: A file (CSV, Parquet, NPZ), the folder of a data set of Minari, or the
            name of one after "minari:".
        obs: Columns of what was seen.
        action: Columns of what was done.
        reward: The column of rewards.
        episode: The column whose label changes from one episode to the next.
        time: The column of times, in which jumps are found: numbers or ISO dates.
        terminated: The column that says where the task ended.
        truncated: The column that says where the recording stopped.
        bounds: The lowest and the highest actions; rows beyond them are bad.
        drop_bad: Whether to go on without bad rows; their episodes are cut there.
        discrete: Whether the action is the number of a choice.

    Raises:
        ValueError: It is missing or cannot be read as what it seems to be; columns are
            unknown; rows are bad and not to be dropped; or it has no transition.
    """
    return of_table(
        read_table(path),
        obs=obs,
        action=action,
        reward=reward,
        episode=episode,
        time=time,
        terminated=terminated,
        truncated=truncated,
        bounds=bounds,
        drop_bad=drop_bad,
        discrete=discrete,
    )


def of_table(
    table: Table,
    *,
    bounds: Bounds | None = None,
    drop_bad: bool = False,
    discrete: bool = False,
    **asked: Patterns,
) -> Logged:
    """The transitions of a table; arguments are those of `read`.

    Raises:
        ValueError: As `read`.
    """
    columns = choose(table, asked)
    return transitions(
        table, columns, bounds=bounds, drop_bad=drop_bad, discrete=discrete
    )


def read_table(path: str | os.PathLike) -> Table:
    """The table that a file or a data set holds.

    Raises:
        ValueError: It is missing, or cannot be read as what it seems to be.
    """
    if not os.fspath(path):
        raise ValueError("Data need the name of a file, got an empty one.")
    if isinstance(path, str) and path.startswith(PREFIX):
        return read_minari(path)
    if is_minari(pathlib.Path(path)):
        return read_minari(os.fspath(path))
    require_file(pathlib.Path(path))
    try:
        return READERS[_kind(pathlib.Path(path))](path)
    except OSError as error:
        words = error.strerror or error
        raise ValueError(f"{path} cannot be read: {words}.") from error


def _kind(path: pathlib.Path) -> str:
    """How a file is to be read: as its suffix says, else as it begins.

    Raises:
        ValueError: It is of a kind that is known and not read.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    with open(path, "rb") as file:
        head = file.read(8)
    for begin, kind in HEADS.items():
        if head.startswith(begin):
            if kind not in READERS:
                raise ValueError(f"{path} is {kind}.")
            return kind
    return "text"


def require_file(path: pathlib.Path) -> None:
    """Refuse what is no file that can be read to its end.

    Raises:
        ValueError: It is missing, empty, or something else.
    """
    if not path.exists():
        there = (
            [each.name for each in path.parent.iterdir()]
            if path.parent.is_dir()
            else []
        )
        hint = f" {unknown('file', path.name, there)}" if there and path.name else ""
        raise ValueError(f"There is no data in {str(path)!r}.{hint}")
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise ValueError(f"{path} is a folder, and no file of data.")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is no regular file, so that it may have no end.")
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty.")
