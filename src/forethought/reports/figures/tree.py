"""The tree of the first plan: where it looked, what it found, what it chose."""

import dataclasses

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from forethought.core.results import SearchTree
from forethought.reports.style import BLUE, ORANGE, QUIET, above, label, panels
from forethought.runs.plan.record import Record

SHOWN = 250
"""Nodes that are drawn: those that were visited most."""


def tree(record: Record) -> Figure | None:
    """The most visited part of the search tree, and the actions at its root."""
    tree = record.plan_stats.tree
    if tree is None:
        return None
    tree = _grown(tree)
    parent = np.asarray(tree.parent)
    shown = np.sort(np.argsort(-np.asarray(tree.visits), kind="stable")[:SHOWN])
    # A parent has been visited more often than its child, but for ties.
    while not np.isin(parent[shown[1:]], shown).all():
        kept = np.isin(parent[shown], shown) | (shown == 0)
        shown = shown[kept]
    figure, axes = panels(2, 2, height=2.6, share=False)
    grid = axes[0, 0].get_gridspec()
    grid.set_height_ratios((2.2, 1))
    axes[0, 1].remove()
    axes[0, 0].set_subplotspec(grid[0, :])
    _draw(figure, axes[0, 0], tree, shown)
    _root(axes[1, 0], record, tree, "visits")
    _root(axes[1, 1], record, tree, "mean return")
    handles = [
        Line2D([], [], color=ORANGE, linewidth=2.4),
        Line2D([], [], color=QUIET, linewidth=0.6),
    ]
    hidden = len(parent) - len(shown)
    rest = (
        f"visited less ({hidden} of {len(parent)} nodes hidden)" if hidden else "rest"
    )
    above(figure, handles, ["principal line", rest])
    return figure


def _draw(figure: Figure, axis: Axes, tree: SearchTree, shown: np.ndarray) -> None:
    """Nodes by depth, downwards; colour is the mean return on the way there."""
    x = _places(tree, shown)
    depth, visits, values, chosen = (
        np.asarray(each) for each in (tree.depth, tree.visits, tree.values, tree.chosen)
    )
    children = shown[1:]
    parents = np.asarray(tree.parent)[children]
    ends = np.stack(
        [
            np.stack([x[parents], depth[parents]], axis=-1),
            np.stack([x[children], depth[children]], axis=-1),
        ],
        axis=1,
    )
    line = chosen[children]
    share = np.sqrt(visits[children] / max(visits[0], 1))
    for which, colour, least in ((~line, QUIET, 0.3), (line, ORANGE, 1.6)):
        widths = least + 2.4 * share[which]
        axis.add_collection(
            LineCollection(list(ends[which]), colors=[colour], linewidths=widths)
        )
    low, high = np.quantile(values[shown], [0.02, 0.98])
    points = axis.scatter(
        x[shown],
        depth[shown],
        s=12 + 90 * np.sqrt(visits[shown] / max(visits[0], 1)),
        c=values[shown],
        cmap=colormaps["viridis"],
        norm=Normalize(low, high if high > low else low + 1),
        edgecolors=[ORANGE if on else "white" for on in chosen[shown]],
        linewidths=[1.4 if on else 0.4 for on in chosen[shown]],
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


def _places(tree: SearchTree, shown: np.ndarray) -> np.ndarray:
    """Where nodes stand from left to right: leaves in order, parents above them."""
    parent, slot = np.asarray(tree.parent), np.asarray(tree.slot)
    below: dict[int, list[int]] = {int(node): [] for node in shown}
    for node in shown[1:]:
        below[int(parent[node])].append(int(node))
    x, leaves = np.zeros(len(parent)), 0
    for branch in below.values():
        branch.sort(key=lambda node: slot[node])
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


def _root(axis: Axes, record: Record, tree: SearchTree, name: str) -> None:
    """One measure of the actions at the root: `visits`, or their mean return."""
    tried = np.asarray(tree.root_visits) > 0
    measure = tree.root_visits if name == "visits" else tree.root_values
    found = np.where(tried, np.asarray(measure, float), np.nan)
    best = np.asarray(tree.slot)[
        np.asarray(tree.chosen) & (np.asarray(tree.depth) == 1)
    ]
    actions = tree.root_actions
    single = actions is not None and np.shape(actions)[1] == 1
    places = np.asarray(actions)[:, 0] if single else np.arange(len(found))
    colours = [ORANGE if slot in best else BLUE for slot in range(len(found))]
    if single or name != "visits":
        axis.scatter(places[tried], found[tried], c=np.array(colours)[tried], s=34)
        axis.vlines(places[tried], np.nanmin(found), found[tried], QUIET, lw=0.6)
    else:
        axis.bar(places, np.nan_to_num(found), color=colours, width=0.7)
        axis.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    text = record.action_names[0] if single else "action"
    label(axis, text, name, f"At the root: {name}")


def _grown(tree: SearchTree) -> SearchTree:
    """Without rows that are not in use."""
    rows = {
        name: np.asarray(getattr(tree, name))[: int(tree.size)]
        for name in ("parent", "slot", "depth", "visits", "values", "chosen")
    }
    return dataclasses.replace(tree, **rows)
