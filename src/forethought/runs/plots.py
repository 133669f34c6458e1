"""Figures of a run, all in one hand.

Each function returns a `matplotlib.figure.Figure` (never pyplot, no global state), or
None where the run has nothing of the kind. Colours are Okabe and Ito's, which people
with colour-blindness tell apart: blue is what happened, orange what was expected, and
grey dashes are limits. What goes through iterations runs from pale to dark.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from forethought.core.results import NAMES
from forethought.runs.record import Record, realised_returns

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, YELLOW = "#56B4E9", "#E69F00"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY)
INK, QUIET, GRID, LIMIT = "#1f2937", "#64748b", "#e5e7eb", "#94a3b8"
PALE_TO_DARK = LinearSegmentedColormap.from_list(
    "forethought", ["#cfe3f1", "#7db6db", "#0072B2", "#00344f"]
)
WIDTH = 7.6
"""Inches; at 9 points legible at the width of a report."""

RESULT_COLOURS = dict(
    zip(NAMES, (GREEN, YELLOW, PURPLE, ORANGE, "#000000"), strict=True)
)


def panels(
    rows: int, columns: int = 1, *, height: float = 2.3, share: bool = True
) -> tuple[Figure, np.ndarray]:
    """An empty figure with axes in the common style, shape `[rows, columns]`."""
    figure = Figure(figsize=(WIDTH, height * rows), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.06, w_pad=0.06)  # type: ignore[union-attr]
    axes = figure.subplots(rows, columns, squeeze=False, sharex=share)
    for axis in axes.flat:
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axis.spines[side].set_color(LIMIT)
        axis.tick_params(colors=QUIET, labelsize=9, length=3, color=LIMIT)
        axis.grid(True, color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
        axis.yaxis.set_major_locator(MaxNLocator(5))
    return figure, axes


def label(axis: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Names of the axes and of what is seen."""
    axis.set_xlabel(x, fontsize=9.5, color=QUIET)
    axis.set_ylabel(y, fontsize=9.5, color=QUIET)
    if title:
        axis.set_title(title, fontsize=10.5, color=INK, loc="left", pad=7)


def legend(axis: Axes, **place) -> None:
    """A legend without a frame."""
    axis.legend(
        **({"loc": "best", "fontsize": 8.5, "frameon": False} | place),
        labelcolor=INK,
        handlelength=1.6,
    )


def times(record: Record, count: int) -> np.ndarray:
    """The first `count` multiples of the time step, in seconds."""
    return np.arange(count) * record.dt


def busiest(states: np.ndarray, count: int) -> np.ndarray:
    """The coordinates that move the most, in their own order.

    Each is measured against its own size, so that units do not decide.
    """
    spread = np.nanstd(states, axis=0)
    if states.shape[1] <= count:
        return np.arange(states.shape[1])
    scale = np.nanmax(np.abs(states), axis=0) + 1e-9
    return np.sort(np.argsort(-spread / np.sqrt(scale), kind="stable")[:count])


def _after_end(record: Record, axis: Axes) -> None:
    """Shade the time after the episode ended."""
    if not record.alive.all():
        end = float(np.argmin(record.alive)) * record.dt
        axis.axvspan(end, len(record.alive) * record.dt, color=GRID, zorder=0)


def states(record: Record) -> Figure:
    """States over time, and what the first plan expected of them."""
    chosen = busiest(record.states, 8)
    columns = 1 if len(chosen) <= 3 else 2
    rows = -(-len(chosen) // columns)
    figure, axes = panels(rows, columns, height=1.75 if rows > 1 else 2.4)
    for i, axis in enumerate(axes.flat):
        if i >= len(chosen):
            axis.set_visible(False)
            continue
        name, column = record.state_names[chosen[i]], chosen[i]
        seen, expected = record.states[:, column], record.plan_states[:, column]
        axis.plot(
            times(record, len(seen)), seen, color=BLUE, linewidth=1.8, label="met"
        )
        axis.plot(
            times(record, len(expected)),
            expected,
            color=ORANGE,
            linewidth=1.4,
            linestyle=(0, (3, 2)),
            label="first plan expected",
        )
        _after_end(record, axis)
        last = i + columns >= len(chosen)
        label(axis, "time [s]" if last else "", "", name)
    legend(axes.flat[0])
    if len(chosen) < record.states.shape[1]:
        figure.suptitle(
            f"The {len(chosen)} of {record.states.shape[1]} coordinates that moved most",
            fontsize=11,
            color=INK,
        )
    return figure


def actions(record: Record) -> Figure:
    """Actions over time, held for a step each, with their limits."""
    count = record.actions.shape[1]
    if count > 8:
        return _action_map(record)
    columns = 1 if count <= 3 else 2
    rows = -(-count // columns)
    figure, axes = panels(rows, columns, height=1.6 if rows > 1 else 2.2)
    for i, axis in enumerate(axes.flat):
        if i >= count:
            axis.set_visible(False)
            continue
        axis.stairs(
            record.actions[:, i],
            times(record, len(record.actions) + 1),
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
        limits = "" if i or not finite else "   (dashed: limits)"
        label(axis, "time [s]" if last else "", "", record.action_names[i] + limits)
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
        extent=(0, len(record.actions) * record.dt, count - 0.5, -0.5),
    )
    axes[0, 0].grid(False)
    axes[0, 0].set_yticks(range(count), record.action_names, fontsize=7.5)
    bar = figure.colorbar(image, ax=axes[0, 0], pad=0.015, ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["low", "0", "high"], fontsize=8.5, color=QUIET)
    bar.outline.set_visible(False)  # type: ignore[operator]
    label(axes[0, 0], "time [s]", "", "Actions, as a share of their limits")
    return figure


def returns(record: Record) -> Figure:
    """What plans expected against what then happened."""
    made = np.arange(0, len(record.rewards), record.replan_every)
    realised = realised_returns(
        record.rewards, record.discounts, record.values, record.horizon
    )
    comparable = made[np.isfinite(realised[made])]
    if len(comparable) < 2:
        return _return_so_far(record)
    figure, axes = panels(2, height=1.95)
    top, bottom = axes[:, 0]
    marker = "" if len(made) > 60 else "."
    top.plot(
        made * record.dt,
        record.planned[made],
        color=ORANGE,
        linewidth=1.6,
        marker=marker,
        label="expected by the plan",
    )
    top.plot(
        comparable * record.dt,
        realised[comparable],
        color=BLUE,
        linewidth=1.6,
        marker=marker,
        label="realised over its horizon",
    )
    seconds = record.horizon * record.dt
    label(
        top,
        "",
        "return",
        f"Return over the next {seconds:.3g} s, by when it was planned",
    )
    legend(top)
    error = realised[comparable] - record.planned[comparable]
    bottom.axhline(0, color=LIMIT, linewidth=1)
    bottom.fill_between(comparable * record.dt, error, color=PURPLE, alpha=0.35, lw=0)
    bottom.plot(comparable * record.dt, error, color=PURPLE, linewidth=1.4)
    label(bottom, "time [s]", "realised − expected", _surprise(error))
    return figure


def _surprise(error: np.ndarray) -> str:
    better = np.mean(error > 0)
    if np.allclose(error, 0, atol=1e-9 + 1e-6 * np.abs(error).max(initial=0.0)):
        return "It came as planned"
    if better > 0.5:
        return f"Replanning did better than the plan in {better:.0%} of cases"
    return f"It came out worse than planned in {1 - better:.0%} of cases"


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
            times(record, len(total)), total, color=colour, linewidth=1.7, label=name
        )
        axis.plot(
            (len(total) - 1) * record.dt, total[-1] + final, "o", color=colour, ms=5
        )
    label(
        axis,
        "time [s]",
        "return so far",
        "Rewards added up; dots include the value of the end",
    )
    legend(axis)
    return figure


def search(record: Record) -> Figure | None:
    """How the first plan got better from iteration to iteration."""
    stats = record.plan_stats
    drawn: list[tuple[str, list[tuple[str, str, np.ndarray]]]] = []
    if "cost" in stats:
        drawn.append(("cost", [("cost", BLUE, _used(record, "cost"))]))
    lines = [
        (name, colour, _used(record, key))
        for key, name, colour in (
            ("best_return", "best so far", ORANGE),
            ("elite_return", "mean of the elites", BLUE),
        )
        if key in stats and stats[key].ndim == 1
    ]
    if lines:
        drawn.append(("return", lines))
    for key, name, colour in (
        ("spread", "spread of the search [action]", GREEN),
        ("gradient", "gradient norm", GREEN),
        ("step_size", "step size", PURPLE),
        ("regularisation", "regularisation", YELLOW),
    ):
        if key in stats and stats[key].ndim == 1:
            drawn.append((name, [(name, colour, _used(record, key))]))
    drawn = [each for each in drawn if any(len(line[2]) for line in each[1])]
    if not drawn:
        return _histogram(record)
    columns = min(2, len(drawn))
    figure, axes = panels(-(-len(drawn) // columns), columns, height=2.2)
    for axis, (name, lines) in zip(axes.flat, drawn, strict=False):
        for text, colour, values in lines:
            x = np.arange(len(values)) + ("cost" not in stats)
            marker = "o" if len(values) <= 40 else ""
            axis.plot(x, values, color=colour, lw=1.7, marker=marker, ms=4, label=text)
        values = np.concatenate([line[2] for line in lines])
        if (values > 0).all() and values.max() > 50 * values.min():
            axis.set_yscale("log")
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if len(lines) > 1:
            legend(axis)
        label(axis, "iteration", "", name[0].upper() + name[1:])
    for axis in axes.flat[len(drawn) :]:
        axis.set_visible(False)
    return figure


def _used(record: Record, key: str) -> np.ndarray:
    """A statistic up to the last iteration that was needed, finite entries only."""
    values = np.asarray(record.plan_stats[key], float)
    iterations = record.plan_stats.get("iterations")
    if iterations is not None and iterations.ndim == 0:
        values = values[: int(iterations) + (key == "cost")]
    return values[np.isfinite(values)]


def _histogram(record: Record) -> Figure | None:
    """For one draw of candidates: how good they were."""
    found = record.plan_stats.get("candidate_return", record.fan_returns.ravel())
    found = found[np.isfinite(found)]
    if len(found) < 2:
        return None
    figure, axes = panels(1, height=2.4)
    axis = axes[0, 0]
    axis.plot(
        np.arange(1, len(found) + 1), -np.sort(-found), color=BLUE, lw=1.6, marker="."
    )
    axis.plot(1, found.max(), "o", color=ORANGE, ms=7, label="chosen")
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
    plane = _plane(record)
    chosen = np.argsort(-np.nanmean(np.nanstd(record.fan_states, axis=1), axis=(0, 1)))
    spread = record.fan_states[0].std(axis=0).mean(axis=0)
    scale = np.abs(record.fan_states).max(axis=(0, 1, 2)) + 1e-9
    chosen = np.argsort(-spread / np.sqrt(scale), kind="stable")[:2]
    seconds = times(record, record.horizon + 1)
    figure, axes = panels(2, 2, height=2.5, share=False)
    count = len(record.fan_states)
    for i, axis in enumerate(axes[0]):
        if plane is not None and i == 0:
            first, second = plane
            _fan_lines(
                axis, record.fan_states[..., first], record.fan_states[..., second]
            )
            plan = record.plan_states
            axis.plot(plan[:, first], plan[:, second], color=ORANGE, linewidth=2)
            axis.set_aspect("equal", adjustable="datalim")
            label(axis, record.state_names[first], record.state_names[second], "Paths")
        elif i < len(chosen):
            column = chosen[i]
            _fan_lines(axis, seconds, record.fan_states[..., column])
            axis.plot(seconds, record.plan_states[:, column], color=ORANGE, linewidth=2)
            label(axis, "time ahead [s]", "", record.state_names[column])
        else:
            axis.set_visible(False)
    dimension = int(np.argmax(record.fan_actions[0].std(axis=0).mean(axis=0)))
    held = times(record, record.horizon)
    _fan_lines(axes[1, 0], held, record.fan_actions[..., dimension])
    axes[1, 0].plot(held, record.plan_actions[:, dimension], color=ORANGE, linewidth=2)
    for bound in (record.low[dimension], record.high[dimension]):
        if np.isfinite(bound):
            axes[1, 0].axhline(bound, color=LIMIT, linewidth=1.2, linestyle="--")
    label(axes[1, 0], "time ahead [s]", "", record.action_names[dimension])
    _fan_returns(axes[1, 1], record)
    if count > 1:
        names = [f"iteration {record.fan_iterations[i] + 1}" for i in (0, count - 1)]
        for i, name in zip((0, count - 1), names, strict=True):
            axes[0, 0].plot([], [], color=_shade(i, count), linewidth=2, label=name)
    axes[0, 0].plot([], [], color=ORANGE, linewidth=2, label="the plan")
    legend(axes[0, 0], fontsize=8)
    return figure


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
            color=_shade(i, count) if count > 1 else BLUE,
            markersize=5,
        )
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if count > 1:
        label(axis, "iteration", "return", "Returns of the elites")
    else:
        label(axis, "rank of the candidate", "return", "Returns of the candidates")


def _plane(record: Record) -> tuple[int, int] | None:
    """Two coordinates that are a place in the plane, where the names say so."""
    stems = [name.split(" ")[0].split("[")[0].strip() for name in record.state_names]
    metres = ["[m]" in name for name in record.state_names]
    for first, second in (("x", "y"), ("x", "z")):
        if first in stems and second in stems:
            i, j = stems.index(first), stems.index(second)
            if metres[i] and metres[j]:
                return i, j
    return None


def _shade(i: int, count: int) -> tuple[float, float, float, float]:
    return PALE_TO_DARK(i / max(count - 1, 1))


def _fan_lines(axis: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """`[shade, line, time]` as lines, pale first."""
    count = len(y)
    x = np.broadcast_to(x, y.shape)
    for i in range(count):
        colour = _shade(i, count) if count > 1 else to_rgba(BLUE, 0.35)
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
    seconds = times(record, horizon)
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
            extent=(0, horizon * record.dt, len(flat) - 0.5, -0.5),
        )
        axes[0, 0].grid(False)
        rows = [f"{u} / {x}" for u in record.action_names for x in record.state_names]
        if len(rows) <= 36:
            axes[0, 0].set_yticks(range(len(rows)), rows, fontsize=7)
        bar = figure.colorbar(image, ax=axes[0, 0], pad=0.015)
        bar.ax.tick_params(labelsize=8.5, colors=QUIET)
        bar.outline.set_visible(False)  # type: ignore[operator]
        label(axes[0, 0], "time ahead [s]", "", "Feedback gains: action per state")
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
            "time ahead [s]" if last else "",
            "gain",
            f"{record.action_names[i]} per unit of",
        )
    legend(axes[0, 0], loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def timing(record: Record) -> Figure:
    """Wall time of each step, and how each plan ended."""
    figure, axes = panels(2, height=1.7)
    top, bottom = axes[:, 0]
    edges = times(record, len(record.seconds) + 1)
    top.stairs(1e3 * record.seconds, edges, baseline=None, color=BLUE, linewidth=1.5)
    budget = 1e3 * record.dt
    top.axhline(budget, color=LIMIT, linewidth=1.2, linestyle="--")
    top.set_yscale("log")
    slower = np.mean(record.seconds > record.dt)
    rate = f"{record.plan_rate:,.0f} plans a second"
    real = (
        "real time throughout"
        if slower == 0
        else f"{slower:.0%} of steps slower than real time"
    )
    label(
        top, "", "wall time of a step [ms]", f"{rate}: {real} (dashed: the time step)"
    )
    present = [name for name in NAMES if (record.results == name).any()]
    for row, name in enumerate(present):
        at = np.flatnonzero(record.results == name)
        bottom.broken_barh(
            [(float(t * record.dt), record.dt) for t in at],
            (row - 0.35, 0.7),
            facecolors=RESULT_COLOURS[name],
            linewidth=0,
        )
    bottom.set_yticks(range(len(present)), [name.replace("_", " ") for name in present])
    bottom.set_ylim(-0.6, max(len(present), 1) - 0.4)
    counts = ", ".join(
        f"{(record.results == name).sum()} {name.replace('_', ' ')}" for name in present
    )
    label(
        bottom,
        "time [s]",
        "",
        f"How the plan in force had ended: {counts} of {len(record.results)} steps",
    )
    return figure


def comparison(
    rows: Sequence[Mapping[str, Any]], optimum: float | None = None
) -> Figure:
    """Return against planning time, one colour a planner, one dot a run."""
    figure, axes = panels(1, height=3.6)
    axis = axes[0, 0]
    planners = list(dict.fromkeys(row["planner"] for row in rows))
    for i, planner in enumerate(planners):
        own = [row for row in rows if row["planner"] == planner]
        x = [1e3 * row["plan_seconds"] for row in own]
        y = [row["return"] for row in own]
        style = {"color": CYCLE[i % len(CYCLE)], "marker": "osD^vP"[i % 6], "ms": 9}
        axis.plot(x, y, linestyle="", **style, label=planner, mec="white", mew=0.8)
    if optimum is not None:
        axis.axhline(optimum, color=INK, linewidth=1.2, linestyle="--", label="optimum")
    axis.set_xscale("log")
    label(axis, "time for one plan [ms]", "return")
    legend(axis, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


FIGURES: dict[str, Callable[[Record], Figure | None]] = {
    "states": states,
    "actions": actions,
    "returns": returns,
    "search": search,
    "fan": fan,
    "gains": gains,
    "timing": timing,
}
"""Every figure of a run, by the name of its file."""
