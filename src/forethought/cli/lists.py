"""The commands that list: `tasks`, `planners`, `agents`, `models`."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from forethought.cli.options import NoOptions
from forethought.cli.parse import arguments_of, bad_input, parse
from forethought.cli.setup import set_up
from forethought.core.given.settings import allowed, hints_of
from forethought.core.words import unknown


def tasks_command(arguments: list[str]) -> int:
    """List the tasks."""
    from rich.table import Table

    from forethought.runs.store.log import Terminal

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
    Terminal().print(table)
    print("x, u: dimensions of state and action; optimum: best return, where known")
    return 0


def planners_command(arguments: list[str]) -> int:
    """List the planners, or the fields of one."""
    from forethought.planners.registry import PLANNERS, assemble
    from forethought.runs.store.log import Terminal

    if arguments and not arguments[0].startswith("-"):
        # Only the horizon has no default of its own: it comes from the task.
        return _set(
            "planner",
            {name: entry.settings for name, entry in PLANNERS.items()},
            arguments,
            lambda name: assemble(name, lambda each: {"horizon": 1}),
            ".horizon",
        )
    parse(NoOptions, "planners", arguments, description="List who can plan.")
    table = _table("planner", "idea", "actions", "slopes", "gains")
    for name, entry in PLANNERS.items():
        can, idea = entry.can, _headline(entry.settings)
        marks = ("yes" if each else "" for each in (can.derivatives, can.gains))
        table.add_row(name, idea, can.actions, *marks)
    Terminal().print(table)
    print("slopes: needs derivatives; gains: a plan can be followed by feedback")
    print("forethought planners NAME shows what can be set")
    return 0


def agents_command(arguments: list[str]) -> int:
    """List the agents that learn, or the fields of one."""
    from forethought.agents.registry import AGENTS, default_settings
    from forethought.runs.store.log import Terminal

    if arguments and not arguments[0].startswith("-"):
        return _set("agent", AGENTS, arguments, default_settings)
    parse(NoOptions, "agents", arguments, description="List who can learn.")
    table = _table("agent", "idea")
    for name, settings in AGENTS.items():
        table.add_row(name, _headline(settings))
    Terminal().print(table)
    print("forethought agents NAME shows what can be set")
    return 0


def models_command(arguments: list[str]) -> int:
    """List the models, or the fields of one that is fitted."""
    from forethought.models.registry import MODELS
    from forethought.runs.store.log import Terminal

    if arguments and not arguments[0].startswith("-"):
        from forethought.runs.fit.fitting import recipe_of

        with bad_input():
            recipe = recipe_of(arguments[0])
        return _set(
            "model", {arguments[0]: type(recipe)}, arguments, lambda name: recipe
        )
    parse(NoOptions, "models", arguments, description="List what can be planned in.")
    table = _table("model", "made of", "belief", "derivatives", "serves")
    table.columns[3].no_wrap = True
    for name, entry in MODELS.items():
        row = (entry.made_of, entry.belief, entry.derivatives)
        table.add_row(name, *row, ", ".join(entry.serves))
    Terminal().print(table)
    print("serves: commands, agents that learn the model, or Python alone")
    print("forethought models NAME shows what can be set of one that is fitted")
    return 0


def _table(*headings: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    return table


def _set(
    kind: str,
    known: Mapping[str, type],
    arguments: list[str],
    default: Callable[[str], Any],
    of_task: str | None = None,
) -> int:
    """Show what can be set of one; fields named `of_task` come from the task."""
    from forethought.runs.store.log import Terminal

    name, rest = arguments[0], arguments[1:]
    with bad_input():
        if name not in known:
            raise unknown(kind, name, known)
    headline = _headline(known[name])
    parse(NoOptions, f"{kind}s {name}", rest, description=headline)
    rows = list(_fields(default(name), f"--{kind}"))
    table = _table()
    table.add_column("flag", no_wrap=True)
    table.add_column("default")
    table.add_column("meaning")
    for flag, value, meaning in rows:
        ours = of_task is None or not flag.endswith(of_task)
        table.add_row(flag, value if ours else "task's", meaning)
    console = Terminal()
    console.print(headline, "\n")
    console.print(table)
    return 0


def _headline(planner: type) -> str:
    return (planner.__doc__ or "").strip().splitlines()[0]


def _fields(settings: Any, prefix: str) -> Iterator[tuple[str, str, str]]:
    """Flag, value, and meaning with its range of every field, nested ones too."""
    meanings, kinds = arguments_of(type(settings)), hints_of(type(settings))
    for field in dataclasses.fields(settings):
        if not field.init:
            continue
        value = getattr(settings, field.name)
        flag = f"{prefix}.{field.name.replace('_', '-')}"
        if dataclasses.is_dataclass(value):
            yield from _fields(value, flag)
        else:
            meaning, range = meanings.get(field.name, ""), allowed(kinds[field.name])
            if range:
                meaning = f"{meaning.rstrip('.')}; {range}."
            yield flag, str(value), meaning
