"""Objectives for learned models: what they predict, or a known one of what is seen."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from forethought.core.given.settings import Part, check_ranges
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.types import Action
from forethought.objectives.base import constant


class Learned(AbstractJudge):
    """The reward and the end that the model itself predicts, for models that do.

    Args:
        gamma: Discount of one step, in (0, 1].

    Raises:
        ValueError: `gamma` lies outside its range.
    """

    gamma: Part = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        check_ranges(self)

    def judge(
        self, before: Readout, action: Action, after: Readout
    ) -> tuple[Scalar, Scalar]:
        """What the model said, its discount times `gamma`.

        Raises:
            TypeError: The model predicts no rewards.
        """
        if after.reward is None:
            raise TypeError(
                "Learned needs a model that predicts rewards, but what this one reads "
                "out has none; fit it with reward=True."
            )
        goes_on = jnp.ones_like(after.reward)
        if after.discount is not None:
            goes_on = after.discount
        return after.reward, self.gamma * goes_on

    def beyond(self, seen: Readout) -> Scalar:
        """Zero: nothing is known of what lies beyond."""
        return constant((seen.x, seen.reward), 0)


class Observed(AbstractJudge):
    """A known objective of states, judged by observations that tell the state.

    Args:
        objective: What is wanted of the state.
        restore: The state that an observation tells.
    """

    objective: AbstractJudge
    restore: Callable[[PyTree[Array]], PyTree[Array]] = eqx.field(static=True)

    def judge(
        self, before: Readout, action: Action, after: Readout
    ) -> tuple[Scalar, Scalar]:
        """Reward and discount of the states that were seen."""
        return self.objective.judge(self._told(before), action, self._told(after))

    def beyond(self, seen: Readout) -> Scalar:
        """The value of the state that was seen."""
        return self.objective.beyond(self._told(seen))

    def _told(self, seen: Readout) -> Readout:
        return Readout.of(self.restore(seen.x), seen.time)
