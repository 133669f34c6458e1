"""What replanning buys: cheaper plans, and shorter ones.

Both are said of every system that plans while it acts. Here the model is exact, so that
nothing but chance and the search can spoil a plan: the pendulum of Pendulum-v1, whose
speed is pushed about by noise after each step.
"""

import dataclasses
from typing import Any

from forethought.environments.disturbed import Disturbed
from forethought.planners import CEM, MPC
from forethought.runs.claims.planning import PlanningStudy
from forethought.runs.claims.studies import Means, Promise
from forethought.tasks.analytic import pendulum
from forethought.tasks.base import Task

GUSTS = 0.1
"""Standard deviation of what is added to the speed in each step, in rad/s."""
INTERVALS = (1, 2, 5, 10, 20, 30)
HORIZONS = (5, 10, 15, 20, 30, 50, 100, 200)
SMALL, MIDDLE, LARGE = "10 × 4 plans", "100 × 4 plans", "1,000 × 4 plans"
OFTEN, ONCE = "replanned at every step", "followed to its end"


def gusty_pendulum() -> Task:
    """The pendulum in gusts of wind that no plan foresees."""
    calm = pendulum()
    system = Disturbed(calm.system, (0.0, GUSTS))
    return dataclasses.replace(calm, name="gusty-pendulum", system=system)


def _planner(horizon: int, population: int) -> CEM:
    elites = max(2, population // 10)
    return CEM(horizon=horizon, population=population, elites=elites)


def _every(population: int):
    return lambda steps: MPC(_planner(30, population), steps)


def _mean(means: Means, arm: str, place: int, places: tuple[int, ...]) -> float:
    return float(means[arm][places.index(place)])


def _lost(arm: str, last: int):
    """What an arm loses where it replans less often than at every step."""

    def lost(means: Means) -> float:
        at: Any = (_mean(means, arm, every, INTERVALS) for every in (1, last))
        often, seldom = at
        return often - seldom

    return lost


def _ahead(means: Means) -> float:
    small = _mean(means, SMALL, 1, INTERVALS)
    return small - _mean(means, LARGE, 10, INTERVALS)


def _same_work(means: Means) -> float:
    small = _mean(means, SMALL, 1, INTERVALS)
    return small - _mean(means, MIDDLE, 10, INTERVALS)


def _worth_of_work(every: int):
    """What a hundred times the work earns more."""

    def worth(means: Means) -> float:
        small = _mean(means, SMALL, every, INTERVALS)
        return _mean(means, LARGE, every, INTERVALS) - small

    return worth


def _at(arm: str, horizon: int):
    return lambda means: _mean(means, arm, horizon, HORIZONS)


REPLANNING = PlanningStudy(
    claim="the more you replan, the less perfect each plan needs to be",
    variant=(
        "Pendulum-v1 with noise of 0.1 rad/s on the speed in each step; CEM over 30 "
        "steps with the exact model without noise. At 30 each plan is followed to its "
        "end."
    ),
    task=gusty_pendulum,
    along="steps from one plan to the next",
    places=INTERVALS,
    arms={SMALL: _every(10), MIDDLE: _every(100), LARGE: _every(1000)},
    seeds=30,
    promises=(
        Promise(
            "10 candidates at every step earn at least 50 more than 100 at every "
            "10th, for the same work",
            _same_work,
            low=50.0,
        ),
        Promise(
            "10 candidates at every step earn at least 50 more than 1,000 at every "
            "10th, for a tenth of the work",
            _ahead,
            low=50.0,
        ),
        Promise(
            "replanned at every step, 100 times the work earns at most 75 more",
            _worth_of_work(1),
            high=75.0,
        ),
        Promise(
            "replanned at every 10th, it earns at least 100 more",
            _worth_of_work(10),
            low=100.0,
        ),
        Promise(
            "from every step to every 10th, 10 candidates lose at least 100 more than "
            "1,000",
            lambda means: _lost(SMALL, 10)(means) - _lost(LARGE, 10)(means),
            low=100.0,
        ),
    ),
    seconds=120.0,
)

SHORT_HORIZONS = PlanningStudy(
    claim="short horizons are enough when replanning, if they see what matters",
    variant=(
        "Pendulum-v1 with noise of 0.1 rad/s on the speed in each step, episodes of "
        "200 steps; CEM of 100 × 4 candidates with the exact model without noise."
    ),
    task=gusty_pendulum,
    along="horizon (steps)",
    places=HORIZONS,
    arms={
        OFTEN: lambda horizon: MPC(_planner(horizon, 100), 1),
        ONCE: lambda horizon: MPC(_planner(horizon, 100), horizon),
    },
    seeds=30,
    promises=(
        Promise(
            "replanned at every step, a horizon of 30 earns at least −250",
            _at(OFTEN, 30),
            low=-250.0,
        ),
        Promise(
            "one of the whole episode, with the same search, earns no more than that",
            lambda means: _at(OFTEN, 200)(means) - _at(OFTEN, 30)(means),
            high=0.0,
        ),
        Promise(
            "plans followed to their end earn at most −500, whatever the horizon",
            lambda means: float(means[ONCE].max()),
            high=-500.0,
        ),
        Promise(
            "where it fails: a horizon of 5 sees no swing, and earns at most −900",
            _at(OFTEN, 5),
            high=-900.0,
        ),
    ),
    seconds=90.0,
)

PLANNING: dict[str, PlanningStudy] = {
    "replanning": REPLANNING,
    "short-horizons": SHORT_HORIZONS,
}
