"""The protocol of policies: look, and act.

A policy looks at what a model reads out of its belief, or at what was observed, and
acts without thinking ahead. Its leaves are its parameters, so that it can be learned by
gradients, saved, and mapped over seeds; what is no parameter (limits, sizes) is static.
"""

import abc
from typing import Generic, TypeVar

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.core.gaussian import Gaussian, Response
from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.core.types import Action, Mode
from forethought.policies.distributions import Distribution

X = TypeVar("X")


class AbstractPolicy(eqx.Module, Generic[X]):
    """Acts on one example at a time; batches are the caller's `jax.vmap`."""

    @abc.abstractmethod
    def act(
        self, seen: Readout[X], *, key: PRNGKeyArray, mode: Mode
    ) -> tuple[Action, PyTree]:
        """The action, and what of it is worth keeping.

        Args:
            seen: What may be looked at. Its time counts from where the policy began to
                act, for policies that vary in time.
            key: Consumed when exploring; exploiting has no chance in it.
            mode: Whether to draw an action, or to take the best one.

        Returns:
            The action, and its log-probability if it was drawn, None otherwise.
        """


class AbstractResponsive(AbstractPolicy[X]):
    """A policy that can also say what it does where the state is uncertain."""

    @abc.abstractmethod
    def respond(self, seen: Readout[Gaussian], *, mode: Mode) -> Response:
        """The distribution of the action over all states that there may be.

        Args:
            seen: The distribution of the state.
            mode: Whether what exploring adds is part of it.
        """

    @abc.abstractmethod
    def within(self, space: Box) -> bool:
        """Whether it does nothing that a space does not allow, whatever it sees."""


class AbstractStochastic(AbstractPolicy[X]):
    """A policy that says what it draws from, so that it can be learned by likelihood.

    What is drawn is not yet the action: limits come after it. Ratios of densities are
    those of draws, whatever the way from a draw to its action.
    """

    @abc.abstractmethod
    def distribution(self, seen: Readout[X]) -> Distribution:
        """What it draws from."""

    @abc.abstractmethod
    def realise(self, draw: Array) -> Action:
        """The action that a draw stands for, within limits."""

    @abc.abstractmethod
    def draw_of(self, action: Action) -> Array:
        """A draw that stands for an action, or for one next to it within limits."""
