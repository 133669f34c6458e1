"""Read logged transitions from a file, whatever its format."""

import os
import pathlib
import stat

from forethought.core.words import unknown
from forethought.data.logged import Logged
from forethought.data.sources.columns import Patterns, choose
from forethought.data.sources.table import Table
from forethought.data.sources.text import read_text
from forethought.data.sources.transitions import transitions
from forethought.data.sources.values import Bounds


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
    """Read transitions from a file.

    Columns are named or matched by patterns, several of them in one string or in a
    list (`"pos* vel*"`); where nothing is said, they are guessed from usual names, and
    `notes` of what is returned says so. An empty string says that there is none.

    Args:
        path: The file.
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
    table = read_table(path)
    asked = {
        "obs": obs,
        "action": action,
        "reward": reward,
        "episode": episode,
        "time": time,
        "terminated": terminated,
        "truncated": truncated,
    }
    columns = choose(table, asked)
    return transitions(
        table, columns, bounds=bounds, drop_bad=drop_bad, discrete=discrete
    )


def read_table(path: str | os.PathLike) -> Table:
    """The table that a file holds."""
    if not os.fspath(path):
        raise ValueError("Data need the name of a file, got an empty one.")
    require_file(pathlib.Path(path))
    return read_text(path)


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
