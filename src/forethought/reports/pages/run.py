"""The report of a run: one file that opens anywhere, made from the folder alone.

`finish` writes all that a run leaves behind; `write_report` makes plots and page again
from what is on the disk.
"""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from forethought.core.results import NAMES
from forethought.environments.base import AbstractSystem
from forethought.reports import page
from forethought.reports.figures import episode, search, tables, tree
from forethought.reports.film.video import film, frames
from forethought.reports.pages import comparison, learning
from forethought.reports.style import gap, number, png
from forethought.runs.plan.control import Run
from forethought.runs.plan.record import FILE, Record, record
from forethought.runs.store.folder import RunFolder, write_atomically

SECTIONS: dict[str, tuple[str, str, Callable[[Record], Figure | None]]] = {
    "states": (
        "States",
        "What was met, and what the first plan had expected.",
        episode.states,
    ),
    "actions": (
        "Actions",
        "Each held for one step; dashed lines are limits.",
        episode.actions,
    ),
    "returns": (
        "Expected and realised return",
        "What each plan said it would earn, and what then came.",
        episode.returns,
    ),
    "fan": (
        "The first plan narrows",
        "Futures imagined on the way to the first plan, from faint (early) to "
        "strong (late); the plan that came out is orange.",
        search.fan,
    ),
    "search": (
        "Search for the first plan",
        "Its progress from iteration to iteration.",
        search.search,
    ),
    "tree": (
        "The tree of the first plan",
        "Its most visited nodes, and what was found about the first action.",
        tree.tree,
    ),
    "gains": (
        "Feedback gains of the first plan",
        "How much each action answers to a deviation in each coordinate of the state.",
        search.gains,
    ),
    "timing": (
        "Time and results",
        "How long steps took, and how planning ended.",
        episode.timing,
    ),
}
"""Every figure of a run by the name of its file: title, what is seen, who draws it."""

TABLE_SECTIONS = SECTIONS | {
    "states": (
        "Where it went",
        "What value iteration finds best, and what each place is worth; then what was "
        "met, and what the first plan had expected.",
        tables.where,
    ),
    "actions": (
        "Choices",
        "What was chosen at each step, and what the first plan would have.",
        tables.choices,
    ),
    "fan": (
        "The first plan narrows",
        "Futures imagined on the way to the first plan, drawn a little apart.",
        tables.fan,
    ),
}
"""The same for episodes in a table."""


def finish(run: Run, folder: RunFolder, planner: str) -> list[str]:
    """Write arrays, video, plots and report of a run that ended.

    Args:
        run: What was done.
        folder: Where it began.
        planner: The planner's name, as on the command line.

    Returns:
        Sentences that the user should read, if any.
    """
    seen = record(run, planner)
    seen.save(folder)
    notice = make_video(folder, seen, run.task.system)
    write_report(folder)
    return [notice] if notice else []


def make_video(
    folder: RunFolder, seen: Record, system: AbstractSystem | None = None
) -> str | None:
    """Write `video.mp4` and `plots/strip.png`, and return a sentence for the user."""
    pictures, rate, notice = frames(seen, system)
    film(folder, pictures, rate)
    return notice


def write_report(folder: RunFolder | str | os.PathLike) -> Path:
    """Make plots, report, and the video where there is none, from the disk alone.

    A folder whose run was killed before its end has only metrics: then they are what
    the report shows.

    Args:
        folder: A run folder.

    Returns:
        The path of `report.html`.

    Raises:
        ValueError: It is no run folder, or its files are broken.
    """
    if not isinstance(folder, RunFolder):
        folder = RunFolder.open(folder)
    config = folder.config()
    if (folder.path / comparison.FILE).exists():
        rows = folder.read_json(comparison.FILE)["rows"]
        return comparison.write_comparison(folder, rows)
    if (folder.path / FILE).exists():
        seen = Record.load(folder)
        if not (folder.path / "video.mp4").exists():
            make_video(folder, seen)
        title, body = _finished(folder, seen)
    elif folder.metrics() and "interval" in folder.metrics()[0]:
        title, body = learning.body(folder, config)
    else:
        title, body = _unfinished(folder, config)
    body = [*body, *page.how(config)]
    path = folder.path / "report.html"
    write_atomically(path, page.document(title, body).encode())
    return path


def _figures(folder: RunFolder, seen: Record) -> dict[str, tuple[str, float]]:
    """Save every figure under `plots/`; return each as a card and its height."""
    made = {}
    (folder.path / "plots").mkdir(exist_ok=True)
    sections = TABLE_SECTIONS if seen.table else SECTIONS
    for name, (title, note, draw) in sections.items():
        figure = draw(seen)
        if figure is not None:
            content = png(figure)
            write_atomically(folder.path / "plots" / f"{name}.png", content)
            card = page.section(title, note, page.picture(content, title))
            made[name] = card, figure.get_figheight() / figure.get_figwidth()
    return made


def _finished(folder: RunFolder, seen: Record) -> tuple[str, list[str]]:
    results = seen.results[seen.made]
    counts = {name: int((results == name).sum()) for name in NAMES}
    steps = int(seen.alive.sum())
    facts: dict[str, Any] = {"return": number(seen.value)}
    if math.isfinite(seen.optimum):
        facts["known optimum"] = number(seen.optimum)
        facts["below the optimum"] = gap(seen.value, seen.optimum)
    facts |= {
        "steps" + _seconds(seen, steps): steps,
        "plans a second": number(float(f"{seen.plan_rate:.3g}")),
        "steps ahead" + _seconds(seen, seen.horizon): seen.horizon,
    }
    for name, count in counts.items():
        if count:
            facts[f"of {len(results)} plans: {name.replace('_', ' ')}"] = count
    film = page.film((folder.path / "video.mp4").read_bytes())
    speed = f"{1 / seen.dt:.3g} steps a second." if seen.table else "In real time."
    cards = {"video": (page.section("Video", speed, film), 0.75)}
    cards |= _figures(folder, seen)
    body = [
        f"<header><h1>{page.escape(seen.task)} <span>by "
        f"{page.escape(seen.planner)}</span></h1>"
        f"<p>{page.escape(capital(seen.summary))}. "
        f"<span class=quiet>{page.escape(capital(seen.execution))}.</span></p>"
        "</header>",
        page.tiles(facts),
        page.columns(cards.values()),
    ]
    return f"{seen.task} · {seen.planner}", body


def _seconds(seen: Record, steps: int) -> str:
    """How long steps take, where they take any time."""
    return "" if seen.table else f", {steps * seen.dt:.3g} s"


def _unfinished(folder: RunFolder, config: Mapping[str, Any]) -> tuple[str, list[str]]:
    title = f"{config.get('task', 'A run')} · {config.get('planner', '')}"
    rows = folder.metrics()
    columns = ("step", "time", "return", "seconds", "result")
    lines = [[row.get(name, "") for name in columns] for row in rows[-20:]]
    body = [
        f"<header><h1>{page.escape(title)}</h1><p>This run stopped before its end, "
        f"after {len(rows)} lines of metrics.</p></header>",
        page.section("The last metrics", "", page.table(lines, columns), kind="wide"),
    ]
    return title, body


def capital(text: str) -> str:
    """A sentence's first letter."""
    return text[:1].upper() + text[1:].rstrip(".")
