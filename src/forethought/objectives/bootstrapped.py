"""An objective with a value that was learned in the place of what lies beyond."""

from collections.abc import Callable

import equinox as eqx
from jaxtyping import PyTree, Scalar

from forethought.core.given.settings import Part, check_ranges
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.types import Action


class Bootstrapped(AbstractJudge):
    r"""Discounted rewards, and a learned value at the end of the horizon.

    $$J = \sum_{t=0}^{H-1} \gamma^t r_t + \gamma^H V(x_H)$$

    Args:
        objective: Whose rewards count.
        value: $V$, of what is read out.
        gamma: $\gamma$ in (0, 1], besides the objective's own discount.

    Raises:
        ValueError: `gamma` lies outside its range.
    """

    objective: AbstractJudge
    value: Callable[[PyTree], Scalar]
    gamma: Part = eqx.field(static=True, default=0.99)

    def __check_init__(self):
        check_ranges(self)

    def judge(
        self, before: Readout, action: Action, after: Readout
    ) -> tuple[Scalar, Scalar]:
        """The objective's reward, and its discount times `gamma`."""
        reward, discount = self.objective.judge(before, action, after)
        return reward, self.gamma * discount

    def beyond(self, seen: Readout) -> Scalar:
        """The value that was learned."""
        return self.value(seen.x)
