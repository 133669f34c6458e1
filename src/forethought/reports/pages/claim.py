"""What a reproduction shows: one figure and one page, made of its JSON alone."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from forethought.core.words import duration
from forethought.reports import page
from forethought.reports.page import leaves
from forethought.reports.pages import study as study_page
from forethought.reports.style import (
    BLUE,
    GREEN,
    INK,
    LIMIT,
    ORANGE,
    PURPLE,
    QUIET,
    SKY,
    YELLOW,
    label,
    number,
    panels,
    png,
)
from forethought.runs.claims.kept import read_result
from forethought.runs.store.files import write_atomically
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.place import place_of
from forethought.runs.store.plain import as_json

FIGURE = "reproduction.png"
Result = Mapping[str, Any]


def figure(result: Result) -> Figure:
    """Return of each episode and maximum so far, beside what others report.

    Args:
        result: The content of `reproduction.json`.
    """
    drawn, axes = panels(1, 2, height=3.5)
    drawn.set_size_inches(10.4, 4.6)
    each, best = axes[0]
    steps = np.array(result["steps"], float)
    for axis in (each, best):
        _yardsticks(axis, result)
        _seeds(axis, steps, per_seed(result, best=axis is best))
        axis.set_xlim(0, 1.04 * steps[-1])
    _random(each, result)
    _published(best, result, steps[-1])
    for check in result["checks"]:
        _mark(each if check["curve"] == "each" else best, check)
    both = np.array([axis.get_ylim() for axis in (each, best)])
    for axis in (each, best):
        axis.set_ylim(both[:, 0].min(), both[:, 1].max())
    label(each, "environment steps", "return", "Return of each episode")
    label(best, "environment steps", "", "Maximum so far")
    entries = {
        name: handle
        for axis in (each, best)
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    drawn.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower left",
        ncols=5,
        fontsize=8.5,
        frameon=False,
        labelcolor=INK,
        handlelength=1.8,
    )
    drawn.suptitle(heading(result), fontsize=11.5, color=INK, x=0.008, ha="left")
    return drawn


def per_seed(result: Result, *, best: bool) -> np.ndarray:
    """Every seed's curve on the common steps, shape `[seed, step]`."""
    steps, rows = np.array(result["steps"]), []
    for run in result["seeds"]:
        values = np.array(run["returns"], float)
        values = np.maximum.accumulate(values) if best else values
        rows.append(values[np.searchsorted(run["steps"], steps, side="right") - 1])
    return np.array(rows)


def heading(result: Result) -> str:
    """What was tried and how it went, in one line."""
    passed = sum(check["passed"] for check in result["checks"])
    seeds = len(result["seeds"])
    settings = "" if result["settings"] == "ours" else ", the paper's settings"
    checks = len(result["checks"])
    return (
        f"{result['name']}: {passed} of {checks} check{'s' if checks > 1 else ''} "
        f"passed, {seeds} seed{'s' if seeds > 1 else ''}{settings}"
    )


def _seeds(axis: Axes, steps: np.ndarray, values: np.ndarray) -> None:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    if len(values) > 1:
        axis.fill_between(
            steps, low, high, color=BLUE, alpha=0.15, lw=0, label="middle half of seeds"
        )
        for i, row in enumerate(values):
            name = "" if i else "each seed"
            axis.plot(steps, row, color=BLUE, lw=0.8, alpha=0.4, label=name)
    name = "median of seeds" if len(values) > 1 else "one seed"
    axis.plot(steps, middle, "o-", color=BLUE, lw=2.2, ms=4.5, label=name, zorder=4)


def _random(axis: Axes, result: Result) -> None:
    """The episodes that nobody planned, over the median's points."""
    first = result["seeds"][0]
    steps = {
        at for at, own in zip(first["steps"], first["planned"], strict=True) if not own
    }
    places = [i for i, at in enumerate(result["steps"]) if at in steps]
    axis.plot(
        np.array(result["steps"])[places],
        np.array(result["median"])[places],
        "s",
        color=LIMIT,
        ms=6,
        label="random episode",
        zorder=5,
    )


def _yardsticks(axis: Axes, result: Result) -> None:
    for key, name, style in (
        ("bound", "same planner, exact model", (0, (5, 2))),
        ("floor", "random actions", (0, (1, 1.5))),
    ):
        if result[key] is not None:
            mean, std = result[key]["mean"], result[key]["std"]
            if std is not None:  # of a single episode there is none
                axis.axhspan(mean - std, mean + std, color=LIMIT, alpha=0.1, lw=0)
            axis.axhline(mean, color=QUIET, lw=1.3, ls=style, label=name, zorder=1)


def _published(axis: Axes, result: Result, end: float) -> None:
    """Curves within our budget; results of a larger one as levels at the right."""
    levels = []
    colours = (ORANGE, GREEN, PURPLE, YELLOW, SKY)
    for colour, each in zip(colours, result["published"], strict=False):
        inside = np.array([point for point in each["points"] if point[0] <= end])
        if len(inside):
            axis.plot(
                *inside.T, "s-", color=colour, lw=1.3, ms=3.5, label=each["label"]
            )
        else:
            at, value = each["points"][-1]
            levels.append((value, at, each["label"], colour))
    _levels(axis, levels)


def _levels(axis: Axes, levels: list[tuple[float, int, str, str]]) -> None:
    """Results of a larger budget, in the margin at the right."""
    low, high = axis.get_ylim()
    gap, lowest = 0.06 * (high - low), -math.inf
    place: Any = {"xycoords": ("axes fraction", "data"), "annotation_clip": False}
    for value, _, name, colour in sorted(levels):
        lowest = max(value, lowest + gap)
        axis.annotate(
            f"{name} {value:.0f}",
            (1.0, value),
            xytext=(1.045, lowest),
            textcoords=("axes fraction", "data"),
            va="center",
            fontsize=8.5,
            color=colour,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "lw": 1.6,
                "shrinkA": 1,
                "relpos": (0, 0.5),
            },
            **place,
        )
    if levels:
        words = f"after {levels[0][1]:,.0f} steps"
        axis.annotate(
            words, (1.045, lowest + gap), fontsize=8, color=QUIET, va="center", **place
        )


def _mark(axis: Axes, check: Mapping[str, Any]) -> None:
    """Where a promise lies: a triangle, filled where it is kept."""
    colour = GREEN if check["passed"] else ORANGE
    axis.plot(
        *check["mark"],
        marker="^",
        ms=8,
        ls="",
        mew=1.6,
        color=colour,
        mfc=colour if check["passed"] else "white",
        label="goal, reached" if check["passed"] else "goal, missed",
        clip_on=False,
        zorder=6,
    )
    axis.annotate(
        f"{'≥' if check['relation'] == '≥' else '>'} {number(check['mark'][1])}",
        check["mark"],
        xytext=(5, -7),
        textcoords="offset points",
        ha="center" if check["mark"][0] > 0.9 * axis.get_xlim()[1] else "left",
        va="top",
        fontsize=9,
        color=colour,
        path_effects=[withStroke(linewidth=3, foreground="white")],
        zorder=7,
    )


def shown(value: Any) -> str:
    """A number of a check; what never happened is infinite, or has none."""
    return number(value) if isinstance(value, int | float) else "never"


def verdict(check: Mapping[str, Any]) -> str:
    """A check and how it went, in a sentence."""
    return (
        f"{'passed' if check['passed'] else 'FAILED'}: {check['promise']} "
        f"(median over seeds {shown(check['median'])}, wanted {check['relation']} "
        f"{shown(check['goal'])})"
    )


def yardstick(value: Mapping[str, Any] | None) -> str:
    """Bound or floor, with its spread over episodes where there are several."""
    if value is None:
        return "–"
    mean = number(_digits(value["mean"]))
    if value["std"] is None:
        return mean
    return f"{mean} ± {number(_digits(value['std'], 2))}"


def _digits(value: float, count: int = 4) -> float:
    return float(f"{value:.{count}g}")


def write_reproduction(folder: RunFolder) -> Path:
    """Make figure and page of a reproduction, from its `reproduction.json`.

    Returns:
        The path of `report.html`.
    """
    result = read_result(folder)
    draw, tell = figure, _body
    if "arms" in result:
        draw, tell = study_page.figure, study_page.body
    content = png(draw(result))
    folder.write(FIGURE, content)
    title = f"reproduce {result['name']}"
    return folder.write("report.html", page.document(title, tell(result, content)))


def _body(result: Result, content: bytes) -> list[str]:
    seeds: Sequence[Mapping[str, Any]] = result["seeds"]
    passed = sum(check["passed"] for check in result["checks"])
    seconds = [run["seconds"] for run in seeds]
    facts = {
        "checks passed": f"{passed} of {len(result['checks'])}",
        "best return, median over seeds": number(_digits(result["median_best"][-1])),
        "last return, median over seeds": number(_digits(result["median"][-1])),
        "same planner, exact model": yardstick(result["bound"]),
        "random actions": yardstick(result["floor"]),
        "environment steps a seed": f"{result['steps'][-1]:,}",
        "wall time of a seed": duration(float(np.median(seconds))),
    }
    whose = "our" if result["settings"] == "ours" else "the paper's"
    note = f" {result['note']}" if result["note"] else ""
    checks = [
        (
            "passed" if check["passed"] else "failed",
            check["promise"],
            f"{check['relation']} {shown(check['goal'])}",
            shown(check["median"]),
            ", ".join(shown(value) for value in check["seeds"]),
        )
        for check in result["checks"]
    ]
    runs = [
        (
            run["seed"],
            number(max(run["returns"])),
            number(run["returns"][-1]),
            " · ".join(number(_digits(value)) for value in run["returns"]),
            duration(run["seconds"]),
        )
        for run in seeds
    ]
    sources = [(each["label"], each["source"]) for each in result["published"]]
    body = [
        f"<header><h1>{page.escape(result['name'])} <span>reproduced with {whose} "
        "settings</span></h1>"
        f"<p>{page.escape(result['claim'])}.</p>"
        f"<p class=quiet>{page.escape(result['variant'] + note)}</p></header>",
        page.tiles(facts),
        page.section(
            "Promises",
            "Each is about the median over seeds.",
            page.table(checks, ("", "promise", "goal", "median", "each seed")),
            kind="wide",
        ),
        page.section(
            "Learning",
            "One thin line a seed; the first episode is random. The bound is what the "
            "same planner earns with the exact model; grey bands are one standard "
            "deviation over episodes.",
            page.picture(content, "Return of each episode and maximum so far"),
            kind="wide",
        ),
        page.section(
            "Seeds",
            "Returns in the order of episodes.",
            page.table(runs, ("seed", "best", "last", "all episodes", "time")),
            kind="wide",
        ),
    ]
    if sources:
        title = "What others report"
        table = page.table(sources, ("who", "where it stands"))
        body.append(page.section(title, "", table, kind="wide"))
    where = {"commit": result["commit"], "machine": result["machine"]}
    return [
        *body,
        page.section(
            "Run it again",
            "The same seeds on the same machine give the same numbers.",
            f"<pre>{page.escape(result['command'])}</pre>",
            kind="wide",
        ),
        page.section("Where it ran", "", page.pairs(leaves(where)), kind="wide"),
        page.section("Settings", "", page.pairs(leaves(result["run"])), kind="wide"),
        "<footer>Every number is in reproduction.json. Made by forethought.</footer>",
    ]


def publish(folder: RunFolder, place: str | os.PathLike) -> tuple[Path, Path]:
    """Copy what is to be committed, `NAME.json` and `NAME.png`, into a folder.

    Raises:
        ValueError: The folder cannot be written to.
    """
    result, target = read_result(folder), place_of(place)
    paper = result.get("settings", "ours") != "ours"
    name = result["name"] + ("-paper" if paper else "")
    made = (target / f"{name}.json", target / f"{name}.png")
    try:
        target.mkdir(parents=True, exist_ok=True)
        write_atomically(made[0], as_json(result).encode())
        write_atomically(made[1], folder.read(FIGURE))
    except OSError as error:
        raise ValueError(
            f"--results needs a folder that may be written to, but {target} refuses: "
            f"{error.strerror or error}."
        ) from error
    return made
