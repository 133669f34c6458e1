"""How a seed of a reproduction went, and numbers that are made of it.

A measure is any function from an `Outcome` to a number; those that several claims use
are here. What never happened is infinite, on the side that fails a check; what there is
no number of is NaN, which fails every check.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One seed's training run.

    Args:
        seed: Of everything random.
        steps: Environment steps done when each episode ended.
        returns: What each episode earned.
        planned: Whether the agent acted in it; random actions otherwise.
        seconds: Wall time of all of it: acting, fitting, saving, compiling.
        cpu: Seconds of all cores together; NaN where nobody counted.
        evaluated: Environment steps done at each evaluation.
        evaluations: The mean return of each.
        successes: The share of its episodes that succeeded; NaN where a task does not
            say what success is.
        rows: All lines of metrics.
    """

    seed: int
    steps: tuple[int, ...]
    returns: tuple[float, ...]
    planned: tuple[bool, ...]
    seconds: float
    cpu: float = math.nan
    evaluated: tuple[int, ...] = ()
    evaluations: tuple[float, ...] = ()
    successes: tuple[float, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()

    def kept(self) -> dict[str, Any]:
        """All but the lines of metrics, which have a file of their own."""
        return {name: value for name, value in vars(self).items() if name != "rows"}


Measure = Callable[[Outcome], float]


def outcome_of_lines(seed: int, rows: list[dict[str, Any]]) -> Outcome:
    """How a seed went, from its lines of metrics.

    Args:
        seed: Of everything random.
        rows: From `forethought.runs.train.lines.lines`.
    """
    ended = [
        (at, value, row["kind"] == "planned")
        for row in rows
        for at, value in zip(row["ends"], row["returns"], strict=True)
    ]
    steps, returns, planned = zip(*ended, strict=True)
    judged = [row for row in rows if "evaluation" in row]
    return Outcome(
        seed,
        steps,
        returns,
        planned,
        seconds=sum(row["seconds"] for row in rows),
        cpu=sum(_number(row.get("cpu")) for row in rows),
        evaluated=tuple(row["step"] for row in judged),
        evaluations=tuple(_number(row["evaluation"]) for row in judged),
        successes=tuple(_number(row.get("success")) for row in judged),
        rows=tuple(rows),
    )


def best_by(steps: int) -> Measure:
    """The best return among episodes that ended within so many environment steps."""

    def measure(run: Outcome) -> float:
        inside = [
            value
            for at, value in zip(run.steps, run.returns, strict=True)
            if at <= steps
        ]
        return max(inside, default=-math.inf)

    return measure


def last_planned(count: int) -> Measure:
    """The mean return of the last planned episodes."""

    def measure(run: Outcome) -> float:
        values = np.array(run.returns)[np.array(run.planned, bool)]
        return float(np.mean(values[-count:])) if len(values) >= count else -math.inf

    return measure


def first_above(value: float) -> Measure:
    """Which planned episode, counted from one, was the first above a return."""

    def measure(run: Outcome) -> float:
        values = np.array(run.returns)[np.array(run.planned, bool)]
        above = np.flatnonzero(values > value)
        return float(above[0] + 1) if len(above) else math.inf

    return measure


def last_evaluation(count: int = 1) -> Measure:
    """The mean return of the last evaluations."""

    def measure(run: Outcome) -> float:
        values = run.evaluations
        return float(np.mean(values[-count:])) if len(values) >= count else -math.inf

    return measure


def steps_to_evaluation(value: float) -> Measure:
    """Environment steps done when an evaluation first earned at least so much."""

    def measure(run: Outcome) -> float:
        return _first(run.evaluated, np.array(run.evaluations) >= value)

    return measure


def first_success(share: float, seconds: float = 1.0) -> Measure:
    """Seconds of experience after which an evaluation first succeeded so often.

    Args:
        share: Of its episodes that have to succeed.
        seconds: Of a step of the environment; with 1 the measure counts steps.
    """

    def measure(run: Outcome) -> float:
        # Shares are ratios of small numbers, in single precision.
        reached = np.array(run.successes) >= share - 1e-6
        return seconds * _first(run.evaluated, reached)

    return measure


def last_line(name: str) -> Measure:
    """The number of that name in the last line of metrics that has one."""

    def measure(run: Outcome) -> float:
        values = [_number(row.get(name)) for row in run.rows]
        return next(
            (each for each in reversed(values) if not math.isnan(each)), math.nan
        )

    return measure


def relative_gap(foreseen: Measure, happened: Measure) -> Measure:
    """How far one number lies from another, as a share of that one's size."""

    def measure(run: Outcome) -> float:
        wanted = happened(run)
        return abs(foreseen(run) - wanted) / abs(wanted) if wanted else math.nan

    return measure


def cpu_seconds(run: Outcome) -> float:
    """Seconds that a seed took of all cores together, compilation included."""
    return run.cpu


def _first(steps: tuple[int, ...], reached: np.ndarray) -> float:
    places = np.flatnonzero(reached)
    return float(steps[places[0]]) if len(places) else math.inf


def _number(value: Any) -> float:
    """A number as a line of metrics has it, where null is none."""
    return math.nan if value is None else float(value)
