r"""A network as a policy.

**Notation.** $\mu, \sigma^2$ are what the network answers; $c, s$ are the middle and
the half width of the action's limits.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.core.types import Action, Mode
from forethought.models.learned.mlp import MLP
from forethought.policies.base import AbstractPolicy


class MLPPolicy(AbstractPolicy[Float[Array, " obs"]]):
    r"""A normal distribution whose mean and variance depend on the observation.

    $$z \sim \mathcal N\big(\mu(o), \sigma^2(o)\big), \qquad u = c + s \tanh z$$

    along sides with two limits, and $u = z$ along free ones. Exploiting takes
    $z = \mu$.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.readout import Readout
    >>> from forethought.core.spaces import Box
    >>> from forethought.policies.mlp import MLPPolicy
    >>> key = jax.random.key(0)
    >>> policy = MLPPolicy(3, Box([-2.0], [2.0]), key=key)
    >>> u, log_prob = policy.act(Readout(jnp.ones(3)), key=key, mode="explore")
    >>> u.shape, log_prob.shape
    ((1,), ())

    ```

    Args:
        inputs: Dimension of what it sees.
        box: Limits of the action; they are kept as numbers, because they are not
            learned.
        width: Units of each hidden layer.
        depth: How many hidden layers.
        key: Draws the weights.

    Raises:
        ValueError: A size is less than one, a side has one limit alone, or the limits
            are being traced.

    References:
        Haarnoja et al., Soft actor-critic algorithms and applications, 2018,
        arXiv:1812.05905, appendix C (the log-probability of squashed actions).

    Note:
        The variance is bounded as that of `MLP` is, at first between $e^{-10}$ and
        $e^{0.5}$ in the units of $z$.
    """

    network: MLP
    centre: tuple[float, ...] = eqx.field(static=True)
    scale: tuple[float, ...] = eqx.field(static=True)
    limited: tuple[bool, ...] = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        box: Box,
        width: int = 64,
        depth: int = 2,
        *,
        key: PRNGKeyArray,
    ):
        if isinstance(box.low, Tracer) or isinstance(box.high, Tracer):
            raise ValueError(
                "MLPPolicy needs limits that are numbers, but these are being traced; "
                "pass the Box into jax.jit by closure."
            )
        low, high = np.asarray(box.low, float), np.asarray(box.high, float)
        limited = np.isfinite(low)
        if (limited != np.isfinite(high)).any():
            raise ValueError(
                "MLPPolicy needs two limits for each side of the action, or none, got "
                f"low={low.tolist()} and high={high.tolist()}."
            )
        low, high = np.where(limited, low, -1.0), np.where(limited, high, 1.0)
        self.network = MLP(inputs, len(low), width, depth, key=key)
        self.centre = tuple(((low + high) / 2).tolist())
        self.scale = tuple(((high - low) / 2).tolist())
        self.limited = tuple(limited.tolist())

    def act(
        self, seen: Readout[Float[Array, " obs"]], *, key: PRNGKeyArray, mode: Mode
    ) -> tuple[Action, PyTree]:
        """A draw and its log-probability, or the squashed mean and None."""
        mean, variance = self.network(seen.x)
        if mode == "exploit":
            return self._squash(mean), None
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        z = mean + jnp.sqrt(variance) * noise
        density = -0.5 * (noise**2 + jnp.log(2 * math.pi * variance))
        return self._squash(z), jnp.sum(density) - self._stretch(z)

    def _squash(self, z: Float[Array, " action"]) -> Float[Array, " action"]:
        centre, scale = (
            jnp.asarray(each, z.dtype) for each in (self.centre, self.scale)
        )
        return jnp.where(jnp.asarray(self.limited), centre + scale * jnp.tanh(z), z)

    def _stretch(self, z: Float[Array, " action"]) -> Scalar:
        r"""The logarithm of $\prod s\,(1 - \tanh^2 z)$, finite for large $z$ too."""
        slope = 2 * (math.log(2) - z - jax.nn.softplus(-2 * z))
        slope = slope + jnp.log(jnp.asarray(self.scale, z.dtype))
        return jnp.sum(jnp.where(jnp.asarray(self.limited), slope, 0))
