"""STEVE: critics that look ahead as far as a model agrees with itself."""

import dataclasses
from typing import Generic, TypeVar

from forethought.agents.base import Brief
from forethought.agents.critics.base import AbstractActorCritic
from forethought.agents.critics.ddpg import DDPG
from forethought.agents.critics.dreams import WARM, dreams_of
from forethought.agents.critics.expansion import Stochastic
from forethought.agents.critics.off_policy import OffPolicy
from forethought.core.given.settings import Count, check_ranges
from forethought.models.learned.recipes import AbstractRecipe, EnsembleRecipe

C = TypeVar("C", bound=AbstractActorCritic)
M = TypeVar("M", bound=AbstractRecipe)


@dataclasses.dataclass(frozen=True)
class STEVE(Generic[C, M]):
    """Stochastic ensemble value expansion.

    Args:
        critic: Who acts and who judges; several critics are an ensemble, too.
        model: The model and how it is fitted.
        target: How far critics look ahead, in how many samples of the model.
        every: Environment steps from one fit of the model to the next.
        known_reward: As for PETS.

    References:
        Buckman et al., Sample-efficient reinforcement learning with stochastic ensemble
        value expansion, 2018, arXiv:1807.01675.
    """

    critic: C = DDPG(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        critics=4, updates=4, saturation=1e-3
    )
    model: M = EnsembleRecipe(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        members=4, probabilistic=False, termination="learned", fitting=WARM
    )
    target: Stochastic = Stochastic()  # noqa: RUF009  (a frozen setting)
    every: Count = 100
    known_reward: bool = True

    def __post_init__(self):
        """Check what can be checked alone."""
        check_ranges(self)

    def make(self, brief: Brief) -> OffPolicy:
        """The agent, for a task that tells so much beforehand."""
        dreams = dreams_of(
            self.critic, self.model, self.known_reward, self.every, brief
        )
        return OffPolicy(self.critic, self.target, dreams=dreams)
