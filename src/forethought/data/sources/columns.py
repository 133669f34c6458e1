"""Which columns are what: by their names, by patterns, or guessed from usual names.

A pattern is a name or has the wildcards of file names (`pos*`, `q?`); columns come in
the order of the file. What is guessed is said, so that a wrong guess is seen.
"""

import dataclasses
import fnmatch
from collections.abc import Sequence

from forethought.core.words import unknown
from forethought.data.sources.table import UNNAMED, Table

Patterns = str | Sequence[str] | None
GUESSES: dict[str, tuple[tuple[str, ...], ...]] = {
    "action": (
        ("action*", "act_*", "act.*", "act"),
        ("u", "u_*", "u[0-9]*"),
        ("a", "a_*", "a[0-9]*"),
        ("control*", "ctrl*"),
    ),
    "obs": (
        ("obs*",),
        ("state*",),
        ("o_*", "o[0-9]*"),
        ("s_*", "s[0-9]*"),
        ("x_*", "x[0-9]*"),
    ),
    "reward": (("reward", "rewards"), ("r",)),
    "episode": (
        ("episode", "episodes", "episode_id", "ep"),
        ("traj", "traj_id", "trajectory", "trajectory_id", "rollout"),
    ),
    "time": (("time", "timestamp"), ("t",)),
    "terminated": (("terminated", "terminations", "terminal", "terminals"), ("done",)),
    "truncated": (("truncated", "truncations", "timeouts", "timeout"),),
}
"""Usual names, the groups that are looked for first before the others."""
SINGLE = ("reward", "episode", "time", "terminated", "truncated")
NEXT = ("next_{}", "{}_next", "next.{}", "next {}")
PREFIXES = {"obs": "obs.", "action": "action."}
"""What files of ours put before the names of columns."""


@dataclasses.dataclass(frozen=True)
class Columns:
    """Names of columns by what they are; None where there is none."""

    obs: tuple[str, ...]
    action: tuple[str, ...]
    after: tuple[str, ...] | None
    """Of the next observations."""
    reward: str | None = None
    episode: str | None = None
    time: str | None = None
    terminated: str | None = None
    truncated: str | None = None
    notes: tuple[str, ...] = ()


def choose(table: Table, asked: dict[str, Patterns]) -> Columns:
    """Find the columns of a table.

    Args:
        table: What was read.
        asked: Patterns by what is asked for; None where it is to be guessed, an empty
            string where there is to be none.

    Raises:
        ValueError: A pattern matches nothing, two columns where there can be one, or a
            column that is taken; or nothing tells observations or actions.
    """
    names = list(table.columns)
    found: dict[str, list[str]] = {}
    taken: dict[str, str] = {}
    for role, patterns in asked.items():
        if patterns is not None:
            found[role] = _matching(table, role, patterns)
            for name in found[role]:
                if name in taken:
                    raise ValueError(
                        f"The column {name!r} of {table.source} cannot be both "
                        f"{taken[name]} and {role}."
                    )
                taken[name] = role
    nexts = {_next(names, name) for name in names}
    left = [name for name in names if name not in taken and name not in nexts]
    guessed = []
    for role in (*SINGLE, "action", "obs"):
        if role not in found:
            found[role] = _guess(role, left)
            left = [name for name in left if name not in found[role]]
            if any(not _plain(role, name) for name in found[role]):
                guessed.append(f"{role} from {_listed(found[role])}")
    if not found["obs"] and found["action"]:
        found["obs"] = [name for name in left if _may_be_seen(table, name)]
        if found["obs"]:
            guessed.append(f"obs from all others, {_listed(found['obs'])}")
    used = {name for own in found.values() for name in own}
    unused = [name for name in left if name not in used]
    notes = (f"Guessed by their names: {'; '.join(guessed)}.",) if guessed else ()
    for role in ("action", "obs"):
        if not found[role]:
            raise ValueError(
                f"{table.source} needs to be told which columns are the {role}: "
                f"--{role} NAMES, of {_listed(names, 12)}."
            )
    if guessed and unused:
        notes += (f"Not used: {_listed(unused)}.",)
    after = [_next(names, name) for name in found["obs"]]
    kept = tuple(name for name in after if name is not None)
    if 0 < len(kept) < len(after):
        lack = found["obs"][after.index(None)]
        notes += (f"{_listed(kept)} not used, because {lack!r} has no next column.",)
    first = {role: next(iter(found[role]), None) for role in SINGLE}
    return Columns(
        tuple(found["obs"]),
        tuple(found["action"]),
        kept if len(kept) == len(after) else None,
        **first,
        notes=notes,
    )


def short(role: str, names: Sequence[str]) -> tuple[str, ...]:
    """Names without what files of ours put before them."""
    prefix = PREFIXES[role]
    if all(name.startswith(prefix) and name != prefix for name in names):
        return tuple(name.removeprefix(prefix) for name in names)
    return tuple(names)


def _may_be_seen(table: Table, name: str) -> bool:
    """Whether a column has numbers in it, and no name of something else."""
    if name.startswith(UNNAMED) or any(_guess(role, [name]) for role in SINGLE):
        return False
    try:
        table.numbers(name)
    except ValueError:
        return False
    return True


def _matching(table: Table, role: str, patterns: str | Sequence[str]) -> list[str]:
    names = list(table.columns)
    words = [patterns] if isinstance(patterns, str) else list(patterns)
    split = [
        part for word in words for part in ([word] if word in names else word.split())
    ]
    kept: set[str] = set()
    for pattern in split:
        matched = [pattern] if pattern in names else fnmatch.filter(names, pattern)
        if not matched:
            error = unknown("column", pattern, names)
            raise ValueError(f"{table.source} lacks a column for {role}. {error}")
        kept.update(matched)
    found = [name for name in names if name in kept]
    if role in SINGLE and len(found) > 1:
        raise ValueError(f"{role} needs one column, got {_listed(found)}.")
    return found


def _guess(role: str, names: Sequence[str]) -> list[str]:
    for group in GUESSES[role]:
        found = [
            name
            for name in names
            if any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in group)
        ]
        if found:
            return found[:1] if role in SINGLE else found
    return []


def _plain(role: str, name: str) -> bool:
    """Whether a name says what it is, so that nothing is guessed."""
    return name == role or (role in PREFIXES and name.startswith(PREFIXES[role]))


def _next(names: Sequence[str], name: str) -> str | None:
    return next((each for form in NEXT if (each := form.format(name)) in names), None)


def _listed(names: Sequence[str], most: int = 6) -> str:
    """Names in a sentence."""
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
