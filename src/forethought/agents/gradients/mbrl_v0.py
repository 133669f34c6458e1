"""Model-based RL v0: one fit to what a base policy saw, and one improvement."""

import dataclasses
from typing import Generic, TypeVar

from forethought.agents.base import Brief
from forethought.agents.gradients.backprop import Improvement
from forethought.agents.gradients.improving import Improving
from forethought.agents.planning.model_based import briefed
from forethought.core.given.settings import Count, Depth, Nonnegative, check_ranges
from forethought.models.learned.recipes import AbstractRecipe, EnsembleRecipe

M = TypeVar("M", bound=AbstractRecipe)


@dataclasses.dataclass(frozen=True)
class ModelBasedV0(Generic[M]):
    r"""Collect, fit, back-propagate into a policy, once: model-based RL v0.

    What is learned from is what the random actions of a run's beginning visit, or what
    another policy does. What the improved policy visits may look different, and nothing
    is learned of that.

    Args:
        model: The network and how it is fitted; or any other model that learns.
        improvement: How the policy is improved.
        width: Units of each hidden layer of the policy.
        depth: How many hidden layers it has.
        noise: Standard deviation of the noise on actions while exploring, in half
            widths of the action box (in units of the action where it is free).
        known_reward: Whether the task's own reward and end are used where observations
            tell the state; they are learned otherwise.

    References:
        Levine, CS 285, lecture 11, "model-based reinforcement learning version
        0.5", with a policy in the place of a plan.
    """

    model: M = EnsembleRecipe(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        members=1, probabilistic=False, propagation="E", termination="learned"
    )
    improvement: Improvement = Improvement()  # noqa: RUF009  (a frozen setting)
    width: Count = 32
    depth: Depth = 2
    noise: Nonnegative = 0.1
    known_reward: bool = True

    def __post_init__(self):
        """Check what can be checked alone."""
        check_ranges(self)

    def make(self, brief: Brief) -> Improving:
        """The agent, for a task that tells so much beforehand."""
        return Improving(
            *briefed(self.model, self.known_reward, brief),
            self.improvement,
            width=self.width,
            depth=self.depth,
            noise=self.noise,
            once=True,
        )
