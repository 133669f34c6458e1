"""From the columns of a table to transitions of whole episodes.

Nothing is shifted across the end of an episode, nor across a row that was dropped.
"""

import numpy as np

from forethought.data.logged import Logged, last_rows
from forethought.data.sources.columns import Columns, short
from forethought.data.sources.episodes import beginnings
from forethought.data.sources.table import Faults, Table
from forethought.data.sources.values import Bounds, Values, values, whole_numbers

NAMED = 4
"""So many bad rows are named, at most."""


def transitions(
    table: Table,
    columns: Columns,
    *,
    bounds: Bounds | None = None,
    drop_bad: bool = False,
    discrete: bool = False,
) -> Logged:
    """The transitions of a table.

    Args:
        table: What was read.
        columns: What its columns are.
        bounds: The lowest and highest actions; rows beyond them are bad.
        drop_bad: Whether to go on without bad rows.
        discrete: Whether the action is the number of a choice, even if the table does
            not say so.

    Raises:
        ValueError: Rows are bad and not to be dropped, no transition is there, or a
            column cannot be what it is said to be.
    """
    parts = values(table, columns, bounds)
    begins, jumps, found = beginnings(table, columns, parts)
    notes = [*table.notes, *columns.notes, *found]
    final = np.zeros(table.rows, bool)
    if parts.after is None:
        final = _final(parts, begins)
    faults = jumps | parts.acted
    faults = {row: why for row, why in faults.items() if not final[row]} | parts.seen
    if faults and not drop_bad:
        raise ValueError(
            f"{table.source} has {_told(table, faults)}; --drop-bad (drop_bad=True) "
            "goes on without them."
        )
    good = np.ones(table.rows, bool)
    if faults:
        good[list(faults)] = False
        begins[1:] |= ~good[:-1]
        notes.append(f"Dropped {_told(table, faults)}.")
    terminated, after, shown = parts.terminated, parts.after, good
    if after is None:
        terminated = terminated | np.append(terminated[1:] & final[1:], False)
        after, shown = _shifted(parts.obs, begins, good)
        notes += _lost(parts, good & ~shown, final)
    if not shown.any():
        raise ValueError(
            f"{table.source} has no transition in its {_rows(table.rows)}: one needs "
            "two rows of an episode, one after the other, or next_ columns."
        )
    notes += _constant(columns, parts, shown)
    action = parts.action[shown]
    _, episode = np.unique(np.cumsum(begins)[shown], return_inverse=True)
    return Logged(
        obs=parts.obs[shown],
        action=whole_numbers(columns, action) if discrete or table.discrete else action,
        next_obs=after[shown],
        reward=None if parts.reward is None else parts.reward[shown],
        terminated=terminated[shown],
        truncated=last_rows(episode) & ~terminated[shown],
        episode=episode,
        obs_names=short("obs", columns.obs),
        action_names=short("action", columns.action),
        notes=tuple(notes),
    )


def _final(parts: Values, begins: np.ndarray) -> np.ndarray:
    """Rows that only tell what was seen last: no action follows, which is no fault."""
    ends = np.append(begins[1:], True)
    return ends & ~begins & np.isnan(parts.action).all(1)


def _shifted(
    obs: np.ndarray, begins: np.ndarray, good: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What the row after shows, and which rows have one of their episode."""
    goes_on = np.append(good[1:] & ~begins[1:], False)
    return np.concatenate([obs[1:], obs[-1:]]), good & goes_on


def _lost(parts: Values, lost: np.ndarray, final: np.ndarray) -> list[str]:
    """What is said of rows whose next observation is not known."""
    notes = []
    if count := int(np.sum(lost)):
        notes.append(
            "The last row of an episode shows no next observation and is no "
            f"transition: {_rows(count)}."
        )
    if count := int(np.sum(lost & parts.terminated & ~final)):
        notes.append(
            f"{count:,} of them terminated, which is lost; columns named next_ keep it."
        )
    return notes


def _constant(columns: Columns, parts: Values, shown: np.ndarray) -> list[str]:
    if np.sum(shown) < 2:
        return []
    names = [
        name
        for own, block in ((columns.obs, parts.obs), (columns.action, parts.action))
        for name, column in zip(own, block[shown].T, strict=True)
        if np.all(column == column[0])
    ]
    return [f"The same in all rows: {', '.join(names)}."] if names else []


def _told(table: Table, faults: Faults) -> str:
    """How many rows are bad, and the first of them by number."""
    rows = sorted(faults)
    named = [f"{table.unit} {table.lines[row]} ({faults[row]})" for row in rows[:NAMED]]
    if len(rows) > NAMED:
        named.append(f"{len(rows) - NAMED:,} more")
    words = ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1]
    return f"{_rows(len(rows), 'bad ')} of {table.rows:,}: {words}"


def _rows(count: int, kind: str = "") -> str:
    return f"{count:,} {kind}{'row' if count == 1 else 'rows'}"
