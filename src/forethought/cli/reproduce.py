"""The command `reproduce`: published claims, put to the test."""

import dataclasses
import math
from typing import Annotated, Any

import tyro

from forethought.cli.parse import FAILED, alone, bad_input, failed, parse, subject
from forethought.cli.setup import set_up
from forethought.core.given.settings import Seed, Times, check_ranges
from forethought.core.words import unknown
from forethought.training.stop import INTERRUPTED

NEWEST = 8
"""So many returns of a seed are shown, at most."""


@dataclasses.dataclass(frozen=True)
class ReproduceOptions:
    """Put a published claim to the test; exit code 1 if a check fails.

    The same command goes on where an earlier one was stopped or killed.
    """

    seeds: Annotated[
        Times | None, tyro.conf.arg(metavar="COUNT", help_behavior_hint="")
    ] = None
    """How many seeds, counted from `seed`; five, or as many as the figure of a book
    has, if not given."""
    seed: Annotated[Seed, tyro.conf.arg(metavar="SEED")] = 101
    """The first seed."""
    out: Annotated[
        str | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")
    ] = None
    """Folder of the runs and the report; runs/reproduce-NAME if not given."""
    paper: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Use the paper's own settings; their cost is told first."""
    results: Annotated[
        str | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")
    ] = None
    """Where to put NAME.json and NAME.png, to be committed."""
    list: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Show what can be reproduced."""

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self, "reproduce")


def reproduce_command(arguments: list[str]) -> int:
    """Put a published claim to the test."""
    if "--list" in arguments:
        parse(ReproduceOptions, "reproduce", arguments)
        return _list()
    name, rest = subject("reproduce", "NAME", ReproduceOptions, arguments)
    options: ReproduceOptions = parse(ReproduceOptions, "reproduce NAME", rest)
    from forethought.runs.entries.registry import STUDIES

    out = options.out
    if out is None:
        out = f"runs/reproduce-{name}{'-paper' if options.paper else ''}"
    if name in STUDIES:
        return _study(name, options, out)
    replication = _replication(name, options)
    from forethought.runs.claims.reproduce import open_folder

    with bad_input():
        folder = open_folder(replication, out)
    with alone(folder):
        return _reproduce(replication, folder, options.results)


def _list() -> int:
    from rich.table import Table

    from forethought.runs.entries.registry import REPRODUCTIONS, STUDIES
    from forethought.runs.store.log import Terminal

    table = Table(box=None, pad_edge=False)
    longest = max(map(len, [*REPRODUCTIONS, *STUDIES]))
    table.add_column("reproduction", min_width=longest)
    table.add_column("claim")
    for head, width in (("steps", 6), ("a seed", 7)):
        table.add_column(head, justify="right", min_width=width)
    for name, entry in REPRODUCTIONS.items():
        time = "" if math.isnan(entry.measured) else f"{entry.measured:.2g} min"
        table.add_row(name, entry.claim, f"{entry.steps}", time)
    for name, study in STUDIES.items():
        time = f"{study.seconds / study.seeds:.2g} s"
        table.add_row(name, study.claim, f"{study.longest}", time)
    Terminal().print(table)
    print("steps: of the environment, at most, for each seed of an arm")
    print("a seed: of all arms, measured on two cores")
    return 0


def _replication(name: str, options: ReproduceOptions) -> Any:
    """Everything that is going to be done, or one line that says what is wrong."""
    from forethought.cli.learning import read_training
    from forethought.runs.entries.registry import REPRODUCTIONS, STUDIES

    with bad_input():
        if name not in REPRODUCTIONS:
            raise unknown("reproduction", name, [*REPRODUCTIONS, *STUDIES])
        entry = REPRODUCTIONS[name]
        if options.paper and not entry.paper:
            raise ValueError(
                f"{name} has no settings of a paper: no paper trained on this task."
            )
    from forethought.runs.claims.reproduce import Arm, Replication

    def arm(name: str) -> Arm:
        task, *words = entry.words(name, paper=options.paper)
        _, run = read_training(task, [*words, "--seed", str(options.seed)])
        command = ["forethought", "train", task, *words, "--seed"]
        return Arm(run.reseeded, lambda seed: [*command, str(seed)])

    seeds = range(options.seed, options.seed + (options.seeds or 5))
    arms = {name: arm(name) for name in entry.arms}
    return Replication(name, entry, options.paper, tuple(seeds), arms)


def _study(name: str, options: ReproduceOptions, out: str) -> int:
    """Make a figure again, and return the exit code."""
    with bad_input():
        if options.paper:
            raise ValueError(f"{name} has no other settings than its own.")
    set_up(32)

    from forethought.reports.pages.claim import publish, write_reproduction
    from forethought.reports.pages.study import verdict
    from forethought.runs.claims.studies import run_study
    from forethought.runs.entries.registry import STUDIES
    from forethought.runs.events import Event, Stage
    from forethought.runs.store.folder import RunFolder
    from forethought.runs.store.log import Terminal
    from forethought.runs.store.place import place_of

    study, console = STUDIES[name], Terminal()
    seeds = range(options.seed, options.seed + (options.seeds or study.seeds))
    config = {"reproduction": name, "seeds": list(seeds)}
    with bad_input():
        folder = RunFolder(place_of(out))
        if not folder.has("config.json"):
            folder = RunFolder.create(out, config)
        elif (kept := folder.config()) != config:
            raise ValueError(
                f"reproduce {name} with seeds {seeds[0]} to {seeds[-1]} needs a folder "
                f"of its own, but {out} holds {kept.get('reproduction', 'another run')}"
                " with other settings; name another one with --out."
            )
    console.print(study.claim)
    try:
        with alone(folder), console.status("") as status:

            def watch(event: Event) -> None:
                if isinstance(event, Stage):
                    status.update(f"{len(seeds)} seeds of {event.name}")

            result = run_study(name, study, seeds, folder, watch)
            report = write_reproduction(folder)
    except KeyboardInterrupt:
        console.print("interrupted; the same command begins again")
        return INTERRUPTED
    except (RuntimeError, OSError) as error:
        raise failed(error, folder) from error
    for label, arm in result["arms"].items():
        console.print(f"{label}: {len(seeds)} seeds in {arm['seconds']['run']:.2g} s")
    for check in result["checks"]:
        console.print(verdict(check))
    console.print(f"report  {report}", soft_wrap=True)
    if options.results is not None:
        with bad_input():
            for path in publish(folder, options.results):
                console.print(f"wrote   {path}")
    return 0 if all(check["passed"] for check in result["checks"]) else FAILED


def _reproduce(replication: Any, folder: Any, results: str | None) -> int:
    """Run under a progress line, report, and return the exit code."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from forethought.reports.pages.claim import publish, write_reproduction
    from forethought.runs.claims.reproduce import (
        outcome_of,
        run_seeds,
        save_result,
        yardsticks,
    )
    from forethought.runs.events import Event, Line, Notice
    from forethought.runs.store.log import Terminal
    from forethought.runs.train.trained import state_cost

    console = Terminal()
    console.print(replication.entry.claim)
    left = [each for each in replication.runs if outcome_of(folder, *each) is None]
    arms = {arm: replication.arms[arm].run(seed) for arm, seed in reversed(left)}
    if left and replication.paper:
        console.print(replication.entry.paper_note)
    for arm in reversed(arms):
        console.print(f"Of each seed{f' of {arm}' if arm else ''}:")
        state_cost(arms[arm], folder, console, 0)
    columns = (
        BarColumn(bar_width=20),
        TextColumn("{task.fields[shown]}", markup=False),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            steps = [arms[arm].total_steps for arm, _ in left]
            bar = progress.add_task("", total=max(1, sum(steps)), shown="")

            def watch(event: Event) -> None:
                if isinstance(event, Notice):
                    console.print(event.text)
                if not isinstance(event, Line) or event.seed is None:
                    return
                seed, row = event.seed, event.row
                place = left.index((event.arm, seed))
                shown = f"{event.arm} seed {seed} ({replication.seeds.index(seed) + 1} "
                shown += f"of {len(replication.seeds)})  {row['step']}/{steps[place]} "
                shown += "steps"
                if row["return"] is not None:
                    shown += f"  return {row['return']:.4g}"
                done = sum(steps[:place]) + row["step"]
                progress.update(bar, completed=done, shown=shown.lstrip())

            outcomes = run_seeds(replication, folder, watch)
            progress.update(bar, shown="exact-model bound and random floor")
            for arm in replication.arms:
                yardsticks(replication, folder, arm)
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on from here")
        return INTERRUPTED
    except (FloatingPointError, OSError) as error:
        raise failed(error, folder) from error
    result = save_result(replication, folder, outcomes)
    report = write_reproduction(folder)
    console.print(_summary(result))
    console.print(f"report  {report}", soft_wrap=True)
    if results is not None:
        with bad_input():
            for path in publish(folder, results):
                console.print(f"wrote   {path}")
    passed = all(check["passed"] for check in result["checks"])
    return 0 if passed else FAILED


def _summary(result: dict[str, Any]) -> Any:
    from rich.table import Table

    from forethought.core.words import duration
    from forethought.reports.pages.claim import remark, shown, verdict, yardstick

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, arm in result["arms"].items():
        of = f"{name} " if name else ""
        for run in arm["seeds"]:
            values = [shown(float(f"{each:.4g}")) for each in run["returns"]]
            told = ", ".join(["…", *values[-NEWEST:]] if values[NEWEST:] else values)
            told += f"  ({duration(run['seconds'])})"
            table.add_row(f"{of}seed {run['seed']}", told)
        if arm["bound"] is not None:
            table.add_row(f"{of}exact model", yardstick(arm["bound"]))
        if arm["floor"] is not None:
            table.add_row(f"{of}random", yardstick(arm["floor"]))
    for check in result["checks"]:
        table.add_row("check", verdict(check))
    for each in result.get("remarks", ()):
        table.add_row("remark", remark(each))
    return table
