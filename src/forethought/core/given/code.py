"""Errors in code that people hand over: said with their own file and line.

An objective, a model or a system is called while a program is traced, from deep inside
of JAX. What it raises there comes back through many frames of ours and of theirs that
say nothing about the fault. `naming_the_line` finds the innermost frame that belongs to
neither, and says what happened there in one sentence.
"""

import contextlib
import inspect
import linecache
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

INNER = sys.stdlib_module_names | {
    "beartype",
    "equinox",
    "forethought",
    "jax",
    "jaxlib",
    "jaxtyping",
    "mujoco",
    "numpy",
    "optax",
}
"""Packages whose lines tell a person nothing about code of their own."""
PLAIN = (
    (r"^dot_general requires", "the sizes of a product do not match"),
    (r"incompatible shapes", "the shapes of two arrays do not go together"),
    (
        r"^Attempted boolean conversion",
        "`if`, `and` or `or` asks for a number that is known only when the program "
        "runs; jnp.where chooses between two",
    ),
    (
        r"traced array|Tracer|concrete value",
        "this needs a number that is known only when the program runs; functions of "
        "jax.numpy take it",
    ),
)
"""What errors of JAX mean, whose own words are of its inside."""
LONGEST = 300
"""Letters of an error's own message that are passed on."""


@contextlib.contextmanager
def naming_the_line() -> Iterator[None]:
    """Say where an error happened, if that was in a person's own code.

    Raises:
        ValueError: Naming file, line and function, and the error, which is its cause.
    """
    try:
        yield
    except (OSError, MemoryError):
        raise  # faults of the machine, wherever they are met
    except Exception as error:
        place = place_of(error)
        if place is None:
            raise
        raise ValueError(f"{place}: {said_of(error)}") from error


def said_of(error: BaseException) -> str:
    """What an error says, in one sentence without words of compilers."""
    words = str(error).strip()
    for inner, plain in PLAIN:
        if re.search(inner, words):
            given = re.search(r"\bgot (\([^)]*\)[^.\n]*)", words)
            return f"{plain}, got {given[1]}." if given else f"{plain}."
    first = words.partition("\n")[0][:LONGEST]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def place_of(error: BaseException) -> str | None:
    """Where it was raised, in the last line that is a person's own; None without one.

    Lines of packages that were installed count only where there are no others.
    """
    found = own_line(error) or own_line(error, installed=True)
    if found is None:
        return None
    file, line, function = found
    return f"{_short(file)}:{line} in {function}"


def own_line(
    error: BaseException, *, installed: bool = False
) -> tuple[str, int, str] | None:
    """File, line and function of the last line that an error passed of a person's own.

    Args:
        error: As it was raised.
        installed: Whether lines of packages that were installed count, too.
    """
    passed = [
        (frame.f_code, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if _is_theirs(frame)
        and (installed or not _is_installed(frame.f_code.co_filename))
    ]
    if not passed:
        return None
    code, line = passed[-1]
    return code.co_filename, line, code.co_name


def is_refusal(error: BaseException) -> bool:
    """Whether the library itself raised an error; JAX hides frames of its own."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    written = linecache.getline(frame.f_code.co_filename, line)
    return package == "forethought" and written.lstrip().startswith("raise ")


def line_of(function: Callable[..., Any]) -> str:
    """Where a function is written, as in "objective.py:12 in Reach.reward"."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", type(function).__name__)
    if code is None:
        return name
    return f"{_short(code.co_filename)}:{code.co_firstlineno} in {name}"


def kind_of(given: Any) -> str:
    """A type in few words, as in "int32[]" or "float32[3, 1]"."""
    shape, dtype = getattr(given, "shape", None), getattr(given, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{dtype}{list(shape)}"
    return "nothing" if given is None else f"{given!r} ({type(given).__name__})"


def _is_theirs(frame: FrameType) -> bool:
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    name = frame.f_code.co_filename
    written = not name.startswith("<") or name.startswith(("<stdin", "<ipython"))
    return written and package not in INNER


def _is_installed(path: str) -> bool:
    return bool({"site-packages", "dist-packages"} & set(pathlib.Path(path).parts))


def _short(path: str) -> str:
    """A path from the current folder on, if it is in there."""
    near = os.path.relpath(path) if os.path.isabs(path) else path
    return path if near.startswith("..") else near
