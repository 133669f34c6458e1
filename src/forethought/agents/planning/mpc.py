"""Model-predictive control as an agent: it plans in a model that it knows."""

import math

import equinox as eqx
from jaxtyping import PRNGKeyArray

from forethought.agents.base import Duty, Metrics
from forethought.agents.planning.acting import AbstractPlanning
from forethought.core.given.settings import Nonnegative
from forethought.data.memory import Memory
from forethought.environments.base import EnvironmentSpec
from forethought.planners.mpc import MPC
from forethought.problem import Problem


class Planning(AbstractPlanning):
    """Plans in a known model, and learns nothing.

    Args:
        problem: What it knows and wants.
        mpc: The planner, and how its plans are executed.
        noise: On actions while exploring, in half widths of the action box.
    """

    problem: Problem
    mpc: MPC
    noise: Nonnegative = eqx.field(static=True, default=0.0)

    @property
    def controller(self) -> MPC:
        """The one that was given."""
        return self.mpc

    @property
    def shaken(self) -> float:
        """By as much as was given."""
        return self.noise

    @property
    def duties(self) -> tuple[Duty, ...]:
        """None: nothing is learned."""
        return ()

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Problem:
        """The problem."""
        return self.problem

    def informed(
        self, problem: Problem, *, seconds: float = math.inf, key: PRNGKeyArray
    ) -> tuple["Planning", Problem]:
        """Itself, on the problem."""
        return self, problem

    def examined(self, learner: Problem) -> None:
        """No model is learned."""

    def update(
        self, learner: Problem, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Problem, Metrics]:
        """Nothing is learned."""
        return learner, {}
