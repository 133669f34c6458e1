"""The command that turns teachers into one network: `distill`."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import tyro

from forethought.agents.imitation.imitate import ImitationSettings
from forethought.cli.learning import learn_in
from forethought.cli.options import Folder, Number, TrainOptions
from forethought.cli.parse import BadInput, bad_input, parse, subject
from forethought.cli.setup import set_up
from forethought.core.given.settings import (
    Count,
    Seed,
    Share,
    Times,
    Whole,
    check_ranges,
)

TARGET = "RUN ..."


@dataclasses.dataclass(frozen=True)
class DistillOptions:
    """Turn runs of one task into one network that does what they would do.

    RUN ... are folders by plan, whose planner teaches, or by train: the agent.

    The student acts, and is fitted after each episode to what they would have done.
    """

    episodes: Number = None
    """How many are played; 20 if not given."""
    width: Annotated[Count, tyro.conf.arg(metavar="N")] = 64
    """Units of each hidden layer."""
    depth: Annotated[Whole, tyro.conf.arg(metavar="N")] = 2
    """How many hidden layers; none is a linear student."""
    mixing: Annotated[Share, tyro.conf.arg(metavar="X")] = 0.0
    """Whose powers are the teachers' share of the actions; 1: they alone act."""
    seed: Annotated[Seed, tyro.conf.arg(metavar="S")] = 0
    """Of everything random."""
    evaluate_episodes: Annotated[Times, tyro.conf.arg(metavar="N")] = 20
    """Episodes that student and teachers play at the end."""
    out: Folder = None
    """Run folder; runs/TASK-distill if not given."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace a finished run in DIR."""
    precision: Annotated[
        Literal[32, 64] | None, tyro.conf.arg(metavar="BITS", help_behavior_hint="")
    ] = None
    """Bits of a number; if not given, as many as the teachers were trained in."""
    imitation: ImitationSettings = dataclasses.field(default_factory=ImitationSettings)
    """How the student is fitted each time."""

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self, "distill")


def distill_command(arguments: list[str]) -> int:
    """Turn teachers into one network."""
    subject("distill", TARGET, DistillOptions, arguments)
    runs = list(itertools.takewhile(lambda word: not word.startswith("-"), arguments))
    options: DistillOptions = parse(
        DistillOptions, f"distill {TARGET}", arguments[len(runs) :]
    )
    with bad_input():
        set_up(options.precision or _precision(runs))
    from forethought.agents.imitation.distill import Distill
    from forethought.runs.distill import lesson
    from forethought.runs.store.folder import RunFolder
    from forethought.runs.train.config import config_of
    from forethought.runs.train.trained import new_folder

    with bad_input():
        student = Distill(
            width=options.width,
            depth=options.depth,
            mixing=options.mixing,
            imitation=options.imitation,
        )
        learning = lesson(
            runs,
            student,
            episodes=options.episodes,
            seed=options.seed,
            evaluate_episodes=options.evaluate_episodes,
        )
        path = new_folder(learning) if options.out is None else options.out
        config = config_of(learning, ["forethought", "distill", *arguments])
        folder = RunFolder.create(path, config, overwrite=options.overwrite)
    return learn_in(learning, folder, TrainOptions(), resume=False)


def _precision(runs: list[str]) -> int:
    """Bits of a number, as those had who were trained.

    Raises:
        ValueError: A folder is not that of a run.
        BadInput: They were trained in several precisions.
    """
    from forethought.runs.store.folder import RunFolder

    found: dict[int, str] = {}
    for run in runs:
        config = RunFolder.open(run).config()
        options = config.get("options")
        if config.get("forethought") == "plan" or not isinstance(options, Mapping):
            continue
        bits: Any = options.get("precision")
        found.setdefault(64 if bits == 64 else 32, run)
    if len(found) == 2:
        raise BadInput(
            f"distill needs teachers of one precision, but {found[32]} was trained in "
            f"32 bits and {found[64]} in 64."
        )
    return next(iter(found), 64)
