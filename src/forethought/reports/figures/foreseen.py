"""What a fitted model foresaw of a plan: where it leads, and how far it is known."""

import numpy as np
from matplotlib.figure import Figure

from forethought.reports.style import (
    BLUE,
    GREEN,
    LIMIT,
    ORANGE,
    PURPLE,
    above,
    choose,
    label,
    logarithmic,
    panels,
)
from forethought.runs.fit.foreseen import Foreseen

DIMENSIONS = 6
BANDS = ((0, 4, 0.16, "90 % of particles"), (1, 3, 0.3, "50 %"))


def foreseen(told: Foreseen) -> Figure:
    """Mean and bands along the horizon, epistemic share, distance from the data."""
    size = np.nanmax(np.abs(told.mean), axis=0) + 1e-9
    chosen = choose(np.nanstd(told.mean, axis=0) / size, told.mean, DIMENSIONS)
    drawn = len(chosen) + 2
    figure, axes = panels(-(-drawn // 2), 2, height=1.7, share=False)
    flat, time = list(axes.flat), np.arange(told.mean.shape[0]) * told.dt
    for axis, i in zip(flat, chosen, strict=False):
        for low, high, alpha, words in BANDS:
            axis.fill_between(
                time,
                told.bands[low, :, i],
                told.bands[high, :, i],
                color=ORANGE,
                alpha=alpha,
                lw=0,
                label=words,
            )
        axis.plot(time, told.mean[:, i], color=ORANGE, lw=1.7, label="mean foreseen")
        met = told.met[: len(time), i]
        axis.plot(time[: len(met)], met, color=BLUE, lw=1.6, label="met")
        label(axis, "", "", told.names[i])
    steps = time[1:]
    share, far = flat[len(chosen)], flat[len(chosen) + 1]
    share.plot(steps, 100 * told.share, color=PURPLE, lw=1.7)
    share.set_ylim(0, 104)
    label(share, "ahead", "%", "Epistemic share of the variance")
    far.plot(steps, told.distance, color=GREEN, lw=1.7)
    far.axhline(1, color=LIMIT, lw=1.1, linestyle="--")
    if told.distance.min() > 0:
        logarithmic(far, "y")
    label(far, "ahead", "", "Distance from the data (1: as among them)")
    for axis in flat[drawn:]:
        axis.set_visible(False)
    above(figure, *flat[0].get_legend_handles_labels())
    return figure
