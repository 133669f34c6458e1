"""The tree of the first plan: where it looked, what it found, what it chose."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from forethought.reports.style import BLUE, ORANGE, QUIET, above, label, panels
from forethought.runs.plan.record import Record

SHOWN = 250
"""Nodes that are drawn: those that were visited most."""
PARENT, SLOT, DEPTH, VISITS, VALUE, LINE = range(6)
"""Columns of the tree in a plan's statistics."""


def tree(record: Record) -> Figure | None:
    """The most visited part of the search tree, and the actions at its root."""
    stats = record.plan_stats
    if "tree" not in stats:
        return None
    rows = np.asarray(stats["tree"], float)[: int(stats["nodes"])]
    shown = np.sort(np.argsort(-rows[:, VISITS], kind="stable")[:SHOWN])
    # A parent has been visited more often than its child, but for ties.
    while not np.isin(rows[shown[1:], PARENT], shown).all():
        kept = np.isin(rows[shown, PARENT], shown) | (shown == 0)
        shown = shown[kept]
    figure, axes = panels(2, 2, height=2.6, share=False)
    grid = axes[0, 0].get_gridspec()
    grid.set_height_ratios((2.2, 1))
    axes[0, 1].remove()
    axes[0, 0].set_subplotspec(grid[0, :])
    _draw(figure, axes[0, 0], rows, shown)
    _root(axes[1, 0], record, "visits", "visits")
    _root(axes[1, 1], record, "values", "mean return")
    handles = [
        Line2D([], [], color=ORANGE, linewidth=2.4),
        Line2D([], [], color=QUIET, linewidth=0.6),
    ]
    hidden = len(rows) - len(shown)
    rest = f"visited less ({hidden} of {len(rows)} nodes hidden)" if hidden else "rest"
    above(figure, handles, ["principal line", rest])
    return figure


def _draw(figure: Figure, axis: Axes, rows: np.ndarray, shown: np.ndarray) -> None:
    """Nodes by depth, downwards; colour is the mean return on the way there."""
    x = _places(rows, shown)
    depth, visits, values = rows[:, DEPTH], rows[:, VISITS], rows[:, VALUE]
    children = shown[1:]
    parents = rows[children, PARENT].astype(int)
    ends = np.stack(
        [
            np.stack([x[parents], depth[parents]], axis=-1),
            np.stack([x[children], depth[children]], axis=-1),
        ],
        axis=1,
    )
    line = rows[children, LINE] > 0
    share = np.sqrt(visits[children] / max(visits[0], 1))
    for chosen, colour, least in ((~line, QUIET, 0.3), (line, ORANGE, 1.6)):
        widths = least + 2.4 * share[chosen]
        axis.add_collection(
            LineCollection(list(ends[chosen]), colors=[colour], linewidths=widths)
        )
    low, high = np.quantile(values[shown], [0.02, 0.98])
    points = axis.scatter(
        x[shown],
        depth[shown],
        s=12 + 90 * np.sqrt(visits[shown] / max(visits[0], 1)),
        c=values[shown],
        cmap=colormaps["viridis"],
        norm=Normalize(low, high if high > low else low + 1),
        edgecolors=[ORANGE if on else "white" for on in rows[shown, LINE]],
        linewidths=[1.4 if on else 0.4 for on in rows[shown, LINE]],
        zorder=3,
    )
    bar = figure.colorbar(points, ax=axis, pad=0.01)
    bar.ax.tick_params(labelsize=8.5, colors=QUIET)
    bar.outline.set_visible(False)  # type: ignore[operator]
    axis.invert_yaxis()
    axis.set_xticks([])
    axis.spines["bottom"].set_visible(False)
    axis.grid(False, axis="x")
    axis.yaxis.set_major_locator(MaxNLocator(8, integer=True))
    label(axis, "", "steps ahead", "Search tree: colour is the mean return")


def _places(rows: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Where nodes stand from left to right: leaves in order, parents above them."""
    below: dict[int, list[int]] = {int(node): [] for node in shown}
    for node in shown[1:]:
        below[int(rows[node, PARENT])].append(int(node))
    x, leaves = np.zeros(len(rows)), 0
    for branch in below.values():
        branch.sort(key=lambda node: rows[node, SLOT])
    stack = [(0, False)]
    while stack:
        node, done = stack.pop()
        if done:
            x[node] = np.mean(x[below[node]])
        elif below[node]:
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(below[node]))
        else:
            x[node], leaves = leaves, leaves + 1
    return x


def _root(axis: Axes, record: Record, key: str, name: str) -> None:
    """One measure of the actions at the root."""
    stats = record.plan_stats
    tried = np.asarray(stats["visits"]) > 0
    found = np.where(tried, np.asarray(stats[key], float), np.nan)
    chosen = np.asarray(stats["tree"])[:, LINE] > 0
    first = np.asarray(stats["tree"])[:, DEPTH] == 1
    best = np.asarray(stats["tree"])[chosen & first, SLOT].astype(int)
    actions = stats.get("root_actions")
    single = actions is not None and np.shape(actions)[1] == 1
    places = np.asarray(actions)[:, 0] if single else np.arange(len(found))
    colours = [ORANGE if slot in best else BLUE for slot in range(len(found))]
    if single or key == "values":
        axis.scatter(places[tried], found[tried], c=np.array(colours)[tried], s=34)
        axis.vlines(places[tried], np.nanmin(found), found[tried], QUIET, lw=0.6)
    else:
        axis.bar(places, np.nan_to_num(found), color=colours, width=0.7)
        axis.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    text = record.action_names[0] if single else "action"
    label(axis, text, name, f"At the root: {name}")
