"""MBPO: soft actor–critic, mostly from short futures that were imagined."""

import dataclasses
from typing import Generic

from forethought.agents.base import Brief
from forethought.agents.critics.dreams import WARM, AbstractDreaming, C, M
from forethought.agents.critics.off_policy import OffPolicy
from forethought.agents.critics.sac import SAC
from forethought.agents.critics.sources import Branched
from forethought.models.learned.recipes import EnsembleRecipe


@dataclasses.dataclass(frozen=True)
class MBPO(AbstractDreaming[C, M], Generic[C, M]):
    """Model-based policy optimisation.

    Args:
        critic: Who acts and who judges.
        model: The model and how it is fitted.
        source: How steps are imagined, and how many of a batch are real.

    References:
        Janner, Fu, Zhang and Levine, When to trust your model: model-based policy
        optimization, 2019, arXiv:1906.08253, algorithm 2.
    """

    critic: C = SAC(updates=20)  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
    model: M = EnsembleRecipe(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        propagation="TS1", termination="learned", fitting=WARM
    )
    source: Branched = Branched()  # noqa: RUF009  (a frozen setting)

    def make(self, brief: Brief) -> OffPolicy:
        """The agent, for a task that tells so much beforehand."""
        return OffPolicy(self.critic, source=self.source, dreams=self.dreams(brief))
