"""Model-based RL v2: one deterministic network, replanned at every step."""

import dataclasses
from typing import Generic, TypeVar

from forethought.agents.base import Brief
from forethought.agents.planning.model_based import ModelBased, with_brief
from forethought.core.given.settings import check_ranges
from forethought.models.learned.recipes import AbstractRecipe, EnsembleRecipe
from forethought.planners import AbstractPlanner, RandomShooting

P = TypeVar("P", bound=AbstractPlanner)
M = TypeVar("M", bound=AbstractRecipe)


@dataclasses.dataclass(frozen=True)
class ModelBasedV2(Generic[P, M]):
    """One deterministic network, replanned at every step: model-based RL v2.

    Args:
        model: The network and how it is fitted; or any other model that learns.
        planner: Who plans in it.
        known_reward: Whether the task's own reward and end are used where observations
            tell the state; they are learned otherwise.

    References:
        Nagabandi, Kahn, Fearing and Levine, Neural network dynamics for model-based
        deep reinforcement learning with model-free fine-tuning, 2018, arXiv:1708.02596,
        algorithm 1.
    """

    model: M = EnsembleRecipe(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        members=1, probabilistic=False, propagation="E", termination="learned"
    )
    planner: P = RandomShooting(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        20, population=1000, hold=3
    )
    known_reward: bool = True

    def __post_init__(self):
        """Check what can be checked alone."""
        check_ranges(self)

    def make(self, brief: Brief) -> ModelBased:
        """The agent, for a task that tells so much beforehand."""
        return with_brief(self.model, self.planner, self.known_reward, brief)
