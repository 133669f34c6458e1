"""What each command can be told: frozen dataclasses, of which tyro makes flags."""

import dataclasses
from typing import Annotated, Generic, Literal, TypeVar

import tyro

from forethought.agents.schedule import Schedule, Unit
from forethought.core.given.settings import (
    Count,
    Finite,
    Range,
    Seed,
    Times,
    Whole,
    check_ranges,
)

P = TypeVar("P")
Folder = Annotated[str | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
Number = Annotated[Count | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]
Often = Annotated[float, Range(above=0)]
"""So many episodes, steps, or times a step."""
Inside = Annotated[float, Range(above=0, below=1)]
Futures = Annotated[int, Range(at_least=0, limit=100_000)]


@dataclasses.dataclass(frozen=True)
class PlanOptions:
    """Act on a task by planning; or plan in DIR, a run of fit, without a world.

    Fields of the planner: --planner.FIELD, as `forethought planners NAME` shows.
    """

    planner: Annotated[
        str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")
    ] = None
    """Which planner, see `forethought planners`; if not given, cem, or mcts where
    actions are choices."""
    steps: Number = None
    """Length of the episode; the task's own if not given."""
    seed: Annotated[Seed, tyro.conf.arg(metavar="S")] = 0
    """Of the start state and of the planner's draws."""
    out: Folder = None
    """Run folder; runs/TASK-PLANNER if not given."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace a finished run in DIR."""
    replan_every: Number = None
    """Steps from one plan to the next; the task's own if not given."""
    open_loop: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Plan once for the whole episode, and act with closed eyes."""
    start: Annotated[
        tuple[Finite, ...],
        tyro.conf.arg(metavar="X ...", help_behavior_hint="", aliases=("--from",)),
    ] = ()
    """Start state as coordinates; the task's own if not given."""
    objective: Annotated[
        str | None, tyro.conf.arg(metavar="MODULE:NAME", help_behavior_hint="")
    ] = None
    """Objective for a task that is an MJCF file, or a run of fit."""
    model: Folder = None
    """A run of fit, whose best model is believed in place of the dynamics."""
    caution: Annotated[Finite, tyro.conf.arg(metavar="C")] = 0.0
    """Price of a step that a fitted model doubts by one standard deviation of its data;
    negative for a bonus."""
    precision: Literal[32, 64] = 64
    """Bits of a floating-point number."""

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self, "plan")


@dataclasses.dataclass(frozen=True)
class PlanArguments(Generic[P]):
    """All that `plan` can be told: its options, and `--planner.FIELD VALUE`."""

    options: Annotated[PlanOptions, tyro.conf.arg(name="")]
    planner: P


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """Run several planners on tasks: how good, how fast, as table, CSV, plot and page.

    With TASK ..., tasks as they are controlled.

    With --gallery, problems that are planned once, whose optimum is known.
    """

    planners: Annotated[
        tuple[str, ...] | None,
        tyro.conf.arg(metavar="NAME ...", help_behavior_hint=""),
    ] = None
    """Which planners, see `forethought planners`; if not given, three that suit."""
    gallery: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Problems of the gallery, each planned once as a whole; all if none is named."""
    seeds: Annotated[Times, tyro.conf.arg(metavar="N")] = 3
    """How many seeds, counted from `seed`."""
    seed: Annotated[Seed, tyro.conf.arg(metavar="S")] = 0
    """The first seed."""
    steps: Number = None
    """Length of an episode; the task's own if not given."""
    futures: Annotated[Futures, tyro.conf.arg(metavar="N")] = 50
    """Of a random task: episodes of an open-loop plan, and of replanning; 0: none."""
    out: Folder = None
    """Folder for tables, plot and report; runs/compare-TASK if not given."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace a finished run in DIR."""
    objective: Annotated[
        str | None, tyro.conf.arg(metavar="MODULE:NAME", help_behavior_hint="")
    ] = None
    """Objective for a task that is an MJCF file."""
    precision: Literal[32, 64] = 64
    """Bits of a floating-point number."""

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self, "compare")


@dataclasses.dataclass(frozen=True)
class Evaluating:
    """When the agent is evaluated, in episodes of their own."""

    every: Annotated[
        Often | None, tyro.conf.arg(metavar="N", help_behavior_hint="")
    ] = None
    """How often; never if not given."""
    unit: Unit = "episodes"
    """What that counts."""

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self, "evaluate")

    @property
    def schedule(self) -> Schedule | None:
        """The same as a schedule."""
        return None if self.every is None else Schedule(self.every, self.unit)


@dataclasses.dataclass(frozen=True)
class LearningEvery:
    """When the agent learns."""

    every: Annotated[
        Often | None, tyro.conf.arg(metavar="N", help_behavior_hint="")
    ] = None
    """How often; as the agent does if not given."""
    unit: Annotated[Unit | None, tyro.conf.arg(metavar="U", help_behavior_hint="")] = (
        None
    )
    """Episodes, steps or ratio; if not given, as the agent does."""

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self, "learn")

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
        Often | None, tyro.conf.arg(metavar="N", help_behavior_hint="")
    ] = None
    """How often; as it learns if not given, or by episodes."""
    unit: Unit = "episodes"
    """What that counts."""

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self, "interval")

    @property
    def schedule(self) -> Schedule | None:
        """The same as a schedule."""
        return None if self.every is None else Schedule(self.every, self.unit)


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Learn to act on a task or in a Gymnasium environment (Id-v0, module:Id-v0).

    Besides: --agent.FIELD, see `forethought agents NAME`, and --env.KEY VALUE.
    """

    agent: Annotated[
        str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")
    ] = None
    """Which agent (see `forethought agents`); if not given, pets, or dyna in tables."""
    planner: Annotated[
        str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")
    ] = None
    """Who plans; if not given, the agent's own planner."""
    model: Annotated[
        str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")
    ] = None
    """What it learns, if not its own (see `forethought models`)."""
    steps: Number = None
    """Environment steps; if not given, six episodes or 20 updates."""
    random_steps: Annotated[
        Whole | None, tyro.conf.arg(metavar="N", help_behavior_hint="")
    ] = None
    """How many are random at first; as usual if not given."""
    seed: Annotated[Seed, tyro.conf.arg(metavar="S")] = 0
    """Of everything random."""
    count: Annotated[Times, tyro.conf.arg(metavar="N")] = 1
    """Environments that are acted in side by side."""
    learn: LearningEvery = LearningEvery()
    interval: IntervalEvery = IntervalEvery()
    evaluate: Evaluating = Evaluating()
    evaluate_episodes: Annotated[Times, tyro.conf.arg(metavar="N")] = 5
    """How many episodes each evaluation plays."""
    out: Folder = None
    """Run folder; runs/TASK-AGENT if not given."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace a finished run in DIR."""
    tensorboard: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write DIR/tensorboard, too."""
    epilogue: Annotated[bool, tyro.conf.FlagCreatePairsOff] = True
    """Measure bounds and film at the end."""
    precision: Annotated[Literal[32, 64], tyro.conf.arg(metavar="BITS")] = 32
    """32 or 64 bits of a number."""

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self, "train")


@dataclasses.dataclass(frozen=True)
class TrainArguments(Generic[P]):
    """All that `train` can be told: its options, and `--agent.FIELD VALUE`."""

    options: Annotated[TrainOptions, tyro.conf.arg(name="")]
    agent: P


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Let what a training run has learned act, without learning on."""

    episodes: Annotated[Times, tyro.conf.arg(metavar="N")] = 5
    """How many episodes."""
    seed: Annotated[Seed, tyro.conf.arg(metavar="S")] = 1000
    """Of the episodes; not that of the training run."""

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self, "evaluate")


Column = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
Columns = Annotated[
    tuple[str, ...] | None, tyro.conf.arg(metavar="NAME ...", help_behavior_hint="")
]


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """Fit models to the episodes in a file, and judge them on others that they see not.

    Columns are named, or matched by patterns such as 'pos*'; guessed from usual names
    where nothing is said, and it is told how.

    Fields of a model: --model.FIELD, as `forethought models NAME` shows.
    """

    model: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ("ensemble",)
    """Which models, see `forethought models`; several are ranked."""
    obs: Columns = None
    """Columns of what was seen."""
    action: Columns = None
    """Columns of what was done."""
    reward: Column = None
    """Column of rewards."""
    episode: Column = None
    """Column whose label tells episodes apart."""
    time: Column = None
    """Column of times; a jump begins a new episode."""
    discrete: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The action is the number of a choice."""
    drop_bad: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on without bad rows, and say which."""
    holdout: Annotated[Inside, tyro.conf.arg(metavar="SHARE")] = 0.2
    """Share of the episodes that no model sees."""
    seed: Annotated[Seed, tyro.conf.arg(metavar="S")] = 0
    """Of the hold-out, and of everything random in a fit."""
    out: Folder = None
    """Run folder; runs/fit-DATA-MODEL if not given."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace a finished run in DIR."""
    precision: Annotated[
        Literal[32, 64] | None, tyro.conf.arg(metavar="BITS", help_behavior_hint="")
    ] = None
    """Bits of a number; if not given, 64 for models that need them, else 32."""

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self, "fit")


@dataclasses.dataclass(frozen=True)
class FitArguments(Generic[P]):
    """All that `fit` can be told: its options, and `--model.FIELD VALUE`."""

    options: Annotated[FitOptions, tyro.conf.arg(name="")]
    model: P


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Make the plots and the report of a run folder again, from what it holds."""


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Nothing to set."""
