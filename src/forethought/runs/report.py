"""The report of a run: one file that opens anywhere, made from the folder alone.

`finish` writes all that a run leaves behind; `write_report` makes plots and page again
from what is on the disk. `write_comparison` sets planners side by side.
"""

import io
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from forethought.core.results import NAMES
from forethought.environments.base import AbstractSystem
from forethought.runs import page, plots
from forethought.runs.control import Run
from forethought.runs.folder import RunFolder, write_atomically
from forethought.runs.record import FILE, Record, record
from forethought.runs.video import frames, write_video

NOTES = {
    "states": ("States", "What was met, and what the first plan had expected."),
    "actions": ("Actions", "Each held for one step."),
    "returns": (
        "Expected and realised return",
        "Each plan says what it will earn. Was it right?",
    ),
    "search": ("Search for the first plan", "Progress from iteration to iteration."),
    "fan": (
        "The first plan narrows",
        "Futures imagined on the way to the first plan, from pale (early) to dark "
        "(late); the plan that was chosen is orange.",
    ),
    "gains": (
        "Feedback gains of the first plan",
        "How much each action answers to a deviation in each coordinate of the state.",
    ),
    "timing": ("Time and results", "How long steps took, and how planning ended."),
}


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
    """Write `video.mp4`, and return a sentence for the user, if there is one."""
    pictures, rate, notice = frames(seen, system)
    write_video(folder.path / "video.mp4", pictures, rate)
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
    if (folder.path / FILE).exists():
        seen = Record.load(folder)
        if not (folder.path / "video.mp4").exists():
            make_video(folder, seen)
        title, body = _finished(folder, seen)
    else:
        title, body = _unfinished(folder, config)
    body = [*body, *_how(config, folder)]
    path = folder.path / "report.html"
    write_atomically(path, page.document(title, body).encode())
    return path


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _figures(folder: RunFolder, seen: Record) -> dict[str, str]:
    """Save every figure under `plots/`, and return them as HTML."""
    made = {}
    (folder.path / "plots").mkdir(exist_ok=True)
    for name, draw in plots.FIGURES.items():
        figure = draw(seen)
        if figure is not None:
            content = png(figure)
            write_atomically(folder.path / "plots" / f"{name}.png", content)
            made[name] = page.picture(content, NOTES[name][0])
    return made


def _finished(folder: RunFolder, seen: Record) -> tuple[str, list[str]]:
    title = f"{seen.task} · {seen.planner}"
    counts = {name: int((seen.results == name).sum()) for name in NAMES}
    results = ", ".join(
        f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count
    )
    steps = int(seen.alive.sum())
    facts: dict[str, Any] = {"return": number(seen.value)}
    if math.isfinite(seen.optimum):
        facts["known optimum"] = number(seen.optimum)
        facts["below the optimum"] = gap(seen.value, seen.optimum)
    facts |= {
        f"steps ({steps * seen.dt:.3g} s)": steps,
        "plans a second (Hz)": f"{seen.plan_rate:,.3g}",
        "steps looked ahead": seen.horizon,
        "result codes by step": results,
    }
    made = _figures(folder, seen)
    sections = {
        name: page.section(*NOTES[name], content) for name, content in made.items()
    }
    movie = page.section(
        "Video",
        "In real time.",
        page.film((folder.path / "video.mp4").read_bytes()),
    )
    first = "".join(sections.pop(name) for name in ("states", "actions"))
    body = [
        f"<header><h1>{page.escape(seen.task)} <span>by "
        f"{page.escape(seen.planner)}</span></h1>"
        f"<p class=quiet>{page.escape(capital(seen.summary))}.</p>"
        f"<p class=quiet>Executed in {page.escape(seen.execution)}.</p></header>",
        page.tiles(facts),
        f'<div class="grid">{movie}{first}{"".join(sections.values())}</div>',
    ]
    return title, body


def _unfinished(folder: RunFolder, config: Mapping[str, Any]) -> tuple[str, list[str]]:
    title = f"{config.get('task', 'A run')} · {config.get('planner', '')}"
    rows = folder.metrics()
    columns = ("step", "time", "return", "plan_seconds", "result")
    lines = [[row.get(name, "") for name in columns] for row in rows[-20:]]
    body = [
        f"<header><h1>{page.escape(title)}</h1><p>This run stopped before its end, "
        f"after {len(rows)} lines of metrics.</p></header>",
        page.section("The last metrics", "", page.table(lines, columns), wide=True),
    ]
    return title, body


def _how(config: Mapping[str, Any], folder: RunFolder) -> list[str]:
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
                "The same seed gives the same episode.",
                f"<pre>{page.escape(command)}</pre>",
                wide=True,
            )
        )
    body.append(
        page.section("Settings", "", page.table(leaves(shown)), wide=True),
    )
    body.append(
        "<footer>Arrays are in episode.npz, a line for each step in metrics.jsonl, "
        "figures in plots/. Made by forethought.</footer>"
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


def number(value: float) -> str:
    """A number for people: five digits, no exponent where it can be avoided."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.5g}" if 1e-3 <= abs(value) < 1e6 or not value else f"{value:.4g}"


def gap(value: float, optimum: float) -> str:
    """How far a return lies below the optimum, in words that fit a table."""
    if not math.isfinite(value):
        return "–"
    if not optimum:
        return number(optimum - value)
    return f"{(optimum - value) / abs(optimum):.2%}"


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
        rows: One for each run, with `planner`, `seed`, `return`, `plan_seconds` (of
            one plan) and `results` (text); and `optimum`, where a task has one.
        optimum: The best return, where it is known.

    Returns:
        The path of `report.html`; the plot lies beside it in `plots/`.

    Raises:
        ValueError: There are no rows.
    """
    if not isinstance(folder, RunFolder):
        folder = RunFolder.open(folder)
    if not rows:
        raise ValueError("A comparison needs at least one run, got none.")
    config = folder.config()
    content = png(plots.comparison(rows, optimum))
    (folder.path / "plots").mkdir(exist_ok=True)
    write_atomically(folder.path / "plots" / "comparison.png", content)
    head = ["planner", "seed", "return", "below the optimum", "ms a plan", "results"]
    lines = [
        [
            row["planner"],
            row["seed"],
            number(row["return"]),
            gap(row["return"], optimum) if optimum is not None else "–",
            number(1e3 * row["plan_seconds"]),
            row["results"],
        ]
        for row in sorted(rows, key=lambda row: -row["return"])
    ]
    if optimum is None:
        head.pop(3)
        for line in lines:
            line.pop(3)
    title = f"{config.get('task', 'A task')} · planners compared"
    body = [
        f"<header><h1>{page.escape(title)}</h1></header>",
        page.section(
            "Return against planning time",
            "Higher is better, and further left is faster.",
            page.picture(content, "Return against planning time"),
            wide=True,
        ),
        page.section("Runs", "Best first.", page.table(lines, head), wide=True),
        *_how(config, folder),
    ]
    path = folder.path / "report.html"
    write_atomically(path, page.document(title, body).encode())
    return path
