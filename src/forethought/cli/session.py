"""A run at the terminal: live progress, a short table, and a folder with a report."""

import collections
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from forethought.core.results import names
from forethought.core.words import duration, hertz
from forethought.planners import AbstractPlanner
from forethought.planners.registry import name_of
from forethought.reports.pages.comparison import (
    COLUMNS,
    HEAD,
    looks,
    ranked,
    rows_of,
    write_comparison,
)
from forethought.reports.write import save_run
from forethought.runs.events import Acted, Event, Scored
from forethought.runs.fit.foreseen import FILE as FORESEEN
from forethought.runs.fit.kept import Fitted
from forethought.runs.plan.compare import Score, compare
from forethought.runs.plan.control import Prepared, Run, execute
from forethought.runs.plan.realised import expected_and_met
from forethought.runs.plan.record import Record, execution
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.log import Terminal
from forethought.tasks.base import Task
from forethought.training.stop import INTERRUPTED

MANY = 9
"""From more pairs of task and planner on, it is said how long all of them take."""
RESULTS = 18
"""Letters of a line that are kept for how plans ended."""
CHUNK = 5
"""Steps between two looks at the progress line, and between two lines on disk."""


def run_live(prepared: Prepared, folder: RunFolder, console: Terminal) -> Run:
    """Execute a prepared run under a progress line, writing metrics as it goes."""
    done, value, spent = 0, 0.0, 0.0
    dt, every = prepared.task.system.dt, prepared.controller.replan_every
    columns = (
        BarColumn(bar_width=20),
        TextColumn("{task.completed}/{task.total} steps"),
        TextColumn("{task.fields[shown]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=prepared.steps, shown="")

        def watch(event: Event) -> None:
            nonlocal done, value, spent
            if not isinstance(event, Acted):
                return
            piece, seconds = event.episode, event.seconds
            rewards = np.asarray(piece.rewards)
            returns = value + np.cumsum(rewards)
            planned, codes = np.asarray(piece.planned), names(piece.result)
            for i, reward in enumerate(rewards):
                folder.append(
                    {
                        "step": done + i + 1,
                        "time": (done + i + 1) * dt,
                        "reward": reward,
                        "return": returns[i],
                        "planned": planned[i],
                        "seconds": seconds[i],
                        "result": codes[i],
                    }
                )
            done, value = done + len(rewards), float(returns[-1])
            spent += float(np.sum(seconds))
            plans = -(-done // every)
            shown = f"t {done * dt:.2f} s  return {value:.4g}"
            shown += f"  {hertz(plans / spent)}  {codes[-1]}"
            progress.update(bar, completed=done, shown=shown)

        return execute(prepared, watch)


def summary(run: Run, folder: RunFolder) -> Table:
    """What happened, in a few lines."""
    episode = run.episode
    counts = collections.Counter(names(episode.result).tolist())
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("task", run.task.name)
    table.add_row("planner", name_of(run.planner))
    table.add_row("executed", execution(run))
    table.add_row("return", f"{float(episode.value):.6g}")
    if run.optimum is not None:
        table.add_row("optimum", f"{run.optimum:.6g}")
    if folder.has(FORESEEN) and (both := expected_and_met(Record.load(folder))):
        expected, met = both
        words = f"{expected:.6g} on average; then came {met:.6g}"
        table.add_row("expected", words)
    table.add_row("steps", f"{int(np.sum(np.asarray(episode.alive)))}")
    table.add_row(
        "plan rate",
        f"{hertz(run.plan_rate)} (compiled in {run.compile_seconds:.1f} s)",
    )
    table.add_row("results", ", ".join(f"{n} {code}" for code, n in counts.items()))
    table.add_row("report", str(folder.path / "report.html"))
    return table


def plan_session(
    prepared: Prepared, folder: RunFolder, fitted: Fitted | None = None
) -> int:
    """Run, report, and return the exit code.

    Args:
        prepared: What to do.
        folder: Where it is kept.
        fitted: The models that were planned with, where they are no known dynamics.
    """
    console = Terminal()
    try:
        run = run_live(prepared, folder, console)
    except KeyboardInterrupt:
        folder.discard()
        raise
    for notice in save_run(run, folder, fitted):
        console.print(notice)
    folder.finish()
    console.print(summary(run, folder))
    return INTERRUPTED if run.interrupted else 0


SPARED = ("model calls", "best seed", "iterations")
"""Columns that are left to the report where a terminal is narrow, first to go first."""


def fitting(head: Sequence[str], lines: Sequence[Sequence[str]], width: int) -> Table:
    """A table of scores with as many columns as a terminal has room for."""
    kept = list(range(len(head)))
    for name in SPARED:
        cells = ([head[i], *(line[i] for line in lines)] for i in kept[:-1])
        if sum(2 + max(map(len, column)) for column in cells) + RESULTS <= width:
            break
        if name in head:
            kept.remove(head.index(name))
    table = Table(box=None, pad_edge=False)
    for i in kept:
        last = i == len(head) - 1
        justify = "right" if 0 < i and not last else "left"
        table.add_column(head[i], justify=justify, no_wrap=not last)
    for line in lines:
        table.add_row(*(line[i] for i in kept))
    return table


def compare_session(
    contests: Sequence[tuple[Task, Mapping[str, AbstractPlanner]]],
    folder: RunFolder,
    *,
    seeds: Sequence[int],
    steps: int | None,
    futures: int,
) -> int:
    """Compare planners on each task, showing as they are done; return the exit code."""
    console = Terminal()
    rows: list[dict[str, Any]] = []
    pairs = sum(len(planners) for _, planners in contests)
    done, code, began = 0, 0, time.monotonic()

    with console.status("") as status:

        def watch(event: Event) -> None:
            nonlocal done
            if not isinstance(event, Scored):
                return
            done += 1
            score: Score = event.score
            for row in rows_of(score, seeds):
                rows.append(row)
                folder.append({key: row[key] for key in COLUMNS})
            told = f"{done} of {pairs}: {score.planner} on {score.task}"
            if done < pairs:
                left = (time.monotonic() - began) / done * (pairs - done)
                told += f", about {duration(left)} left"
                if done == 1 and pairs > MANY:
                    console.print(f"about {duration(left)} for {pairs} comparisons")
            status.update(console.render_str(told))

        try:
            for task, planners in contests:
                compare(
                    task,
                    planners,
                    seeds=seeds,
                    steps=steps,
                    futures=futures,
                    watch=watch,
                )
                _tell(console, task.name, rows, several=len(contests) > 1)
                write_comparison(folder, rows)  # all that is known so far
        except KeyboardInterrupt:
            if not rows:
                folder.discard()
                raise
            console.print(f"interrupted after {done} of {pairs}")
            code = INTERRUPTED
    report = write_comparison(folder, rows)
    folder.finish()
    console.print(f"report  {report}", soft_wrap=True)
    return code


def _tell(
    console: Terminal, task: str, rows: Sequence[dict[str, Any]], *, several: bool
) -> None:
    """What came out on one task."""
    own = [row for row in rows if row["task"] == task]
    lines = ranked([row for row in own if not row["refusal"]])
    head = (task, *HEAD[1:]) if several else HEAD
    console.print(fitting(head, lines, console.width))
    for line in looks(own):
        console.print(line)
    for row in own:
        if row["refusal"]:
            console.print(f"{row['planner']} refuses: {row['refusal']}")
    console.print()
