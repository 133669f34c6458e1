"""A task: something to control, what is wanted of it, and settings that work."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from forethought.environments.base import AbstractEnvironment, AbstractSystem
from forethought.environments.simulated import Simulated
from forethought.problem import Problem


@dataclasses.dataclass(frozen=True)
class Task:
    """A named control problem.

    Args:
        name: As on the command line.
        summary: One line for lists.
        system: What is acted in.
        problem: What a planner is given; its model has the system's state as belief.
        steps: Length of an episode.
        settings: For a planner's name, the fields that suit this task.
        replan_every: Steps between plans; equal to `steps` for a problem of finite
            horizon, which is planned once as a whole.
        optimum: The best return from the start state, where it is known.
    """

    name: str
    summary: str
    system: AbstractSystem
    problem: Problem
    steps: int
    settings: Mapping[str, Mapping[str, Any]]
    replan_every: int = 1
    optimum: float | None = None

    @property
    def environment(self) -> AbstractEnvironment:
        """The task as an environment to act in."""
        return Simulated(self.system, self.problem.objective, self.steps)
