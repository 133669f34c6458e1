"""A task: something to control, what is wanted of it, and settings that work."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Array, Bool, PyTree

from forethought.agents.base import Brief
from forethought.core.readout import AbstractJudge
from forethought.environments.base import AbstractEnvironment, AbstractSystem
from forethought.environments.plant import AbstractPlant, Told
from forethought.environments.simulated import Simulated
from forethought.objectives.learned import Observed
from forethought.planners.smooth.gradient import Optimiser
from forethought.problem import Problem

QUASI_NEWTON = Optimiser("lbfgs", 1.0)
"""Finds the optimum of smooth problems where few actions lie at a limit."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A named control problem.

    Args:
        name: As on the command line.
        summary: One line for lists.
        system: What is acted in.
        problem: What a planner is given; its model believes the system's state, or,
            behind a `sensor` that tells less, a distribution of it.
        steps: Length of an episode.
        settings: For the name of a planner or of an agent, the fields that suit this
            task.
        replan_every: Steps between plans; equal to `steps` for a problem of finite
            horizon, which is planned once as a whole.
        optimum: The best return from the start state, where it is known.
        restore: The state that an observation tells, where it tells all of it.
        circles: Pairs of observed dimensions that hold cosine and sine of one angle.
        angles: Observed dimensions that are angles themselves, in radians.
        world: What is acted in, where it is more than the system, judged by the
            problem's objective, for `steps` steps.
        sensor: What a controller that knows the dynamics is told of the system, where
            that is not the state itself: a plant around the system's environment.
        wanted: Who judges states of the system, where the problem's objective judges
            something else that is believed.
        start: Mean and standard deviation of each number that is first observed, where
            an agent may be told.
        success: Whether an episode reached what is wanted, of the states of its system:
            leaves of shape `[time + 1, ...]`.
    """

    name: str
    summary: str
    system: AbstractSystem
    problem: Problem
    steps: int
    settings: Mapping[str, Mapping[str, Any]]
    replan_every: int = 1
    optimum: float | None = None
    restore: Callable[[Array], PyTree[Array]] | None = None
    circles: tuple[tuple[int, int], ...] = ()
    angles: tuple[int, ...] = ()
    world: AbstractEnvironment | None = None
    sensor: Callable[[Simulated], AbstractPlant] = Told
    wanted: AbstractJudge | None = None
    start: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    success: Callable[[PyTree[Array]], Bool[Array, ""]] | None = None

    @property
    def objective(self) -> AbstractJudge:
        """Who judges what happens in the system."""
        return self.problem.objective if self.wanted is None else self.wanted

    @property
    def simulated(self) -> Simulated:
        """The system alone, judged by what is wanted of it."""
        return Simulated(self.system, self.objective, self.steps)

    @property
    def plant(self) -> AbstractPlant:
        """What a controller that knows the dynamics acts in."""
        return self.sensor(self.simulated)

    @property
    def brief(self) -> Brief:
        """What an agent may be told beforehand."""
        objective = None
        if self.restore is whole:
            objective = self.objective
        elif self.restore is not None:
            objective = Observed(self.objective, self.restore)
        gamma = getattr(self.objective, "gamma", None)
        return Brief(objective, self.circles, self.angles, gamma, self.start)

    @property
    def environment(self) -> AbstractEnvironment:
        """The task as an environment to act in."""
        return self.simulated if self.world is None else self.world


def observed_names(task: Task, size: int) -> list[str]:
    """A name for each observed dimension: that of the state which it tells, if any.

    Args:
        task: Whose observations tell its state, in the order of its coordinates, with
            cosine and sine in the place of an angle.
        size: How many dimensions there are.
    """
    plain = [f"observation {i}" for i in range(size)]
    if task.restore is None:
        return plain
    places = {
        i: part
        for pair in task.circles
        for i, part in zip(pair, ("cos", "sin"), strict=True)
    }
    coordinates, found = list(task.system.state_names), []
    if len(coordinates) + len(task.circles) != size:
        return plain
    for i in range(size):
        part = places.get(i)
        name = coordinates[0] if part == "cos" else coordinates.pop(0)
        found.append(f"{part} {name.split(' (')[0]}" if part else name)
    return found


def whole(obs: Array) -> Array:
    """The state, where it is observed as it is."""
    return obs


def whole_episode(
    steps: int,
    std: float,
    hold: int = 1,
    *,
    noise_beta: float = 0.5,
    scale: float,
    noise: float,
    knots: int = 5,
    climb: Optimiser = QUASI_NEWTON,
) -> dict[str, dict[str, Any]]:
    """Settings for a problem of finite horizon, planned once from start to end.

    Args:
        steps: The horizon.
        std: Of CEM's first draws, in half widths of the action box (in units of the
            action where it is free).
        hold: For how many steps random shooting holds what it draws.
        noise_beta: Colour of the noise of CEM.
        scale: About the optimal cost; MPPI's temperature is a ten-thousandth of it.
        noise: Standard deviation of MPPI's draws, in the units of `std`.
        knots: Steps between the knots of MPPI's cubic splines; one draws each action
            alone.
        climb: Who chooses the steps of gradient ascent.

    Note:
        MPPI, gradient ascent and random shooting were tuned on seeds from 100 on, by
        small grids over these arguments; results are reported for seeds from 0 on.
    """
    drawn = {"hold": knots, "degree": 3} if knots > 1 else {"noise_beta": 0.5}
    return {
        "random-shooting": {"horizon": steps, "hold": hold, "population": 4096},
        "cem": {
            "horizon": steps,
            "initial_std": std,
            "population": 512,
            "elites": 25,
            "iterations": 100,
            "population_decay": 1.0,
            "noise_beta": noise_beta,
        },
        "mppi": {
            "horizon": steps,
            "std": noise,
            "population": 512,
            "iterations": 100,
            "temperature": 1e-4 * scale,
            **drawn,
        },
        "gradient": {
            "horizon": steps,
            "iterations": 1000,
            "optimiser": climb,
            "tolerance": 1e-7,
        },
        "ilqr": {"horizon": steps, "iterations": 500, "tolerance": 1e-10},
        "lqr": {"horizon": steps},
    }
