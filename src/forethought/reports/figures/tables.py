"""Figures of an episode in a table: its map, and choices that have names."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from forethought.environments.tables.tabular import GOAL, PIT, WALL
from forethought.reports.style import (
    BLUE,
    GREEN,
    GRID,
    INK,
    LIMIT,
    ORANGE,
    PALE_TO_DARK,
    QUIET,
    WIDTH,
    above,
    label,
    panels,
)
from forethought.runs.plan.record import Record

VALUES = LinearSegmentedColormap.from_list("values", ["#ffffff", "#fdf1d7", "#f4b942"])
"""From the worst value to the best."""
WALLS = "#64748b"
CENTRED: dict[str, Any] = {"ha": "center", "va": "center"}
SAME = 1e-6
"""Actions whose values differ by no more are equally good."""


def where(record: Record) -> Figure:
    """What each place is worth and what is best there; and where one went."""
    tall, wide = record.table["letters"].shape
    rows, columns = (2, 1) if wide >= 2 * tall else (1, 2)
    height = min(WIDTH / columns * tall / wide, 3.0) + 0.3
    figure, axes = panels(rows, columns, height=height, share=False)
    left, right = axes.flat
    for axis in (left, right):
        _map(axis, record, values=axis is left)
    _best(left, record)
    label(left, "", "", "The best policy and its values")
    alive = int(record.alive.sum())
    place = record.table["place"]
    met = place[record.states[: alive + 1, 0].astype(int)]
    planned = place[record.plan_states[:, 0].astype(int)]
    _walk(right, planned, ORANGE, 0.12, (0, (2, 1.5)))
    _walk(right, met, BLUE, -0.08, "-")
    right.plot(met[0, 1], met[0, 0], "o", color=BLUE, ms=6)
    label(right, "", "", f"{alive} steps")
    handles = [
        Line2D([], [], color=BLUE, lw=1.8),
        Line2D([], [], color=ORANGE, lw=1.6, linestyle=(0, (2, 1.5))),
    ]
    above(figure, handles, ["met", "first plan expected"])
    return figure


def _map(axis: Axes, record: Record, *, values: bool) -> None:
    """Cells, walls, goals and holes; and the best value of each place, as colour."""
    letters, place = record.table["letters"], record.table["place"].astype(int)
    tall, wide = letters.shape
    if values:
        # Several states may share a place: the best of them is shown.
        best = np.full((tall, wide), -np.inf)
        np.maximum.at(best, tuple(place.T), record.table["V"])
        best[~np.isfinite(best) | np.isin(letters, (WALL, GOAL, PIT))] = np.nan
        axis.imshow(best, cmap=VALUES, interpolation="nearest")
        if wide <= 12:
            for y, x in np.argwhere(np.isfinite(best)):
                text = f"{best[y, x]:.2g}".replace("-", "−").replace("0.", ".")
                axis.text(
                    x,
                    y + 0.36,
                    text,
                    fontsize=4.5,
                    color=QUIET,
                    ha="center",
                    va="center",
                )
    for y, x in np.ndindex(tall, wide):
        letter = str(letters[y, x])
        if letter.islower():
            axis.text(x, y, letter.upper(), fontsize=11, color=LIMIT, **CENTRED)
        colour = {WALL: WALLS, GOAL: GREEN, PIT: INK}.get(letter)
        if colour is not None:
            alpha = 0.85 if letter == GOAL else 1.0
            axis.add_patch(
                Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour, alpha=alpha, lw=0)
            )
    axis.set_xlim(-0.5, wide - 0.5)
    axis.set_ylim(tall - 0.5, -0.5)
    axis.set_aspect("equal")
    axis.set_xticks(np.arange(wide + 1) - 0.5)
    axis.set_yticks(np.arange(tall + 1) - 0.5)
    axis.tick_params(length=0, labelbottom=False, labelleft=False)
    axis.grid(True, color=GRID, linewidth=0.6)
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color(LIMIT)


def _best(axis: Axes, record: Record) -> None:
    """Arrows for the best moves; names where actions are none."""
    table = record.table
    letters, place, arrows = table["letters"], table["place"], table["arrows"]
    Q = table["Q"]
    if not arrows.any():
        for s, (y, x) in enumerate(place):
            name = table["choices"][int(np.argmax(Q[s]))]
            if np.ptp(Q[s]) > SAME:
                axis.text(x, y, name, fontsize=7, color=INK, **CENTRED)
        return
    if len(np.unique(place, axis=0)) < len(place):
        return  # what is best depends on more than the place
    best = Q >= Q.max(axis=1, keepdims=True) - SAME
    for s, (y, x) in enumerate(place - (0.08, 0.0)):
        if best[s].all() or letters[*place[s].astype(int)] in (WALL, GOAL, PIT):
            continue
        for down, right in arrows[best[s]]:
            axis.annotate(
                "",
                (x + 0.36 * right, y + 0.32 * down),
                (x - 0.12 * right, y - 0.12 * down),
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": INK,
                    "lw": 0.7,
                    "mutation_scale": 5,
                },
            )


def _walk(axis: Axes, path: np.ndarray, colour: str, aside: float, style: Any) -> None:
    """A path through places, a little aside so that two can be told apart."""
    axis.plot(
        path[:, 1] + aside,
        path[:, 0] + aside,
        color=colour,
        lw=1.7,
        linestyle=style,
        solid_joinstyle="round",
    )


def choices(record: Record) -> Figure:
    """What was chosen at each step."""
    names = record.table["choices"]
    figure, axes = panels(1, height=0.9 + 0.22 * len(names))
    axis = axes[0, 0]
    alive = record.alive
    steps = record.times(len(alive))
    chosen = record.actions[:, 0]
    planned = record.plan_actions[:, 0]
    axis.plot(
        record.times(len(planned)),
        planned,
        "o",
        mfc="none",
        color=ORANGE,
        ms=7,
        label="first plan",
    )
    axis.plot(steps[alive], chosen[alive], "o", color=BLUE, ms=4, label="chosen")
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(-0.5, max(alive.sum(), 1) - 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    label(axis, record.clock)
    above(figure, *axis.get_legend_handles_labels())
    return figure


def fan(record: Record) -> Figure | None:
    """Where the candidates of the first plan would have led, on the map."""
    if record.fan_states.size == 0:
        return None
    count = len(record.fan_states)
    shown = np.unique(np.linspace(0, count - 1, min(count, 3)).round().astype(int))
    tall, wide = record.table["letters"].shape
    height = min(WIDTH / len(shown) * tall / wide + 0.4, 3.2)
    figure, axes = panels(1, len(shown), height=height, share=False)
    generator = np.random.default_rng(0)
    place = record.table["place"]
    for axis, i in zip(axes[0], shown, strict=True):
        _map(axis, record, values=False)
        paths = place[record.fan_states[i, :, :, 0].astype(int)][..., ::-1]
        aside = generator.uniform(-0.25, 0.25, (len(paths), 1, 2))
        colour = PALE_TO_DARK(i / (count - 1)) if count > 1 else BLUE
        axis.add_collection(
            LineCollection(list(paths + aside), colors=[colour], linewidths=0.8)
        )
        iteration = record.fan_iterations[i] + 1
        label(axis, "", "", f"Iteration {iteration}" if count > 1 else "Candidates")
    return figure
