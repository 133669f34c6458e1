"""Where episodes begin in a table.

A column tells it, or else what ended the one before, or a jump in time. Where next
observations were logged, an episode also begins with a row that does not begin where
the row before it ended.
"""

import numpy as np

from forethought.data.sources.columns import Columns
from forethought.data.sources.table import Faults, Table
from forethought.data.sources.values import Values

NEAR, FAR = 0.5, 1.5
"""A step jumps in time when it is not between these multiples of the usual one."""
ROUNDING = 1e-6
"""As a share of what a column holds at most: so much is no other observation."""


def beginnings(
    table: Table, columns: Columns, values: Values
) -> tuple[np.ndarray, Faults, list[str]]:
    """Which rows an episode begins with.

    Returns:
        Whether one begins, `[row]`; rows at which time jumps though their episode goes
        on; and what was found, a sentence each.
    """
    begins = np.zeros(table.rows, bool)
    begins[:1] = True
    begins[1:] = values.terminated[:-1] | values.truncated[:-1]
    faults: Faults = {}
    notes: list[str] = []
    if values.label is not None:
        changed = np.diff(values.label) != 0
        begins[1:] |= changed
        again = int(changed.sum()) + 1 - len(np.unique(values.label))
        if again > 0:
            notes.append(
                f"{columns.episode!r} comes back to {again:,} earlier labels: each "
                "stretch of rows counts as an episode of its own."
            )
    if values.time is not None:
        jumps = _jumps(values.time, begins)
        if values.label is None:
            begins[jumps] = True
            if jumps.size:
                times = "once" if jumps.size == 1 else f"{jumps.size:,} times"
                notes.append(
                    f"{columns.time!r} jumps {times}: an episode begins there."
                )
        else:
            for row in jumps.tolist():
                before, now = values.time[row - 1], values.time[row]
                faults[row] = f"{columns.time!r} jumps from {before:.6g} to {now:.6g}"
    if values.after is not None:
        apart = ~begins[1:] & _differ(values.after[:-1], values.obs[1:])
        begins[1:] |= apart
        if count := int(apart.sum()):
            rows = "1 row does" if count == 1 else f"{count:,} rows do"
            notes.append(
                f"{rows} not begin where the row before ended: an episode begins there."
            )
    if not notes and values.label is None and begins.sum() < 2:
        notes.append("Nothing tells episodes apart: all rows count as one.")
    return begins, faults, notes


def _jumps(time: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Rows that do not come one usual step after the row before."""
    steps = np.diff(time)
    inside = ~begins[1:] & np.isfinite(steps)
    forward = steps[inside & (steps > 0)]
    usual = np.median(forward) if forward.size else np.inf
    jump = inside & ~((steps >= NEAR * usual) & (steps <= FAR * usual))
    return np.flatnonzero(jump) + 1


def _differ(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if not len(one):
        return np.zeros(0, bool)
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.nanmax(np.where(np.isfinite(other), np.abs(other), 0), axis=0)
        return np.any(np.abs(one - other) > ROUNDING * size, axis=1)
