"""The report of a run: one file that opens anywhere, made from the folder alone.

`finish` writes all that a run leaves behind; `write_report` makes plots and page again
from what is on the disk. `write_comparison` sets planners side by side.
"""

import math
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from forethought.core.results import NAMES
from forethought.environments.base import AbstractSystem
from forethought.runs import learning_page, page, plots, search_plots
from forethought.runs.control import Run
from forethought.runs.folder import RunFolder, write_atomically
from forethought.runs.record import FILE, Record, record
from forethought.runs.style import number, png
from forethought.runs.video import film, frames

COMPARISON = "comparison.json"

SECTIONS: dict[str, tuple[str, str, Callable[[Record], Figure | None]]] = {
    "states": (
        "States",
        "What was met, and what the first plan had expected.",
        plots.states,
    ),
    "actions": (
        "Actions",
        "Each held for one step; dashed lines are limits.",
        plots.actions,
    ),
    "returns": (
        "Expected and realised return",
        "What each plan said it would earn, and what then came.",
        plots.returns,
    ),
    "fan": (
        "The first plan narrows",
        "Futures imagined on the way to the first plan, from faint (early) to "
        "strong (late); the plan that came out is orange.",
        search_plots.fan,
    ),
    "search": (
        "Search for the first plan",
        "Its progress from iteration to iteration.",
        search_plots.search,
    ),
    "gains": (
        "Feedback gains of the first plan",
        "How much each action answers to a deviation in each coordinate of the state.",
        search_plots.gains,
    ),
    "timing": (
        "Time and results",
        "How long steps took, and how planning ended.",
        plots.timing,
    ),
}
"""Every figure of a run by the name of its file: title, what is seen, who draws it."""


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
    if (folder.path / COMPARISON).exists():
        compared = folder.read_json(COMPARISON)
        return write_comparison(folder, compared["rows"], optimum=compared["optimum"])
    if (folder.path / FILE).exists():
        seen = Record.load(folder)
        if not (folder.path / "video.mp4").exists():
            make_video(folder, seen)
        title, body = _finished(folder, seen)
    elif folder.metrics() and "interval" in folder.metrics()[0]:
        title, body = learning_page.body(folder, config)
    else:
        title, body = _unfinished(folder, config)
    body = [*body, *_how(config)]
    path = folder.path / "report.html"
    write_atomically(path, page.document(title, body).encode())
    return path


def _figures(folder: RunFolder, seen: Record) -> dict[str, tuple[str, float]]:
    """Save every figure under `plots/`; return each as a card and its height."""
    made = {}
    (folder.path / "plots").mkdir(exist_ok=True)
    for name, (title, note, draw) in SECTIONS.items():
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
        f"steps, {steps * seen.dt:.3g} s": steps,
        "plans a second": number(float(f"{seen.plan_rate:.3g}")),
        f"steps ahead, {seen.horizon * seen.dt:.3g} s": seen.horizon,
    }
    for name, count in counts.items():
        if count:
            facts[f"of {len(results)} plans: {name.replace('_', ' ')}"] = count
    film = page.film((folder.path / "video.mp4").read_bytes())
    cards = {"video": (page.section("Video", "In real time.", film), 0.75)}
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


def _how(config: Mapping[str, Any]) -> list[str]:
    """Every setting, and the command."""
    command = config.get("command", "")
    if not isinstance(command, str):
        command = shlex.join(str(part) for part in command)
    shown = {name: value for name, value in config.items() if name != "command"}
    body = []
    if command:
        body.append(
            page.section(
                "Run it again",
                "The same seed gives the same run.",
                f"<pre>{page.escape(command)}</pre>",
                kind="wide",
            )
        )
    body.append(
        page.section("Settings", "", page.pairs(leaves(shown)), kind="wide"),
    )
    body.append(
        "<footer>Every number is in the files beside this one, figures in plots/. "
        "Made by forethought.</footer>"
    )
    return body


def leaves(tree: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as rows of dotted names and values."""
    if isinstance(tree, Mapping):
        return [
            row
            for name, value in tree.items()
            for row in leaves(value, f"{prefix}.{name}" if prefix else str(name))
        ]
    if isinstance(tree, list):
        return [(prefix, ", ".join(str(each) for each in tree))]
    return [(prefix, "–" if tree is None else str(tree))]


def gap(value: float, optimum: float) -> str:
    """How far a return lies below the optimum, in words that fit a table."""
    if not math.isfinite(value):
        return "–"
    below = optimum - value
    if abs(below) >= 10 * abs(optimum):  # a share of next to nothing says nothing
        return number(below)
    return f"{below / abs(optimum):.2%}".replace("-", "−")


def capital(text: str) -> str:
    """A sentence's first letter."""
    return text[:1].upper() + text[1:].rstrip(".")


def write_comparison(
    folder: RunFolder | str | os.PathLike,
    rows: Sequence[Mapping[str, Any]],
    *,
    optimum: float | None = None,
) -> Path:
    """Planners side by side: a table, and a plot of return against planning time.

    Args:
        folder: A run folder, from `RunFolder.create`.
        rows: One for each episode, with `planner`, `seed`, `return`, `plan_seconds`
            (of one plan) and `results` (text).
        optimum: The best return, where it is known.

    Returns:
        The path of `report.html`; the plot lies beside it in `plots/`, the numbers in
        `comparison.json`.

    Raises:
        ValueError: There are no rows.
    """
    if not isinstance(folder, RunFolder):
        folder = RunFolder.open(folder)
    if not rows:
        raise ValueError("A comparison needs at least one episode, got none.")
    folder.write_json(COMPARISON, {"optimum": optimum, "rows": rows})
    config = folder.config()
    content = png(plots.comparison(rows, optimum))
    (folder.path / "plots").mkdir(exist_ok=True)
    write_atomically(folder.path / "plots" / "comparison.png", content)
    head = ["planner", "mean return", "worst", "best", "ms a plan", "results"]
    if optimum is not None:
        head.insert(2, "below the optimum")
    lines = []
    for planner, own in plots.by_planner(rows).items():
        returns = np.array([row["return"] for row in own], float)
        milliseconds = 1e3 * float(np.median([row["plan_seconds"] for row in own]))
        cells = [
            planner,
            number(float(returns.mean())),
            number(float(returns.min())),
            number(float(returns.max())),
            number(float(f"{milliseconds:.3g}")),
            "; ".join(dict.fromkeys(str(row["results"]) for row in own)),
        ]
        if optimum is not None:
            cells.insert(2, gap(float(returns.mean()), optimum))
        lines.append((-float(returns.mean()), cells))
    title = f"{config.get('task', 'A task')} · planners compared"
    seeds = len({row["seed"] for row in rows})
    note = "Higher is better, further left is faster."
    if seeds > 1:
        note += f" Large marks are means over {seeds} seeds."
    picture = page.picture(content, "Return against planning time")
    ranked = [cells for _, cells in sorted(lines, key=lambda line: line[0])]
    body = [
        f"<header><h1>{page.escape(title)}</h1></header>",
        page.section("Return against planning time", note, picture, kind="wide centre"),
        page.section("Planners", "Best first.", page.table(ranked, head), kind="wide"),
        *_how(config),
    ]
    path = folder.path / "report.html"
    write_atomically(path, page.document(title, body).encode())
    return path
