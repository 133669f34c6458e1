"""Figures of models that were fitted to data: what they foresee, and doubt."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from forethought.reports.style import (
    BLUE,
    CYCLE,
    LIMIT,
    ORANGE,
    PALE_TO_DARK,
    WIDTH,
    above,
    choose,
    label,
    legend,
    logarithmic,
    panels,
)
from forethought.runs.fit.fitting import Data, Fit
from forethought.runs.fit.held import Held
from forethought.runs.fit.judge import FAR, GRID, LEVELS
from forethought.runs.fit.kept import Fitted
from forethought.runs.fit.scores import overall
from forethought.runs.fit.told import points, silent

WIDE = 2 * WIDTH
DIMENSIONS, PANELS = 4, 6
"""Dimensions of a fan, and of figures with a panel for each, at most."""
BINS = 12
DASHES, DOTS = (0, (4, 2)), (0, (1, 1.5))


def fans(fitted: Fitted) -> Figure | None:
    """What the best model foresaw of held-out episodes, and what happened."""
    held, fit, data = fitted.held, fitted.fits[0], fitted.data
    count = held.fans
    truth = np.concatenate([held.starts[:count, None], held.truth[:count]], axis=1)
    known = np.concatenate([np.ones((count, 1), bool), held.known[:count]], axis=1)
    truth = np.where(known[:, :, None], truth, np.nan)
    flat = truth.reshape(-1, truth.shape[2])
    worth = np.where(held.moves, overall(fit.judged.errors.T, held.scale[:, None]), -1)
    kept = choose(worth, flat[np.isfinite(flat).all(axis=1)], DIMENSIONS)
    figure, axes = panels(len(kept), count, height=1.75, width=WIDE, share="col")
    for column in range(count):
        bands = fit.judged.fan[column]
        start = np.broadcast_to(truth[column, :1], bands[:, :1].shape)
        bands = np.concatenate([start, bands], axis=1)
        bands = np.where(known[column][None, :, None], bands, np.nan)
        for row, i in enumerate(kept):
            axis = axes[row, column]
            _fan(axis, bands[:, :, i], truth[column, :, i])
            _see(axis, truth[:, :, i])
            title = f"held-out episode {column + 1}" if row == 0 else ""
            name = data.obs_names[i] if column == 0 else ""
            label(axis, "steps ahead" if row == len(kept) - 1 else "", name, title)
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    above(figure, *axes[0, 0].get_legend_handles_labels())
    return figure


def _fan(axis: Axes, bands: np.ndarray, truth: np.ndarray) -> None:
    """Bands of quantiles `[band, time]` over what happened."""
    time, last = np.arange(len(truth)), len(bands) - 1
    for low, alpha, level in zip(range(3), (0.13, 0.2, 0.3), LEVELS[::-1], strict=True):
        axis.fill_between(
            time,
            bands[low],
            bands[last - low],
            color=ORANGE,
            alpha=alpha,
            lw=0,
            label=f"{100 * level:.0f} % foreseen",
        )
    axis.plot(time, bands[last // 2], color=ORANGE, lw=1.3, label="median foreseen")
    axis.plot(time, truth, color=BLUE, lw=1.8, label="happened")


def _see(axis: Axes, truth: np.ndarray) -> None:
    """Limits that show what happened in any episode, and as much of bands around it."""
    low, high = float(np.nanmin(truth)), float(np.nanmax(truth))
    pad = 0.35 * (high - low) or 1.0
    axis.set_ylim(low - pad, high + pad)


def errors(fitted: Fitted) -> Figure:
    """Errors by how far ahead, of all models and of what needs no thought."""
    held, data = fitted.held, fitted.data
    shown = choose(held.moves.astype(float), held.places, PANELS - 1)
    scaled = [(fit.name, overall(fit.judged.errors, held.scale)) for fit in fitted.fits]
    thoughtless = [
        ("linear map", overall(held.linear, held.scale), DASHES),
        ("no change", overall(held.constant, held.scale), DOTS),
    ]
    columns = 2 if len(shown) == 3 else min(3, 1 + len(shown))
    rows = -(-(1 + len(shown)) // columns)
    figure, axes = panels(rows, columns, height=2.3, width=WIDE, share=False)
    first, *others = axes.flat
    _errors(first, scaled, thoughtless)
    label(first, "steps ahead", "error [std]", "all dimensions together")
    for axis, i in zip(others, shown, strict=False):
        own = [(fit.name, fit.judged.errors[:, i]) for fit in fitted.fits]
        still = ("linear map", held.linear[:, i], DASHES)
        _errors(axis, own, [still, ("no change", held.constant[:, i], DOTS)])
        label(axis, "steps ahead", "error", data.obs_names[i])
    for axis in others[len(shown) :]:
        axis.set_visible(False)
    above(figure, *first.get_legend_handles_labels())
    return figure


def _errors(axis: Axes, models: list, thoughtless: list) -> None:
    steps = np.arange(1, len(thoughtless[0][1]) + 1)
    for (name, values), colour in zip(models, _colours(len(models)), strict=True):
        axis.plot(steps, values, color=colour, lw=1.8, label=name)
    top = max(np.nanmax(values) for _, values in models)
    top = max(top, float(np.nanmax(thoughtless[1][1])))
    for name, values, style in thoughtless:
        # A linear map that is not stable runs away, and is of no interest then.
        kept = np.where(values <= 10 * top, values, np.nan)
        axis.plot(steps, kept, color=LIMIT, lw=1.5, linestyle=style, label=name)
    low = min(
        float(np.nanmin(np.where(values > 0, values, np.nan)))
        for _, values, *_ in (*models, *thoughtless)
        if (values > 0).any()
    )
    axis.set_ylim(low / 1.5, 3 * top)
    logarithmic(axis, "y")


def calibration(fitted: Fitted) -> Figure | None:
    """How often intervals held what happened, against how often they claim to."""
    told = [fit for fit in fitted.fits if not silent(fit.judged)]
    if not told:
        return None
    figure, axes = panels(1, 2, height=3.4, width=WIDE, share=False)
    left, right = axes[0]
    best, levels = told[0], 100 * np.array(GRID)
    band = points(best.name)
    left.fill_between(
        [0, 100],
        [-band, 100 - band],
        [band, 100 + band],
        color=LIMIT,
        alpha=0.2,
        lw=0,
        label=f"within {band} points",
    )
    left.plot([0, 100], [0, 100], color=LIMIT, lw=1.2, linestyle="--")
    names = [fit.name for fit in fitted.fits]
    colours = dict(zip(names, _colours(len(names)), strict=True))
    moves = fitted.held.moves
    thin = 100 * best.judged.calibration[:, moves]
    if thin.shape[1] > 1:
        left.plot(levels, thin, color=colours[best.name], lw=0.8, alpha=0.3)
    for fit in told:
        mean = 100 * fit.judged.calibration[:, moves].mean(axis=1)
        left.plot(levels, mean, "o-", color=colours[fit.name], ms=3.5, label=fit.name)
    left.set_xlim(0, 100)
    left.set_ylim(0, 104)
    for line in (left.xaxis, left.yaxis):
        line.set_major_locator(FixedLocator([0, 20, 40, 60, 80, 100]))
    label(left, "claimed [%]", "inside [%]", "One step ahead")
    legend(left, loc="upper left")
    steps = np.arange(1, best.judged.coverage.shape[1] + 1)
    for i, (level, shade) in enumerate(zip(LEVELS, (0.25, 0.6, 0.95), strict=True)):
        colour = PALE_TO_DARK(shade)
        share = 100 * best.judged.coverage[i][:, moves].mean(axis=1)
        right.axhline(100 * level, color=colour, lw=1.1, linestyle="--")
        words = f"{100 * level:.0f} % interval"
        right.plot(steps, share, color=colour, lw=1.8, label=words)
    right.set_ylim(0, 104)
    right.set_yticks([0, *(100 * level for level in LEVELS), 100])
    label(right, "steps ahead", "inside [%]", f"{best.name}, by how far ahead")
    legend(right, loc="lower right")
    return figure


def where(fitted: Fitted) -> Figure | None:
    """Where the best model that has doubts has most: along each dimension, and out."""
    fit = doubting(fitted)
    if fit is None:
        return None
    held, data = fitted.held, fitted.data
    doubt = np.sqrt(np.mean(fit.judged.epistemic**2, axis=1))
    pair, shown = _places(held, doubt)
    rows = -(-(len(shown) + 1 + (pair is not None)) // 3)
    figure, axes = panels(rows, 3, height=2.5, width=WIDE, share=False)
    flat = list(axes.flat)
    _out(flat[0], fit)
    used = 1
    if pair is not None:
        _map(figure, flat[1], held, data, doubt, pair)
        used = 2
    for axis, i in zip(flat[used:], shown, strict=False):
        _along(axis, held.places[:, i], doubt)
        label(axis, data.obs_names[i], "epistemic [std]")
    for axis in flat[used + len(shown) :]:
        axis.set_visible(False)
    return figure


def doubting(fitted: Fitted) -> Fit | None:
    """The best model with epistemic doubt."""
    return next((fit for fit in fitted.fits if (fit.judged.epistemic > 0).any()), None)


def _places(held: Held, doubt: np.ndarray) -> tuple[tuple[int, int] | None, np.ndarray]:
    """Two dimensions for a map, and those that are shown by themselves.

    Shown are those along which doubt changes most, by the medians of bins.
    """
    worth = np.full(held.places.shape[1], -1.0)
    for i in np.flatnonzero(held.moves):
        _, middles = binned(held.places[:, i], doubt)
        worth[i] = np.ptp(np.log(np.maximum(middles, 1e-9))) if len(middles) else 0
    shown = choose(worth, held.places, DIMENSIONS)
    best = sorted(shown, key=lambda i: -worth[i])[:2]
    pair = (int(min(best)), int(max(best))) if len(best) == 2 else None
    return pair, shown


def binned(values: np.ndarray, doubt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middles of equal bins that hold at least five values, and the medians there."""
    edges = np.linspace(values.min(), values.max(), BINS + 1)
    index = np.clip(np.digitize(values, edges) - 1, 0, BINS - 1)
    full = [b for b in range(BINS) if (index == b).sum() >= 5]
    middles = (edges[:-1] + edges[1:])[full] / 2
    return middles, np.array([np.median(doubt[index == b]) for b in full])


def _along(axis: Axes, values: np.ndarray, doubt: np.ndarray) -> None:
    axis.plot(values, doubt, ".", color=BLUE, alpha=0.25, ms=4, mew=0)
    axis.plot(*binned(values, doubt), color=ORANGE, lw=1.8)
    logarithmic(axis, "y")


def _map(figure: Figure, axis: Axes, held: Held, data: Data, doubt, pair) -> None:
    x, y = pair
    order = np.argsort(doubt)  # what is doubted most lies on top
    shown = axis.scatter(
        held.places[order, x],
        held.places[order, y],
        c=np.log10(np.maximum(doubt[order], 1e-9)),
        cmap=PALE_TO_DARK,
        s=9,
        linewidths=0,
    )
    bar = figure.colorbar(shown, ax=axis, pad=0.02)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.yaxis.set_major_locator(MaxNLocator(4))
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{10**value:.2g}")
    bar.ax.tick_params(labelsize=8, length=0)
    label(axis, data.obs_names[x], data.obs_names[y], "over the data")


def _out(axis: Axes, fit: Fit) -> None:
    aleatoric, epistemic = fit.judged.far
    axis.plot(FAR, epistemic, "o-", color=ORANGE, ms=4.5, label="epistemic")
    if (aleatoric > 0).all():
        axis.plot(FAR, aleatoric, "s-", color=BLUE, ms=4.5, label="aleatoric")
    logarithmic(axis, "y")
    label(
        axis,
        "times as far out as the data",
        "std of a step",
        f"{fit.name}: off the data",
    )
    legend(axis)


def _colours(count: int) -> list[str]:
    return [CYCLE[i % len(CYCLE)] for i in range(count)]
