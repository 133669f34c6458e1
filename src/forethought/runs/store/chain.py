"""The lines of `metrics.jsonl`, each bound to those before it.

A line ends with a digest of itself and of the digest before, the first one of that of
the settings: where lines were lost or changed, or come from another run, the digests no
longer follow each other. A line that was cut short by a crash is no JSON and counts for
nothing. Lines of older versions have no digest, and are taken as they are.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from forethought.runs.store.schema import parsed

CHECK = re.compile(rb'(?:, )?"check": "([0-9a-f]{16})"}$')
TAIL = 1 << 14


class Line(NamedTuple):
    """A line: as it stands in the file, what it says, and its digest."""

    text: bytes
    row: dict[str, Any]
    digest: str


def digest(before: str, text: bytes) -> str:
    """What binds a text to the one before it."""
    return hashlib.sha256(before.encode() + text).hexdigest()[:16]


def sealed(row: Mapping[str, Any], before: str) -> bytes:
    """A row of plain values as a line, bound to the digest before it."""
    text = json.dumps(row, allow_nan=False)
    check = json.dumps({"check": digest(before, text.encode())})
    return f"{text[:-1]}{', ' if row else ''}{check[1:]}\n".encode()


def lines(content: bytes, first: str, name: str) -> list[Line]:
    """All whole lines.

    Args:
        content: Of the file.
        first: The digest of the settings; empty in folders of older versions, whose
            lines need no digest.
        name: Of the file, for the sentence.

    Raises:
        ValueError: Lines were lost or changed, or are those of another run.
    """
    found: list[Line] = []
    before = first
    for number, text in enumerate(content.splitlines(), 1):
        try:
            row = parsed(text)
        except ValueError:  # cut short by a crash, or the digest after it says so
            continue
        if not isinstance(row, dict):
            raise ValueError(f"{name} needs objects, but line {number} is another.")
        match = CHECK.search(text)
        body = text if match is None else text[: match.start()] + b"}"
        before = digest(before, body)
        given = first if match is None else match[1].decode()
        if given and given != before:
            raise ValueError(
                f"{name} needs its lines one after the other, but line {number} does "
                "not follow: some were lost or changed, or are those of another run."
            )
        row.pop("check", None)
        found.append(Line(text, row, before))
    return found


def newest(file: BinaryIO, first: str, name: str) -> str:
    """The digest that a new line at the end of a file is bound to.

    Args:
        file: Open, with anything before its end.
        first: As for `lines`.
        name: Of the file, for the sentence.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL))
    *_, last = [b"", *file.read().splitlines()]
    if (match := CHECK.search(last)) is not None:
        return match[1].decode()
    file.seek(0)
    return next((each.digest for each in lines(file.read(), first, name)[::-1]), first)
