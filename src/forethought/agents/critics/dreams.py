"""A model that is learned beside an actor–critic, for its targets and sources."""

import abc
import dataclasses
from typing import Generic, TypeVar

import equinox as eqx
from jaxtyping import Scalar

from forethought.agents.base import Brief
from forethought.agents.critics.base import AbstractActorCritic
from forethought.agents.planning.model_based import briefed
from forethought.core.given.settings import (
    AbstractSettings,
    Count,
    Nonnegative,
    check_ranges,
)
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.types import Action
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import AbstractRecipe

C = TypeVar("C", bound=AbstractActorCritic)
M = TypeVar("M", bound=AbstractRecipe)

WARM = FitSettings(epochs=30, warm=True)
"""A fit that goes on from the last one, as it is made often."""


class Dreams(AbstractSettings):
    """A model, and what is wanted in it.

    Args:
        recipe: How the model begins.
        objective: What is wanted, of what the model reads out.
        every: Environment steps from one fit to the next.
    """

    recipe: AbstractRecipe
    objective: AbstractJudge
    every: Count = eqx.field(static=True, default=250)


class Rescaled(AbstractJudge):
    """A judge whose rewards and discounts are multiplied, as critics take them.

    Args:
        objective: Who judges.
        reward: What rewards are multiplied by.
        discount: What discounts are multiplied by.
    """

    objective: AbstractJudge
    reward: Nonnegative = 1.0
    discount: Nonnegative = 1.0

    def judge(
        self, before: Readout, action: Action, after: Readout
    ) -> tuple[Scalar, Scalar]:
        """Reward and discount, multiplied."""
        reward, discount = self.objective.judge(before, action, after)
        return reward * self.reward, discount * self.discount

    def beyond(self, seen: Readout) -> Scalar:
        """The value, multiplied."""
        return self.objective.beyond(seen) * self.reward


@dataclasses.dataclass(frozen=True)
class AbstractDreaming(abc.ABC, Generic[C, M]):
    """Settings of an agent that learns a model beside an actor–critic.

    Args:
        critic: Who acts and who judges.
        model: The model and how it is fitted.
        every: Environment steps from one fit of the model to the next.
        known_reward: As for PETS.
    """

    critic: C
    model: M
    every: Count = dataclasses.field(default=100, kw_only=True)
    known_reward: bool = dataclasses.field(default=True, kw_only=True)

    def __post_init__(self):
        """Check what can be checked alone."""
        check_ranges(self)

    def dreams(self, brief: Brief) -> Dreams:
        """A model of all that a task does not tell, in the units of the actor–critic.

        Its discount and its scale of rewards are those of the model's.
        """
        recipe, objective = briefed(self.model, self.known_reward, brief)
        known = objective is brief.objective
        own = brief.gamma if known and brief.gamma else 1.0
        scale, gamma = self.critic.reward_scale, self.critic.gamma
        return Dreams(recipe, Rescaled(objective, scale, gamma / own), self.every)
