"""Planning in the latent state of a model that is learned from pictures."""

import dataclasses
import math
from typing import Generic, TypeVar

import equinox as eqx
from jaxtyping import PRNGKeyArray

from forethought.agents.base import Brief, Duty, Metrics
from forethought.agents.planning.acting import AbstractPlanning
from forethought.agents.planning.mpc import Planning
from forethought.core.given.settings import Nonnegative, check_ranges
from forethought.core.spaces import Box, require_box
from forethought.data.memory import Memory
from forethought.environments.base import EnvironmentSpec
from forethought.models.latent.single_step import SingleStep, SingleStepSettings
from forethought.models.latent.studied import Studied, StudySettings
from forethought.objectives.learned import Learned
from forethought.planners import CEM, AbstractPlanner
from forethought.planners.mpc import MPC
from forethought.problem import Problem

P = TypeVar("P", bound=AbstractPlanner)
"""The planner's settings."""


@dataclasses.dataclass(frozen=True)
class LatentMPC(Generic[P]):
    """See, think in a latent state, act; learn the model from what was seen.

    Args:
        model: Sizes of the latent model and what its terms weigh.
        study: How it learns, after each episode.
        planner: Who plans in latent states.
        noise: Standard deviation of the noise on actions while exploring, in half
            widths of the action box.

    References:
        Hafner et al., Learning latent dynamics for planning from pixels, 2019,
        arXiv:1811.04551, algorithm 1; Levine, CS 285, "model-based RL with images".
    """

    model: SingleStepSettings = SingleStepSettings()  # noqa: RUF009  (a frozen setting)
    study: StudySettings = StudySettings()  # noqa: RUF009  (a frozen setting)
    planner: P = CEM(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        14, population=128, elites=12, iterations=4, noise_beta=1.0
    )
    noise: Nonnegative = 0.3

    def __post_init__(self):
        """Check what can be checked alone."""
        check_ranges(self)

    def make(self, brief: Brief) -> "LatentPlanning":
        """The agent; what a task tells of observations is no help with pictures."""
        gamma = 1.0 if brief.gamma is None else brief.gamma
        return LatentPlanning(
            self.model, self.study, self.planner, Learned(gamma), self.noise
        )


class LatentPlanning(AbstractPlanning):
    """Plans in latent states, and learns the model after each episode.

    Args:
        model: Sizes of the latent model.
        study: How it learns.
        planner: Who plans.
        objective: What is wanted, of what the model reads out.
        noise: On actions while exploring, in half widths of the action box.
    """

    model: SingleStepSettings
    study: StudySettings
    planner: AbstractPlanner
    objective: Learned
    noise: Nonnegative = eqx.field(static=True)

    @property
    def duties(self) -> tuple[Duty, ...]:
        """To learn the model after each episode."""
        return (Duty("model", rows=self.study.length),)

    @property
    def controller(self) -> MPC:
        """The planner at work."""
        return MPC(self.planner)

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Problem:
        """The problem as it looks before anything was seen.

        Raises:
            TypeError: Observations are no pictures, or actions are discrete.
            ValueError: Episodes are shorter than a window.
        """
        seen, box = spec.observation, require_box(spec.action, "LatentMPC")
        shape = getattr(seen, "shape", ())
        if not isinstance(seen, Box) or len(shape) != 3:
            shown = f"of shape {shape}" if isinstance(seen, Box) else f"{seen}"
            raise TypeError(
                "A latent model is learned from pictures of shape [row, column, "
                f"channel], but observations are {shown} here."
            )
        length = spec.episode_length
        if length is not None and length < self.study.length:
            raise ValueError(
                f"LatentMPC learns from windows of {self.study.length} steps, but "
                f"episodes have {length}; set study.length to at most {length}."
            )
        model = Studied(SingleStep(shape, box, self.model, key=key), self.study)
        return Problem(model, self.objective, box)

    def informed(
        self, problem: Problem, *, seconds: float = math.inf, key: PRNGKeyArray
    ) -> tuple[Planning, Problem]:
        """Its planner in the true dynamics, which sees the state itself."""
        return Planning(problem, self.controller), problem

    def examined(self, learner: Problem) -> None:
        """Nothing that forecasts numbers; its pictures are looked at apart."""

    @eqx.filter_jit
    def update(
        self, learner: Problem, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Problem, Metrics]:
        """Go on learning the model."""
        model, told = learner.model.fit(memory, key=key)
        return eqx.tree_at(lambda problem: problem.model, learner, model), told
