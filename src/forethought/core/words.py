"""How things are said: unknown names, numbers, times, rates, odd characters."""

import difflib
import re
from collections.abc import Iterable, Sequence

NEAREST = 10
"""So many names are listed where none is near, at most."""


def unknown(kind: str, given: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is none of the known ones.

    Args:
        kind: What the name stands for, such as "task".
        given: The name that was given.
        known: The names that there are.

    Returns:
        An error that suggests what was meant, or lists the nearest where that is not
        clear.
    """
    names = sorted(known)
    meant = _meant(given, names)
    if meant is not None:
        hint = f"did you mean {meant!r}?"
    else:
        near = difflib.get_close_matches(given, names, n=NEAREST, cutoff=0.0)
        more = len(names) - len(near)
        hint = f"known are {', '.join(sorted(near))}"
        hint += f" and {more} more." if more else "."
    return ValueError(f"There is no {kind} named {given!r}; {hint}")


def _meant(given: str, names: Sequence[str]) -> str | None:
    """The name that was meant: spelt alike, in other letters, or a part of it.

    The part counts where names are made of parts, as flags are: of `--horizon` the
    shortest name that ends so is meant, such as `--planner.horizon`.
    """
    plain = {re.sub(r"[\W_]+", "-", name.lower()).strip("-"): name for name in names}
    word = re.sub(r"[\W_]+", "-", given.lower()).strip("-")
    if word in plain:
        return plain[word]
    ends = [each for each in plain if word and each.endswith(f"-{word}")]
    if ends:
        return plain[min(ends, key=len)]
    near = difflib.get_close_matches(word, list(plain), n=1, cutoff=0.5)
    return plain[near[0]] if near else None


def scientific(number: float) -> str:
    """A number to two digits, such as 1.2e11."""
    return f"{number:.1e}".replace("e+", "e").replace("e0", "e")


def spread(mean: float, std: float) -> str:
    """A mean and its standard deviation, as in "-177 ± 130 (std)".

    ```python
    >>> from forethought.core.words import spread
    >>> spread(-176.94, 131.2), spread(0.5, 0.0123)
    ('-176.9 ± 130 (std)', '0.5 ± 0.012 (std)')

    ```
    """
    around = f"{std:.2g}"
    if 100 <= std < 1e9:
        around = f"{float(around):.0f}"
    return f"{mean:.4g} ± {around} (std)"


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


def visible(text: str) -> str:
    """Text whose control characters are seen instead of obeyed by a terminal."""
    return "".join(
        each if each.isprintable() or each in "\n\t" else repr(each)[1:-1]
        for each in text
    )
