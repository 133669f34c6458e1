"""What model-based RL v0 and v1 have in common: all but how often they learn."""

import abc
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
class AbstractVersion(abc.ABC, Generic[M]):
    """Settings of a policy that is improved by back-propagation through a model.

    Args:
        model: The network and how it is fitted; or any other model that learns.
        improvement: How the policy is improved.
        width: Units of each hidden layer of the policy.
        depth: How many hidden layers it has.
        noise: Standard deviation of the noise on actions while exploring, in half
            widths of the action box (in units of the action where it is free).
        known_reward: Whether the task's own reward and end are used where observations
            tell the state; they are learned otherwise.
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

    @property
    @abc.abstractmethod
    def once(self) -> bool:
        """Whether the model is fitted once, and the policy improved once."""

    def make(self, brief: Brief) -> Improving:
        """The agent, for a task that tells so much beforehand."""
        return Improving(
            *briefed(self.model, self.known_reward, brief),
            self.improvement,
            width=self.width,
            depth=self.depth,
            noise=self.noise,
            once=self.once,
        )
