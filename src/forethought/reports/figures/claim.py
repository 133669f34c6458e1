"""The figure of a reproduction: curves of every arm, and pictures that argue."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from forethought.reports.figures.learning import as_number
from forethought.reports.style import (
    CYCLE,
    GREEN,
    INK,
    LIMIT,
    ORANGE,
    QUIET,
    label,
    number,
    panels,
)

Result = Mapping[str, Any]
NAMES = {
    "each": ("return", "Return of each episode"),
    "best": ("return", "Maximum so far"),
    "evaluation": ("return", "Evaluation: mean of episodes apart"),
    "success": ("share", "Evaluation: share that succeeds"),
}
"""For each curve the name of its axis, and what is seen."""
DOTTED = 40
"""A curve of more points is drawn without them."""


def figure(result: Result) -> Figure:
    """Curves of each arm, beside what others report, above pictures that argue.

    These are the return of each episode and the maximum so far; or, where agents were
    evaluated, what that found.

    Args:
        result: The content of `reproduction.json`.
    """
    names, evidence = _curves(result), result.get("evidence", [])
    columns = len(names) if len(evidence) % 3 else max(len(names), len(evidence) and 3)
    rows = 1 + math.ceil(len(evidence) / columns)
    drawn, grid = panels(rows, columns, height=3.5, share=False)
    drawn.set_size_inches(5.2 * columns, 4.6 + 3.4 * (rows - 1))
    axes = dict(zip(names, grid[0], strict=False))
    for axis in [*grid[0, len(names) :], *grid[1:].flat[len(evidence) :]]:
        axis.set_visible(False)
    colours = dict(zip(result["arms"], CYCLE * len(result["arms"]), strict=False))
    end = max(arm["steps"][-1] for arm in result["arms"].values())
    for name, axis in axes.items():
        if name != "success":
            _yardsticks(axis, result)
        for arm, colour in colours.items():
            _arm(axis, result["arms"][arm], name, colour, arm)
        axis.set_xlim(0, 1.04 * end)
        y, title = NAMES[name]
        label(axis, "environment steps", y, title)
    _random(axes["each"], result)
    if "best" in axes:
        _published(axes["best"], result, end)
    for check in result["checks"]:
        if check["curve"] in axes and "mark" in check:
            _mark(axes[check["curve"]], check)
    both = [axes[name] for name in ("each", "best") if name in axes]
    limits = np.array([axis.get_ylim() for axis in both])
    for axis in both:
        axis.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    entries = {
        name: handle
        for axis in axes.values()
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    for axis, panel in zip(grid[1:].flat, evidence, strict=False):
        _panel(axis, panel)
    drawn.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower left",
        ncols=5,
        fontsize=8.5,
        frameon=False,
        labelcolor=INK,
        handlelength=1.8,
    )
    drawn.suptitle(heading(result), fontsize=11.5, color=INK, x=0.008, ha="left")
    return drawn


def _curves(result: Result) -> list[str]:
    """Which curves are drawn."""
    seeds = [seed for arm in result["arms"].values() for seed in arm["seeds"]]
    if not any(seed.get("evaluations") for seed in seeds):
        return ["each", "best"]
    told = [as_number(value) for seed in seeds for value in seed.get("successes", ())]
    succeeded = ["success"] if np.isfinite(told).any() else []
    return ["each", "evaluation", *succeeded]


def per_seed(arm: Mapping[str, Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Every seed's curve on common steps.

    Args:
        arm: Of the result.
        name: Of the curve, a key of `NAMES`.

    Returns:
        Steps, shape `[step]`, and the curves, shape `[seed, step]`; none where there
        is nothing to be drawn.
    """
    if name in ("each", "best"):
        pairs = [(run["steps"], run["returns"]) for run in arm["seeds"]]
        at = np.array(arm["steps"])
    else:
        column = "evaluations" if name == "evaluation" else "successes"
        runs = [run for run in arm["seeds"] if run.get("evaluated")]
        pairs = [(run["evaluated"], run[column]) for run in runs]
        at = np.array(sorted({step for steps, _ in pairs for step in steps}))
        at = at[at >= max((steps[0] for steps, _ in pairs), default=0)]
    rows = []
    for steps, values in pairs:
        known = np.array([as_number(value) for value in values])
        known = np.maximum.accumulate(known) if name == "best" else known
        newest = np.searchsorted(steps, at, side="right") - 1
        rows.append(known[np.maximum(newest, 0)])
    return at, np.array(rows).reshape(len(pairs), len(at))


def heading(result: Result) -> str:
    """What was tried and how it went, in one line."""
    passed = sum(check["passed"] for check in result["checks"])
    seeds = len(next(iter(result["arms"].values()))["seeds"])
    settings = "" if result["settings"] == "ours" else ", the paper's settings"
    checks = len(result["checks"])
    return (
        f"{result['name']}: {passed} of {checks} check{'s' if checks > 1 else ''} "
        f"passed, {seeds} seed{'s' if seeds > 1 else ''}{settings}"
    )


def _arm(
    axis: Axes, arm: Mapping[str, Any], curve: str, colour: str, name: str
) -> None:
    steps, values = per_seed(arm, curve)
    if not values.size:
        return
    of = f"{name}: " if name else ""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    if len(values) > 1:
        words = "" if name else "middle half of seeds"
        axis.fill_between(steps, low, high, color=colour, alpha=0.15, lw=0, label=words)
        for i, row in enumerate(values):
            words = "" if i or name else "each seed"
            alone = "" if len(steps) > 1 else "."
            axis.plot(
                *(steps, row, alone or "-"),
                color=colour,
                lw=0.8,
                alpha=0.4,
                label=words,
            )
    words = of + ("median of seeds" if len(values) > 1 else "one seed")
    style = "o-" if len(steps) <= DOTTED else "-"
    axis.plot(steps, middle, style, color=colour, lw=2.2, ms=4.5, label=words, zorder=4)


def _random(axis: Axes, result: Result) -> None:
    """The episodes that nobody planned, over the median's points."""
    for arm in result["arms"].values():
        first = arm["seeds"][0]
        pairs = zip(first["steps"], first["planned"], strict=True)
        steps = {at for at, own in pairs if not own}
        places = [i for i, at in enumerate(arm["steps"]) if at in steps]
        if not places:
            continue
        axis.plot(
            np.array(arm["steps"])[places],
            np.array(arm["median"])[places],
            "s",
            color=LIMIT,
            ms=6,
            label="random episode",
            zorder=5,
        )


def _yardsticks(axis: Axes, result: Result) -> None:
    for key, name, style in (
        ("bound", "exact model", (0, (5, 2))),
        ("floor", "random actions", (0, (1, 1.5))),
    ):
        found = {}  # once, where arms have the same
        for arm in result["arms"].values():
            if arm[key] is not None:
                found[arm[key]["mean"]] = arm[key]["std"]
        for mean, std in found.items():
            if std is not None:  # of a single episode there is none
                axis.axhspan(mean - std, mean + std, color=LIMIT, alpha=0.1, lw=0)
            axis.axhline(mean, color=QUIET, lw=1.3, ls=style, label=name, zorder=1)


def _panel(axis: Axes, panel: Mapping[str, Any]) -> None:
    """A picture that argues."""
    for i, (name, pair) in enumerate(panel["series"].items()):
        x, y = ([as_number(each) for each in pair[key]] for key in "xy")
        colour = CYCLE[i % len(CYCLE)]
        if panel["kind"] == "dots":
            axis.plot(x, y, ".", color=colour, ms=3.5, alpha=0.45, label=name)
        else:
            axis.plot(x, y, "o-", color=colour, lw=1.6, ms=3.5, label=name)
    label(axis, panel["x"], panel["y"], panel["title"])
    axis.legend(
        loc="best", fontsize=8.5, frameon=False, labelcolor=INK, handlelength=1.6
    )


def _published(axis: Axes, result: Result, end: int) -> None:
    """Curves within our budget; results of a larger one as levels at the right."""
    levels = []
    colours = CYCLE[len(result["arms"]) :]
    for colour, each in zip(colours, result["published"], strict=False):
        inside = np.array([point for point in each["points"] if point[0] <= end])
        if len(inside):
            axis.plot(
                *inside.T, "s-", color=colour, lw=1.3, ms=3.5, label=each["label"]
            )
        else:
            at, value = each["points"][-1]
            levels.append((value, at, each["label"], colour))
    _levels(axis, levels)


def _levels(axis: Axes, levels: list[tuple[float, int, str, str]]) -> None:
    """Results of a larger budget, in the margin at the right."""
    low, high = axis.get_ylim()
    gap, lowest = 0.06 * (high - low), -math.inf
    place: Any = {"xycoords": ("axes fraction", "data"), "annotation_clip": False}
    for value, _, name, colour in sorted(levels):
        lowest = max(value, lowest + gap)
        axis.annotate(
            f"{name} {value:.0f}",
            (1.0, value),
            xytext=(1.045, lowest),
            textcoords=("axes fraction", "data"),
            va="center",
            fontsize=8.5,
            color=colour,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "lw": 1.6,
                "shrinkA": 1,
                "relpos": (0, 0.5),
            },
            **place,
        )
    if levels:
        words = f"after {levels[0][1]:,.0f} steps"
        axis.annotate(
            words, (1.045, lowest + gap), fontsize=8, color=QUIET, va="center", **place
        )


def _mark(axis: Axes, check: Mapping[str, Any]) -> None:
    """Where a promise lies: a triangle, filled where it is kept."""
    colour = GREEN if check["passed"] else ORANGE
    axis.plot(
        *check["mark"],
        marker="^",
        ms=8,
        ls="",
        mew=1.6,
        color=colour,
        mfc=colour if check["passed"] else "white",
        label="goal, reached" if check["passed"] else "goal, missed",
        clip_on=False,
        zorder=6,
    )
    axis.annotate(
        f"{'>' if check['relation'] == '≤' else check['relation']} "
        f"{number(check['mark'][1])}",
        check["mark"],
        xytext=(5, -7),
        textcoords="offset points",
        ha="center" if check["mark"][0] > 0.9 * axis.get_xlim()[1] else "left",
        va="top",
        fontsize=9,
        color=colour,
        path_effects=[withStroke(linewidth=3, foreground="white")],
        zorder=7,
    )
