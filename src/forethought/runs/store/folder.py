"""A run is a folder.

    config.json     what was run: every setting, written first
    metrics.jsonl   one JSON object a line, one line for each piece of the run
    episode.npz     what happened, as plain arrays (see `forethought.runs.plan.record`)
    cards/          of training: how well the model foresaw each interval
    bounds.json     of training: what random actions and an exact model earn
    policy.npz      of training: an episode of what was learned
    checkpoints/    of training: all that is needed to go on
    replay/         of training: what was seen (see `forethought.runs.store.journal`)
    plots/          PNG files
    video.mp4
    report.html     all of the above in one file

Whatever replaces a file is written under a temporary name, flushed to the disk and
then renamed, so that a reader sees the old file or the new one and never half of one.
`metrics.jsonl` only grows, by whole lines; a line cut short by a crash is dropped. JSON
is always valid: NaN is written as null, infinities as the strings "Infinity" and
"-Infinity". Nothing is pickled, and reading executes nothing.
"""

import dataclasses
import enum
import io
import json
import math
import os
import pathlib
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

MADE = (
    *("metrics.jsonl", "episode.npz", "policy.npz", "bounds.json", "comparison.json"),
    *("comparison.csv", "video.mp4", "report.html"),
)
"""Files that a new run in an old folder replaces."""


def plain(value: Any) -> Any:
    """A value as JSON knows it: numbers, strings, lists, objects, null.

    Dataclasses (settings, planners) become objects, arrays lists, functions and
    classes their names, NaN null.

    Raises:
        TypeError: The value has no form in JSON.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return plain(np.asarray(value).tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if callable(value):
        return f"{value.__module__}:{value.__qualname__}"
    raise TypeError(
        "A run folder needs values that JSON can hold, got one of type "
        f"{type(value).__name__}."
    )


def config_with(
    task: str,
    maker: str,
    settings: Any,
    options: Any,
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """What the `config.json` of a run says.

    Args:
        task: The name of what was acted in.
        maker: The name of the planner, or of the agent.
        settings: Its own.
        options: All else that decides what the run does.
        command: That which began it, where there was one.
    """
    config = {
        "task": task,
        "planner": maker,
        "settings": settings,
        "options": options,
        "versions": {name: version(name) for name in ("forethought", "jax", "mujoco")},
    }
    return config if command is None else config | {"command": list(command)}


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Replace a file as a whole: temporary name, flush to disk, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)


def flush(folder: pathlib.Path) -> None:
    """Have what was made and renamed in a folder reach the disk."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """One run on disk; made by `create` or `open`.

    Args:
        path: The folder.
    """

    path: pathlib.Path

    @classmethod
    def create(cls, path: str | os.PathLike, config: Mapping[str, Any]) -> "RunFolder":
        """Begin a run: make the folder, clear what an older run left, write the config.

        Args:
            path: Where; parents are made.
            config: Every setting of the run. The report reads the keys `task`,
                `planner` and `command` (a string, or a list of arguments) and shows
                all the others in its table.

        Raises:
            ValueError: The path is a file, or nothing can be written there.
        """
        folder = pathlib.Path(path)
        if folder.exists() and not folder.is_dir():
            raise ValueError(
                f"A run needs a folder to write to, got the file {folder}."
            )
        run = cls(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in MADE:
                (folder / name).unlink(missing_ok=True)
            for plot in (folder / "plots").glob("*.png"):
                plot.unlink()
            for name in ("checkpoints", "replay", "cards"):
                shutil.rmtree(folder / name, ignore_errors=True)
            run.write_json("config.json", config)
        except OSError as error:
            raise ValueError(
                f"A run needs a folder that it may write to, but {folder} refuses: "
                f"{error.strerror or error}."
            ) from error
        return run

    @classmethod
    def open(cls, path: str | os.PathLike) -> "RunFolder":
        """A run that exists.

        Raises:
            ValueError: The folder holds no readable `config.json`.
        """
        run = cls(pathlib.Path(path))
        run.config()
        return run

    def config(self) -> dict[str, Any]:
        """The settings.

        Raises:
            ValueError: There is no `config.json`, or it is not a JSON object.
        """
        return self.read_json("config.json")

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace a JSON file by a new object."""
        content = json.dumps(plain(value), indent=2, allow_nan=False) + "\n"
        write_atomically(self.path / name, content.encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file.

        Raises:
            ValueError: It is missing, or not a JSON object.
        """
        file = self.path / name
        try:
            value = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise ValueError(
                f"A run folder needs a {name}, but {file} cannot be read: {error}."
            ) from error
        if not isinstance(value, dict):
            raise ValueError(f"A run folder needs a JSON object in {file}.")
        return value

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one line to `metrics.jsonl`; it survives whatever happens next.

        The report reads, where they are there: `step` (steps done), `time` (seconds
        of the episode), `return` (so far), `seconds` (wall time of the step)
        and `result` (a result code's name).
        """
        line = json.dumps(plain(row), allow_nan=False) + "\n"
        with open(self.path / "metrics.jsonl", "a+b") as file:
            end = file.seek(0, os.SEEK_END)
            if end:  # a crash may have left half a line: start a new one
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    line = "\n" + line
            file.write(line.encode())

    def metrics(self) -> list[dict[str, Any]]:
        """All whole lines of `metrics.jsonl`; none where there is no such file."""
        file = self.path / "metrics.jsonl"
        if not file.exists():
            return []
        rows = []
        for line in file.read_bytes().splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # cut short by a crash
                continue
            if isinstance(row, dict):
                rows.append(row)
        return rows

    def keep_metrics(self, count: int) -> None:
        """Keep the first so many lines of `metrics.jsonl`, and drop the rest."""
        lines = [json.dumps(row, allow_nan=False) for row in self.metrics()[:count]]
        content = "".join(line + "\n" for line in lines)
        write_atomically(self.path / "metrics.jsonl", content.encode())

    def save_arrays(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Write arrays as one compressed `.npz` file.

        Raises:
            TypeError: One of them is no array of numbers or strings.
        """
        host = {key: np.asarray(value) for key, value in arrays.items()}
        for key, value in host.items():
            if value.dtype.hasobject:
                raise TypeError(
                    f"A run folder needs arrays of numbers or strings, but {key!r} "
                    f"has dtype {value.dtype}."
                )
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **host)
        write_atomically(self.path / name, buffer.getvalue())

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Read what `save_arrays` wrote.

        Raises:
            ValueError: The file is missing, broken, or holds pickled objects, which
                are never loaded.
        """
        file = self.path / name
        try:
            with np.load(file, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
        except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as e:
            raise ValueError(
                f"A run folder needs {name} as an archive of plain arrays, but {file} "
                f"cannot be read: {e}."
            ) from e
        for key, value in arrays.items():
            if not isinstance(value, np.ndarray):  # NumPy hands out what it can't read
                raise ValueError(
                    f"A run folder needs {name} as an archive of plain arrays, but "
                    f"{key!r} in {file} is something else."
                )
        return arrays


def flatten(tree: Any, prefix: str) -> dict[str, np.ndarray]:
    """The leaves of a pytree under flat names, such as `stats/cost`.

    Args:
        tree: Any pytree of arrays.
        prefix: What every name begins with; the name itself for a bare array.
    """
    return {name: np.asarray(leaf) for name, leaf in named(tree, prefix).items()}


def named(tree: Any, prefix: str) -> dict[str, Any]:
    """The leaves of a pytree as they are, under the names that `flatten` gives."""
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        found[f"{prefix}/{name}" if name else prefix] = leaf
    return found


def free_folder(name: str) -> pathlib.Path:
    """A folder under `runs/` that no earlier run has taken."""
    folder = pathlib.Path("runs") / name
    number = 2
    while folder.exists():
        folder = pathlib.Path("runs") / f"{name}-{number}"
        number += 1
    return folder
