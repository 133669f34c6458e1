"""Figures of an episode: states, actions, returns, timing."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forethought.core.results import NAMES
from forethought.reports.style import (
    BLUE,
    GREEN,
    GRID,
    INK,
    LIMIT,
    ORANGE,
    PURPLE,
    QUIET,
    SKY,
    YELLOW,
    above,
    choose,
    label,
    logarithmic,
    number,
    panels,
)
from forethought.runs.plan.realised import realised_returns
from forethought.runs.plan.record import Record

RESULT_COLOURS: dict[str, str] = dict(
    zip(
        NAMES,
        (GREEN, YELLOW, PURPLE, ORANGE, INK, LIMIT, SKY, BLUE, QUIET),
        strict=True,
    )
)
"""A colour for each way in which planning may end."""


def _after_end(record: Record, axis: Axes) -> None:
    """Shade the time after the episode ended."""
    if not record.alive.all():
        end = float(np.argmin(record.alive)) * record.tick
        axis.axvspan(end, len(record.alive) * record.tick, color=GRID, zorder=0)


def states(record: Record) -> Figure:
    """States over time, and what the first plan expected of them."""
    # Each coordinate is measured against its own size, so that units do not decide.
    size = np.nanmax(np.abs(record.states), axis=0) + 1e-9
    worth = np.nanstd(record.states, axis=0) / np.sqrt(size)
    chosen = choose(worth, record.states, 8)
    columns = 1 if len(chosen) <= 3 else 2
    rows = -(-len(chosen) // columns)
    figure, axes = panels(rows, columns, height=1.45 if rows > 1 else 2.2)
    for i, axis in enumerate(axes.flat):
        if i >= len(chosen):
            axis.set_visible(False)
            continue
        name, column = record.state_names[chosen[i]], chosen[i]
        seen, expected = record.states[:, column], record.plan_states[:, column]
        axis.plot(record.times(len(seen)), seen, color=BLUE, linewidth=1.8, label="met")
        axis.plot(
            record.times(len(expected)),
            expected,
            color=ORANGE,
            linewidth=1.4,
            linestyle=(0, (3, 2)),
            label="first plan expected",
        )
        _after_end(record, axis)
        last = i + columns >= len(chosen)
        axis.tick_params(labelbottom=last)
        label(axis, record.clock if last else "", "", name)
    handles, names = axes.flat[0].get_legend_handles_labels()
    if len(chosen) < record.states.shape[1]:
        names[0] += f" ({len(chosen)} of {record.states.shape[1]} coordinates)"
    above(figure, handles, names)
    return figure


def actions(record: Record) -> Figure:
    """Actions over time, held for a step each, with their limits."""
    count = record.actions.shape[1]
    if count > 8:
        return _action_map(record)
    columns = 1 if count <= 3 else 2
    rows = -(-count // columns)
    figure, axes = panels(rows, columns, height=1.45 if rows > 1 else 1.8)
    for i, axis in enumerate(axes.flat):
        if i >= count:
            axis.set_visible(False)
            continue
        axis.stairs(
            record.actions[:, i],
            record.times(len(record.actions) + 1),
            baseline=None,
            color=BLUE,
            linewidth=1.5,
        )
        finite = [x[i] for x in (record.low, record.high) if np.isfinite(x[i])]
        for bound in finite:
            axis.axhline(bound, color=LIMIT, linewidth=1.2, linestyle="--")
        if len(finite) == 2:
            pad = 0.08 * (finite[1] - finite[0])
            axis.set_ylim(finite[0] - pad, finite[1] + pad)
        _after_end(record, axis)
        last = i + columns >= count
        axis.tick_params(labelbottom=last)
        label(axis, record.clock if last else "", "", record.action_names[i])
    return figure


def _action_map(record: Record) -> Figure:
    """Many actions: one row of colour each, as a share of their limits."""
    low = np.where(np.isfinite(record.low), record.low, record.actions.min(axis=0))
    high = np.where(np.isfinite(record.high), record.high, record.actions.max(axis=0))
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-9)
    count = record.actions.shape[1]
    figure, axes = panels(1, height=1.0 + 0.19 * count)
    image = axes[0, 0].imshow(
        ((record.actions - middle) / half).T,
        aspect="auto",
        cmap=colormaps["PuOr"],
        vmin=-1,
        vmax=1,
        interpolation="nearest",
        extent=(0, len(record.actions) * record.tick, count - 0.5, -0.5),
    )
    axes[0, 0].grid(False)
    axes[0, 0].set_yticks(range(count), record.action_names, fontsize=7.5)
    bar = figure.colorbar(image, ax=axes[0, 0], pad=0.015, ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["low", "0", "high"], fontsize=8.5, color=QUIET)
    bar.outline.set_visible(False)  # type: ignore[operator]
    label(axes[0, 0], record.clock, "", "Actions, as a share of their limits")
    return figure


def returns(record: Record) -> Figure:
    """What plans expected against what then happened."""
    made = record.made
    realised = realised_returns(
        record.rewards, record.discounts, record.values, record.horizon
    )
    comparable = made[np.isfinite(realised[made])]
    if len(comparable) < 2:
        return _return_so_far(record)
    figure, axes = panels(2, height=1.6)
    top, bottom = axes[:, 0]
    marker = "" if len(made) > 60 else "."
    top.plot(
        made * record.tick,
        record.planned[made],
        color=ORANGE,
        linewidth=1.6,
        marker=marker,
        label="expected by the plan",
    )
    top.plot(
        comparable * record.tick,
        realised[comparable],
        color=BLUE,
        linewidth=1.6,
        marker=marker,
        label="realised over its horizon",
    )
    span = f"{record.horizon * record.tick:.3g} {'steps' if record.table else 's'}"
    label(
        top,
        "",
        "return",
        f"Return over the next {span}, by time of planning",
    )
    above(figure, *top.get_legend_handles_labels())
    error = realised[comparable] - record.planned[comparable]
    bottom.axhline(0, color=LIMIT, linewidth=1)
    bottom.fill_between(comparable * record.tick, error, color=PURPLE, alpha=0.35, lw=0)
    bottom.plot(comparable * record.tick, error, color=PURPLE, linewidth=1.4)
    if np.abs(error).max() < _noise(record.planned):
        bottom.set_ylim(-1, 1)
    label(bottom, record.clock, "difference", _surprise(error, record.planned))
    return figure


def _noise(planned: np.ndarray) -> float:
    """A difference of returns that is rounding and no more."""
    return 1e-6 * float(np.mean(np.abs(planned))) + 1e-12


def _surprise(error: np.ndarray, planned: np.ndarray) -> str:
    """The mean difference, in words."""
    if np.abs(error).max() < _noise(planned):
        return "It came as planned"
    mean = float(np.mean(error))
    return f"{abs(mean):.3g} {'better' if mean > 0 else 'worse'} on average"


def _return_so_far(record: Record) -> Figure:
    """For one plan of a whole episode: rewards added up, expected and met."""
    figure, axes = panels(1, height=2.6)
    axis = axes[0, 0]
    for rewards, final, colour, name in (
        (record.plan_rewards, record.plan_final, ORANGE, "expected by the first plan"),
        (record.rewards, record.final, BLUE, "realised"),
    ):
        total = np.concatenate([[0.0], np.cumsum(rewards)])
        axis.plot(
            record.times(len(total)), total, color=colour, linewidth=1.7, label=name
        )
        end = (len(total) - 1) * record.tick
        axis.plot(end, total[-1] + final, "o", color=colour, ms=5)
    label(
        axis,
        record.clock,
        "return",
        "Return so far; dots add the value of the last state",
    )
    above(figure, *axis.get_legend_handles_labels())
    return figure


def timing(record: Record) -> Figure:
    """Wall time of each step, and how each plan ended."""
    figure, axes = panels(2, height=1.35)
    top, bottom = axes[:, 0]
    edges = record.times(len(record.seconds) + 1)
    top.stairs(1e3 * record.seconds, edges, baseline=None, color=BLUE, linewidth=1.5)
    rate = f"{number(float(f'{record.plan_rate:.3g}'))} plans a second"
    if not record.table:
        top.axhline(1e3 * record.dt, color=LIMIT, linewidth=1.2, linestyle="--")
        slower = np.mean(record.seconds > record.dt)
        real = "never" if slower == 0 else f"{slower:.0%} of steps"
        rate += f"; {real} slower than real time (dashed)"
    logarithmic(top, "y")
    label(top, "", "wall time [ms]", rate)
    present = [name for name in NAMES if (record.results == name).any()]
    for row, name in enumerate(present):
        at = np.flatnonzero(record.results == name)
        bottom.broken_barh(
            [(float(t * record.tick), record.tick) for t in at],
            (row - 0.3, 0.6),
            facecolors=RESULT_COLOURS[name],
            linewidth=0,
        )
    bottom.set_yticks(range(len(present)), [name.replace("_", " ") for name in present])
    bottom.set_ylim(-0.8, max(len(present), 1) - 0.2)
    bottom.grid(False, axis="y")
    label(bottom, record.clock, "", "How the plan in force had ended")
    return figure
