"""PETS: an ensemble of Gaussian networks, and CEM over its particles."""

import dataclasses
from typing import Generic, TypeVar

from forethought.agents.base import Brief
from forethought.agents.planning.model_based import ModelBased, with_brief
from forethought.core.given.settings import check_ranges
from forethought.models.learned.recipes import AbstractRecipe, EnsembleRecipe
from forethought.planners import CEM, AbstractPlanner

P = TypeVar("P", bound=AbstractPlanner)
M = TypeVar("M", bound=AbstractRecipe)


@dataclasses.dataclass(frozen=True)
class PETS(Generic[P, M]):
    """An ensemble of Gaussian networks, and CEM over its particles.

    Args:
        model: The ensemble and how it is fitted; or any other model that learns.
        planner: Who plans in it.
        known_reward: Whether the task's own reward and end are used where
            observations tell the state; otherwise the reward is learned, and the end
            as `model.termination` says.

    References:
        Chua, Calandra, McAllister and Levine, Deep reinforcement learning in a handful
        of trials using probabilistic dynamics models, 2018, arXiv:1805.12114.
    """

    model: M = EnsembleRecipe(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        termination="learned"
    )
    planner: P = CEM(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        30, population=100, elites=10, particles=5, noise_beta=1.0
    )
    known_reward: bool = True

    def __post_init__(self):
        """Check what can be checked alone."""
        check_ranges(self)

    def make(self, brief: Brief) -> ModelBased:
        """The agent, for a task that tells so much beforehand."""
        return with_brief(self.model, self.planner, self.known_reward, brief)
