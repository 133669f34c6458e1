"""Model-based RL v1: a policy improved by gradients through what it learns."""

import dataclasses
from typing import Generic

from forethought.agents.gradients.versions import AbstractVersion, M


@dataclasses.dataclass(frozen=True)
class ModelBasedV1(AbstractVersion[M], Generic[M]):
    """Collect, fit, back-propagate into a policy, act, again: model-based RL v1.

    What the policy visits is appended to what is learned from after each episode, the
    model is fitted to all of it, and the policy is improved from where it is.

    Its settings are those of `AbstractVersion`.

    References:
        Levine, CS 285, lecture 11, "model-based reinforcement learning version
        1.0", with a policy in the place of a plan.
    """

    @property
    def once(self) -> bool:
        """No: after each episode."""
        return False
