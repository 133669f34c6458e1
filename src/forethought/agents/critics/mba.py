"""Model-based acceleration: NAF, half from what a model imagines."""

import dataclasses
from typing import Generic

from forethought.agents.base import Brief
from forethought.agents.critics.dreams import WARM, AbstractDreaming, C, M
from forethought.agents.critics.naf import NAF
from forethought.agents.critics.off_policy import OffPolicy
from forethought.agents.critics.sources import Branched
from forethought.models.learned.recipes import EnsembleRecipe


@dataclasses.dataclass(frozen=True)
class MBA(AbstractDreaming[C, M], Generic[C, M]):
    """Q-learning accelerated by imagination.

    Args:
        critic: Who acts and who judges.
        model: The model and how it is fitted.
        source: How steps are imagined, and how many of a batch are real.

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

    def make(self, brief: Brief) -> OffPolicy:
        """The agent, for a task that tells so much beforehand."""
        return OffPolicy(self.critic, source=self.source, dreams=self.dreams(brief))
