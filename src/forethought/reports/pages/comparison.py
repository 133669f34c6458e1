"""Planners side by side on disk: one row an episode, as JSON, CSV, plot and page."""

import csv
import dataclasses
import io
import math
import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forethought.reports import page
from forethought.reports.style import (
    CYCLE,
    INK,
    above,
    gap,
    label,
    logarithmic,
    number,
    panels,
    png,
)
from forethought.runs.plan.compare import Score
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.schema import Real

FILE = "comparison.json"
COLUMNS = (
    *("task", "planner", "seed", "return", "optimum", "gap", "relative_gap"),
    *("iterations", "plan_seconds", "evaluations", "linearisations"),
    *("violation", "kkt", "open_loop", "open_loop_error", "closed_loop"),
    *("closed_loop_error", "executed", "results", "refusal"),
)
"""Of `comparison.csv`; a row of `comparison.json` has `progress` besides."""
CLOSEST = 1e-9
"""Relative gaps below it are drawn there: the optimum to all digits that are known."""
MARKS = "osD^vP*X<>"

Row = Mapping[str, Any]
Episode = TypedDict(
    "Episode",
    {
        "task": str,
        "planner": str,
        "seed": Integral,
        "return": Real,
        "plan_seconds": float,
        "iterations": float,
        "results": str,
        "refusal": Literal[""] | None,
        "optimum": float | None,
        "evaluations": int | None,
        "linearisations": int | None,
        "violation": Real,
        "kkt": Real,
        "open_loop": Real,
        "open_loop_error": Real,
        "closed_loop": Real,
        "closed_loop_error": Real,
        "progress": list[Real] | None,
    },
)
"""A row of `comparison.json` that tells of an episode."""


class Refused(TypedDict):
    """A row of `comparison.json` that tells why there is no episode."""

    task: str
    planner: str
    refusal: str


class Rows(TypedDict):
    """What `comparison.json` holds."""

    rows: list[Episode | Refused]


def read_rows(folder: RunFolder) -> list[dict[str, Any]]:
    """The rows that a folder holds.

    Raises:
        ValueError: They are damaged.
    """
    return folder.read_json(FILE, Rows)["rows"]


def rows_of(score: Score, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """One row for each episode of a score, or a single one for a refusal."""
    blank = dict.fromkeys(COLUMNS) | {"progress": None}
    blank |= {"task": score.task, "planner": score.planner, "optimum": score.optimum}
    if score.refusal:
        return [blank | {"refusal": score.refusal}]
    if score.looking is not None:
        for name, returns in dataclasses.asdict(score.looking).items():
            error = float(np.std(returns)) / math.sqrt(len(returns))
            blank |= {name: float(np.mean(returns)), f"{name}_error": error}
    rows = []
    for i, seed in enumerate(seeds):
        value = float(score.returns[i])
        row = blank | {
            "seed": seed,
            "return": value,
            "iterations": int(score.iterations[i]),
            "plan_seconds": float(score.plan_seconds[i]),
            "evaluations": score.evaluations,
            "linearisations": score.linearisations,
            "executed": score.execution,
            "results": ", ".join(f"{n} {code}" for code, n in score.results.items()),
            "violation": None if score.violation is None else float(score.violation[i]),
            "kkt": None if score.kkt is None else float(score.kkt[i]),
            "progress": score.progress[i] if score.progress else None,
        }
        if score.optimum is not None:
            row["gap"] = score.optimum - value
            row["relative_gap"] = row["gap"] / max(abs(score.optimum), 1e-12)
        rows.append(row)
    return rows


def grouped(rows: Sequence[Row], by: str) -> dict[str, list[Row]]:
    """Rows of the same task or planner together, in the order of their first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row[by]), []).append(row)
    return groups


def cells(own: Sequence[Row]) -> list[str]:
    """One planner on one task as text: what `HEAD` names."""
    first = own[0]
    if first["refusal"]:
        return [str(first["planner"]), *["–"] * 6, f"refuses: {first['refusal']}"]
    returns = np.array([_float(row["return"]) for row in own])
    optimum = first["optimum"]
    milliseconds = 1e3 * float(np.median([_float(row["plan_seconds"]) for row in own]))
    asked, sloped = first["evaluations"], first["linearisations"]
    calls = "–" if asked is None else f"{asked:,}"
    if sloped:
        calls += f" + {sloped:,} ∂"
    spread = f" ± {number(float(f'{returns.std():.2g}'))}" if len(own) > 1 else ""
    return [
        str(first["planner"]),
        number(float(returns.mean())) + (spread if returns.std() > 0 else ""),
        "–" if optimum is None else gap(float(returns.mean()), optimum),
        "–" if optimum is None else gap(float(returns.max()), optimum),
        f"{float(np.mean([row['iterations'] for row in own])):.4g}",
        number(float(f"{milliseconds:.3g}")),
        calls,
        "; ".join(dict.fromkeys([*(str(row["results"]) for row in own), *_held(own)])),
    ]


def _held(own: Sequence[Row]) -> list[str]:
    """How well constraints were held, by the worst seed, where there are some."""
    return [
        f"{words} {max(_float(row[name]) for row in own):.1e}"
        for name, words in (("violation", "breaks constraints by"), ("kkt", "KKT"))
        if own[0][name] is not None
    ]


def looks(rows: Sequence[Row]) -> list[str]:
    """What plans of a random task are worth with closed eyes and with open ones."""

    def worth(row: Row, name: str) -> str:
        value, error = _float(row[name]), _float(row[f"{name}_error"])
        return f"{value:.3g} ± {error:.1g}"

    return [
        f"{planner}: {worth(own[0], 'open_loop')} by a plan followed to the end (open "
        f"loop), {worth(own[0], 'closed_loop')} by replanning at every step (closed "
        "loop)"
        for planner, own in grouped(rows, "planner").items()
        if own[0]["open_loop"] is not None
    ]


HEAD = (
    *("planner", "return", "gap", "best seed", "iterations", "ms a plan"),
    *("model calls", "results"),
)


def _float(value: Any) -> float:
    """A number as it is after a journey through JSON."""
    return math.nan if value is None else float(value)


def write_comparison(
    folder: RunFolder | str | os.PathLike, rows: Sequence[Row]
) -> Path:
    """Write `comparison.json`, `.csv`, a plot and `report.html`.

    Args:
        folder: A run folder, from `RunFolder.create`.
        rows: From `rows_of`, of any number of tasks and planners.

    Returns:
        The path of `report.html`; the plot lies beside it in `plots/`.

    Raises:
        ValueError: There are no rows.
    """
    if not isinstance(folder, RunFolder):
        folder = RunFolder.open(folder)
    if not rows:
        raise ValueError("A comparison needs at least one episode, got none.")
    folder.write_json(FILE, {"rows": rows})
    folder.write("comparison.csv", table(rows))
    content = png(plot(rows))
    folder.write("plots/comparison.png", content)
    tasks = grouped(rows, "task")
    title = f"{', '.join(tasks)} · planners compared"
    if len(tasks) > 3:
        title = f"{len(tasks)} problems · planners compared"
    note = "Further down is better where a gap is shown, further left is faster. "
    if any(row["progress"] is not None for row in rows):
        note += "Lines: the best of each iteration so far, over the plan's time. "
    if len({row["seed"] for row in rows if not row["refusal"]}) > 1:
        note += "Large marks are means over seeds, small ones single seeds."
    picture = page.picture(content, "How good against how fast")
    kind = "wide centre" if len(tasks) == 1 else "wide"
    body = [
        f"<header><h1>{page.escape(title)}</h1></header>",
        page.section("How good, how fast", note, picture, kind=kind),
    ]
    for task, own in tasks.items():
        body.append(
            page.section(
                task,
                _known(own[0]["optimum"]),
                page.table(ranked(own), HEAD)
                + "".join(f"<p>{page.escape(line)}</p>" for line in looks(own)),
                kind="wide",
            )
        )
    body.append(
        "<p class=quiet>Gap: how far the mean return lies below the optimum. Best "
        "seed: the smallest gap of one. Model calls: predictions in the first plan, "
        "and (∂) those of which derivatives were taken; a dash where they cannot be "
        "counted, because the planner reads the model's matrices or takes second "
        "derivatives of it.</p>"
    )
    body += page.how(folder.config())
    return folder.write("report.html", page.document(title, body))


def _known(optimum: float | None) -> str:
    return (
        "Best first."
        if optimum is None
        else f"Best first; the best return that is known is {number(optimum)}."
    )


def ranked(rows: Sequence[Row]) -> list[list[str]]:
    """The planners of one task as text, the best first."""
    planners = grouped(rows, "planner").values()
    if not planners:
        return []
    values = [np.mean([_float(row["return"]) for row in own]) for own in planners]
    order = np.argsort(-np.nan_to_num(np.array(values), nan=-np.inf), kind="stable")
    lines = [cells(own) for own in planners]
    return [lines[i] for i in order]


def table(rows: Sequence[Row]) -> str:
    """All rows as CSV, under `COLUMNS`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def plot(rows: Sequence[Row]) -> Figure:
    """How good against how fast: one panel a task, one colour a planner."""
    tasks = grouped([row for row in rows if not row["refusal"]], "task")
    planners = list(grouped(rows, "planner"))
    columns = min(3, max(1, len(tasks)))
    lines = max(1, -(-len(tasks) // columns))
    figure, axes = panels(
        lines,
        columns,
        height=3.2 if lines == 1 else 2.5,
        width=5.6 + 2.2 * (columns - 1),
        share=False,
    )
    shown: dict[str, Any] = {}
    for axis, (task, own) in zip(axes.flat, tasks.items(), strict=False):
        known = own[0]["optimum"] is not None
        if known:  # a single gap has no extent
            axis.set_yscale("log")
            axis.update_datalim([(1, CLOSEST / 3)], updatex=False)
        for planner, episodes in grouped(own, "planner").items():
            i = planners.index(planner)
            shown[planner] = _draw(
                axis, episodes, known, CYCLE[i % len(CYCLE)], MARKS[i % len(MARKS)]
            )
        axis.margins(0.1)
        logarithmic(axis, "x")
        if known:
            axis.set_ylim(bottom=CLOSEST / 3)
            axis.axhline(CLOSEST, color=INK, linewidth=1, linestyle="--")
        first = axis.get_subplotspec().is_first_col()
        last = axis.get_subplotspec().is_last_row()
        label(
            axis,
            "time for one plan [ms]" if last else "",
            ("gap to the optimum" if known else "return") if first or not known else "",
            task if len(tasks) > 1 else "",
        )
    for axis in list(axes.flat)[len(tasks) :]:
        axis.set_visible(False)
    ordered = [planner for planner in planners if planner in shown]
    above(figure, [shown[planner] for planner in ordered], ordered)
    return figure


def _draw(
    axis: Axes, episodes: Sequence[Row], known: bool, colour: str, marker: str
) -> Any:
    """One planner on one task; returns what the legend shows."""

    def height(values: Any) -> np.ndarray:
        values = np.asarray(values, float)
        if not known:
            return values
        optimum = float(episodes[0]["optimum"])
        share = (optimum - values) / max(abs(optimum), 1e-12)
        return np.maximum(share, CLOSEST)

    x = 1e3 * np.array([_float(row["plan_seconds"]) for row in episodes])
    y = height([_float(row["return"]) for row in episodes])
    for i, row in enumerate(episodes):
        if row["progress"] is not None and len(row["progress"]) > 1:
            done = np.arange(1, len(row["progress"]) + 1) / len(row["progress"])
            best = height([_float(value) for value in row["progress"][:-1]] + [np.nan])
            best[-1] = y[i]
            axis.plot(x[i] * done, best, color=colour, linewidth=1.2, alpha=0.6)
    if len(episodes) > 1:
        axis.plot(x, y, marker, color=colour, ms=4, alpha=0.5, mew=0)
    middle = np.exp(np.mean(np.log(y))) if known else np.mean(y)
    return axis.plot(
        np.median(x), middle, marker, color=colour, ms=8, mec="w", linestyle="none"
    )[0]
