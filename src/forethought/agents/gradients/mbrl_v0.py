"""Model-based RL v0: one fit to what a base policy saw, and one improvement."""

import dataclasses
from typing import Generic

from forethought.agents.gradients.versions import AbstractVersion, M


@dataclasses.dataclass(frozen=True)
class ModelBasedV0(AbstractVersion[M], Generic[M]):
    """Collect, fit, back-propagate into a policy, once: model-based RL v0.

    What is learned from is what the random actions of a run's beginning visit, or what
    another policy does. What the improved policy visits may look different, and nothing
    is learned of that.

    Its settings are those of `AbstractVersion`.

    References:
        Levine, CS 285, lecture 11, "model-based reinforcement learning version
        0.5", with a policy in the place of a plan.
    """

    @property
    def once(self) -> bool:
        """Yes."""
        return True
