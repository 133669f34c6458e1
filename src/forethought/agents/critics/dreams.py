"""A model that is learned beside an actor–critic, for its targets and sources."""

import equinox as eqx
from jaxtyping import Scalar

from forethought.agents.base import Brief
from forethought.agents.critics.base import AbstractActorCritic
from forethought.agents.planning.model_based import briefed
from forethought.core.given.settings import AbstractSettings, Count, Nonnegative
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.types import Action
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import AbstractRecipe

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


def dreams_of(
    critic: AbstractActorCritic,
    model: AbstractRecipe,
    known_reward: bool,
    every: int,
    brief: Brief,
) -> Dreams:
    """A model of all that a task does not tell, in the units of an actor–critic.

    Args:
        critic: Its discount and its scale of rewards are those of the model's.
        model: How the model begins, as far as its settings say.
        known_reward: Whether the task's own reward and end are used where it tells
            them.
        every: Environment steps from one fit to the next.
        brief: What the task tells.
    """
    recipe, objective = briefed(model, known_reward, brief)
    known = objective is brief.objective
    own = brief.gamma if known and brief.gamma else 1.0
    rescaled = Rescaled(objective, critic.reward_scale, critic.gamma / own)
    return Dreams(recipe, rescaled, every)
