"""Model-based acceleration: NAF, half from what a model imagines."""

import dataclasses
from typing import Generic, TypeVar

from forethought.agents.base import Brief
from forethought.agents.critics.base import AbstractActorCritic
from forethought.agents.critics.dreams import WARM, dreams_of
from forethought.agents.critics.naf import NAF
from forethought.agents.critics.off_policy import OffPolicy
from forethought.agents.critics.sources import Branched
from forethought.core.given.settings import Count, check_ranges
from forethought.models.learned.recipes import AbstractRecipe, EnsembleRecipe

C = TypeVar("C", bound=AbstractActorCritic)
M = TypeVar("M", bound=AbstractRecipe)


@dataclasses.dataclass(frozen=True)
class MBA(Generic[C, M]):
    """Q-learning accelerated by imagination.

    Args:
        critic: Who acts and who judges.
        model: The model and how it is fitted.
        source: How steps are imagined, and how many of a batch are real.
        every: Environment steps from one fit of the model to the next.
        known_reward: As for PETS.

    References:
        Gu, Lillicrap, Sutskever and Levine, Continuous deep Q-learning with model-based
        acceleration, 2016, arXiv:1603.00748, algorithm 2.
    """

    critic: C = NAF()  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
    model: M = EnsembleRecipe(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        members=1,
        probabilistic=False,
        propagation="E",
        termination="learned",
        fitting=WARM,
    )
    source: Branched = Branched(  # noqa: RUF009  (a frozen setting)
        share=0.5, length=5, longest=5, starts=1000
    )
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
        return OffPolicy(self.critic, source=self.source, dreams=dreams)
