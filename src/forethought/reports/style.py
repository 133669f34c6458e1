"""How figures look: one hand for all.

Figures are `matplotlib.figure.Figure` objects, never pyplot's, so that nothing global
is touched. Colours are Okabe and Ito's, which people with colour-blindness tell apart:
blue is what happened, orange what was expected or chosen, grey dashes are limits. What
goes through iterations runs from pale to dark.
"""

import io
import math
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, YELLOW = "#56B4E9", "#E69F00"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY)
INK, QUIET, GRID, LIMIT = "#1f2937", "#64748b", "#e5e7eb", "#94a3b8"
PALE_TO_DARK = LinearSegmentedColormap.from_list(
    "forethought", ["#c6dcec", "#7db6db", "#0072B2", "#00344f"]
)
WIDTH = 5.6
"""Inches; with letters of 9 points, legible at half the width of a page."""


def panels(
    rows: int,
    columns: int = 1,
    *,
    height: float = 2.0,
    width: float = WIDTH,
    share: bool | Literal["col", "row"] = True,
) -> tuple[Figure, np.ndarray]:
    """An empty figure with axes in the common style, shape `[rows, columns]`."""
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.06, w_pad=0.06)  # type: ignore[union-attr]
    axes = figure.subplots(rows, columns, squeeze=False, sharex=share)
    for axis in axes.flat:
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axis.spines[side].set_color(LIMIT)
        axis.tick_params(colors=QUIET, labelsize=8.5, length=3, color=LIMIT)
        axis.grid(True, color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
        axis.yaxis.set_major_locator(MaxNLocator(4))
    return figure, axes


def label(axis: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Names of the axes and of what is seen."""
    axis.set_xlabel(x, fontsize=9, color=QUIET)
    axis.set_ylabel(y, fontsize=9, color=QUIET)
    if title:
        axis.set_title(title, fontsize=9.5, color=INK, loc="left", pad=6)


def legend(axis: Axes, **place: Any) -> None:
    """A legend without a frame."""
    axis.legend(
        **({"loc": "best", "fontsize": 8.5, "frameon": False} | place),
        labelcolor=INK,
        handlelength=1.6,
    )


def logarithmic(axis: Axes, which: str) -> None:
    """Make the "x" or "y" axis logarithmic, with plain numbers; draw first."""
    (axis.set_xscale if which == "x" else axis.set_yscale)("log")
    line = axis.xaxis if which == "x" else axis.yaxis
    low, high = axis.get_xlim() if which == "x" else axis.get_ylim()
    near = high < 300 * low
    line.set_major_locator(LogLocator(subs=(1, 2, 5) if near else (1,), numticks=6))
    line.set_minor_locator(NullLocator())
    line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def above(figure: Figure, handles: list[Any], names: list[str]) -> None:
    """A legend above all panels of a figure, in as many columns as fit."""
    widest = max((len(name) for name in names), default=0) + 7
    share = figure.get_figwidth() / WIDTH
    columns = max(1, min(int(4 * share), int(76 * share) // widest))
    figure.legend(
        handles,
        names,
        loc="outside upper left",
        ncols=columns,
        fontsize=8.5,
        frameon=False,
        labelcolor=INK,
        handlelength=1.6,
        borderaxespad=0.2,
    )


def choose(worth: np.ndarray, series: np.ndarray, count: int) -> np.ndarray:
    """The coordinates of most worth, in their own order, leaving out repetitions.

    A coordinate that runs as an earlier one does, up to scale and offset (a sensor
    that reads a joint), tells nothing new, nor does one that stands still.

    Args:
        worth: Shape `[coordinate]`.
        series: What the coordinates did, shape `[sample, coordinate]`.
        count: How many at most.
    """
    series = np.nan_to_num(series)
    centred = series - series.mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=0), 1e-12)
    alike = np.triu(np.abs(unit.T @ unit) > 0.99, 1)
    moves = np.abs(centred).max(axis=0) > 1e-9
    fresh = np.flatnonzero(~alike.any(axis=0) & (moves | ~moves.any()))
    best = np.argsort(-np.nan_to_num(worth[fresh]), kind="stable")
    return np.sort(fresh[best][:count])


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def number(value: float) -> str:
    """A number for people: five digits, an exponent only where it must be."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1e4:
        text = f"{value:,.0f}" if size < 1e9 else f"{value:.4g}"
    else:
        text = f"{value:,.5g}" if size >= 1e-3 or not size else f"{value:.4g}"
    return text.replace("-", "−")


def gap(value: float, optimum: float) -> str:
    """How far a return lies below the optimum, in words that fit a table."""
    if not math.isfinite(value):
        return "–"
    below = optimum - value
    if abs(below) >= 10 * abs(optimum):  # a share of next to nothing says nothing
        return number(below)
    share = below / abs(optimum)
    if 1e-6 < abs(share) < 1e-4:
        return f"{100 * share:.1g}%".replace("-", "−")
    return f"{share + 0.0:.2%}".replace("-0.00%", "0.00%").replace("-", "−")
