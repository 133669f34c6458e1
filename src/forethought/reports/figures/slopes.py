"""A figure of gradients through time: whether they vanish or explode, and why."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from forethought.reports.style import (
    LIMIT,
    PALE_TO_DARK,
    WIDTH,
    label,
    legend,
    logarithmic,
    panels,
)

STAGES = 5
"""Intervals that are drawn, at most."""


def figure(slopes: Mapping[int, Mapping[str, np.ndarray]]) -> Figure | None:
    """Gradient in the policy, in the first state, and singular values of each step.

    Args:
        slopes: By interval, as `forethought.runs.train.cards` reads them.
    """
    if not slopes:
        return None
    figure, axes = panels(1, 3, height=3.0, width=2 * WIDTH, share=False)
    places = np.unique(np.linspace(0, len(slopes) - 1, STAGES).round().astype(int))
    stages = [sorted(slopes)[place] for place in places]
    colours = PALE_TO_DARK(np.linspace(0.25, 1, len(stages)))
    for colour, stage in zip(colours, stages, strict=True):
        found = slopes[stage]
        steps = np.arange(1, len(found["policy"]) + 1)
        for axis, values in zip(
            axes[0],
            (found["policy"], found["state"], found["singular"][:, 0]),
            strict=True,
        ):
            shown = np.where(values > 0, values, np.nan)
            axis.plot(steps, shown, color=colour, lw=1.6, label=f"interval {stage}")
    axes[0, 2].axhline(1, color=LIMIT, lw=1.2, ls=(0, (4, 2)), zorder=1)
    words = ("of the return in the policy", "of the last state in the first")
    for axis, word in zip(axes[0], (*words, "largest of one step"), strict=True):
        logarithmic(axis, "y")
        label(axis, "steps", word)
    legend(axes[0, 0], loc="best")
    return figure
