"""The work of each command. Imports wait until a command needs them."""

from collections.abc import Callable
from typing import Any

from forethought.cli.learning import (
    evaluate_command,
    resume_command,
    train_command,
)
from forethought.cli.lists import (
    agents_command,
    models_command,
    planners_command,
    tasks_command,
)
from forethought.cli.options import (
    CompareOptions,
    PlannerFields,
    PlanOptions,
    ReportOptions,
)
from forethought.cli.parse import bad_input, parse, split, subject
from forethought.cli.reproduce import reproduce_command
from forethought.cli.setup import load, set_up


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
    from forethought.runs.reproduce import RESULT
    from forethought.runs.reproduce_page import write_reproduction

    with bad_input():
        folder = RunFolder.open(path)
        reproduced = (folder.path / RESULT).exists()
        report = (write_reproduction if reproduced else write_report)(folder)
    print(report)
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train_command,
    "resume": resume_command,
    "evaluate": evaluate_command,
    "reproduce": reproduce_command,
    "tasks": tasks_command,
    "planners": planners_command,
    "agents": agents_command,
    "models": models_command,
    "plan": plan_command,
    "compare": compare_command,
    "report": report_command,
}
