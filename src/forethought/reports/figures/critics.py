"""A figure of critics: whether they hope for too much, and what they learn from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from forethought.reports.style import (
    BLUE,
    ORANGE,
    PALE_TO_DARK,
    PURPLE,
    SKY,
    WIDTH,
    label,
    legend,
    logarithmic,
    panels,
)

Rows = Sequence[Mapping[str, Any]]
COLUMNS = 3
"""Panels side by side."""


def figure(rows: Rows) -> Figure | None:
    """What lines of metrics tell of critics, a panel for each question they answer.

    Args:
        rows: Lines of metrics. Without the line of any critics there is no figure.
    """
    drawn = [draw for draw in PANELS if draw(rows, None)]
    if not drawn:
        return None
    figure, axes = panels(
        -(-len(drawn) // COLUMNS),
        COLUMNS,
        height=2.7,
        width=2 * WIDTH,
        share=False,
    )
    for axis, draw in zip(axes.flat, drawn, strict=False):
        draw(rows, axis)
        axis.set_xlim(0, max(row["step"] for row in rows))
        axis.set_xlabel("environment steps", fontsize=9)
    for axis in list(axes.flat)[len(drawn) :]:
        axis.set_visible(False)
    return figure


def expectations(rows: Rows, axis: Axes | None) -> bool:
    """What critics expected when evaluations began, and what came of it."""
    steps, expected = told(rows, "value_expected")
    _, realised = told(rows, "value_realised")
    if axis is not None:
        axis.plot(steps, realised, "o-", color=BLUE, ms=4, label="came of it")
        axis.plot(steps, expected, "D--", color=ORANGE, ms=4, label="expected")
        label(axis, "", "discounted return", "What critics expect")
        legend(axis)
    return len(expected) > 0 and len(expected) == len(realised)


def chance(rows: Rows, axis: Axes | None) -> bool:
    """The entropy of actions."""
    steps, entropy = told(rows, "entropy")
    if axis is not None:
        axis.plot(steps, entropy, color=PURPLE, lw=1.7)
        label(axis, "", "nats", "Entropy of an action, in half widths")
    return len(entropy) > 0


def temperature(rows: Rows, axis: Axes | None) -> bool:
    """What entropy is worth."""
    steps, worth = told(rows, "temperature")
    if axis is not None:
        axis.plot(steps, worth, color=ORANGE, lw=1.7)
        if len(worth) and worth.min() > 0:
            logarithmic(axis, "y")
        label(axis, "", "", "Temperature: what a nat is worth")
    return len(worth) > 0


def limits(rows: Rows, axis: Axes | None) -> bool:
    """How many actions lie at a limit."""
    steps, share = told(rows, "saturated")
    if axis is not None:
        axis.plot(steps, 100 * share, color=BLUE, lw=1.7)
        percent(axis)
        label(axis, "", "%", "Actions at a limit")
    return len(share) > 0


def origins(rows: Rows, axis: Axes | None) -> bool:
    """How much of a batch is real, and how long the futures are that the rest is of."""
    steps, share = told(rows, "real_share")
    if axis is not None:
        parts = 100 * np.stack([share, 1 - share])
        names = ("real", "imagined")
        axis.stackplot(steps, parts, colors=(BLUE, SKY), labels=names, alpha=0.8)
        percent(axis)
        label(axis, "", "% of a batch", "Steps that critics learn from")
        legend(axis, loc="upper right", frameon=True)
    return len(share) > 0


def reach(rows: Rows, axis: Axes | None) -> bool:
    """How long imagined futures are, where that changes."""
    steps, length = told(rows, "length")
    if axis is not None:
        axis.step(steps, length, where="post", color=BLUE, lw=1.7)
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        label(axis, "", "steps", "Length of imagined futures")
    return len({*length.tolist()}) > 1


def weights(rows: Rows, axis: Axes | None) -> bool:
    """How much each horizon counts in what critics should say."""
    found = []
    while len(part := told(rows, f"weight_{len(found)}")[1]):
        found.append(part)
    alike = len({len(part) for part in found}) == 1
    if axis is not None:
        steps, _ = told(rows, "weight_0")
        colours = PALE_TO_DARK(np.linspace(1, 0.1, len(found)))
        names = [f"{i} imagined" for i in range(len(found))]
        axis.stackplot(steps, 100 * np.stack(found), colors=colours, labels=names)
        percent(axis)
        label(axis, "", "%", "Weight of targets that look so far")
        legend(axis, loc="lower right", frameon=True)
    return alike


PANELS: tuple[Callable[[Rows, Axes | None], bool], ...] = (
    expectations,
    weights,
    origins,
    reach,
    chance,
    temperature,
    limits,
)
"""Who draws, and says whether there is anything to draw."""


def percent(axis: Axes) -> None:
    """From nothing to all."""
    axis.set_ylim(0, 101)
    axis.set_yticks([0, 25, 50, 75, 100])


def told(rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a metric, in the lines that have it as a number."""
    found = [
        (row["step"], float(row[name])) for row in rows if row.get(name) is not None
    ]
    steps, values = zip(*found, strict=True) if found else ((), ())
    return np.array(steps, float), np.array(values, float)
