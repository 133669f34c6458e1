"""What stands in the columns of a table, and which rows cannot be used as they are."""

from typing import NamedTuple

import numpy as np

from forethought.core.spaces import Bound
from forethought.data.sources.columns import Columns
from forethought.data.sources.table import Faults, Table

Bounds = tuple[Bound, Bound]
"""The lowest and the highest actions: one number, or one for each."""
SLACK = 1e-6
"""How far beyond a bound rounding may put a number, as a share of the bounds' width."""


class Values(NamedTuple):
    """Columns as arrays, a row for each of the table's."""

    obs: np.ndarray
    action: np.ndarray
    after: np.ndarray | None
    """The next observations, where they were logged."""
    reward: np.ndarray | None
    label: np.ndarray | None
    """Numbers that differ where the labels of episodes do."""
    time: np.ndarray | None
    """Seconds."""
    terminated: np.ndarray
    truncated: np.ndarray
    seen: Faults
    """Rows that cannot be used at all."""
    acted: Faults
    """Rows of which an observation can be used, at most."""


def values(table: Table, columns: Columns, bounds: Bounds | None) -> Values:
    """The columns of a table as arrays.

    Args:
        table: What was read.
        columns: What its columns are.
        bounds: Of the actions; a row beyond them is at fault.

    Raises:
        ValueError: A column cannot be what it is said to be, in any row; or bounds do
            not fit the actions.
    """
    seen: Faults = dict(table.faults)
    acted: Faults = {}

    def numbers(names: tuple[str, ...], faults: Faults) -> np.ndarray:
        block = np.empty((table.rows, len(names)))
        for i, name in enumerate(names):
            block[:, i], found = table.numbers(name)
            _add(faults, found)
        return block

    def flags(name: str | None) -> np.ndarray:
        if name is None:
            return np.zeros(table.rows, bool)
        column, found = table.numbers(name)
        for row in np.flatnonzero(~np.isin(column, (0, 1))).tolist():
            found.setdefault(row, f"{name!r} is {column[row]:g} and neither 0 nor 1")
        _add(acted, found)
        return column == 1

    obs = numbers(columns.obs, seen)
    action = numbers(columns.action, acted)
    after = None if columns.after is None else numbers(columns.after, acted)
    reward = None
    if columns.reward is not None:
        reward = numbers((columns.reward,), acted)[:, 0]
    label = time = None
    if columns.episode is not None:
        label, found = table.labels(columns.episode)
        _add(seen, found)
    if columns.time is not None:
        time, found = table.times(columns.time)
        _add(seen, found)
    if bounds is not None:
        _add(acted, _beyond(columns.action, action, bounds))
    terminated, truncated = flags(columns.terminated), flags(columns.truncated)
    return Values(
        obs, action, after, reward, label, time, terminated, truncated, seen, acted
    )


def whole_numbers(columns: Columns, action: np.ndarray) -> np.ndarray:
    """Discrete actions, `[row]`.

    Raises:
        ValueError: There is more than one column, or a number that counts nothing.
    """
    if action.shape[1] != 1:
        raise ValueError(
            f"Discrete actions need one column, got {', '.join(columns.action)}."
        )
    wrong = action[(action < 0) | (action != np.floor(action))]
    if wrong.size:
        raise ValueError(
            f"Discrete actions need whole numbers from 0 on, but {columns.action[0]!r} "
            f"is {wrong[0]:g}."
        )
    return action[:, 0].astype(np.int64)


def _add(faults: Faults, found: Faults) -> None:
    """Note faults; the first one of a row counts."""
    for row, why in found.items():
        faults.setdefault(row, why)


def _beyond(names: tuple[str, ...], action: np.ndarray, bounds: Bounds) -> Faults:
    sides = [np.asarray(bound, float) for bound in bounds]
    try:
        low, high = (np.broadcast_to(side, (len(names),)) for side in sides)
    except ValueError:
        raise ValueError(
            f"bounds need one number or {len(names)} for the actions "
            f"{', '.join(names)}, got {sides[0].tolist()} and {sides[1].tolist()}."
        ) from None
    if not (low <= high).all():
        raise ValueError(
            f"bounds need low <= high, got {low.tolist()} and {high.tolist()}."
        )
    slack = SLACK * np.where(np.isfinite(high - low), high - low, 1)
    out = (action < low - slack) | (action > high + slack)
    return {
        row: f"{names[i]!r} is {action[row, i]:g}, not within {low[i]:g} and "
        f"{high[i]:g}"
        for row, i in reversed(np.argwhere(out).tolist())
    }
