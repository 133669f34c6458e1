"""The commands that learn: `train`, `resume`, `evaluate`, `agents`."""

from typing import Any

import numpy as np

from forethought.cli.options import (
    AgentFields,
    EvaluateOptions,
    NoOptions,
    ResumeOptions,
    TrainOptions,
)
from forethought.cli.parse import INTERRUPTED, bad_input, parse, split, subject
from forethought.cli.setup import set_up
from forethought.core.names import unknown


def agents_command(arguments: list[str]) -> int:
    """List the agents that learn."""
    from rich.console import Console
    from rich.table import Table

    from forethought.runs.training import AGENTS

    parse(NoOptions, "agents", arguments, description="List who can learn.")
    table = Table(box=None, pad_edge=False)
    for heading in ("agent", "idea"):
        table.add_column(heading)
    for name, agent in AGENTS.items():
        table.add_row(name, (agent.__doc__ or "").strip().splitlines()[0])
    Console().print(table)
    return 0


def train_command(arguments: list[str]) -> int:
    """Learn to act on a task or in a Gymnasium environment."""
    name, rest = subject("train", "TASK_OR_GYM_ID", TrainOptions, arguments)
    options, run = read_training(name, rest)
    from forethought.runs import session
    from forethought.runs.folder import RunFolder

    with bad_input():
        path = options.out or session.free_folder(f"{run.name}-{options.agent}")
        config = {
            "task": run.name,
            "planner": options.agent,
            "settings": run.settings,
            "options": options,
            "command": ["forethought", "train", *arguments],
        }
        folder = RunFolder.create(path, config)
    return _learn(run, folder, resume=False)


def resume_command(arguments: list[str]) -> int:
    """Go on with a training run."""
    path, rest = subject("resume", "DIR", ResumeOptions, arguments)
    parse(ResumeOptions, "resume DIR", rest)
    run, folder = _reopen("resume", path)
    from forethought.runs.checkpoint import load_host

    with bad_input():
        load_host(folder.path)
    return _learn(run, folder, resume=True)


def evaluate_command(arguments: list[str]) -> int:
    """Let a trained agent act."""
    path, rest = subject("evaluate", "DIR", EvaluateOptions, arguments)
    options: EvaluateOptions = parse(EvaluateOptions, "evaluate DIR", rest)
    run, folder = _reopen("evaluate", path)
    from forethought.runs.training import score

    with bad_input():
        if options.episodes < 1:
            raise ValueError(f"evaluate needs episodes >= 1, got {options.episodes}.")
        returns, notices = score(
            run, folder, episodes=options.episodes, seed=options.seed
        )
    print(*notices, sep="\n", end="\n" if notices else "")
    shown = ", ".join(f"{value:.4g}" for value in returns)
    print(f"returns  {shown}")
    print(f"mean     {np.mean(returns):.4g} ± {np.std(returns):.2g} (std)")
    return 0


def read_training(name: str, rest: list[str]) -> tuple[TrainOptions, Any]:
    """Options and run of a `train` command."""
    common, fields = split(rest, "--agent.")
    options: TrainOptions = parse(TrainOptions, "train TASK_OR_GYM_ID", common)
    set_up(options.precision)
    from forethought.runs.training import AGENTS, Learning, check

    with bad_input():
        if options.agent not in AGENTS:
            raise unknown("agent", options.agent, AGENTS)
    settings = AGENTS[options.agent]()
    form: Any = AgentFields[type(settings)]
    settings = parse(
        form, "train TASK_OR_GYM_ID", fields, default=AgentFields(settings)
    ).agent
    with bad_input():
        run = Learning(name, settings, options.steps, options.seed)
        check(run)
    return options, run


def _reopen(command: str, path: str) -> tuple[Any, Any]:
    """The run of a folder, from the command that its config holds."""
    from forethought.runs.folder import RunFolder

    with bad_input():
        folder = RunFolder.open(path)
        given = folder.config().get("command")
        if not (isinstance(given, list) and given[1:2] == ["train"]):
            raise ValueError(f"{command} needs the folder of a training run: {path}.")
    _, run = read_training(given[2], given[3:])
    return run, folder


def _learn(run: Any, folder: Any, *, resume: bool) -> int:
    """Train under a progress line; what is done is on the disk."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from forethought.runs.report import write_report
    from forethought.runs.training import learn

    console = Console()
    columns = (
        BarColumn(bar_width=20),
        TextColumn("{task.completed}/{task.total} episodes  {task.fields[shown]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=run.episodes, shown="")

        def on_row(row: dict[str, Any]) -> None:
            shown = f"{row['step']} steps  return {row['return']:.4g}"
            if "holdout" in row:
                shown += f"  model {row['holdout']:.2f} nats"
            progress.update(bar, completed=row["episode"], shown=shown)

        try:
            _, notices = learn(run, folder, resume=resume, on_row=on_row)
        except KeyboardInterrupt:
            console.print(f"interrupted; forethought resume {folder.path} goes on")
            return INTERRUPTED
    for notice in notices:
        console.print(notice)
    rows = folder.metrics()
    console.print("returns  " + ", ".join(f"{row['return']:.4g}" for row in rows))
    console.print(f"report   {write_report(folder)}")
    return 0
