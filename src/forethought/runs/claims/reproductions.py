"""What a reproduction is: claims as data, one entry each.

A reproduction is one or several arms, each a `train` command, what somebody published
about the same task, and checks: on the median over seeds, or on so many of them, of one
arm or of one beside another. `forethought.runs.claims.reproduce` does the work; to add
a result of a paper is to add an entry to `forethought.runs.entries`.

Returns are those that the environment pays, undiscounted. Steps are decisions of the
agent (an action that is repeated counts once), the random first episode among them.
"""

import dataclasses
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from forethought.runs.claims.outcomes import Measure, Outcome
from forethought.runs.store.folder import RunFolder
from forethought.runs.train.settings import Learning

RELATIONS = {
    "≥": operator.ge,
    ">": operator.gt,
    "≤": operator.le,
    "<": operator.lt,
}
Relation = Literal["≥", ">", "≤", "<"]
Curve = Literal["each", "best", "evaluation", "success"]
Outcomes = Mapping[str, Sequence[Outcome]]
"""For the name of each arm how its seeds went, in the same order."""


@dataclasses.dataclass(frozen=True)
class Than:
    """A goal that another arm sets.

    Args:
        arm: Whose number it is.
        times: What it is multiplied by.
        plus: What is then added.
        measure: Of that arm; the same as of the first if not given.
    """

    arm: str
    times: float = 1.0
    plus: float = 0.0
    measure: Measure | None = None


@dataclasses.dataclass(frozen=True)
class Check:
    """What must hold for the median over seeds, or for so many of them.

    Args:
        promise: In plain words.
        measure: One seed's number.
        relation: How it must stand to the goal.
        goal: In the unit of the measure, or another arm's number: its median, or that
            of the same seed where seeds are counted.
        curve: Which curve the promise is about: the return of each episode, the
            maximum so far, the mean return of evaluations, or the share of their
            episodes that succeed.
        mark: Where on that curve's plot the promise lies: steps and value.
        arm: Whose seeds; the only arm has no name.
        share: Of the seeds that must keep the promise, each by itself; the median
            must if not given.
    """

    promise: str
    measure: Measure
    relation: Relation
    goal: float | Than
    curve: Curve = "each"
    mark: tuple[int | float, float] | None = None
    arm: str = ""
    share: float | None = None

    def __post_init__(self):
        """Check the share."""
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(
                f"A check needs a share of seeds in (0, 1], got {self.share}."
            )

    @property
    def arms(self) -> list[str]:
        """Names of all arms that it is about."""
        than = self.goal
        return [self.arm, than.arm] if isinstance(than, Than) else [self.arm]

    def judge(self, outcomes: Outcomes) -> dict[str, Any]:
        """The verdict, as `reproduction.json` keeps it."""
        values = [float(self.measure(run)) for run in outcomes[self.arm]]
        found: dict[str, Any] = {"promise": self.promise, "relation": self.relation}
        if isinstance(self.goal, Than):
            than = self.goal
            measure = than.measure or self.measure
            others = [float(measure(run)) for run in outcomes[than.arm]]
            goals = [than.times * each + than.plus for each in others]
            goal = than.times * float(np.median(others)) + than.plus
            found |= {"than": than.arm, "others": others}
        else:
            goals, goal = [self.goal] * len(values), self.goal
        holds, median = RELATIONS[self.relation], float(np.median(values))
        if self.share is None:
            passed = holds(median, goal)
        else:
            held = sum(map(holds, values, goals))
            wanted = math.ceil(self.share * len(values) - 1e-9)
            passed = held >= wanted
            found |= {"held": held, "wanted": wanted}
        found |= {"goal": goal, "median": median, "seeds": values}
        found |= {"passed": bool(passed), "curve": self.curve}
        found |= {"arm": self.arm} if self.arm else {}
        return found | ({} if self.mark is None else {"mark": list(self.mark)})


@dataclasses.dataclass(frozen=True)
class Published:
    """What others report about the task.

    Args:
        label: Who, in a few words.
        source: Where it stands, and how it was read.
        points: Environment steps and maximum so far; a result of more steps than ours
            is drawn as a level.
    """

    label: str
    source: str
    points: tuple[tuple[int, float], ...]


@dataclasses.dataclass(frozen=True)
class Panel:
    """A picture that argues, beside the curves.

    Args:
        title: What is seen.
        x: Name of the axis.
        y: Name of the axis.
        series: For each name numbers along both axes.
        kind: Whether these are dots, or a line.
    """

    title: str
    x: str
    y: str
    series: Mapping[str, tuple[Any, Any]]
    kind: Literal["dots", "line"] = "dots"


Evidence = Callable[[Mapping[str, Sequence[tuple[Learning, RunFolder]]]], list[Panel]]
"""Panels, of the seeds' training runs of each arm and the folders that hold them."""


def no_evidence(runs: Any) -> list[Panel]:
    """The curves say it all."""
    return []


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """A claim, and how it is put to the test.

    Args:
        claim: One line, with the figure to be met.
        variant: Which environment it is, and what that means for the comparison.
        train: What follows `forethought train`, but for seed and folder: the task,
            `--steps` and how many, then any other flags.
        checks: What must hold.
        published: What others report.
        measured: Minutes for one seed of all arms on two cores of a Xeon, as measured.
        paper: Flags that replace our settings by those of the paper.
        paper_note: What those leave different, and what they cost.
        arms: For the name of each arm the flags that it adds to `train`; of a flag
            that is given twice the last counts. One arm needs no name.
        evidence: Pictures that argue, made once all seeds have ended.
        remarks: What is judged likewise and told, but asked of nobody.
        bound_seconds: Wall time that the exact-model bound of an arm may take.

    Raises:
        ValueError: A check is about an arm that there is not, or a name of an arm
            could not be that of a folder.
    """

    claim: str
    variant: str
    train: tuple[str, ...]
    checks: tuple[Check, ...]
    published: tuple[Published, ...] = ()
    measured: float = math.nan
    paper: tuple[str, ...] = ()
    paper_note: str = ""
    arms: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=lambda: {"": ()}
    )
    evidence: Evidence = no_evidence
    remarks: tuple[Check, ...] = ()
    bound_seconds: float = 200.0

    def __post_init__(self):
        """Check names."""
        for check in (*self.checks, *self.remarks):
            for arm in check.arms:
                if arm not in self.arms:
                    raise ValueError(
                        f"A check needs one of the arms {', '.join(self.arms)}, got "
                        f"{arm!r} in {check.promise!r}."
                    )
        for name in self.arms:
            if len(self.arms) > 1 and not re.fullmatch(r"[\w][\w .+-]*", name):
                raise ValueError(
                    f"An arm needs a name that a folder can have, got {name!r}."
                )

    @property
    def steps(self) -> int:
        """Environment steps of the longest arm."""

        def last(words: Sequence[str]) -> int:
            places = [i for i, word in enumerate(words) if word == "--steps"]
            return int(words[places[-1] + 1])

        return max(last(self.words(arm)) for arm in self.arms)

    def words(self, arm: str, *, paper: bool = False) -> list[str]:
        """What follows `forethought train` for an arm, but for seed and folder."""
        return [*self.train, *self.arms[arm], *(self.paper if paper else ())]
