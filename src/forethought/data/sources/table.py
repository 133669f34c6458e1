"""A table as a file holds it, before anybody said what its columns mean.

A column is asked by its role: numbers (observations, actions, rewards), times, flags,
or labels of episodes. A cell that cannot play the role makes its row a bad one, and the
row is named by the number that a person finds it by in the file.
"""

import dataclasses
import math
import re
from collections.abc import Sequence

import numpy as np

Faults = dict[int, str]
"""Bad rows, by their place in the table, and why."""
MISSING = frozenset({"", "na", "n/a", "null", "none", "-"})
WORDS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
COMMA = re.compile(r"[+-]?\d+,\d+")
CELLS = 1 << 28
"""Numbers that are read from one source, at most: 2 GiB."""
UNNAMED = "Unnamed: "
"""Begins the name of a column that has none in its file, as an index often has."""
NEVER = np.datetime64("NaT", "ns")
SHOWN = 30
"""Letters of a cell that are shown, at most."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns of one length.

    Args:
        source: What it was read from, for sentences.
        columns: By name, in the order of the file: arrays of numbers, flags or dates,
            or lists of text, in which numbers may be.
        lines: By which number a person finds each row in the source.
        unit: What that number counts, such as "line".
        faults: Rows that could not be taken apart.
        notes: What was assumed, a sentence each.
        discrete: Whether the action is known to be the number of a choice.
    """

    source: str
    columns: dict[str, np.ndarray | list[str]]
    lines: np.ndarray
    unit: str = "row"
    faults: Faults = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    discrete: bool = False

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.lines)

    def numbers(self, name: str) -> tuple[np.ndarray, Faults]:
        """A column as numbers; NaN where a cell is none, which is a fault.

        Raises:
            ValueError: None of its cells is a number.
        """
        column = self.columns[name]
        faults: Faults = {}
        if isinstance(column, list):
            values, faults = self._parsed(name, column)
        elif np.issubdtype(column.dtype, np.datetime64):
            raise ValueError(
                f"{self.source} has dates in the column {name!r}, which can be the "
                "time but no observation, action or reward."
            )
        else:
            values = column.astype(np.float64)
        for row in np.flatnonzero(~np.isfinite(values)).tolist():
            word = "NaN" if np.isnan(values[row]) else "infinite"
            faults.setdefault(row, f"{name!r} is {word}")
        return values, faults

    def _parsed(self, name: str, cells: list[str]) -> tuple[np.ndarray, Faults]:
        values, faults = np.full(len(cells), np.nan), {}
        found = False
        for row, cell in enumerate(cells):
            value = number(cell)
            if value is None:
                text = cell.strip()
                said = "is empty" if text.lower() in MISSING else f"is {shown(text)}"
                faults[row] = f"{name!r} {said}"
            else:
                values[row], found = value, True
        if not found and cells:
            self._refuse(name, cells)
        return values, faults

    def _refuse(self, name: str, cells: Sequence[str]) -> None:
        text = next((each for each in cells if each.strip().lower() not in MISSING), "")
        if not text:
            said = "nothing in it"
        elif COMMA.fullmatch(text.strip()):
            said = f"{shown(text)} in it: decimals need a point"
        elif date(text) is not None:
            said = "dates in it, which can be the time but nothing else"
        else:
            said = f"text in it, such as {shown(text)}"
        raise ValueError(
            f"{self.source} needs numbers in the column {name!r}, but has {said}."
        )

    def times(self, name: str) -> tuple[np.ndarray, Faults]:
        """A column as seconds: numbers as they are, dates from the first one on.

        Raises:
            ValueError: None of its cells is a number or a date.
        """
        column = self.columns[name]
        if isinstance(column, list):
            dates = np.array([date(cell) or NEVER for cell in column])
            if np.isnat(dates).all():
                return self.numbers(name)
        elif np.issubdtype(column.dtype, np.datetime64):
            dates = column.astype("datetime64[ns]")
        else:
            return self.numbers(name)
        known = dates[~np.isnat(dates)]
        first = known[0] if known.size else NEVER
        seconds = (dates - first) / np.timedelta64(1, "s")
        missing = np.flatnonzero(np.isnat(dates)).tolist()
        return seconds, {row: f"{name!r} is no date" for row in missing}

    def labels(self, name: str) -> tuple[np.ndarray, Faults]:
        """A column as whole numbers, alike where its cells are."""
        column = self.columns[name]
        if isinstance(column, list):
            texts = [cell.strip() for cell in column]
            alike = [
                text if (value := number(text)) is None else repr(value)
                for text in texts
            ]
            _, labels = np.unique(np.array(alike), return_inverse=True)
            empty = [row for row, text in enumerate(texts) if text.lower() in MISSING]
        else:
            _, labels = np.unique(column, return_inverse=True)
            nothing = np.isnat if column.dtype.kind == "M" else np.isnan
            empty = np.flatnonzero(nothing(column)).tolist()
        return labels, {row: f"{name!r} is empty" for row in empty}


def number(text: str) -> float | None:
    """What a cell says as a number; None where it says none."""
    word = text.strip()
    if "_" in word:  # Python would take it for a part of a number
        return None
    try:
        return float(word)
    except ValueError:
        return WORDS.get(word.lower())


def date(text: str) -> np.datetime64 | None:
    """What a cell says as an ISO date; None where it says none."""
    if not re.match(r"\s*\d{4}-\d\d-\d\d", text):
        return None
    try:
        return np.datetime64(text.strip().removesuffix("Z"), "ns")
    except ValueError:
        return None


def shown(text: str) -> str:
    """A cell in a sentence."""
    word = text.strip()
    return repr(word if len(word) <= SHOWN else word[:SHOWN] + "…")


def require_once(source: str, names: list[str]) -> None:
    """Refuse two columns of one name.

    Raises:
        ValueError: There are two.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(
                f"{source} has two columns named {shown(name)}; one of them needs "
                "another name."
            )
        seen.add(name)


def is_number(text: str) -> bool:
    """Whether a cell is a finite number."""
    value = number(text)
    return value is not None and math.isfinite(value)
