"""The protocol of objectives: reward, discount and value of what a model reads out.

Rewards are maximised; a cost is a reward with its sign turned. A planner maximises

    J = Σ_t γ_t reward(x_t, u_t, x_{t+1}) + γ_T value(x_T),   γ_{t+1} = γ_t discount_t

where `discount` is exactly zero at a step that ends the episode.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from forethought.core.types import Action, ravel

Readout = PyTree[Array]


class AbstractObjective(eqx.Module):
    """What a transition is worth, and what lies beyond the horizon."""

    @abc.abstractmethod
    def reward(self, x: Readout, action: Action, next_x: Readout) -> Scalar:
        """The reward of one transition."""

    @abc.abstractmethod
    def discount(self, x: Readout, action: Action, next_x: Readout) -> Scalar:
        """The discount after it, in [0, 1]; zero where the episode ends."""

    @abc.abstractmethod
    def value(self, x: Readout) -> Scalar:
        """The return to expect from `x` on, beyond the horizon."""


def constant(x: Readout, number: float | int) -> Scalar:
    """A constant scalar in the dtype of a readout."""
    return jnp.asarray(number, ravel(x)[0].dtype)
