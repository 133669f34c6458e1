"""A run is a folder.

    config.json     what was run: every setting, written first
    metrics.jsonl   one JSON object a line, one line for each piece of the run
    episode.npz     what happened, as plain arrays (see `forethought.runs.plan.record`)
    cards/          of training: how well the model foresaw each interval
    bounds.json     of training: what random actions and an exact model earn
    policy.npz      of training: an episode of what was learned
    checkpoints/    of training: all that is needed to go on
    replay/         of training: what was seen (see `forethought.runs.store.journal`)
    data.npz        of models fitted to data (see `forethought.runs.fit.kept`), as are
    judged/, models/
    plots/          PNG files
    video.mp4
    report.html     all of the above in one file
    done.json       that the run came to its end, and with how many lines of metrics

Whatever replaces a file is written under a temporary name, flushed to the disk and
then renamed, so that a reader sees the old file or the new one and never half of one.
`metrics.jsonl` only grows, by whole lines; a line cut short by a crash is dropped. JSON
is always valid: NaN is written as null, infinities as the strings "Infinity" and
"-Infinity". Nothing is pickled, and reading executes nothing.

What is read may be damaged: each JSON file carries a digest of itself under `check`,
each line of metrics one of all before it, and what they hold is compared with a form
(`forethought.runs.store.schema`).
"""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import numpy as np

from forethought.data.bits import UNREADABLE, packed, unpacked
from forethought.runs.store import chain, files, lock
from forethought.runs.store.place import DONE, clear, place_of, require_free
from forethought.runs.store.plain import as_json, plain
from forethought.runs.store.schema import fit, parsed, require


class Config(TypedDict):
    """What reports read of a `config.json`; it may say anything else besides."""

    forethought: NotRequired[str]
    """Which kind of run."""
    task: NotRequired[str | None]
    planner: NotRequired[str | None]
    settings: NotRequired[dict[str, Any]]
    options: NotRequired[dict[str, Any]]
    command: NotRequired[str | list[str]]


class Done(TypedDict):
    """That a run came to its end."""

    lines: int


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """One run on disk; made by `create` or `open`.

    Args:
        path: The folder.
    """

    path: pathlib.Path

    @classmethod
    def create(
        cls,
        path: str | os.PathLike,
        config: Mapping[str, Any],
        *,
        overwrite: bool = False,
    ) -> "RunFolder":
        """Begin a run: make the folder, and write the config.

        Args:
            path: Where; parents are made.
            config: Every setting of the run. The report reads the keys `task`,
                `planner` and `command` (a string, or a list of arguments) and shows
                all the others in its table; `forethought` says which kind of run it
                is.
            overwrite: Whether a finished run of the same kind may be replaced. Files
                that are not of its making stay.

        Raises:
            ValueError: Something else lies there, another process writes there, or
                nothing can be written.
        """
        run, kind = cls(place_of(path)), config.get("forethought")
        try:
            require_free(run.path, kind, run._kept(), overwrite)
            run.path.mkdir(parents=True, exist_ok=True)
            with run.alone():  # nobody came in between
                require_free(run.path, kind, run._kept(), overwrite)
                clear(run.path)
                run.write_json("config.json", config)
        except OSError as error:
            raise ValueError(
                f"A run needs a folder that it may write to, but {run.path} refuses: "
                f"{error.strerror or error}."
            ) from error
        return run

    @classmethod
    def open(cls, path: str | os.PathLike) -> "RunFolder":
        """A run that exists.

        Raises:
            ValueError: The folder holds no readable `config.json`.
        """
        run = cls(place_of(path))
        run.config()
        return run

    def _kept(self) -> dict[str, Any]:
        """The settings, where they can be read."""
        try:
            return self.config()
        except ValueError:
            return {}

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Be the only process that writes to the folder.

        Raises:
            ValueError: Another one does.
            OSError: Nobody can write to it.
        """
        return lock.alone(self.path)

    def has(self, name: str) -> bool:
        """Whether anything of that name lies in the folder, a broken link too."""
        return os.path.lexists(self.path / name)

    def config(self) -> dict[str, Any]:
        """The settings.

        Raises:
            ValueError: There is no `config.json`, or it is not one of a run.
        """
        return self.read_json("config.json", Config)

    def finish(self) -> None:
        """Say that the run came to its end."""
        self.write_json(DONE, {"lines": len(self.metrics())})

    def reopen(self) -> None:
        """Say that the run goes on."""
        (self.path / DONE).unlink(missing_ok=True)

    def discard(self) -> None:
        """Take back what `create` did, where nothing came after it."""
        for name in ("config.json", lock.FILE):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something did
            self.path.rmdir()

    def write(self, name: str, content: bytes | str) -> pathlib.Path:
        """Make or replace a file, and return its path.

        Raises:
            ValueError: Something of another kind lies there, or elsewhere.
            OSError: It cannot be written.
        """
        if isinstance(content, str):  # names of files may be no Unicode
            content = content.encode(errors="backslashreplace")
        files.write(self.path, name, content)
        return self.path / name

    def read(self, name: str) -> bytes:
        """The content of a file that is no archive of arrays.

        Raises:
            ValueError: It is missing, no file, or lies elsewhere.
        """
        return files.read(self.path, name)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace a JSON file by a new object."""
        kept: dict[str, Any] = plain(value)
        self.write(name, as_json(kept | {"check": _check(kept)}))

    def read_json(self, name: str, form: Any = dict[str, Any]) -> dict[str, Any]:
        """The object in a JSON file.

        Args:
            name: Of the file.
            form: What it holds (`forethought.runs.store.schema`).

        Raises:
            ValueError: It is missing, was changed since it was written, or is not of
                the form.
        """
        value, check = self._checked(name)
        if check is not None and check != _check(value):
            raise ValueError(
                f"A run folder needs {name} as it was written, but {self.path / name} "
                "was changed."
            )
        return require(value, form, str(self.path / name))

    def _checked(self, name: str) -> tuple[dict[str, Any], str | None]:
        """The object in a JSON file, and what it says its digest is."""
        content = self.read(name)
        try:
            value = parsed(content)
        except ValueError as error:
            raise ValueError(
                f"A run folder needs {name}, but {self.path / name} cannot be read: "
                f"{error}."
            ) from error
        if not isinstance(value, dict):
            raise ValueError(f"A run folder needs a JSON object in {self.path / name}.")
        check = value.pop("check", None)
        return value, check if isinstance(check, str) else None

    def append(self, row: Mapping[str, Any], *, flush: bool = False) -> None:
        """Add one line to `metrics.jsonl`; it survives whatever happens next.

        The report reads, where they are there: `step` (steps done), `time` (seconds
        of the episode), `return` (so far), `seconds` (wall time of the step)
        and `result` (a result code's name).

        Args:
            row: What the line says.
            flush: Whether it has reached the disk when this returns.

        Raises:
            OSError: It cannot be written.
        """
        path = self.path / "metrics.jsonl"
        with files.open_to_append(path) as file:
            before = chain.newest(file, self._first(), str(path))
            line = chain.sealed(plain(row), before)
            end = file.seek(0, os.SEEK_END)
            if end:  # a crash may have left half a line: start a new one
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            try:
                file.write(line)
                file.flush()
                if flush:
                    os.fsync(file.fileno())
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error

    def metrics(self, form: Any = dict[str, Any]) -> list[dict[str, Any]]:
        """All whole lines of `metrics.jsonl`; none where there is no such file.

        Args:
            form: Of each line.

        Raises:
            ValueError: Lines were lost or changed, are those of another run, or are
                not of the form.
        """
        rows = [line.row for line in self._lines()]
        for i, row in enumerate(rows, 1):
            require(row, form, f"{self.path / 'metrics.jsonl'}, line {i}")
        if self.has(DONE):
            wanted = self.read_json(DONE, Done)["lines"]
            if len(rows) != wanted:
                raise ValueError(
                    f"A run folder needs the {wanted} lines of metrics that the run "
                    f"had, but {self.path / 'metrics.jsonl'} holds {len(rows)}."
                )
        return rows

    def keep_metrics(self, count: int) -> None:
        """Keep the first so many lines of `metrics.jsonl`, and drop the rest.

        Raises:
            ValueError: There are fewer.
        """
        lines = self._lines()
        if len(lines) < count:
            raise ValueError(
                f"Going on after {count} intervals needs as many lines of metrics, but "
                f"{self.path / 'metrics.jsonl'} holds {len(lines)}."
            )
        if count < len(lines) or self.has("metrics.jsonl"):
            content = b"".join(line.text + b"\n" for line in lines[:count])
            self.write("metrics.jsonl", content)

    def _lines(self) -> list[chain.Line]:
        if not self.has("metrics.jsonl"):
            return []
        content, name = self.read("metrics.jsonl"), self.path / "metrics.jsonl"
        return chain.lines(content, self._first(), str(name))

    def _first(self) -> str:
        """The digest of the settings; empty in folders of older versions."""
        if not self.has("config.json"):
            return ""
        return self._checked("config.json")[1] or ""

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
        self.write(name, packed(host, small=True))

    def arrays(
        self, name: str, forms: Mapping[str, str] | None = None
    ) -> dict[str, np.ndarray]:
        """Read what `save_arrays` wrote.

        Args:
            name: Of the file.
            forms: What it holds (`forethought.runs.store.schema`).

        Raises:
            ValueError: The file is missing, broken, not of the form, or holds pickled
                objects, which are never loaded.
        """
        content = files.read(self.path, name, most=files.MOST)
        try:
            arrays = unpacked(content)
        except UNREADABLE as error:
            raise ValueError(
                f"A run folder needs {name} as an archive of plain arrays, but "
                f"{self.path / name} cannot be read: {error}."
            ) from error
        fit(arrays, forms or {}, str(self.path / name))
        return arrays


def _check(value: Mapping[str, Any]) -> str:
    """The digest of plain values, in whatever order they are written."""
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return chain.digest("", text.encode())
