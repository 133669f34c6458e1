"""A network that chooses among finitely many actions."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from forethought.core.readout import Readout
from forethought.core.spaces import Box, Discrete, Space
from forethought.core.types import Action, Mode
from forethought.models.learned.mlp import MLP
from forethought.policies.base import AbstractStochastic
from forethought.policies.distributions import Categorical
from forethought.policies.gaussian import GaussianPolicy, quiet


class CategoricalPolicy(AbstractStochastic[Float[Array, " obs"]]):
    """Draws a choice by logits that depend on the observation.

    Exploiting takes the likeliest one.

    Args:
        inputs: Dimension of what it sees.
        choices: What may be chosen.
        width: Units of each hidden layer, hyperbolic tangents.
        depth: How many hidden layers.
        key: Draws the weights; at first all choices are about equally likely.

    Raises:
        ValueError: A size is less than one.
    """

    network: MLP

    def __init__(
        self,
        inputs: int,
        choices: Discrete,
        width: int = 64,
        depth: int = 2,
        *,
        key: PRNGKeyArray,
    ):
        self.network = quiet(inputs, choices.n, width, depth, key=key)

    def act(
        self, seen: Readout[Float[Array, " obs"]], *, key: PRNGKeyArray, mode: Mode
    ) -> tuple[Action, PyTree]:
        """A choice and the logarithm of its probability, or the likeliest and None."""
        drawn = self.distribution(seen)
        if mode == "exploit":
            return drawn.mode, None
        choice = drawn.sample(key=key)
        return choice, drawn.log_prob(choice)

    def distribution(self, seen: Readout[Float[Array, " obs"]]) -> Categorical:
        """That of the choice."""
        return Categorical(self.network(seen.x)[0])

    def realise(self, draw: Int[Array, ""]) -> Int[Array, ""]:
        """The choice itself."""
        return jnp.asarray(draw)

    def draw_of(self, action: Int[Array, ""]) -> Int[Array, ""]:
        """The choice itself."""
        return jnp.asarray(action)


def policy_for(
    inputs: int,
    space: Space,
    width: int = 64,
    depth: int = 2,
    std: float = 0.6,
    *,
    key: PRNGKeyArray,
) -> GaussianPolicy | CategoricalPolicy:
    """A network as a policy over a space: of choices, or of actions with limits.

    Args:
        inputs: Dimension of what it sees.
        space: Of its actions.
        width: Units of each hidden layer.
        depth: How many hidden layers.
        std: Spread of actions at first, in half widths of their limits.
        key: Draws the weights.
    """
    if isinstance(space, Box):
        return GaussianPolicy(inputs, space, width, depth, std, key=key)
    return CategoricalPolicy(inputs, space, width, depth, key=key)
