"""Where a run may go, and what it may replace there.

A folder belongs to whoever filled it. A run goes into a new or an empty one, and over a
finished run of its kind only where that was asked for; then the files that runs make
are removed one by one, never through a link, and everything else stays.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

DONE = "done.json"
"""Says that a run came to its end."""
MADE = (
    *(DONE, "metrics.jsonl", "episode.npz", "foreseen.npz", "policy.npz", "values.npz"),
    *(
        "bounds.json",
        "cost.json",
        "taught.json",
        "comparison.json",
        "comparison.csv",
        "video.mp4",
    ),
    *("data.npz", "judged/*.npz", "models/*/checkpoints/0/leaves.npz"),
    *("models/*/checkpoints/0/host.json", "models/*/checkpoints/0/done"),
    *("report.html", "cards/*.npz", "replay/*-*.npz", "tensorboard/events.out.*"),
    *("checkpoints/*/leaves.npz", "checkpoints/*/host.json", "checkpoints/*/done"),
)
"""Files that a new run in an old folder replaces, besides plots."""
PLOTS = (
    *("states", "actions", "returns", "fan", "search", "tree", "gains", "timing"),
    *("strip", "comparison", "learning", "fans", "errors", "calibration", "lengths"),
    *("disagreement", "fit", "values", "forecasts", "where", "foreseen"),
)
"""Names of the figures in `plots/`."""
ROOMS = (
    *("checkpoints/*", "checkpoints", "cards", "replay", "tensorboard", "plots"),
    *("models/*/checkpoints/*", "models/*/checkpoints", "models/*", "models", "judged"),
)
PASSING = re.compile(r"\..*\.(tmp|mp4)|\.lock")
"""Names of files that a run leaves behind only where it was killed."""


def place_of(path: str | os.PathLike) -> pathlib.Path:
    """The path of a folder that somebody named.

    Raises:
        ValueError: It is empty.
    """
    if not os.fspath(path):
        raise ValueError("A run needs the name of a folder, got an empty one.")
    return pathlib.Path(path)


def free_folder(name: str) -> pathlib.Path:
    """A new folder under `runs/`, which no other run can take any more.

    Raises:
        ValueError: None can be made.
    """
    path, number = pathlib.Path("runs") / name, 2
    while True:
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            path, number = pathlib.Path("runs") / f"{name}-{number}", number + 1
        except OSError as error:
            raise ValueError(
                f"A run needs a folder that it may write to, but {path} refuses: "
                f"{error.strerror or error}."
            ) from error
        else:
            return path


def require_free(
    path: pathlib.Path, kind: str | None, kept: Mapping[str, Any], overwrite: bool
) -> None:
    """Refuse a folder in which somebody's files lie.

    Args:
        path: The folder, if it is one.
        kind: Of the run that is to go there.
        kept: Settings of the run that lies there; empty where none does.
        overwrite: Whether a finished run of the same kind may be replaced.

    Raises:
        ValueError: It is no folder, or not free.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"A run needs a folder to write to, got the file {path}.")
    names = os.listdir(path) if path.exists() else ()
    if not (there := sorted(each for each in names if not PASSING.fullmatch(each))):
        return
    if kind is None or kept.get("forethought") != kind:
        found = f"{there[0]}, which is not of a run of the same kind"
    elif DONE not in there:
        found = "a run that has not come to its end"
    elif overwrite:
        return
    else:
        found = "a finished run, which --overwrite would replace"
    raise ValueError(
        f"A run needs a new or an empty folder, but {path} holds {found}; name another "
        "one with --out."
    )


def clear(root: pathlib.Path) -> None:
    """Remove what runs make: files by name, and the rooms that are empty then."""
    for name in (*MADE, *(f"plots/{each}.png" for each in PLOTS)):
        for path in _own(root, name):
            if path.is_file() or path.is_symlink():
                path.unlink()
    for name in ROOMS:
        for path in _own(root, name):
            if path.is_dir() and not path.is_symlink():
                with contextlib.suppress(OSError):  # somebody's files are in it
                    path.rmdir()


def _own(root: pathlib.Path, name: str) -> list[pathlib.Path]:
    """Paths of a pattern that are reached by no link."""
    real = root.resolve()
    return [
        path
        for path in root.glob(name)
        if path.parent.resolve() == real / path.parent.relative_to(root)
    ]
