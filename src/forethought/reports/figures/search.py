"""Figures of how the first plan was found: search, fan of futures, gains."""

import itertools

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from forethought.core.results import Either, Stats
from forethought.reports.style import (
    BLUE,
    CYCLE,
    GREEN,
    LIMIT,
    ORANGE,
    PALE_TO_DARK,
    PURPLE,
    QUIET,
    YELLOW,
    above,
    choose,
    label,
    legend,
    logarithmic,
    panels,
)
from forethought.runs.plan.record import Record

Panel = tuple[str, list[tuple[str, str, np.ndarray]]]
"""A name, and lines: what each is, its colour, and a value an iteration."""


def search(record: Record) -> Figure | None:
    """How the first plan got better from iteration to iteration."""
    drawn = _panels(record.plan_stats)
    if not drawn:
        return _histogram(record)
    columns = min(2, len(drawn))
    figure, axes = panels(-(-len(drawn) // columns), columns, height=1.75, share=False)
    for axis, (name, lines) in zip(axes.flat, drawn, strict=False):
        for text, colour, values in lines:
            x = np.arange(len(values)) + 1
            marker = "o" if len(values) <= 40 else ""
            axis.plot(x, values, color=colour, lw=1.7, marker=marker, ms=4, label=text)
        values = np.concatenate([line[2] for line in lines])
        if (values > 0).all() and values.max() > 50 * values.min():
            logarithmic(axis, "y")
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if len(lines) > 1:
            legend(axis)
        label(axis, "iteration", "", name[0].upper() + name[1:])
    for axis in axes.flat[len(drawn) :]:
        axis.set_visible(False)
    return figure


def _panels(stats: Stats) -> list[Panel]:
    """What there is a number an iteration of; returns below zero alone as a cost."""
    best, mean = _used(stats, stats.best), _used(stats, stats.mean)
    if len(mean) == 0 and (best < 0).all():
        drawn: list[Panel] = [("cost", [("cost", BLUE, -best)])]
    else:
        lines = [("best so far", ORANGE, best), ("mean of the elites", BLUE, mean)]
        drawn = [("return", [line for line in lines if len(line[2])])]
    drawn.append(("violation", [("violation", ORANGE, _used(stats, stats.violation))]))
    for colour, (key, number) in zip(
        itertools.cycle((GREEN, PURPLE, YELLOW)), sorted(stats.numbers.items())
    ):
        name = key.replace("_", " ")
        drawn.append((name, [(name, colour, _used(stats, number))]))
    if stats.inside is not None:
        within = _panels(stats.inside)
        drawn += [(f"{name}, last round", lines) for name, lines in within]
    return [each for each in drawn if any(len(line[2]) > 1 for line in each[1])]


def _used(stats: Stats, values: Either | None) -> np.ndarray:
    """Up to the last iteration that was needed, finite entries only."""
    if values is None or np.ndim(values) != 1:
        return np.zeros(0)
    values = np.asarray(values, float)
    if stats.iterations is not None:
        values = values[: int(stats.iterations)]
    return values[np.isfinite(values)]


def _histogram(record: Record) -> Figure | None:
    """For one draw of candidates: how good they were."""
    scores = record.plan_stats.scores
    found = np.ravel(record.fan_returns if scores is None else scores)
    found = found[np.isfinite(found)]
    if len(found) < 2:
        return None
    figure, axes = panels(1, height=2.4)
    axis = axes[0, 0]
    axis.plot(
        np.arange(1, len(found) + 1), -np.sort(-found), color=BLUE, lw=1.6, marker="."
    )
    # A planner that averages executes none of its candidates.
    axis.axhline(record.planned[0], color=ORANGE, linewidth=1.6, label="the plan")
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    label(
        axis, "rank of the candidate", "return", "The best candidates of the first plan"
    )
    legend(axis)
    return figure


def fan(record: Record) -> Figure | None:
    """The first plan's search: where its candidates would have led, and its actions.

    One shade an iteration, from pale to dark; the plan that came out is orange.
    """
    if record.fan_states.size == 0:
        return None
    count = len(record.fan_states)
    figure, axes = panels(2, 2, height=2.0, share=False)
    seconds = record.times(record.horizon + 1)
    rates = np.array([name.endswith("/s)") for name in record.state_names])
    plane, columns = _plane(record), _telling(record.fan_states, 2, rates)
    for i, axis in enumerate(axes[0]):
        if plane is not None and i == 0:
            x, y = (record.fan_states[..., each] for each in plane)
            plan_x, plan_y = (record.plan_states[:, each] for each in plane)
            names = [*(record.state_names[each] for each in plane), "Paths"]
            axis.set_aspect("equal", adjustable="datalim")
        elif i < len(columns):
            x, y = seconds, record.fan_states[..., columns[i]]
            plan_x, plan_y = seconds, record.plan_states[:, columns[i]]
            names = [record.ahead, "", record.state_names[columns[i]]]
        else:
            axis.set_visible(False)
            continue
        _fan_lines(axis, x, y)
        axis.plot(plan_x, plan_y, color=ORANGE, linewidth=2)
        label(axis, *names)
    column = _telling(record.fan_actions, 1, np.zeros(len(record.low), bool))[0]
    held = record.times(record.horizon)
    _fan_lines(axes[1, 0], held, record.fan_actions[..., column])
    axes[1, 0].plot(held, record.plan_actions[:, column], color=ORANGE, linewidth=2)
    for bound in (record.low[column], record.high[column]):
        if np.isfinite(bound):
            axes[1, 0].axhline(bound, color=LIMIT, linewidth=1.2, linestyle="--")
    label(axes[1, 0], record.ahead, "", record.action_names[column])
    _fan_returns(axes[1, 1], record)
    shown = [(0, "candidates")]
    if count > 1:
        first, last = record.fan_iterations[[0, -1]] + 1
        shown = [(0, f"iteration {first}"), (count - 1, f"iteration {last}")]
    handles = [Line2D([], [], color=_shade(i, count), linewidth=2) for i, _ in shown]
    handles.append(Line2D([], [], color=ORANGE, linewidth=2))
    above(figure, handles, [name for _, name in shown] + ["the plan"])
    return figure


def _telling(fan: np.ndarray, count: int, rates: np.ndarray) -> np.ndarray:
    """The coordinates in which candidates differ most at first, places before rates.

    Args:
        fan: Shape `[shade, line, time, coordinate]`.
        count: How many at most.
        rates: Which coordinates are velocities, shape `[coordinate]`.
    """
    with np.errstate(invalid="ignore"):
        spread = fan[0].std(axis=0).mean(axis=0)
        size = np.abs(fan).max(axis=(0, 1, 2)) + 1e-9
    worth = spread / np.sqrt(size) * np.where(rates, 0.2, 1.0)
    return choose(worth, fan.reshape(-1, fan.shape[-1]), count)


def _fan_returns(axis: Axes, record: Record) -> None:
    """Returns of the candidates, one column an iteration."""
    count = len(record.fan_returns)
    for i, found in enumerate(record.fan_returns):
        jitter = (
            np.linspace(-0.25, 0.25, len(found)) if count > 1 else np.arange(len(found))
        )
        axis.plot(
            record.fan_iterations[i] + 1 + jitter,
            found,
            ".",
            color=_shade(i, count),
            markersize=5,
        )
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if count > 1:
        label(axis, "iteration", "return", "Returns of the elites")
    else:
        label(axis, "rank of the candidate", "return", "Returns of the candidates")


def _plane(record: Record) -> tuple[int, int] | None:
    """Two coordinates that are a place in the plane, where the names say so."""
    stems = [name.split(" ")[0] for name in record.state_names]
    metres = [name.endswith("(m)") for name in record.state_names]
    for first, second in (("x", "y"), ("x", "z")):
        if first in stems and second in stems:
            i, j = stems.index(first), stems.index(second)
            if metres[i] and metres[j]:
                return i, j
    return None


def _shade(i: int, count: int) -> tuple[float, float, float, float]:
    return PALE_TO_DARK(i / (count - 1)) if count > 1 else to_rgba(BLUE, 0.4)


def _fan_lines(axis: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """`[shade, line, time]` as lines, pale first."""
    count = len(y)
    x = np.broadcast_to(x, y.shape)
    for i in range(count):
        colour = _shade(i, count)
        lines = np.stack([x[i], y[i]], axis=-1)
        lines = lines[np.isfinite(lines).all(axis=(1, 2))]
        axis.add_collection(
            LineCollection(list(lines), colors=[colour], linewidths=0.9), autolim=True
        )
    axis.autoscale_view()


def gains(record: Record) -> Figure | None:
    """The feedback gains of the first plan over its horizon."""
    if record.gains.size == 0:
        return None
    horizon, outputs, inputs = record.gains.shape
    seconds = record.times(horizon)
    if outputs * inputs > 24 or inputs > 6:
        flat = record.gains.reshape(horizon, -1).T
        limit = np.abs(flat).max() or 1.0
        figure, axes = panels(1, height=min(1.2 + 0.16 * len(flat), 7.0))
        image = axes[0, 0].imshow(
            flat,
            aspect="auto",
            cmap=colormaps["PuOr"],
            vmin=-limit,
            vmax=limit,
            interpolation="nearest",
            extent=(0, horizon * record.tick, len(flat) - 0.5, -0.5),
        )
        axes[0, 0].grid(False)
        rows = [f"{u} / {x}" for u in record.action_names for x in record.state_names]
        if len(rows) <= 36:
            axes[0, 0].set_yticks(range(len(rows)), rows, fontsize=7)
        bar = figure.colorbar(image, ax=axes[0, 0], pad=0.015)
        bar.ax.tick_params(labelsize=8.5, colors=QUIET)
        bar.outline.set_visible(False)  # type: ignore[operator]
        label(axes[0, 0], record.ahead, "", "Feedback gains: action per state")
        return figure
    figure, axes = panels(outputs, height=2.4 if outputs == 1 else 1.9)
    for i, axis in enumerate(axes[:, 0]):
        for j in range(inputs):
            axis.plot(
                seconds,
                record.gains[:, i, j],
                color=CYCLE[j % len(CYCLE)],
                linewidth=1.7,
                label=record.state_names[j],
            )
        axis.axhline(0, color=LIMIT, linewidth=0.9)
        last = i == outputs - 1
        label(
            axis,
            record.ahead if last else "",
            "gain",
            f"{record.action_names[i]} per unit of",
        )
    above(figure, *axes[0, 0].get_legend_handles_labels())
    return figure
