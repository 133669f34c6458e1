"""Distillation: one network that does what its teachers would do.

The student of DAgger as the settings of a run: what a run's folder says of it, so that
what was learned can act again when its teachers are gone.
"""

import dataclasses

from forethought.agents.base import Brief
from forethought.agents.imitation.dagger import DAgger
from forethought.agents.imitation.imitate import ImitationSettings
from forethought.core.given.settings import Count, Share, Whole, check_ranges


@dataclasses.dataclass(frozen=True)
class Distill:
    """A network, fitted to what teachers would do where it goes.

    Args:
        teachers: The run folders of those who taught it; they are found by
            `forethought distill`.
        width: Units of each hidden layer.
        depth: How many hidden layers; none is a linear student.
        mixing: Whose powers are the teachers' share of the actions, by the number of
            fits so far; at 1 they alone act (behaviour cloning).
        imitation: How the student is fitted.

    References:
        Ross, Gordon and Bagnell, A reduction of imitation learning and structured
        prediction to no-regret online learning, 2011, arXiv:1011.0686, algorithm 3.1.
    """

    teachers: tuple[str, ...] = ()
    width: Count = 64
    depth: Whole = 2
    mixing: Share = 0.0
    imitation: ImitationSettings = ImitationSettings()  # noqa: RUF009

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self)

    def make(self, brief: Brief) -> DAgger:
        """The student; who teaches it, a run adds."""
        return DAgger(
            width=self.width,
            depth=self.depth,
            mixing=self.mixing,
            fitting=self.imitation,
        )
