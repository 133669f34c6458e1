"""STEVE: critics that look ahead as far as a model agrees with itself."""

import dataclasses
from typing import Generic

from forethought.agents.base import Brief
from forethought.agents.critics.ddpg import DDPG
from forethought.agents.critics.dreams import WARM, AbstractDreaming, C, M
from forethought.agents.critics.expansion import Stochastic
from forethought.agents.critics.off_policy import OffPolicy
from forethought.models.learned.recipes import EnsembleRecipe


@dataclasses.dataclass(frozen=True)
class STEVE(AbstractDreaming[C, M], Generic[C, M]):
    """Stochastic ensemble value expansion.

    Args:
        critic: Who acts and who judges; several critics are an ensemble, too.
        model: The model and how it is fitted.
        target: How far critics look ahead, in how many samples of the model.

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

    def make(self, brief: Brief) -> OffPolicy:
        """The agent, for a task that tells so much beforehand."""
        return OffPolicy(self.critic, self.target, dreams=self.dreams(brief))
