"""What a training run shows: returns by episode, and how well the model knows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from forethought.runs.style import BLUE, LIMIT, ORANGE, label, panels


def curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Return of each episode, and the model's hold-out score after it.

    Args:
        rows: Lines of metrics, with `step`, `kind`, `return` and, where a model is
            fitted, `holdout`.
    """
    told = [row for row in rows if row.get("holdout") is not None]
    figure, axes = panels(2 if told else 1, height=2.2)
    top = axes[0, 0]
    steps = np.array([row["step"] for row in rows])
    returns = np.array([row["return"] for row in rows], float)
    planned = np.array([row["kind"] == "planned" for row in rows])
    top.plot(steps, returns, color=BLUE, linewidth=1.2, alpha=0.6)
    top.plot(steps[planned], returns[planned], "o", color=BLUE, label="planned")
    top.plot(steps[~planned], returns[~planned], "s", color=LIMIT, label="random")
    top.plot(
        steps,
        np.maximum.accumulate(returns),
        color=ORANGE,
        linewidth=1.4,
        linestyle="--",
        label="maximum so far",
    )
    top.legend(frameon=False, fontsize=8.5)
    label(top, "" if told else "environment steps", "return", "Return of each episode")
    if told:
        bottom = axes[1, 0]
        bottom.plot(
            [row["step"] for row in told],
            [row["holdout"] for row in told],
            "o-",
            color=BLUE,
            linewidth=1.4,
        )
        title = (
            "Score of the model on rows that it did not learn from (lower is better)"
        )
        label(bottom, "environment steps", "nats per dimension", title)
    return figure
