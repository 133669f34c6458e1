"""What a plan's planner told of itself, as it lies on the disk.

The names of a file follow the fields of `Stats`: `best`, `tree/parent`,
`numbers/gradient`. Before statistics had types they were one flat table under names of
the planners' own; such files are read as well.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from forethought.core.results import SearchTree, Stats

FIELDS = {field.name for field in dataclasses.fields(Stats)}
OLD = {"best_return": "best", "elite_return": "mean", "mean_return": "mean"}
"""What fields were called; `cost` is minus the `best`."""
COLUMNS = ("parent", "slot", "depth", "visits", "values", "chosen")
"""Columns of the one array that an old `tree` is."""


def told(arrays: Mapping[str, np.ndarray]) -> Stats:
    """Statistics from arrays under flat names, new or old.

    Raises:
        ValueError: Some are missing without which others mean nothing.
    """
    try:
        return _told(arrays)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            "A record needs statistics of a planner that belong together, but those "
            f"named {', '.join(sorted(arrays))} do not."
        ) from error


def _told(arrays: Mapping[str, np.ndarray]) -> Stats:
    if any("/" not in name and name not in FIELDS for name in arrays):
        return _old(dict(arrays))
    parts: dict[str, Any] = {}
    whole: dict[str, Any] = {}
    for name, array in arrays.items():
        head, _, rest = name.partition("/")
        if rest:
            parts.setdefault(head, {})[rest] = array
        else:
            whole[head] = array
    tree, inside = parts.pop("tree", None), parts.pop("inside", None)
    return Stats(
        **whole,
        **parts,
        tree=None if tree is None else SearchTree(**tree),
        inside=None if inside is None else _told(inside),
    )


def _old(arrays: dict[str, Any]) -> Stats:
    """Statistics from a flat table: what no field is named after is a number."""
    if "rounds" in arrays:
        kinds = [name for name in arrays if name.endswith("multipliers")]
        own = {
            "iterations": arrays.pop("rounds"),
            "violation": arrays.pop("violation"),
            "kkt": arrays.pop("kkt", None),
            "multipliers": {name: arrays.pop(name) for name in kinds},
            "numbers": {"penalty": arrays.pop("penalty")},
        }
        last = _old(arrays)
        inside = Stats(last.best, last.mean, last.iterations, numbers=last.numbers)
        own |= {"best": None, "mean": None, "inside": inside}
        return dataclasses.replace(last, **own)
    tree = _old_tree(arrays) if "tree" in arrays else None
    if "cost" in arrays:
        arrays["best"] = -arrays.pop("cost")
    for old, new in OLD.items():
        if old in arrays:
            arrays[new] = np.atleast_1d(arrays.pop(old))
    if "non_finite" in arrays:
        count = np.atleast_1d(arrays["non_finite"])
        whole = np.issubdtype(count.dtype, np.integer)
        arrays["non_finite"] = count if whole else count.astype(int)
    if "candidate_return" in arrays:
        arrays["scores"] = arrays.pop("candidate_return")[None]
    fields = {name: arrays.pop(name) for name in FIELDS & arrays.keys()}
    return Stats(**fields, tree=tree, numbers=arrays)


def _old_tree(arrays: dict[str, Any]) -> SearchTree:
    """The tree, taken out of a flat table: once it was one array of six columns."""
    rows = arrays.pop("tree")
    columns = dict(zip(COLUMNS, rows.T, strict=True))
    values, chosen = columns.pop("values"), columns.pop("chosen") > 0
    return SearchTree(
        size=arrays.pop("nodes"),
        **{name: column.astype(int) for name, column in columns.items()},
        values=values,
        chosen=chosen,
        root_visits=arrays.pop("visits"),
        root_values=arrays.pop("values"),
        root_actions=arrays.pop("root_actions", None),
    )
