r"""Distributions that policies draw from, of one example.

Both say how likely a draw was, how uncertain they are, and how far they lie from
another one of their kind, in closed form.

**Notation.** $H$ entropy, $D(p \,\|\, q)$ Kullback–Leibler divergence, in nats.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Scalar


class Normal(eqx.Module):
    r"""Independent normal numbers, $\mathcal N(\mu, \operatorname{diag} \sigma^2)$.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.policies.distributions import Normal
    >>> round(float(Normal(jnp.zeros(2), jnp.zeros(2)).log_prob(jnp.zeros(2))), 4)
    -1.8379

    ```
    """

    mean: Float[Array, " dimension"]
    log_std: Float[Array, " dimension"]
    r"""$\log \sigma$."""

    @property
    def mode(self) -> Float[Array, " dimension"]:
        """The likeliest draw."""
        return self.mean

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, " dimension"]:
        """One draw."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(self.log_std) * noise

    def log_prob(self, draw: Float[Array, " dimension"]) -> Scalar:
        """The logarithm of the density at a draw."""
        white = (draw - self.mean) * jnp.exp(-self.log_std)
        return -jnp.sum(0.5 * white**2 + self.log_std + 0.5 * math.log(2 * math.pi))

    def entropy(self) -> Scalar:
        r"""$H = \sum \log \sigma + \tfrac12 \log 2 \pi e$."""
        return jnp.sum(self.log_std + 0.5 * math.log(2 * math.pi * math.e))

    def divergence(self, other: "Normal") -> Scalar:
        r"""$D(\text{self} \,\|\, \text{other})$."""
        ratio = self.log_std - other.log_std
        white = (self.mean - other.mean) * jnp.exp(-other.log_std)
        return jnp.sum(0.5 * (jnp.exp(2 * ratio) + white**2 - 1) - ratio)


class Categorical(eqx.Module):
    r"""One of finitely many choices, with $p \propto e^{\text{logits}}$."""

    logits: Float[Array, " choice"]

    @property
    def mode(self) -> Int[Array, ""]:
        """The likeliest choice; the first of equals."""
        return jnp.argmax(self.logits).astype(int)

    def sample(self, *, key: PRNGKeyArray) -> Int[Array, ""]:
        """One draw."""
        return jax.random.categorical(key, self.logits).astype(int)

    def log_prob(self, draw: Int[Array, ""]) -> Scalar:
        """The logarithm of the probability of a choice."""
        return jax.nn.log_softmax(self.logits)[draw]

    def entropy(self) -> Scalar:
        r"""$H = -\sum p \log p$."""
        logs = jax.nn.log_softmax(self.logits)
        return -jnp.sum(jnp.exp(logs) * logs)

    def divergence(self, other: "Categorical") -> Scalar:
        r"""$D(\text{self} \,\|\, \text{other})$."""
        logs = jax.nn.log_softmax(self.logits)
        return jnp.sum(jnp.exp(logs) * (logs - jax.nn.log_softmax(other.logits)))


Distribution = Normal | Categorical
