"""MVE: critics that look some steps ahead in a model."""

import dataclasses
from typing import Generic

from forethought.agents.base import Brief
from forethought.agents.critics.ddpg import DDPG
from forethought.agents.critics.dreams import WARM, AbstractDreaming, C, M
from forethought.agents.critics.expansion import Expanded
from forethought.agents.critics.off_policy import OffPolicy
from forethought.models.learned.recipes import EnsembleRecipe


@dataclasses.dataclass(frozen=True)
class MVE(AbstractDreaming[C, M], Generic[C, M]):
    """Model-based value expansion.

    Args:
        critic: Who acts and who judges.
        model: The model and how it is fitted.
        target: How far critics look ahead.

    References:
        Feinberg et al., Model-based value expansion for efficient model-free
        reinforcement learning, 2018, arXiv:1803.00101, algorithm 1.
    """

    critic: C = DDPG(updates=4, saturation=1e-3)  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
    model: M = EnsembleRecipe(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        members=1,
        probabilistic=False,
        propagation="E",
        termination="learned",
        fitting=WARM,
    )
    target: Expanded = Expanded()  # noqa: RUF009  (a frozen setting)

    def make(self, brief: Brief) -> OffPolicy:
        """The agent, for a task that tells so much beforehand."""
        return OffPolicy(self.critic, self.target, dreams=self.dreams(brief))
