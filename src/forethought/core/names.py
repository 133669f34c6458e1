"""Unknown names, answered with the nearest known one."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, given: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is none of the known ones.

    Args:
        kind: What the name stands for, such as "task".
        given: The name that was given.
        known: The names that there are.

    Returns:
        An error that suggests the nearest name, or lists them all where none is near.
    """
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}."
    return ValueError(f"There is no {kind} named {given!r}; {hint}")
