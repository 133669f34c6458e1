"""How things are said: unknown names, numbers, times, rates."""

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


def scientific(number: float) -> str:
    """A number to two digits, such as 1.2e11."""
    return f"{number:.1e}".replace("e+", "e").replace("e0", "e")


def duration(seconds: float) -> str:
    """A time to two digits, in the unit that suits it."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3))
    chosen = ("µs", 1e-6)
    for unit, size in units:
        if seconds >= (1.5 * size if size > 1 else size):
            chosen = unit, size
            break
    unit, size = chosen
    amount = seconds / size
    return f"{amount:.0f} {unit}" if amount >= 10 else f"{amount:.2g} {unit}"


def hertz(rate: float) -> str:
    """A rate to three digits."""
    return f"{rate:,.0f} Hz" if rate >= 100 else f"{rate:.3g} Hz"
