"""The form of `reproduction.json`, of a claim and of a figure of a book."""

from numbers import Integral
from typing import Any, NotRequired, TypedDict

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


class Judged(TypedDict):
    """A promise about the median over seeds, and how it went."""

    promise: str
    curve: str
    mark: list[float]
    relation: str
    goal: Real
    median: Real
    passed: bool
    seeds: list[Real]


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


class Claim(Shared):
    """The result of many seeds of a training run."""

    settings: str
    note: str
    checks: list[Judged]
    bound: Yardstick | None
    floor: Yardstick | None
    published: list[Point]
    steps: list[int]
    median: list[float]
    median_best: list[float]
    seeds: list[Seed]
    run: dict[str, Any]


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
    require(result, Figure if "arms" in result else Claim, path)
    at = result["at"] if "arms" in result else result["steps"]
    if "arms" in result:
        pairs = [arm["known"] for arm in result["arms"].values()]
        rows = [
            arm[name] for arm in result["arms"].values() for name in ("mean", "std")
        ]
        alike = bool(result["arms"]) and all(len(row) == len(at) for row in rows)
    else:
        pairs = [each["points"] for each in result["published"]]
        pairs += [[check["mark"]] for check in result["checks"]]
        rows = [result["median"], result["median_best"]]
        alike = all(len(row) == len(at) for row in rows) and all(
            0 < len(seed["steps"]) == len(seed["returns"]) == len(seed["planned"])
            for seed in result["seeds"]
        )
    two = all(some and all(len(pair) == 2 for pair in some) for some in pairs)
    if not (at and result["seeds"] and alike and two):
        raise ValueError(f"{path} needs curves with as many points as there are steps.")
    return result
