r"""A normal distribution around what a network answers, cut off at limits.

**Notation.** $\mu$ is what the network answers, $\sigma$ a spread that is the same
everywhere, $c, s$ the middle and the half width of the action's limits.
"""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.given.settings import Positive, require
from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.core.types import Action, Mode
from forethought.models.learned.mlp import MLP
from forethought.policies.base import AbstractStochastic
from forethought.policies.distributions import Normal

QUIET = 0.01
"""What the last layer's weights are multiplied by at first."""


class GaussianPolicy(AbstractStochastic[Float[Array, " obs"]]):
    r"""A network's mean, and a spread that depends on nothing.

    $$z \sim \mathcal N\big(\mu(o), \operatorname{diag} \sigma^2\big), \qquad
      u = \mathrm{clip}(c + s z)$$

    Exploiting takes $z = \mu$.

    Args:
        inputs: Dimension of what it sees.
        box: Limits of the action; they are kept as numbers, because they are not
            learned.
        width: Units of each hidden layer, hyperbolic tangents.
        depth: How many hidden layers.
        std: $\sigma$ at first, in half widths.
        key: Draws the weights.

    Raises:
        ValueError: A size is less than one, or the limits are being traced.

    References:
        Schulman et al., Trust region policy optimization, 2015, arXiv:1502.05477,
        appendix D.

    Note:
        The last layer begins at a hundredth of its usual weights, so that at first
        all actions are drawn around the middle (Andrychowicz et al., What matters in
        on-policy reinforcement learning?, 2020, arXiv:2006.05990, section 3.2).
    """

    network: MLP
    log_std: Float[Array, " action"]
    low: tuple[float, ...] = eqx.field(static=True)
    high: tuple[float, ...] = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        box: Box,
        width: int = 64,
        depth: int = 2,
        std: float = 1.0,
        *,
        key: PRNGKeyArray,
    ):
        if isinstance(box.low, Tracer) or isinstance(box.high, Tracer):
            raise ValueError(
                "GaussianPolicy needs limits that are numbers, but these are being "
                "traced; pass the Box into jax.jit by closure."
            )
        require("GaussianPolicy", Positive, std=std)
        self.network = quiet(inputs, box.shape[0], width, depth, key=key)
        self.log_std = jnp.zeros(box.shape) + math.log(std)
        self.low, self.high = (
            tuple(np.asarray(each, float).tolist()) for each in (box.low, box.high)
        )

    def act(
        self, seen: Readout[Float[Array, " obs"]], *, key: PRNGKeyArray, mode: Mode
    ) -> tuple[Action, PyTree]:
        """A draw, with its log-probability before limits, or the mean and None."""
        drawn = self.distribution(seen)
        if mode == "exploit":
            return self.realise(drawn.mode), None
        z = drawn.sample(key=key)
        return self.realise(z), drawn.log_prob(z)

    def distribution(self, seen: Readout[Float[Array, " obs"]]) -> Normal:
        """That of $z$."""
        return Normal(self.network(seen.x)[0], self.log_std)

    def realise(self, draw: Float[Array, " action"]) -> Float[Array, " action"]:
        """$z$ in the units of the action, cut off at limits."""
        box = Box(np.asarray(self.low), np.asarray(self.high))
        centre, scale = box.centre_and_scale(draw.dtype)
        return box.clip(centre + scale * draw)

    def draw_of(self, action: Float[Array, " action"]) -> Float[Array, " action"]:
        """$z = (u - c) / s$."""
        box = Box(np.asarray(self.low), np.asarray(self.high))
        centre, scale = box.centre_and_scale(action.dtype)
        return (action - centre) / scale


def quiet(
    inputs: int, outputs: int, width: int, depth: int, *, key: PRNGKeyArray
) -> MLP:
    """A network of hyperbolic tangents that answers next to nothing at first."""
    network = MLP(
        inputs, outputs, width, depth, probabilistic=False, units="tanh", key=key
    )
    last = QUIET * network.weights[-1]
    return eqx.tree_at(lambda network: network.weights[-1], network, last)
