"""The lines of metrics of a training run, as everything that reads them needs them."""

from typing import Any, NotRequired, TypedDict

from forethought.runs.store.folder import RunFolder
from forethought.runs.store.schema import Real

Interval = TypedDict(
    "Interval",
    {
        "interval": int,
        "step": int,
        "kind": str,
        "return": NotRequired[Real],
        "episodes": int,
        "returns": list[Real],
        "ends": list[int],
        "lengths": NotRequired[list[int]],
        "evaluation": NotRequired[Real],
        "evaluation_std": NotRequired[Real],
        "success": NotRequired[Real],
        "holdout": NotRequired[Real],
        "plan_failed": NotRequired[int],
        "non_finite": NotRequired[int],
        "seconds": Real,
        "cpu": NotRequired[Real],
    },
)
"""A line; see `forethought.runs.train.intervals`. Agents say more than that."""


def lines(folder: RunFolder) -> list[dict[str, Any]]:
    """Every line, one for each interval.

    Raises:
        ValueError: Lines are missing, or one does not agree with itself.
    """
    rows = folder.metrics(Interval)
    for i, row in enumerate(rows, 1):
        if row["interval"] != i or len(row["ends"]) != len(row["returns"]):
            raise ValueError(
                "A training run needs lines of metrics that agree with each other, but "
                f"line {i} in {folder.path / 'metrics.jsonl'} does not."
            )
    return rows
