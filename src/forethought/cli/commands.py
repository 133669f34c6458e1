"""The work of each command. Imports wait until a command needs them."""

import pathlib
from collections.abc import Callable
from typing import Any

from forethought.cli.collecting import collect_command
from forethought.cli.distilling import distill_command
from forethought.cli.fitting import fit_command
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
    PlanArguments,
    PlanOptions,
    ReportOptions,
)
from forethought.cli.parse import (
    BadInput,
    alone,
    bad_input,
    listed,
    parse,
    subject,
    told,
)
from forethought.cli.reproduce import reproduce_command
from forethought.cli.setup import load, set_up
from forethought.core.words import visible

AHEAD = 25
"""Steps that are planned in a fitted model alone, if nothing else is said."""


def plan_command(arguments: list[str]) -> int:
    """Act on a task by planning."""
    name, rest = subject("plan", "TASK", PlanOptions, arguments)
    # What the planner's fields are hangs on its name, and their defaults on the task.
    set_up(32 if told(rest, "--precision") == "32" else 64)
    task, fitted = _planned(name, rest)
    from forethought.planners.registry import name_of
    from forethought.runs.plan.planning import make_planner

    with bad_input():
        planner = make_planner(task, told(rest, "--planner"))
    form: Any = PlanArguments[type(planner)]
    default = PlanArguments(PlanOptions(planner=name_of(planner)), planner)
    read: PlanArguments = parse(form, "plan TASK", rest, default=default)
    options, planner = read.options, read.planner
    from forethought.cli import session
    from forethought.runs.plan.control import config_of, prepare
    from forethought.runs.store.folder import RunFolder
    from forethought.runs.store.place import free_folder
    from forethought.training import stop

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
        stop.look()
        path = options.out
        if path is None:
            path = free_folder(f"{task.name}-{options.planner}")
        command = ["forethought", "plan", *arguments]
        config = config_of(task, planner, options, command)
        folder = RunFolder.create(path, config, overwrite=options.overwrite)
    with alone(folder), bad_input():
        return session.plan_session(prepared, folder, fitted)


def _planned(name: str, rest: list[str]) -> tuple[Any, Any]:
    """What is planned for, and the models that were fitted to it, where there are."""
    objective, caution = told(rest, "--objective"), _number(told(rest, "--caution"))
    if pathlib.Path(name).is_dir():
        return _imagined(name, objective, rest)
    task, model = load(name, objective), told(rest, "--model")
    if model is None:
        if caution:
            raise BadInput("--caution is the price of a model's doubt: give --model.")
        return task, None
    from forethought.runs.fit.believed import fitted_of, task_with_model

    with bad_input():
        fitted = fitted_of(model)
        return task_with_model(task, fitted, caution), fitted


def _imagined(folder: str, objective: str | None, rest: list[str]) -> tuple[Any, Any]:
    """A plan in a fitted model alone, for an objective that Python can import."""
    from forethought.runs.fit.believed import fitted_of, task_in_model
    from forethought.tasks.user import find_objective

    with bad_input():
        fitted = fitted_of(folder)
        start = listed(rest, "--from") or listed(rest, "--start")
        if objective is None or not start:
            raise ValueError(
                f"A plan in {folder} needs what is wanted and where it begins: "
                f"forethought plan {folder} --objective MODULE:NAME --from X ... "
                f"({', '.join(fitted.names)})."
            )
        wanted = find_objective(objective, beside=pathlib.Path(folder))
        steps = told(rest, "--steps") or told(rest, "--planner.horizon")
        return (
            task_in_model(
                fitted,
                wanted,
                [_number(each) for each in start],
                steps=max(1, int(_number(steps))) if steps else AHEAD,
                caution=_number(told(rest, "--caution")),
            ),
            fitted,
        )


def _number(word: str | None) -> float:
    """A number, or zero for what is none: who parses all flags complains of it."""
    try:
        return float(word or 0)
    except ValueError:
        return 0.0


def compare_command(arguments: list[str]) -> int:
    """Several planners on one task or several."""
    names, rest = _subjects(arguments)
    options: CompareOptions = parse(CompareOptions, "compare TASK ...", rest)
    set_up(options.precision)
    from forethought.cli import session
    from forethought.planners.registry import usual_planners
    from forethought.runs.plan.control import controller_for
    from forethought.runs.plan.planning import make_planner
    from forethought.runs.store.folder import RunFolder
    from forethought.runs.store.place import free_folder
    from forethought.tasks import gallery

    with bad_input():
        if options.gallery and options.objective is not None:
            raise ValueError("--objective goes with an MJCF file, not with --gallery.")
        if options.planners == ():
            raise ValueError("compare needs the name of at least one planner.")
        if not names and not options.gallery:
            raise ValueError("compare needs TASK first: forethought compare TASK ...")
    if options.gallery:
        with bad_input():
            tasks = [gallery.load(each).task for each in names or gallery.GALLERY]
    else:
        tasks = [load(each, options.objective) for each in names]
    with bad_input():
        contests = []
        refusals: list[TypeError] = []
        for task in tasks:
            chosen = options.planners or usual_planners(task.problem.action)
            planners = {each: make_planner(task, each) for each in chosen}
            contests.append((task, planners))
            for planner in planners.values():
                try:
                    controller_for(task, planner, options.steps)
                except TypeError as refusal:
                    refusals.append(refusal)
        if len(refusals) == sum(len(planners) for _, planners in contests):
            raise refusals[0]
        shown = "gallery" if options.gallery else names[0]
        path = options.out
        if path is None:
            path = free_folder(f"compare-{shown}")
        config = {
            "forethought": "compare",
            "task": ", ".join(task.name for task in tasks),
            "planner": ", ".join({each: 0 for _, own in contests for each in own}),
            "settings": {task.name: planners for task, planners in contests},
            "options": options,
            "command": ["forethought", "compare", *arguments],
        }
        folder = RunFolder.create(path, config, overwrite=options.overwrite)
    seeds = range(options.seed, options.seed + options.seeds)
    with alone(folder), bad_input():
        return session.compare_session(
            contests, folder, seeds=seeds, steps=options.steps, futures=options.futures
        )


def _subjects(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The positional arguments that come first or follow --gallery, and the flags."""
    switch = [word for word in arguments if word == "--gallery"]
    words = [word for word in arguments if word != "--gallery"]
    flags = (i for i, word in enumerate(words) if word.startswith("-"))
    first = next(flags, len(words))
    return list(dict.fromkeys(words[:first])), switch + words[first:]


def report_command(arguments: list[str]) -> int:
    """Write a report again."""
    path, rest = subject("report", "DIR", ReportOptions, arguments)
    parse(ReportOptions, "report DIR", rest)
    from forethought.reports.write import write_report

    with bad_input():
        report = write_report(path)
    print(visible(str(report)))
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "fit": fit_command,
    "train": train_command,
    "resume": resume_command,
    "evaluate": evaluate_command,
    "collect": collect_command,
    "distill": distill_command,
    "reproduce": reproduce_command,
    "tasks": tasks_command,
    "planners": planners_command,
    "agents": agents_command,
    "models": models_command,
    "plan": plan_command,
    "compare": compare_command,
    "report": report_command,
}
