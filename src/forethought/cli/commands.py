"""The work of each command. Imports wait until a command needs them."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from forethought.cli.learning import (
    agents_command,
    evaluate_command,
    resume_command,
    train_command,
)
from forethought.cli.options import (
    CompareOptions,
    NoOptions,
    PlannerFields,
    PlanOptions,
    ReportOptions,
)
from forethought.cli.parse import arguments_of, bad_input, parse, split, subject
from forethought.cli.reproduce import reproduce_command
from forethought.cli.setup import load, set_up
from forethought.core.names import unknown


def tasks_command(arguments: list[str]) -> int:
    """List the tasks."""
    from rich.console import Console
    from rich.table import Table

    parse(NoOptions, "tasks", arguments, description="List what can be controlled.")
    set_up(64)
    from forethought.tasks import TASKS

    table = Table(box=None, pad_edge=False)
    for heading in ("task", "what is wanted", "x", "u", "optimum"):
        justify = "left" if heading.startswith(("task", "what")) else "right"
        table.add_column(heading, justify=justify)
    for name, build in TASKS.items():
        task = build()
        optimum = "" if task.optimum is None else f"{task.optimum:.6g}"
        x, u = len(task.system.state_names), len(task.system.action_names)
        table.add_row(name, task.summary, str(x), str(u), optimum)
    Console().print(table)
    print("x, u: dimensions of state and action; optimum: best return, where known")
    return 0


def planners_command(arguments: list[str]) -> int:
    """List the planners, or the fields of one."""
    from rich.console import Console
    from rich.table import Table

    from forethought.planners import PLANNERS

    if not arguments or arguments[0].startswith("-"):
        parse(NoOptions, "planners", arguments, description="List who can plan.")
        table = Table(box=None, pad_edge=False)
        for heading in ("planner", "idea"):
            table.add_column(heading)
        for name, planner in PLANNERS.items():
            table.add_row(name, _headline(planner))
        Console().print(table)
        return 0
    name, rest = arguments[0], arguments[1:]
    with bad_input():
        if name not in PLANNERS:
            raise unknown("planner", name, PLANNERS)
    planner = PLANNERS[name]
    parse(NoOptions, f"planners {name}", rest, description=_headline(planner))
    table = Table(box=None, pad_edge=False)
    # Only the horizon has no default of its own: it comes from the task.
    default = planner(horizon=1)  # pyright: ignore[reportCallIssue]
    rows = list(_fields(default, "--planner"))
    table.add_column("flag", min_width=max(len(flag) for flag, _, _ in rows))
    table.add_column("default")
    table.add_column("meaning")
    for flag, value, meaning in rows:
        table.add_row(flag, "task's" if flag == "--planner.horizon" else value, meaning)
    console = Console()
    console.print(_headline(planner), "\n")
    console.print(table)
    return 0


def _headline(planner: type) -> str:
    return (planner.__doc__ or "").strip().splitlines()[0]


def _fields(settings: Any, prefix: str) -> Iterator[tuple[str, str, str]]:
    """Flag, value and meaning of every field, nested ones too."""
    meanings = arguments_of(type(settings))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        flag = f"{prefix}.{field.name.replace('_', '-')}"
        if dataclasses.is_dataclass(value):
            yield from _fields(value, flag)
        else:
            yield flag, str(value), meanings.get(field.name, "")


def plan_command(arguments: list[str]) -> int:
    """Act on a task by planning."""
    name, rest = subject("plan", "TASK", PlanOptions, arguments)
    common, fields = split(rest, "--planner.")
    options: PlanOptions = parse(PlanOptions, "plan TASK", common)
    set_up(options.precision)
    task = load(name, options.objective)
    from forethought.runs import session
    from forethought.runs.control import prepare
    from forethought.runs.folder import RunFolder
    from forethought.runs.planning import make_planner

    with bad_input():
        planner = make_planner(task, options.planner)
    form: Any = PlannerFields[type(planner)]
    planner = parse(form, "plan TASK", fields, default=PlannerFields(planner)).planner
    with bad_input():
        prepared = prepare(
            task,
            planner,
            steps=options.steps,
            seed=options.seed,
            start=options.start or None,
            replan_every=options.replan_every,
            open_loop=options.open_loop,
            chunk=session.CHUNK,
        )
        path = options.out or session.free_folder(f"{task.name}-{options.planner}")
        command = ["forethought", "plan", *arguments]
        config = session.settings(task, planner, options, command)
        folder = RunFolder.create(path, config)
    return session.plan_session(prepared, folder)


def compare_command(arguments: list[str]) -> int:
    """Several planners on one task."""
    name, rest = subject("compare", "TASK", CompareOptions, arguments)
    options: CompareOptions = parse(CompareOptions, "compare TASK", rest)
    set_up(options.precision)
    task = load(name, options.objective)
    from forethought.runs import session
    from forethought.runs.control import check
    from forethought.runs.folder import RunFolder
    from forethought.runs.planning import make_planner

    with bad_input():
        if options.seeds < 1:
            raise ValueError(f"compare needs seeds >= 1, got {options.seeds}.")
        if not options.planners:
            raise ValueError("compare needs the name of at least one planner.")
        planners = {each: make_planner(task, each) for each in options.planners}
        for planner in planners.values():
            check(task, planner, options.steps)
        path = options.out or session.free_folder(f"compare-{task.name}")
        config = {
            "task": task.name,
            "planner": ", ".join(planners),
            "settings": planners,
            "options": options,
            "command": ["forethought", "compare", *arguments],
        }
        folder = RunFolder.create(path, config)
    seeds = range(options.seed, options.seed + options.seeds)
    return session.compare_session(
        task, planners, folder, seeds=seeds, steps=options.steps
    )


def report_command(arguments: list[str]) -> int:
    """Write a report again."""
    path, rest = subject("report", "DIR", ReportOptions, arguments)
    parse(ReportOptions, "report DIR", rest)
    from forethought.runs.folder import RunFolder
    from forethought.runs.report import write_report

    with bad_input():
        report = write_report(RunFolder.open(path))
    print(report)
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "agents": agents_command,
    "train": train_command,
    "resume": resume_command,
    "evaluate": evaluate_command,
    "reproduce": reproduce_command,
    "tasks": tasks_command,
    "planners": planners_command,
    "plan": plan_command,
    "compare": compare_command,
    "report": report_command,
}
