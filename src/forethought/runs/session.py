"""A run at the terminal: live progress, a short table, and a folder with a report."""

import dataclasses
import pathlib
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from forethought.core.results import name_of
from forethought.planners import PLANNERS, AbstractPlanner
from forethought.planners.mpc import Episode
from forethought.runs.control import Prepared, Run, execute
from forethought.runs.folder import RunFolder
from forethought.runs.record import execution
from forethought.runs.report import finish
from forethought.tasks.base import Task

CHUNK = 5
"""Steps between two looks at the progress line, and between two lines on disk."""


def name_of_planner(planner: AbstractPlanner) -> str:
    """A planner's name on the command line, or its class where it has none."""
    names = {cls: name for name, cls in PLANNERS.items()}
    return names.get(type(planner), type(planner).__name__)


def settings(
    task: Task, planner: AbstractPlanner, options: Any, command: list[str]
) -> dict[str, Any]:
    """Everything that a run's `config.json` says."""
    return {
        "task": task.name,
        "planner": name_of_planner(planner),
        "command": command,
        "settings": planner,
        "options": options,
    }


def free_folder(name: str) -> pathlib.Path:
    """A folder under `runs/` that no earlier run has taken."""
    folder = pathlib.Path("runs") / name
    number = 2
    while folder.exists():
        folder = pathlib.Path("runs") / f"{name}-{number}"
        number += 1
    return folder


def run_live(prepared: Prepared, folder: RunFolder, console: Console) -> Run:
    """Execute a prepared run under a progress line, writing metrics as it goes."""
    done, value = 0, 0.0
    dt, every = prepared.task.system.dt, prepared.controller.replan_every
    columns = (
        BarColumn(bar_width=20),
        TextColumn("{task.completed}/{task.total} steps"),
        TextColumn("{task.fields[shown]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=prepared.steps, shown="")

        def on_progress(piece: Episode, seconds: np.ndarray) -> None:
            nonlocal done, value
            rewards = np.asarray(piece.rewards)
            returns = value + np.cumsum(rewards)
            planned = np.asarray(piece.planned)
            for i, reward in enumerate(rewards):
                folder.append(
                    {
                        "step": done + i + 1,
                        "time": (done + i + 1) * dt,
                        "reward": reward,
                        "return": returns[i],
                        "planned": planned[i],
                        "plan_seconds": seconds[i] * every,
                        "result": name_of(piece.result[i]),
                    }
                )
            done, value = done + len(rewards), float(returns[-1])
            rate = 1 / max(float(np.mean(seconds)) * every, 1e-9)
            code = name_of(piece.result[-1])
            shown = f"t {done * dt:.2f} s  return {value:.4g}  {rate:.3g} Hz  {code}"
            progress.update(bar, completed=done, shown=shown)

        return execute(prepared, on_progress)


def summary(run: Run, folder: pathlib.Path) -> Table:
    """What happened, in a few lines."""
    episode = run.episode
    codes = [name_of(episode.result[i]) for i in range(0, len(run.seconds))]
    counts = {code: codes.count(code) for code in dict.fromkeys(codes)}
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("task", run.task.name)
    table.add_row("planner", name_of_planner(run.planner))
    table.add_row("executed", execution(run))
    table.add_row("return", f"{float(episode.value):.6g}")
    if run.task.optimum is not None:
        table.add_row("optimum", f"{run.task.optimum:.6g}")
    table.add_row("steps", f"{int(np.sum(np.asarray(episode.alive)))}")
    table.add_row(
        "plan rate",
        f"{run.plan_rate:.4g} Hz (compiled in {run.compile_seconds:.1f} s)",
    )
    table.add_row("results", ", ".join(f"{n} {code}" for code, n in counts.items()))
    table.add_row("report", str(folder / "report.html"))
    return table


def plan_session(prepared: Prepared, folder: RunFolder) -> int:
    """Run, report, and return the exit code."""
    console = Console()
    run = run_live(prepared, folder, console)
    for notice in finish(run, folder, name_of_planner(run.planner)):
        console.print(notice)
    console.print(summary(run, folder.path))
    return 130 if run.interrupted else 0
