"""Studies of planning alone: what a return depends on, seed by seed in one call.

Nothing is learned here. A planner that knows the dynamics acts in a world that may be
pushed about, and one number of how it plans is varied along the axis.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Scalar

from forethought.agents.planning.mpc import Planning
from forethought.planners import MPC
from forethought.runs.claims.studies import AbstractStudy, Curves, timed
from forethought.tasks.base import Task
from forethought.training.control import begin, closed_loop

Controlled = Callable[[int], MPC]
"""From a place along the axis to a controller."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanningStudy(AbstractStudy):
    """How a return depends on how it is planned.

    Args:
        task: What is acted in, and what a planner knows of it.
        measure: What is drawn: the return of an episode.
        along: What is varied.
        places: Its values.
        arms: For the name of each curve the controllers along it.
    """

    task: Callable[[], Task]
    measure: str = "return"
    along: str
    places: tuple[int, ...]
    arms: Mapping[str, Controlled]

    @property
    def axis(self) -> str:
        """What is varied."""
        return self.along

    @property
    def at(self) -> np.ndarray:
        """Its values."""
        return np.array(self.places)

    @property
    def longest(self) -> int:
        """Steps of an episode."""
        return self.task().steps

    def kept(self, values: np.ndarray) -> np.ndarray:
        """All of them."""
        return values

    def curves(self, label: str, seeds: Sequence[int]) -> Curves:
        """One arm; every arm and place meets the same starts and the same noise."""
        task, found, spent = self.task(), [], {"compile": 0.0, "run": 0.0}
        for place in self.places:
            returns, seconds = earned(task, self.arms[label](place), seeds)
            found.append(returns)
            spent = {name: spent[name] + seconds[name] for name in spent}
        return np.stack(found, axis=1), spent

    def told(self, label: str) -> dict[str, Any]:
        """The controller at the first place."""
        return {"settings": self.arms[label](self.places[0]), "known": ()}


def earned(
    task: Task, controller: MPC, seeds: Sequence[int]
) -> tuple[np.ndarray, dict[str, float]]:
    """The return of an episode for each seed, shape `[seed]`, and what it took.

    Args:
        task: What is acted in; the planner is given its problem.
        controller: Who acts.
        seeds: Of start state, noise, and the planner's draws.
    """
    agent = Planning(task.problem, controller)

    def episode(seed: Array) -> Scalar:
        start_key, begin_key, key = jax.random.split(jax.random.key(seed), 3)
        state = task.system.start(key=start_key)
        loop = begin(agent, task.plant, state, key=begin_key)
        keys = jax.random.split(key, task.steps)
        _, seen = closed_loop(agent, task.plant, loop, keys=keys, wanted=task.wanted)
        return seen.value

    returns, seconds = timed(episode, seeds)
    return np.asarray(returns, float), seconds
