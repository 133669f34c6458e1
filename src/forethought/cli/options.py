"""What each command can be told: frozen dataclasses, of which tyro makes flags."""

import dataclasses
import pathlib
from typing import Annotated, Generic, Literal, TypeVar

import tyro

P = TypeVar("P")


@dataclasses.dataclass(frozen=True)
class PlanOptions:
    """Act on a task by planning. Fields of the planner: --planner.FIELD VALUE."""

    planner: Annotated[str, tyro.conf.arg(metavar="NAME")] = "cem"
    """Which planner; see `forethought planners`."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = (
        None
    )
    """Length of the episode; the task's own if not given."""
    seed: Annotated[int, tyro.conf.arg(metavar="S")] = 0
    """Of the start state and of the planner's draws."""
    out: Annotated[
        pathlib.Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")
    ] = None
    """Run folder; runs/TASK-PLANNER if not given."""
    replan_every: Annotated[
        int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")
    ] = None
    """Steps from one plan to the next; the task's own if not given."""
    open_loop: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Plan once for the whole episode, and act with closed eyes."""
    start: Annotated[
        tuple[float, ...], tyro.conf.arg(metavar="X ...", help_behavior_hint="")
    ] = ()
    """Start state as coordinates; the task's own if not given."""
    objective: Annotated[
        str | None, tyro.conf.arg(metavar="MODULE:NAME", help_behavior_hint="")
    ] = None
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
    steps: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = (
        None
    )
    """Length of an episode; the task's own if not given."""
    out: Annotated[
        pathlib.Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")
    ] = None
    """Folder for table, plot and report; runs/compare-TASK if not given."""
    objective: Annotated[
        str | None, tyro.conf.arg(metavar="MODULE:NAME", help_behavior_hint="")
    ] = None
    """Objective for a task that is an MJCF file."""
    precision: Literal[32, 64] = 64
    """Bits of a floating-point number."""


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Learn to act on a task. Fields of the agent: --agent.FIELD VALUE."""

    agent: Annotated[str, tyro.conf.arg(metavar="NAME")] = "pets"
    """Which agent; see `forethought agents`."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = (
        None
    )
    """Environment steps; six episodes if not given."""
    seed: Annotated[int, tyro.conf.arg(metavar="S")] = 0
    """Of everything random."""
    out: Annotated[
        pathlib.Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")
    ] = None
    """Run folder; runs/TASK-AGENT if not given."""
    precision: Literal[32, 64] = 32
    """Bits of a floating-point number."""


@dataclasses.dataclass(frozen=True)
class AgentFields(Generic[P]):
    """What `--agent.FIELD VALUE` can set."""

    agent: P


@dataclasses.dataclass(frozen=True)
class ResumeOptions:
    """Go on with a training run that was interrupted, with its own settings."""


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Let what a training run has learned act, without learning on."""

    episodes: Annotated[int, tyro.conf.arg(metavar="N")] = 5
    """How many episodes."""
    seed: Annotated[int, tyro.conf.arg(metavar="S")] = 1000
    """Of the episodes; not that of the training run."""


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Make the plots and the report of a run folder again, from what it holds."""


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Nothing to set."""
