"""The command line: `forethought tasks | planners | plan | compare | report`.

Each command is a frozen dataclass of options, from which tyro makes the flags, and a
function that does the work. Bad input ends in one line on stderr and exit code 2.
"""

import contextlib
import dataclasses
import io
import os
import pathlib
import re
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Generic, Literal, NoReturn, TypeVar

import tyro

from forethought.core.names import unknown

BAD_INPUT = 2
INTERRUPTED = 130

P = TypeVar("P")


class BadInput(Exception):
    """Something that was given is wrong; the message is the one line to print."""


@dataclasses.dataclass(frozen=True)
class PlanOptions:
    """Act on a task by planning, and write a run folder with a report.

    `--planner.FIELD VALUE` sets a field of the planner; `forethought planners NAME`
    lists them.
    """

    planner: Annotated[str, tyro.conf.arg(metavar="NAME")] = "cem"
    """Which planner; see `forethought planners`."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Length of the episode; the task's own if not given."""
    seed: Annotated[int, tyro.conf.arg(metavar="S")] = 0
    """Of the start state and of the planner's draws."""
    out: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Run folder; runs/TASK-PLANNER if not given."""
    replan_every: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Steps from one plan to the next; the task's own if not given."""
    open_loop: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Plan once for the whole episode, and act with closed eyes."""
    start: Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="X ...")] = None
    """Start state as coordinates; the task's own if not given."""
    objective: Annotated[str | None, tyro.conf.arg(metavar="MODULE:NAME")] = None
    """Objective for a task that is an MJCF file."""
    precision: Literal[32, 64] = 64
    """Bits of a floating-point number."""


@dataclasses.dataclass(frozen=True)
class PlannerFields(Generic[P]):
    """What `--planner.FIELD VALUE` can set."""

    planner: P


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """Run several planners on one task: one table, one plot, one report."""

    planners: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = (
        "random-shooting",
        "cem",
        "ilqr",
    )
    """Which planners; see `forethought planners`."""
    seeds: Annotated[int, tyro.conf.arg(metavar="N")] = 3
    """How many seeds, counted from `seed`."""
    seed: Annotated[int, tyro.conf.arg(metavar="S")] = 0
    """The first seed."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Length of an episode; the task's own if not given."""
    out: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for table, plot and report; runs/compare-TASK if not given."""
    objective: Annotated[str | None, tyro.conf.arg(metavar="MODULE:NAME")] = None
    """Objective for a task that is an MJCF file."""
    precision: Literal[32, 64] = 64
    """Bits of a floating-point number."""


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Make the plots and the report of a run folder again, from what it holds."""


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Nothing to set."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    try:
        code = _dispatch(arguments)
    except BadInput as error:
        print(f"forethought: {error}", file=sys.stderr)
        code = BAD_INPUT
    except KeyboardInterrupt:
        print("forethought: interrupted before anything was run.", file=sys.stderr)
        code = INTERRUPTED
    raise SystemExit(code)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        from importlib.metadata import version

        print(f"forethought {version('forethought')}")
        return 0
    if name not in COMMANDS:
        with bad_input():
            raise unknown("command", name, COMMANDS)
    return COMMANDS[name](rest)


def _overview() -> str:
    return """forethought: acting by thinking ahead

  forethought tasks                 what can be controlled
  forethought planners [NAME]       who can plan, and what can be set
  forethought plan TASK             act on a task by planning, and write a report
  forethought plan ROBOT.xml --objective MODULE:NAME
                                    the same for a MuJoCo model of yours
  forethought compare TASK          several planners on one task
  forethought report DIR            write the report of a run folder again

Every command answers to --help. Try: forethought plan pendulum --planner cem"""


@contextlib.contextmanager
def bad_input() -> Iterator[None]:
    """Turn errors about what was given into one line and exit code 2."""
    try:
        yield
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise BadInput(" ".join(str(error).split())) from error


def _parse(form: Any, command: str, arguments: list[str], **keywords: Any) -> Any:
    """Parse flags by tyro; any complaint becomes one line."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed, left = tyro.cli(
                form,
                prog=f"forethought {command}",
                args=arguments,
                return_unknown_args=True,
                **keywords,
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        raise BadInput(_one_line(complaint.getvalue())) from None
    if left:
        flags = re.findall(r"--[a-z][\w.-]*", _help_text(form, command, **keywords))
        if left[0].startswith("-"):
            with bad_input():
                raise unknown("flag", left[0].split("=")[0], set(flags))
        raise BadInput(f"{command} takes no further argument, got {left[0]!r}.")
    return parsed


def _help_text(form: Any, command: str, **keywords: Any) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(form, prog=f"forethought {command}", args=["--help"], **keywords)
    return text.getvalue()


def _one_line(box: str) -> str:
    """The sentence inside tyro's box."""
    lines = [line.strip("│╭╮╰╯─ ") for line in box.splitlines()]
    sentence: list[str] = []
    for line, raw in zip(lines[1:], box.splitlines()[1:], strict=True):
        if "───" in raw:
            break
        sentence.append(line)
    text = " ".join(" ".join(sentence).split())
    return re.sub(r"^Error parsing (options|planner)[\w.]*: ", "", text)


def _subject(
    command: str, what: str, form: Any, arguments: list[str]
) -> tuple[str, list[str]]:
    """The positional argument that comes first, and the rest."""
    if {"-h", "--help"} & set(arguments):
        _parse(form, f"{command} {what}", ["--help"])
    if not arguments or arguments[0].startswith("-"):
        raise BadInput(f"{command} needs {what} first: forethought {command} {what}.")
    return arguments[0], arguments[1:]


def _set_up(precision: int) -> None:
    """Configure JAX for a program: precision, compiled loops, compilation cache."""
    import jax

    # from forethought.core.xla import compile_loops_whole

    # compile_loops_whole()
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    jax.config.update("jax_enable_x64", precision == 64)
    jax.config.update(
        "jax_compilation_cache_dir", str(pathlib.Path(home) / "forethought" / "jax")
    )
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _load(name: str, objective: str | None) -> Any:
    """A task by name, or one made of an MJCF file and an objective."""
    from forethought import tasks

    with bad_input():
        if name.endswith((".xml", ".mjcf")):
            if objective is None:
                raise ValueError(
                    f"A model of your own needs an objective: forethought plan {name} "
                    "--objective MODULE:NAME."
                )
            from forethought.tasks.user import user_task

            return user_task(name, objective)
        if objective is not None:
            raise ValueError(
                f"--objective goes with an MJCF file (.xml), got the task {name!r}."
            )
        return tasks.load(name)


def tasks_command(arguments: list[str]) -> int:
    """List the tasks."""
    from rich.console import Console
    from rich.table import Table

    _parse(NoOptions, "tasks", arguments, description="List what can be controlled.")
    _set_up(64)
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
        _parse(NoOptions, "planners", arguments, description="List who can plan.")
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
    _parse(NoOptions, f"planners {name}", rest, description=_headline(planner))
    form, default = _planner_form(planner(horizon=50))  # pyright: ignore[reportCallIssue]
    text = _help_text(form, f"plan TASK --planner {name}", default=default)
    print(text.rstrip())
    return 0


def _headline(planner: type) -> str:
    return (planner.__doc__ or "").strip().splitlines()[0]


def _planner_form(planner: Any) -> tuple[Any, Any]:
    """What tyro needs to make flags of a planner's fields."""
    form: Any = PlannerFields[type(planner)]
    return form, PlannerFields(planner)


def plan_command(arguments: list[str]) -> int:
    """Act on a task by planning."""
    name, rest = _subject("plan", "TASK", PlanOptions, arguments)
    common, fields = _split(rest, "--planner.")
    options: PlanOptions = _parse(PlanOptions, "plan TASK", common)
    _set_up(options.precision)
    task = _load(name, options.objective)
    from forethought.runs import session
    from forethought.runs.control import make_planner, prepare
    from forethought.runs.folder import RunFolder

    with bad_input():
        form, default = _planner_form(make_planner(task, options.planner))
    chosen = _parse(form, "plan TASK", fields, default=default)
    with bad_input():
        prepared = prepare(
            task,
            chosen.planner,
            steps=options.steps,
            seed=options.seed,
            start=options.start,
            replan_every=options.replan_every,
            open_loop=options.open_loop,
            chunk=session.CHUNK,
        )
        path = options.out or session.free_folder(f"{task.name}-{options.planner}")
        command = ["forethought", "plan", *arguments]
        config = session.settings(task, chosen.planner, options, command)
        folder = RunFolder.create(path, config)
    return session.plan_session(prepared, folder)


def compare_command(arguments: list[str]) -> int:
    """Several planners on one task."""
    name, rest = _subject("compare", "TASK", CompareOptions, arguments)
    options: CompareOptions = _parse(CompareOptions, "compare TASK", rest)
    _set_up(options.precision)
    task = _load(name, options.objective)
    from forethought.runs import session
    from forethought.runs.control import check, make_planner
    from forethought.runs.folder import RunFolder

    with bad_input():
        if options.seeds < 1:
            raise ValueError(f"compare needs seeds >= 1, got {options.seeds}.")
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
    path, rest = _subject("report", "DIR", ReportOptions, arguments)
    _parse(ReportOptions, "report DIR", rest)
    from forethought.runs.folder import RunFolder
    from forethought.runs.report import write_report

    with bad_input():
        report = write_report(RunFolder.open(path))
    print(report)
    return 0


def _split(tokens: list[str], prefix: str) -> tuple[list[str], list[str]]:
    """Flags without and with a prefix, each with the values that follow it."""
    groups: tuple[list[str], list[str]] = ([], [])
    group = groups[0]
    for token in tokens:
        if token.startswith("--"):
            group = groups[token.startswith(prefix)]
        group.append(token)
    return groups


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "tasks": tasks_command,
    "planners": planners_command,
    "plan": plan_command,
    "compare": compare_command,
    "report": report_command,
}
