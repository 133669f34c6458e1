"""What an agent with a table of values has learned, as a picture of the map."""

from typing import Any

import numpy as np
from jaxtyping import PyTree
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from forethought.environments.tables.tabular import GOAL, PIT, WALL, TabularSystem
from forethought.reports.style import INK, LIMIT, PALE_TO_DARK, panels
from forethought.runs.store.folder import RunFolder
from forethought.tasks.base import Task

FILE = "values.npz"
FORM = {
    "values": "fiu place choice",
    "letters": "U tall wide",
    "place": "fiu place 2",
    "arrows": "fiu choice 2",
}
"""What it holds."""


def save_values(folder: RunFolder, task: Task | None, learner: PyTree) -> None:
    """Keep values and map, where there are both and each cell is one state.

    Args:
        folder: Of the run.
        task: What was acted in; None for a Gymnasium environment.
        learner: What was learned; it may hold `values` of each state and action.
    """
    values = getattr(learner, "values", None)
    if task is None or values is None or not isinstance(task.system, TabularSystem):
        return
    map_ = task.system.map
    if not map_.arrows.any() or len(np.unique(map_.place, axis=0)) < len(map_.place):
        return
    arrays = {"values": np.asarray(values), "letters": map_.letters}
    folder.save_arrays(FILE, arrays | {"place": map_.place, "arrows": map_.arrows})


def figure(folder: RunFolder) -> Figure | None:
    """Best values by cell, and arrows for the actions that have them.

    Returns:
        None where there are no values, or they cannot be read.
    """
    try:
        kept: dict[str, Any] = folder.arrays(FILE, FORM)
    except ValueError:
        return None
    letters, values, place = kept["letters"], kept["values"], kept["place"].astype(int)
    best = np.full(letters.shape, np.nan)
    best[tuple(place.T)] = values.max(axis=1)
    over = np.isin(letters, (WALL, GOAL, PIT))
    best[over] = np.nan
    tall, wide = letters.shape
    drawn, axes = panels(1, height=0.9 + 5.6 * 0.86 * tall / wide)
    axis = axes[0, 0]
    axis.grid(False)
    image = axis.imshow(best, cmap=PALE_TO_DARK, alpha=0.8)
    for letter, colour in ((WALL, LIMIT), (GOAL, "#009E73"), (PIT, "#D55E00")):
        cells = np.where(letters == letter, 1.0, np.nan)
        shown = np.ma.masked_invalid(cells)
        picture = np.zeros((*letters.shape, 4))
        picture[..., :3] = to_rgb(colour)
        picture[..., 3] = ~np.ma.getmaskarray(shown)
        axis.imshow(picture)
    for state, (row, column) in enumerate(place):
        equal = values[state] == values[state].max()
        if over[row, column] or equal.all():
            continue
        for down, right in 0.4 * kept["arrows"][equal]:
            axis.annotate(
                "",
                (column + right, row + down),
                (column, row),
                arrowprops={
                    "arrowstyle": "->",
                    "color": INK,
                    "lw": 1.2,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
            )
    for row, column in np.argwhere(np.isin(letters, ("S", GOAL))):
        axis.annotate(
            letters[row, column],
            (column - 0.32, row - 0.26),
            ha="center",
            va="center",
            fontsize=9,
            color=INK,
        )
    axis.set_xticks([])
    axis.set_yticks([])
    bar = drawn.colorbar(image, ax=axis, shrink=0.8, pad=0.02)
    bar.ax.tick_params(labelsize=8.5)
    return drawn
