"""Figures of a training run: what was earned, and how well the model foresaw it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from forethought.reports.style import (
    BLUE,
    GREEN,
    LIMIT,
    ORANGE,
    PALE_TO_DARK,
    PURPLE,
    WIDTH,
    above,
    choose,
    label,
    legend,
    logarithmic,
    number,
    panels,
)
from forethought.training.forecasts import FAR, LEVELS

Rows = Sequence[Mapping[str, Any]]
Cards = Mapping[int, Mapping[str, np.ndarray]]
WIDE = 2 * WIDTH
STAGES, FANS, DIMENSIONS = 5, 3, 4
"""Lines of one kind in a figure, fans side by side, and dimensions of each, at most."""


def episodes(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Step, return, and whether it was planned, of each episode that ended."""
    found = [
        (end, value, row["kind"] == "planned")
        for row in rows
        for end, value in zip(row["ends"], row["returns"], strict=True)
    ]
    steps, returns, planned = zip(*found, strict=True) if found else ((), (), ())
    return (
        np.array(steps, float),
        np.array([as_number(value) for value in returns], float),
        np.array(planned, bool),
    )


def as_number(value: Any) -> float:
    """A number as JSON has it: null is NaN, infinities are words."""
    return math.nan if value is None else float(value)


def curves(rows: Rows, bounds: Mapping[str, Any]) -> Figure:
    """Return of each episode and of evaluations, between what bounds there are.

    Args:
        rows: Lines of metrics.
        bounds: As `forethought.runs.train.bounds` has them; empty if they were not
            measured.
    """
    figure, axes = panels(1, height=3.5, width=WIDE)
    axis = axes[0, 0]
    steps, returns, planned = episodes(rows)
    size = 5.5 if len(steps) <= 60 else 3.5
    if len(steps):
        axis.plot(steps, returns, color=BLUE, linewidth=1.1, alpha=0.35)
        if not planned.all():
            axis.plot(
                steps[~planned],
                returns[~planned],
                "s",
                color=LIMIT,
                ms=size,
                label="random actions",
            )
        axis.plot(
            steps[planned], returns[planned], "o", color=BLUE, ms=size, label="planned"
        )
        axis.step(
            steps,
            np.fmax.accumulate(returns),
            where="post",
            color=LIMIT,
            linewidth=1.2,
            linestyle=(0, (4, 2)),
            label="best so far",
            zorder=1,
        )
    judged = [row for row in rows if row.get("evaluation") is not None]
    if judged:
        axis.errorbar(
            [row["step"] for row in judged],
            [as_number(row["evaluation"]) for row in judged],
            [as_number(row.get("evaluation_std")) for row in judged],
            fmt="D",
            color=PURPLE,
            ms=6,
            capsize=3,
            linewidth=1.2,
            label="evaluation, mean ± std",
        )
    for name, colour, words in (
        ("exact", GREEN, "exact model"),
        ("random", ORANGE, "random actions, mean ± std"),
    ):
        if name not in bounds:
            continue
        told = bounds[name].get("label", words)
        mean, std = as_number(bounds[name]["mean"]), as_number(bounds[name]["std"])
        if math.isfinite(std):
            axis.axhspan(mean - std, mean + std, color=colour, alpha=0.1, linewidth=0)
        axis.axhline(mean, color=colour, linewidth=1.4, label=told, zorder=1)
        axis.annotate(
            number(float(f"{mean:.4g}")),
            (1, mean),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            color=colour,
            fontsize=9,
            va="center",
        )
    axis.set_xlim(left=0)
    label(axis, "environment steps", "return of an episode")
    above(figure, *axis.get_legend_handles_labels())
    return figure


def steps_lead(rows: Rows) -> bool:
    """Whether episodes differ by their lengths above all, as those of a maze do.

    What is earned is then one of two numbers, as the goal is reached or is not, and how
    long that took says how good it was.
    """
    steps = {length for row in rows for length in row.get("lengths", ())}
    _, returns, _ = episodes(rows)
    return len({*returns.round(9)}) <= 2 < len(steps)


def lengths(rows: Rows, *, wide: bool = False) -> Figure | None:
    """How many steps each episode had, where they differ."""
    steps = [end for row in rows for end in row["ends"]]
    found = [length for row in rows for length in row.get("lengths", ())]
    if len(found) < len(steps) or len({*found}) < 2:
        return None
    figure, axes = panels(1, height=3.5, width=WIDE) if wide else panels(1, height=2.6)
    axis, number = axes[0, 0], np.arange(1, len(found) + 1)
    axis.plot(number, found, color=BLUE, linewidth=1.1, alpha=0.35)
    axis.plot(number, found, "o", color=BLUE, ms=4.5 if len(found) <= 60 else 2.5)
    logarithmic(axis, "y")
    label(axis, "episode", "steps")
    return figure


def fit(rows: Rows) -> Figure | None:
    """The model's score on rows held out from it, after each fit."""
    told = [row for row in rows if row.get("holdout") is not None]
    if not told:
        return None
    figure, axes = panels(1, height=2.6)
    axis = axes[0, 0]
    steps = [row["step"] for row in told]
    axis.plot(steps, [as_number(row["holdout"]) for row in told], "o-", color=BLUE)
    label(axis, "environment steps", "nats per dimension")
    return figure


def errors(rows: Rows, cards: Cards) -> Figure | None:
    """Error of open-loop forecasts by how far they look, and over training."""
    if not cards:
        return None
    figure, axes = panels(1, 2, height=3.0, width=WIDE, share=False)
    left, right = axes[0]
    for shade, interval, step in _stages(rows, cards):
        total = _total(cards[interval]["errors"])
        left.plot(
            np.arange(1, len(total) + 1),
            total,
            color=PALE_TO_DARK(shade),
            linewidth=1.8,
            label=f"fitted to {step:,} steps",
        )
    still = np.array([_total(card["persistence"]) for card in cards.values()])
    left.plot(
        np.arange(1, still.shape[1] + 1),
        _mean(still),
        color=LIMIT,
        linewidth=1.4,
        linestyle="--",
        label="no change",
    )
    logarithmic(left, "y")
    label(left, "steps ahead $k$", "error [std]", "By how far ahead")
    _make_room(left)
    legend(left, loc="lower right", ncols=2)
    steps = _steps(rows, cards)
    for k, colour, marker in ((1, BLUE, "o"), (FAR, ORANGE, "s")):
        if k > still.shape[1]:
            continue
        found = [_total(card["errors"])[k - 1] for card in cards.values()]
        ahead = f"{k} step{'s' * (k > 1)} ahead"
        right.plot(steps, found, f"{marker}-", color=colour, ms=4.5, label=ahead)
        right.plot(steps, still[:, k - 1], "--", color=colour, lw=1.2, alpha=0.6)
    logarithmic(right, "y")
    label(right, "environment steps", "error [std]", "Over training")
    right.plot([], [], "--", color=LIMIT, lw=1.2, label="no change")
    _make_room(right)
    legend(right, loc="lower right", ncols=3)
    return figure


def calibration(rows: Rows, cards: Cards) -> Figure | None:
    """How often bands held what happened, against how often they claim to."""
    if not cards:
        return None
    figure, axes = panels(1, 2, height=3.0, width=WIDE, share=False)
    left, right = axes[0]
    high = len(LEVELS) - 1
    for shade, interval, step in _stages(rows, cards):
        share = np.mean(cards[interval]["coverage"][high], axis=1)
        left.plot(
            np.arange(1, len(share) + 1),
            100 * share,
            color=PALE_TO_DARK(shade),
            linewidth=1.8,
            label=f"fitted to {step:,} steps",
        )
    steps = _steps(rows, cards)
    for i, (level, colour) in enumerate(zip(LEVELS, (ORANGE, BLUE), strict=True)):
        for axis in (right, left) if i == high else (right,):
            axis.axhline(100 * level, color=colour, linewidth=1.2, linestyle="--")
        shares = [
            100 * _mean(card["coverage"][i, :FAR].reshape(-1, 1))[0]
            for card in cards.values()
        ]
        words = f"{100 * level:.0f} % band"
        right.plot(steps, shares, "o-", color=colour, ms=4.5, label=words)
    for axis in (left, right):
        axis.set_ylim(0, 104)
        axis.set_yticks([0, 25, 50, 75, 90, 100])
    level = f"{100 * list(LEVELS)[high]:.0f}"
    label(left, "steps ahead $k$", "inside [%]", f"The {level} % band, by how far")
    label(right, "environment steps", "inside [%]", f"Over training, up to {FAR} steps")
    legend(left)
    legend(right)
    return figure


def doubts(rows: Rows, cards: Cards) -> Figure | None:
    """Disagreement of members where they learned, where the agent went, in plans."""
    found = np.array([card["doubts"] for card in cards.values()]).reshape(-1, 3)
    if not np.nanmax(found, initial=0) > 0:
        return None
    figure, axes = panels(1, height=2.6)
    axis, steps = axes[0, 0], _steps(rows, cards)
    for values, colour, marker, words in (
        (found[:, 0], LIMIT, "s", "data it was fitted to"),
        (found[:, 1], BLUE, "o", "visited since"),
        (found[:, 2], ORANGE, "^", "imagined by its plans"),
    ):
        axis.plot(steps, values, f"{marker}-", color=colour, ms=4.5, label=words)
    logarithmic(axis, "y")
    label(axis, "environment steps", "disagreement [std]")
    above(figure, *axis.get_legend_handles_labels())
    return figure


def fans(rows: Rows, cards: Cards) -> Figure | None:
    """What was imagined at several stages, and what then really happened."""
    if not cards:
        return None
    stages = _stages(rows, cards, FANS)
    series = np.concatenate([card["truth"] for card in cards.values()])
    spread = np.nanstd(series, axis=0)
    error = np.mean([_total(card["errors"].T) for card in cards.values()], axis=0)
    worth = np.where(spread > 0, np.nan_to_num(error), -1.0)
    kept = choose(worth, series, DIMENSIONS)
    figure, axes = panels(len(kept), len(stages), height=1.75, width=WIDE, share="col")
    for column, (_, interval, step) in enumerate(stages):
        card = cards[interval]
        for row, i in enumerate(kept):
            axis = axes[row, column]
            _fan(axis, card["fan"][:, :, i], card["truth"][:, i])
            _see(axis, np.stack([each["truth"][:, i] for each in cards.values()]))
            title = f"fitted to {step:,} steps" if row == 0 else ""
            name = str(card["names"][i]) if column == 0 else ""
            label(axis, "steps ahead" if row == len(kept) - 1 else "", name, title)
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    above(figure, *axes[0, 0].get_legend_handles_labels())
    return figure


def _fan(axis: Axes, bands: np.ndarray, truth: np.ndarray) -> None:
    """Bands of quantiles `[quantile, time]` over what happened."""
    time = np.arange(len(truth))
    middle = len(bands) // 2
    for low, alpha, words in ((0, 0.18, "90 % imagined"), (1, 0.32, "50 % imagined")):
        high = len(bands) - 1 - low
        axis.fill_between(
            time, bands[low], bands[high], color=ORANGE, alpha=alpha, lw=0, label=words
        )
    axis.plot(time, bands[middle], color=ORANGE, linewidth=1.3, label="median imagined")
    axis.plot(time, truth, color=BLUE, linewidth=1.8, label="happened")


def _make_room(axis: Axes) -> None:
    """Leave space for a legend below the lines of a logarithmic axis."""
    low, high = axis.get_ylim()
    axis.set_ylim(low * (low / high) ** 0.25, high)


def _see(axis: Axes, truth: np.ndarray) -> None:
    """Limits that show what happened at any stage, and as much of bands around it."""
    low, high = float(np.nanmin(truth)), float(np.nanmax(truth))
    pad = 0.35 * (high - low) or 1.0
    axis.set_ylim(low - pad, high + pad)


def _stages(
    rows: Rows, cards: Cards, count: int = STAGES
) -> list[tuple[float, int, int]]:
    """Some cards from first to last: shade, interval, steps its model was fitted to."""
    intervals = list(cards)
    picked = np.linspace(0, len(intervals) - 1, min(count, len(intervals)))
    done = {row["interval"]: row["step"] for row in rows}
    shades = np.linspace(0.15, 1, len(picked)) if len(picked) > 1 else [0.6]
    return [
        (float(shade), intervals[i], done.get(intervals[i] - 1, 0))
        for shade, i in zip(shades, picked.round().astype(int), strict=True)
    ]


def _steps(rows: Rows, cards: Cards) -> np.ndarray:
    """The environment step that each card was written at."""
    done = {row["interval"]: row["step"] for row in rows}
    return np.array([done.get(interval, np.nan) for interval in cards], float)


def _total(parts: np.ndarray) -> np.ndarray:
    """The root mean square over the last axis."""
    return np.sqrt(np.mean(np.square(parts), axis=-1))


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over the first axis, of what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
