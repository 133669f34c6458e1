"""How a policy and a model step together while they imagine.

Either an action is drawn at each step, or the joint distribution of state and action is
handed on, so that nothing is drawn and the imagined return is a smooth function of the
policy's parameters.
"""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray, PyTree

from forethought.core.gaussian import Gaussian
from forethought.core.readout import Readout
from forethought.core.spaces import Box, Space
from forethought.core.types import Mode
from forethought.policies.base import AbstractPolicy, AbstractResponsive


class AbstractFollow(eqx.Module):
    """What is handed from the policy to the model."""

    @abc.abstractmethod
    def act(
        self, policy: AbstractPolicy, seen: Readout, space: Space, *, key: PRNGKeyArray
    ) -> tuple[PyTree, PyTree]:
        """What the model is told of the action, and what of it is worth keeping.

        Args:
            policy: Who acts.
            seen: What it looks at.
            space: What may be chosen.
            key: Consumed, if anything is drawn.
        """


class Sampled(AbstractFollow):
    """One action at each step, held within the limits of the action space.

    Args:
        mode: Whether the policy explores or exploits.
    """

    mode: Mode = eqx.field(static=True, default="explore")

    def act(
        self, policy: AbstractPolicy, seen: Readout, space: Space, *, key: PRNGKeyArray
    ) -> tuple[PyTree, PyTree]:
        """What the policy does."""
        action, kept = policy.act(seen, key=key, mode=self.mode)
        if isinstance(space, Box) and space.bounded:
            action = space.clip(action)
        return action, kept


class Moments(AbstractFollow):
    r"""The joint normal distribution of state and action, of which nothing is drawn.

    The model must predict a `Gaussian` belief under a `Response`, as `LinearGaussian`
    does, and the policy must be able to give one, as `TimeVarying` is. Where actions
    have limits the policy must keep to them by itself, as `Squashed` does. The
    objective must take expectations over actions too: `forethought.objectives.expected`
    tells those that do, and makes one of any other.

    Args:
        mode: Whether what exploring adds to the action is part of the distribution.

    References:
        Deisenroth and Rasmussen, PILCO: a model-based and data-efficient approach to
        policy search, 2011, §2.2.
    """

    mode: Mode = eqx.field(static=True, default="explore")

    def act(
        self, policy: AbstractPolicy, seen: Readout, space: Space, *, key: PRNGKeyArray
    ) -> tuple[PyTree, PyTree]:
        """How the policy responds to the whole distribution.

        Raises:
            TypeError: The policy cannot, the readout is no distribution, or actions
                have limits that the policy does not keep to by itself.
        """
        if not isinstance(policy, AbstractResponsive):
            raise TypeError(
                "Moments needs a policy that answers a distribution of states, such as "
                f"TimeVarying, got {type(policy).__name__}; use Sampled."
            )
        x: Any = seen.x
        if not isinstance(x, Gaussian):
            raise TypeError(
                "Moments needs a model that reads out a Gaussian, such as "
                f"LinearGaussian, got {type(x).__name__}; use Sampled."
            )
        if not isinstance(space, Box) or not policy.within(space):
            raise TypeError(
                "Moments needs actions without limits, or a policy that keeps to them "
                f"such as Squashed, got {type(policy).__name__} for {space}; use "
                "Sampled."
            )
        return policy.respond(seen, mode=self.mode), None
