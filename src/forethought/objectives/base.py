"""The protocol of objectives: reward, discount and value of what a model reads out.

Rewards are maximised; a cost is a reward with its sign turned. A planner maximises

    J = Σ_t γ_t reward(x_t, u_t, x_{t+1}) + γ_T value(x_T),   γ_{t+1} = γ_t discount_t

where `discount` is exactly zero at a step that ends the episode.

An objective looks at what is read out as `x` alone, and has `reward`, `discount` and
`value`. What needs more of a `Readout` (rewards that the model predicts, the time)
is an `AbstractJudge`, of which an objective is one kind; planners ask only that.
"""

import abc

import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from forethought.core.readout import AbstractJudge, Readout, one_number
from forethought.core.types import Action, ravel

X = PyTree[Array]


class AbstractObjective(AbstractJudge):
    """What a transition is worth, and what lies beyond the horizon."""

    @abc.abstractmethod
    def reward(self, x: X, action: Action, next_x: X) -> Scalar:
        """The reward of one transition."""

    @abc.abstractmethod
    def discount(self, x: X, action: Action, next_x: X) -> Scalar:
        """The discount after it, in [0, 1]; zero where the episode ends."""

    @abc.abstractmethod
    def value(self, x: X) -> Scalar:
        """The return to expect from `x` on, beyond the horizon."""

    def judge(
        self, before: Readout, action: Action, after: Readout
    ) -> tuple[Scalar, Scalar]:
        """Reward and discount of a transition."""
        reward = self.reward(before.x, action, after.x)
        discount = self.discount(before.x, action, after.x)
        return (
            one_number("reward", reward, self),
            one_number("discount", discount, self),
        )

    def beyond(self, seen: Readout) -> Scalar:
        """The value of what was read out."""
        return one_number("value", self.value(seen.x), self)


def constant(x: X, number: float | int) -> Scalar:
    """A constant scalar in the dtype of what was read out."""
    return jnp.asarray(number, ravel(x)[0].dtype)
