r"""Soft actor–critic: as much reward, and as much chance, as can be had together.

$$J(\pi) = \sum_t \mathbb E\big[r_t + \alpha\, \mathcal H(\pi(\cdot \mid o_t))\big]$$

The critics judge reward and entropy to come; the policy is drawn towards
$e^{Q / \alpha}$; and the temperature $\alpha$ is tuned such that the entropy stays at a
level that is asked for.

**Notation.** $\alpha$ temperature; $\bar{\mathcal H}$ the entropy that is asked for;
$a$ an action in half widths of its limits, in which entropies are measured.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Scalar

from forethought.agents.base import Brief, Metrics
from forethought.agents.critics.base import (
    AbstractActorCritic,
    Aims,
    Critics,
    Limits,
    Obs,
    descend,
    followed,
    fresh_memory,
    judged,
    misfit,
    network,
    pair_critics,
    saturated,
    sizes,
)
from forethought.agents.critics.off_policy import OffPolicy
from forethought.core.given.settings import Finite, Nonnegative, Positive
from forethought.core.readout import Readout
from forethought.core.spaces import require_box
from forethought.core.types import Action, Mode
from forethought.environments.base import EnvironmentSpec
from forethought.policies.mlp import MLPPolicy


class Soft(eqx.Module):
    """What a soft actor–critic knows."""

    policy: MLPPolicy
    critics: Critics
    slow: Critics
    log_temperature: Scalar
    memories: tuple[PyTree, PyTree, PyTree]
    """Of the optimisers of critics, policy and temperature."""
    limits: Limits
    updates: Int[Array, ""]


class SAC(AbstractActorCritic[Soft]):
    r"""Soft actor–critic with several critics and a tuned temperature.

    $$y = r + \gamma \big(\min_i Q_i'(o', a') - \alpha \log \pi(a' \mid o')\big),
      \qquad a' \sim \pi(\cdot \mid o')$$

    ```python
    >>> from forethought.agents.critics.sac import SAC
    >>> SAC(updates=20).batch
    128

    ```

    Args:
        temperature: $\alpha$ at first. Where rewards are small, so should it be.
        tuned: Whether it is tuned; otherwise it stays.
        entropy: What is asked for of each action's dimension, in nats: zero is that of
            a uniform draw between two neighbours half a width apart.
        saturation: The cost of the mean square of what the policy's network answers,
            before it is squashed.

    References:
        Haarnoja et al., Soft actor-critic algorithms and applications, 2018,
        arXiv:1812.05905, equations 3, 7 and 18.

    Note:
        The temperature's loss is $-\log\alpha\,(\log\pi + \bar{\mathcal H})$, as in
        the authors' code, where the paper has $\alpha$ in the place of its logarithm.
        Entropies are measured in half widths of the limits, so that settings do not
        depend on the units of an action.
    """

    temperature: Positive = 0.2
    tuned: bool = eqx.field(static=True, default=True)
    entropy: Finite = -1.0
    saturation: Nonnegative = 0.0

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Soft:
        """Networks that have seen nothing.

        Raises:
            TypeError: Observations are no vectors, or actions know no limits.
        """
        inputs, limits = sizes("SAC", spec)
        policy_key, critic_key = jax.random.split(key)
        outputs = len(limits.centre)
        policy = eqx.tree_at(
            lambda policy: policy.network,
            MLPPolicy(inputs, require_box(spec.action, "SAC"), key=policy_key),
            network(self, inputs, outputs, draws=True, key=policy_key),
        )
        critics = pair_critics(self, inputs, outputs, key=critic_key)
        log_temperature = jnp.log(jnp.zeros(()) + self.temperature)
        return Soft(
            policy,
            critics,
            jax.tree.map(jnp.copy, critics),
            log_temperature,
            (
                fresh_memory(self, critics),
                fresh_memory(self, policy),
                fresh_memory(self, log_temperature),
            ),
            limits,
            jnp.zeros((), jnp.int32),
        )

    def policy(self, known: Soft) -> MLPPolicy:
        """The policy as it is."""
        return known.policy

    def follower(self, known: Soft) -> tuple[MLPPolicy, Mode]:
        """The same, drawing."""
        return known.policy, "explore"

    def bootstrap(
        self, known: Soft, obs: Obs, *, key: PRNGKeyArray
    ) -> Float[Array, " critic"]:
        r"""$Q_i'(o, a) - \alpha \log \pi(a \mid o)$ of an action that is drawn."""
        unit, log_prob = drawn(known.policy, known.limits, obs, key=key)
        return judged(known.slow, obs, unit) - jnp.exp(known.log_temperature) * log_prob

    def pool(self, values: Float[Array, " critic"]) -> Scalar:
        """The least."""
        return jnp.min(values)

    def judge(self, known: Soft, obs: Obs, action: Action) -> Float[Array, " critic"]:
        """What each critic expects of an action."""
        return judged(known.critics, obs, known.limits.unit(action))

    def bonus(self, known: Soft, obs: Obs, *, key: PRNGKeyArray) -> Scalar:
        r"""$-\alpha \log \pi(a \mid o)$ of an action that is drawn."""
        _, log_prob = drawn(known.policy, known.limits, obs, key=key)
        return -jnp.exp(known.log_temperature) * log_prob

    def improve(
        self, known: Soft, aims: Aims, *, key: PRNGKeyArray
    ) -> tuple[Soft, Metrics]:
        """A step of the critics, then of the policy, then of the temperature."""
        limits, log_temperature = known.limits, known.log_temperature
        critic_memory, policy_memory, temperature_memory = known.memories

        def critic_loss(critics: Critics) -> tuple[Scalar, Metrics]:
            return misfit(lambda o, u: judged(critics, o, limits.unit(u)), aims)

        critics, critic_memory, told = descend(
            self, "critic", critic_loss, known.critics, critic_memory
        )
        keys = jax.random.split(key, aims.starts.shape[0])

        def policy_loss(policy: MLPPolicy) -> tuple[Scalar, Metrics]:
            def one(obs: Obs, key: PRNGKeyArray) -> tuple[Array, ...]:
                unit, log_prob = drawn(policy, limits, obs, key=key)
                value = self.pool(judged(critics, obs, unit))
                loud = jnp.mean(policy.network(obs)[0] ** 2)
                return value, log_prob, unit, loud

            value, log_prob, unit, loud = jax.vmap(one)(aims.starts, keys)
            loss = jnp.mean(jnp.exp(log_temperature) * log_prob - value)
            told = {"entropy": -jnp.mean(log_prob), "saturated": saturated(unit)}
            return loss + self.saturation * jnp.mean(loud), told

        policy, policy_memory, more = descend(
            self, "policy", policy_loss, known.policy, policy_memory
        )
        told |= more

        def temperature_loss(log_temperature: Scalar) -> tuple[Scalar, Metrics]:
            excess = told["entropy"] - self.entropy * len(limits.centre)
            return log_temperature * excess, {}

        if self.tuned:
            log_temperature, temperature_memory, more = descend(
                self,
                "temperature",
                temperature_loss,
                log_temperature,
                temperature_memory,
            )
            told |= more
        updates = known.updates + 1
        known = Soft(
            policy,
            critics,
            followed(self, known.slow, critics, updates),
            log_temperature,
            (critic_memory, policy_memory, temperature_memory),
            limits,
            updates,
        )
        return known, told | {"temperature": jnp.exp(log_temperature)}

    def make(self, brief: Brief) -> OffPolicy:
        """The agent that learns so, from what it did itself."""
        return OffPolicy(self)


def drawn(
    policy: MLPPolicy, limits: Limits, obs: Obs, *, key: PRNGKeyArray
) -> tuple[Float[Array, " action"], Scalar]:
    """A draw in half widths, and its log-probability in these units."""
    seen: Any = Readout(obs)
    action, log_prob = policy.act(seen, key=key, mode="explore")
    return limits.unit(action), log_prob + sum(math.log(each) for each in limits.scale)
