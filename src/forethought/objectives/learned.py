"""Objectives for learned models: what they predict, or a known one of what is seen."""

from collections.abc import Callable

import equinox as eqx
from jaxtyping import Array, PyTree, Scalar

from forethought.core.types import Action
from forethought.models.base import Predicted
from forethought.objectives.base import AbstractObjective, constant


class Learned(AbstractObjective):
    """The reward and the end that the model itself predicts, for models that do.

    Args:
        gamma: Discount of one step, in (0, 1].

    Raises:
        ValueError: `gamma` lies outside its range.
    """

    gamma: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        if not 0 < self.gamma <= 1:
            raise ValueError(f"Learned needs gamma in (0, 1], got {self.gamma}.")

    def reward(self, x: Predicted, action: Action, next_x: Predicted) -> Scalar:
        """What the model said the step would earn."""
        return next_x.reward

    def discount(self, x: Predicted, action: Action, next_x: Predicted) -> Scalar:
        """`gamma` times the probability that the model gave the episode to go on."""
        return self.gamma * next_x.discount

    def value(self, x: Predicted) -> Scalar:
        """Zero: nothing is known of what lies beyond."""
        return constant(x, 0)


class Observed(AbstractObjective):
    """A known objective of states, judged by observations that tell the state.

    Args:
        objective: What is wanted of the state.
        restore: The state that an observation tells.
    """

    objective: AbstractObjective
    restore: Callable[[PyTree[Array]], PyTree[Array]] = eqx.field(static=True)

    def reward(self, x: PyTree[Array], action: Action, next_x: PyTree[Array]) -> Scalar:
        """The reward of the states that were seen."""
        return self.objective.reward(self.restore(x), action, self.restore(next_x))

    def discount(
        self, x: PyTree[Array], action: Action, next_x: PyTree[Array]
    ) -> Scalar:
        """The discount of the states that were seen."""
        return self.objective.discount(self.restore(x), action, self.restore(next_x))

    def value(self, x: PyTree[Array]) -> Scalar:
        """The value of the state that was seen."""
        return self.objective.value(self.restore(x))
