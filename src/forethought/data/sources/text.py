"""Tables that are written as text: CSV and its relatives, comma, semicolon or tab.

Read in pieces by Python's own `csv`, because cells of any kind may stand in one column;
a piece of a column that holds numbers only becomes an array at once.
"""

import csv
import itertools
import os
from collections.abc import Iterator
from typing import TextIO

import numpy as np

from forethought.data.sources.table import (
    CELLS,
    UNNAMED,
    Faults,
    Table,
    is_number,
    require_once,
)

PIECE = 1 << 14
"""Rows that are taken apart together."""
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
SNIFFED = 20
"""Lines of which the separator is told."""


def read_text(path: str | os.PathLike) -> Table:
    """The table of a text file, by the names in its first line.

    Raises:
        ValueError: It is empty or no text, names a column twice, or holds too much.
        OSError: It cannot be read.
    """
    source = os.fspath(path)
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            return _read(source, file)
        except UnicodeDecodeError:
            raise ValueError(
                f"{source} is no text in UTF-8, so that it cannot be read as CSV."
            ) from None
        except csv.Error as error:
            raise ValueError(f"{source} is no CSV: {error}.") from None


class _Lines:
    """Lines of a file, none of which holds what no text holds."""

    def __init__(self, source: str, lines: Iterator[str]):
        self.source, self.lines, self.underscored = source, lines, False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        if "\0" in line:
            raise ValueError(f"{self.source} is a binary file and no CSV.")
        self.underscored = self.underscored or "_" in line
        return line


def _read(source: str, file: TextIO) -> Table:
    first = list(itertools.islice(file, SNIFFED))
    lines = _Lines(source, itertools.chain(first, file))
    separator = _separator(first)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    head = next((row for row in reader if any(cell.strip() for cell in row)), None)
    if head is None:
        raise ValueError(f"{source} is empty: it needs a line of names and rows.")
    names, notes = _names(source, head)
    begin = [] if names is not None else [head]
    if names is None:
        names = [f"col{i}" for i in range(len(head))]
        notes = (
            f"{source} names no columns: they are called col0 to col{len(head) - 1}.",
        )
    pieces, numbers, faults = _pieces(source, reader, names, begin, lines)
    if not numbers:
        raise ValueError(f"{source} has names of columns but no rows.")
    if len(names) == 1 and separator == ",":
        notes = (
            *notes,
            "Only one column was found: columns are told apart by comma, "
            "semicolon or tab.",
        )
    columns = {name: _joined(pieces, i) for i, name in enumerate(names)}
    return Table(source, columns, np.array(numbers), "line", faults, notes)


def _separator(lines: list[str]) -> str:
    """What tells cells apart: what the most lines have equally often, most of it."""

    def votes(separator: str) -> tuple[int, int]:
        rows = csv.reader(
            (line.replace("\0", "") for line in lines), delimiter=separator
        )
        try:
            widths = [len(row) for row in rows if row]
        except csv.Error:
            return 0, 0
        width = widths[0] if widths else 0
        return (widths.count(width) if width > 1 else 0), width

    return max(SEPARATORS, key=votes)


def _names(source: str, head: list[str]) -> tuple[list[str] | None, tuple[str, ...]]:
    """What the first line calls the columns; None where it holds numbers already."""
    if all(is_number(cell) for cell in head):
        return None, ()
    names = [cell.strip() for cell in head]
    names[0] = names[0].removeprefix("#").strip()
    names = [name or f"{UNNAMED}{i}" for i, name in enumerate(names)]
    require_once(source, names)
    return names, ()


def _pieces(source, reader, names, begin, lines):
    """Columns of each piece, the line of each row, and rows of a wrong width."""
    width, pieces, numbers = len(names), [], []
    faults: Faults = {}
    rows, most = [], CELLS // width

    def close() -> None:
        pieces.append(
            [_column(cells, lines.underscored) for cells in zip(*rows, strict=True)]
        )
        rows.clear()

    for row in begin:
        rows.append(row)
        numbers.append(reader.line_num)
    for row in reader:
        if len(row) == width:
            rows.append(row)
        elif any(cell.strip() for cell in row):
            cells = "cell" if len(row) == 1 else "cells"
            faults[len(numbers)] = f"{len(row)} {cells} instead of {width}"
            rows.append((row + [""] * width)[:width])
        else:
            continue  # a line with nothing in it
        numbers.append(reader.line_num)
        if len(rows) == PIECE:
            close()
            if len(numbers) > most:
                raise ValueError(
                    f"{source} has more than {most:,} rows of {width} columns, more "
                    "than is read at once."
                )
    if rows:
        close()
    return pieces, numbers, faults


def _column(cells: tuple[str, ...], underscored: bool) -> np.ndarray | list[str]:
    """A piece of a column: numbers if all cells are."""
    if underscored and any("_" in cell for cell in cells):
        return list(cells)
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return list(cells)


def _joined(pieces: list[list[np.ndarray | list[str]]], column: int):
    parts = [piece[column] for piece in pieces]
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return [
        cell
        for part in parts
        for cell in (part if isinstance(part, list) else map(repr, part.tolist()))
    ]
