"""A policy shaken by noise: what explores where a policy itself knows no chance."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.readout import Readout
from forethought.core.types import Action, Mode
from forethought.policies.base import AbstractPolicy


class Shaken(AbstractPolicy[PyTree]):
    r"""What a policy does when it exploits, plus noise.

    $$u = \mu_\theta(x) + \sigma \epsilon, \qquad \epsilon \sim \mathcal N(0, I)$$

    The action is differentiable in $\theta$ under a fixed $\epsilon$. Its
    log-probability is that of the action *held still*: the derivative of it is the
    score $\nabla_\theta \log \pi_\theta(u \mid x)$, as estimators by likelihood ratios
    need it, and not zero, as that of a draw that follows its mean.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.readout import Readout
    >>> from forethought.core.spaces import Box
    >>> from forethought.policies.mlp import MLPPolicy
    >>> from forethought.policies.shaken import Shaken
    >>> key = jax.random.key(0)
    >>> policy = Shaken(MLPPolicy(3, Box([-2.0], [2.0]), key=key), jnp.array([0.1]))
    >>> u, log_prob = policy.act(Readout(jnp.ones(3)), key=key, mode="explore")
    >>> u.shape, log_prob.shape
    ((1,), ())

    ```

    Args:
        policy: Who is shaken; its own way to explore is not used.
        std: $\sigma$ of each side of the action, above zero.

    References:
        Schulman, Heess, Weber and Abbeel, Gradient estimation using stochastic
        computation graphs, 2015, arXiv:1506.05254, §2 (both kinds of derivative).
    """

    policy: AbstractPolicy
    std: Float[Array, " action"]

    def act(
        self, seen: Readout[PyTree], *, key: PRNGKeyArray, mode: Mode
    ) -> tuple[Action, PyTree]:
        """A draw and its log-probability, or what the policy does and None."""
        mean, _ = self.policy.act(seen, key=key, mode="exploit")
        if mode == "exploit":
            return mean, None
        std = jax.lax.stop_gradient(self.std).astype(mean.dtype)
        action = mean + std * jax.random.normal(key, mean.shape, mean.dtype)
        away = (jax.lax.stop_gradient(action) - mean) / std
        density = -0.5 * (away**2 + math.log(2 * math.pi)) - jnp.log(std)
        return action, jnp.sum(density)
