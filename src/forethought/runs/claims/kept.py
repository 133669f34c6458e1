"""The form of `reproduction.json`, of a claim and of a figure of a book.

What older versions wrote of a claim is read as that of one arm, which has no name.
"""

from numbers import Integral
from typing import Any, Literal, NotRequired, TypedDict

from forethought.runs.store.folder import RunFolder
from forethought.runs.store.schema import Real, require

RESULT = "reproduction.json"


class Seed(TypedDict):
    """How a seed went, as `outcome.json` and `reproduction.json` keep it."""

    seed: Integral
    steps: list[int]
    returns: list[float]
    planned: list[bool]
    seconds: float
    cpu: NotRequired[Real]
    evaluated: NotRequired[list[int]]
    evaluations: NotRequired[list[Real]]
    successes: NotRequired[list[Real]]


class Judged(TypedDict):
    """A promise about the median over seeds, or so many of them, and how it went."""

    promise: str
    curve: str
    mark: NotRequired[list[float]]
    relation: str
    goal: Real
    median: Real
    passed: bool
    seeds: list[Real]
    arm: NotRequired[str]
    than: NotRequired[str]
    others: NotRequired[list[Real]]
    held: NotRequired[int]
    wanted: NotRequired[int]


class Yardstick(TypedDict):
    """Bound or floor."""

    mean: float
    std: float | None
    episodes: int


class Point(TypedDict):
    """What somebody published."""

    label: str
    source: str
    points: list[list[float]]


class Shared(TypedDict):
    """What every result says."""

    name: str
    claim: str
    variant: str
    command: str
    commit: str
    machine: dict[str, Any]


class Trial(TypedDict):
    """An arm of a claim: many seeds of a training run."""

    bound: Yardstick | None
    floor: Yardstick | None
    bound_note: NotRequired[str]
    steps: list[int]
    median: list[float]
    median_best: list[float]
    seeds: list[Seed]
    run: dict[str, Any]
    train: NotRequired[str]


class Series(TypedDict):
    """Dots or a line."""

    x: list[Real]
    y: list[Real]


class Shown(TypedDict):
    """A picture that argues."""

    title: str
    x: str
    y: str
    kind: Literal["dots", "line"]
    series: dict[str, Series]


class Claimed(Shared):
    """What every claim about training runs says."""

    settings: str
    note: str
    checks: list[Judged]
    remarks: NotRequired[list[Judged]]
    published: list[Point]


class Claim(Claimed):
    """The result of training runs."""

    arms: dict[str, Trial]
    evidence: NotRequired[list[Shown]]


class Alone(Claimed, Trial):
    """The same as it was kept when each claim had one arm."""


class Seconds(TypedDict):
    """What an arm took."""

    compile: float
    run: float


class Curve(TypedDict):
    """An arm of a figure."""

    mean: list[float]
    std: list[float]
    known: list[list[float]]
    seconds: Seconds
    settings: NotRequired[Any]


class Promised(TypedDict):
    """A promise about means over seeds, and how it went."""

    promise: str
    value: float
    low: Real
    high: Real
    passed: bool


class Figure(Shared):
    """The result of a figure made again."""

    source: str
    measure: str
    axis: NotRequired[str]
    marks: list[float]
    seeds: list[Integral]
    checks: list[Promised]
    at: list[int]
    arms: dict[str, Curve]


def read_result(folder: RunFolder) -> dict[str, Any]:
    """What `reproduction.json` holds.

    Raises:
        ValueError: It is damaged, or does not agree with itself.
    """
    result, path = folder.read_json(RESULT), str(folder.path / RESULT)
    if "at" in result:
        agree = _figure_agrees(require(result, Figure, path))
    else:
        if "arms" not in result:
            result = _as_one_arm(require(result, Alone, path))
        agree = _claim_agrees(require(result, Claim, path))
    if not agree:
        raise ValueError(f"{path} needs curves with as many points as there are steps.")
    return result


def _as_one_arm(result: dict[str, Any]) -> dict[str, Any]:
    own = [name for name in Trial.__annotations__ if name in result]
    rest = {name: value for name, value in result.items() if name not in own}
    return rest | {"arms": {"": {name: result[name] for name in own}}}


def _figure_agrees(result: dict[str, Any]) -> bool:
    at, arms = result["at"], result["arms"].values()
    rows = [arm[name] for arm in arms for name in ("mean", "std")]
    whole = all(len(row) == len(at) for row in rows)
    known = all(len(pair) == 2 for arm in arms for pair in arm["known"])
    return bool(at and arms and result["seeds"]) and whole and known


def _claim_agrees(result: dict[str, Any]) -> bool:
    arms = result["arms"]
    pairs = [each["points"] for each in result["published"]]
    judged = [*result["checks"], *result.get("remarks", ())]
    pairs += [[check["mark"]] for check in judged if "mark" in check]
    two = all(some and all(len(pair) == 2 for pair in some) for some in pairs)
    named = all(check.get("arm", "") in arms for check in judged)
    drawn = all(
        len(each["x"]) == len(each["y"])
        for panel in result.get("evidence", ())
        for each in panel["series"].values()
    )
    return bool(arms) and two and named and drawn and all(map(_whole, arms.values()))


def _whole(arm: dict[str, Any]) -> bool:
    """Whether curves of an arm have as many points as there are steps."""
    at = arm["steps"]
    return (
        bool(at and arm["seeds"])
        and all(len(arm[name]) == len(at) for name in ("median", "median_best"))
        and all(
            0 < len(seed["steps"]) == len(seed["returns"]) == len(seed["planned"])
            and len(seed.get("evaluated", ()))
            == len(seed.get("evaluations", ()))
            == len(seed.get("successes", ()))
            for seed in arm["seeds"]
        )
    )
