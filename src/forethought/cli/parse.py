"""From arguments to options; every complaint is one line."""

import ast
import contextlib
import inspect
import io
import itertools
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

import tyro

from forethought.core.words import unknown

FAILED = 1
BAD_INPUT = 2
"""Exit codes, besides that of who was interrupted."""
CHOICES = (tyro.conf.AvoidSubcommands,)
"""Where a field may be of several kinds, flags are those of its default's kind."""


class BadInput(Exception):
    """Something that was given is wrong; the message is the one line to print."""


class Failed(Exception):
    """What was begun could not be ended; the message is the one line to print."""


@contextlib.contextmanager
def bad_input() -> Iterator[None]:
    """Turn errors about what was given into one line and exit code 2."""
    try:
        yield
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise BadInput(" ".join(str(error).split())) from error


def reason(error: Exception) -> str:
    """What went wrong, in a sentence; of a disk, with the file's name."""
    if not (isinstance(error, OSError) and error.strerror):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}."


def failed(error: Exception, folder: Any) -> Failed:
    """Why a run did not come to its end, and where it is."""
    return Failed(f"{reason(error)} What was done is in {folder.path}.")


@contextlib.contextmanager
def alone(folder: Any) -> Iterator[None]:
    """Be the only process that writes to a run folder; otherwise it is bad input."""
    with contextlib.ExitStack() as stack:
        with bad_input():
            stack.enter_context(folder.alone())
        yield


def parse(form: Any, command: str, arguments: list[str], **keywords: Any) -> Any:
    """Parse flags by tyro; any complaint becomes one line."""
    complaint = io.StringIO()
    try:
        with (
            contextlib.redirect_stderr(complaint),
            bad_input(),
            warnings.catch_warnings(),
        ):
            # They would stand above the complaint, and are of no use to who types.
            warnings.simplefilter("ignore")
            parsed, left = tyro.cli(
                form,
                prog=f"forethought {command}",
                args=arguments,
                return_unknown_args=True,
                config=CHOICES,
                **keywords,
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        raise BadInput(one_line(complaint.getvalue())) from None
    if left:
        flags = re.findall(r"--[a-z][\w.-]*", help_text(form, command, **keywords))
        if left[0].startswith("-"):
            with bad_input():
                raise unknown("flag", left[0].split("=")[0], set(flags))
        raise BadInput(f"{command} takes no further argument, got {left[0]!r}.")
    return parsed


def help_text(form: Any, command: str, **keywords: Any) -> str:
    """What `--help` would print."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(
            form,
            prog=f"forethought {command}",
            args=["--help"],
            config=CHOICES,
            **keywords,
        )
    return text.getvalue()


def one_line(box: str) -> str:
    """The sentence inside tyro's box, whose lines are drawn as the terminal allows."""
    inside = [line.strip("│| ") for line in box.splitlines()[1:]]
    inside = [line for line in inside if line]
    rules = [i for i, line in enumerate(inside) if i and not line.strip("─-╭╮╰╯+ ")]
    text = " ".join(" ".join(inside[: rules[0] if rules else None]).split())
    text = text.lstrip("─- ")
    text = re.sub(r"(\S{60})\S{140,}", r"\1…", text)  # what was given, however long
    text = re.sub(r"^Error parsing (?!--)[\w.]+: ", "", text)
    text = re.sub(r"^Error parsing (--\S+): ", r"\1: ", text)
    for words, wanted in (
        ("invalid literal for int", "a whole number"),
        ("could not convert string to float", "a number"),
    ):
        text = re.sub(rf"^(\S+: ).*{words}.*: ", rf"\1needs {wanted}, got ", text)
    return text


def subject(
    command: str, what: str, form: Any, arguments: list[str], **keywords: Any
) -> tuple[str, list[str]]:
    """The positional argument that comes first, and the rest."""
    if {"-h", "--help"} & set(arguments):
        parse(form, f"{command} {what}", ["--help"], **keywords)
    if not arguments or arguments[0].startswith("-"):
        raise BadInput(f"{command} needs {what} first: forethought {command} {what}.")
    return arguments[0], arguments[1:]


def told(tokens: list[str], flag: str) -> str | None:
    """The last value of a flag, where it has to be known before flags are parsed."""
    found = None
    for token, after in itertools.pairwise([*tokens, "-"]):
        name, equals, value = token.partition("=")
        if name == flag and (equals or not after.startswith("-")):
            found = value if equals else after
    return found


def listed(tokens: list[str], flag: str) -> list[str]:
    """The last values of a flag that takes several, as `told` finds that of one."""
    found: list[str] = []
    for i, token in enumerate(tokens):
        name, equals, value = token.partition("=")
        if name == flag:
            after = itertools.takewhile(
                lambda word: not re.match(r"-+[a-zA-Z]", word), tokens[i + 1 :]
            )
            found = [value] if equals else list(after)
    return found


def environment_settings(tokens: list[str]) -> tuple[dict[str, Any], list[str]]:
    """What `--env.KEY VALUE` says of an environment, and the flags that are left.

    A value is read as JSON or as Python would write it, and is a string else: nobody
    knows beforehand which settings an environment has.

    Raises:
        BadInput: A setting has no name or no value.
    """
    found: dict[str, Any] = {}
    left, words = [], iter(tokens)
    for word in words:
        flag, equals, value = word.partition("=")
        if not flag.startswith("--env."):
            left.append(word)
            continue
        if not equals:
            value = next(words, "--")
        if value.startswith("--") or flag == "--env.":
            raise BadInput(f"{flag} needs a value: --env.KEY VALUE.")
        found[flag.removeprefix("--env.")] = _literal(value)
    return found, left


def _literal(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return read(text)
    return text


def arguments_of(cls: type) -> dict[str, str]:
    """What a class and its bases say of each argument.

    In its first sentence, without formulas.
    """
    found: dict[str, str] = {}
    for kind in reversed(cls.__mro__):
        _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("\nArgs:\n")
        last = ""
        for line in section.partition("\n\n")[0].splitlines():
            name = re.match(r"    (\w+): (.*)", line)
            if name:
                last = name[1]
                found[last] = name[2]
            elif last:
                found[last] += " " + line.strip()
    plain = {name: re.sub(r"[$\\]", "", text) for name, text in found.items()}
    return {
        name: re.split(r"(?<=[.;]) ", text)[0].rstrip(";")
        for name, text in plain.items()
    }
