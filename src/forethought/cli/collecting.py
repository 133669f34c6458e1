"""The command that acts for the sake of data: `collect`."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import tyro

from forethought.cli.parse import (
    BadInput,
    Failed,
    bad_input,
    environment_settings,
    parse,
    reason,
    subject,
    told,
)
from forethought.cli.setup import load, set_up
from forethought.core.given.settings import Count, Seed, Share, Times, check_ranges
from forethought.core.words import spread, visible
from forethought.training.stop import INTERRUPTED

TARGET = "TASK_OR_GYM_ID"


@dataclasses.dataclass(frozen=True)
class CollectOptions:
    """Act, and write what was seen to a file: CSV, Parquet or NPZ, by its suffix.

    In a task, an MJCF model (.xml) or a Gymnasium environment (Id-v0, module:Id-v0),
    which --env.KEY VALUE sets.
    """

    out: Annotated[
        str | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(required)")
    ] = None
    """Where data go: *.csv, *.parquet or *.npz."""
    policy: Annotated[str, tyro.conf.arg(metavar="random|DIR")] = "random"
    """Random actions, or the best ones of a training run."""
    steps: Annotated[Count, tyro.conf.arg(metavar="N")] = 1000
    """Environment steps, over all environments."""
    seed: Annotated[Seed, tyro.conf.arg(metavar="S")] = 0
    """Of everything random."""
    count: Annotated[Times, tyro.conf.arg(metavar="N")] = 1
    """Environments that are acted in side by side."""
    noise: Annotated[Share, tyro.conf.arg(metavar="X")] = 0.0
    """Of a trained policy: spread of what is added to actions, in half widths of their
    box; or the share of choices drawn at random."""
    objective: Annotated[
        str | None, tyro.conf.arg(metavar="MODULE:NAME", help_behavior_hint="")
    ] = None
    """Objective for a task that is an MJCF file."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace FILE if it is there."""

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self, "collect")


def collect_command(arguments: list[str]) -> int:
    """Act, and write what was seen."""
    name, rest = subject("collect", TARGET, CollectOptions, arguments)
    env, rest = environment_settings(rest)
    options: CollectOptions = parse(CollectOptions, f"collect {TARGET}", rest)
    if options.out is None:
        raise BadInput("collect needs a file to write: --out FILE.")
    with bad_input():
        set_up(_precision(options.policy))
    model = name.endswith((".xml", ".mjcf")) or told(rest, "--objective") is not None
    task = load(name, options.objective) if model else name
    from forethought.runs import collect

    given = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if field.name != "objective"
    }
    with bad_input():
        ready = collect.prepare(task, **given, env=env)
    return _session(ready)


def _precision(policy: str) -> int:
    """Bits of a number: as many as a trained policy computes in, else all."""
    from forethought.runs.collect import RANDOM
    from forethought.runs.store.folder import RunFolder

    if policy == RANDOM or not pathlib.Path(policy).is_dir():
        return 64
    options = RunFolder.open(policy).config().get("options")
    asked = options.get("precision") if isinstance(options, Mapping) else None
    return 64 if asked == 64 else 32


def _session(ready: Any) -> int:
    """Act under a progress line, and say what came of it."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from forethought.runs.collect import execute
    from forethought.runs.store.log import Terminal

    columns = (
        BarColumn(bar_width=20),
        TextColumn("{task.completed}/{task.total} steps"),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=Terminal()) as progress:
            bar = progress.add_task("", total=ready.rows)
            with bad_input():
                data, returns = execute(
                    ready, lambda done: progress.update(bar, completed=done)
                )
    except KeyboardInterrupt:
        print("interrupted; nothing was written")
        return INTERRUPTED
    except (FloatingPointError, OSError) as error:
        raise Failed(f"{reason(error)} Nothing was written.") from error
    print(f"rows      {data.rows:,}, of {data.episodes:,} episodes")
    print(f"seen      {visible(', '.join(data.obs_names))}")
    print(f"done      {visible(', '.join(data.action_names))}")
    if returns.size:
        print(
            f"return    {spread(float(np.mean(returns)), float(np.std(returns)))}, of "
            f"{returns.size:,} episodes that ended"
        )
    print(f"data      {visible(str(ready.path))}")
    return 0
