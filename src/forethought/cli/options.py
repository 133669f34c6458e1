"""What each command can be told: frozen dataclasses, of which tyro makes flags."""

import dataclasses
import pathlib
from typing import Annotated, Generic, Literal, TypeVar

import tyro

from forethought.agents.schedule import Schedule, Unit

P = TypeVar("P")


@dataclasses.dataclass(frozen=True)
class PlanOptions:
    """Act on a task by planning.

    Fields of the planner: --planner.FIELD, as `forethought planners NAME` shows.
    """

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
class PlanArguments(Generic[P]):
    """All that `plan` can be told: its options, and `--planner.FIELD VALUE`."""

    options: Annotated[PlanOptions, tyro.conf.arg(name="")]
    planner: P


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """Run several planners on tasks: how good, how fast, as table, CSV, plot and page.

    forethought compare TASK ...        tasks as they are controlled
    forethought compare --gallery       problems planned once, with known optimum
    """

    planners: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = (
        "random-shooting",
        "cem",
        "ilqr",
    )
    """Which planners; see `forethought planners`."""
    gallery: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Problems of the gallery, each planned once as a whole; all if none is named."""
    seeds: Annotated[int, tyro.conf.arg(metavar="N")] = 3
    """How many seeds, counted from `seed`."""
    seed: Annotated[int, tyro.conf.arg(metavar="S")] = 0
    """The first seed."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = (
        None
    )
    """Length of an episode; the task's own if not given."""
    futures: Annotated[int, tyro.conf.arg(metavar="N")] = 50
    """Of a random task: episodes of an open-loop plan, and of replanning; 0: none."""
    out: Annotated[
        pathlib.Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")
    ] = None
    """Folder for tables, plot and report; runs/compare-TASK if not given."""
    objective: Annotated[
        str | None, tyro.conf.arg(metavar="MODULE:NAME", help_behavior_hint="")
    ] = None
    """Objective for a task that is an MJCF file."""
    precision: Literal[32, 64] = 64
    """Bits of a floating-point number."""


@dataclasses.dataclass(frozen=True)
class Evaluating:
    """When the agent is evaluated, in episodes of their own."""

    every: Annotated[
        float | None, tyro.conf.arg(metavar="N", help_behavior_hint="")
    ] = None
    """How often; never if not given."""
    unit: Unit = "episodes"
    """What that counts."""

    @property
    def schedule(self) -> Schedule | None:
        """The same as a schedule."""
        return None if self.every is None else Schedule(self.every, self.unit)


@dataclasses.dataclass(frozen=True)
class LearningEvery:
    """When the agent learns."""

    every: Annotated[
        float | None, tyro.conf.arg(metavar="N", help_behavior_hint="")
    ] = None
    """How often; as the agent does if not given."""
    unit: Annotated[Unit | None, tyro.conf.arg(metavar="U", help_behavior_hint="")] = (
        None
    )
    """Episodes, steps or ratio; if not given, as the agent does."""

    def schedule(self, usual: Unit) -> Schedule | None:
        """The same as a schedule, in the usual unit unless another one is given."""
        if self.every is None and self.unit is None:
            return None
        every = 1 if self.every is None else self.every
        return Schedule(every, self.unit or usual)


@dataclasses.dataclass(frozen=True)
class IntervalEvery:
    """When there are metrics and a checkpoint, besides after learning."""

    every: Annotated[
        float | None, tyro.conf.arg(metavar="N", help_behavior_hint="")
    ] = None
    """How often; as it learns if not given, or by episodes."""
    unit: Unit = "episodes"
    """What that counts."""

    @property
    def schedule(self) -> Schedule | None:
        """The same as a schedule."""
        return None if self.every is None else Schedule(self.every, self.unit)


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Learn to act on a task; --agent.FIELD as `forethought agents NAME` shows."""

    agent: Annotated[str, tyro.conf.arg(metavar="NAME")] = "pets"
    """Which agent; see `forethought agents`."""
    planner: Annotated[
        str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")
    ] = None
    """Who plans; if not given, the agent's own planner."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = (
        None
    )
    """Environment steps; six episodes if not given."""
    random_steps: Annotated[
        int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")
    ] = None
    """How many are random at first; as usual if not given."""
    seed: Annotated[int, tyro.conf.arg(metavar="S")] = 0
    """Of everything random."""
    count: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Environments that are acted in side by side."""
    learn: LearningEvery = LearningEvery()
    interval: IntervalEvery = IntervalEvery()
    evaluate: Evaluating = Evaluating()
    evaluate_episodes: Annotated[int, tyro.conf.arg(metavar="N")] = 5
    """How many episodes each evaluation plays."""
    out: Annotated[
        pathlib.Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")
    ] = None
    """Run folder; runs/TASK-AGENT if not given."""
    tensorboard: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write DIR/tensorboard, too."""
    epilogue: Annotated[bool, tyro.conf.FlagCreatePairsOff] = True
    """Measure bounds and film at the end."""
    precision: Annotated[Literal[32, 64], tyro.conf.arg(metavar="BITS")] = 32
    """32 or 64 bits of a number."""


@dataclasses.dataclass(frozen=True)
class TrainArguments(Generic[P]):
    """All that `train` can be told: its options, and `--agent.FIELD VALUE`."""

    options: Annotated[TrainOptions, tyro.conf.arg(name="")]
    agent: P


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
