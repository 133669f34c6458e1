r"""Deterministic actors that climb their critics: DDPG, and TD3 as settings of it.

$$y = r + \gamma\, Q'(o', \mu'(o')), \qquad
  \mu \leftarrow \arg\max_\mu \mathbb E\big[Q(o, \mu(o))\big]$$

What is drawn to explore is noise on what the actor does. TD3 (`DDPG.td3`) takes the
least of two critics, blurs the action of the target so that no narrow peak of a critic
is followed, and moves the actor once for several updates of the critics.

**Notation.** $\mu$ the actor and $\mu'$ its slow copy; $Q, Q'$ critics likewise; $a$ an
action in half widths of its limits.
"""

from typing import Any, Literal

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
    Noisy,
    Obs,
    Unit,
    descend,
    followed,
    fresh_memory,
    judged,
    misfit,
    network,
    pair_critics,
    saturated,
    sizes,
    spread_out,
)
from forethought.agents.critics.off_policy import OffPolicy
from forethought.core.given.settings import Count, Nonnegative
from forethought.core.types import Action, Mode
from forethought.environments.base import EnvironmentSpec
from forethought.models.learned.mlp import MLP

WIDEST = 2.5
"""Of the target's blur: the most, in standard deviations."""


class Actor(eqx.Module):
    """A network that answers with an action in half widths."""

    network: MLP

    def __call__(self, obs: Obs) -> Unit:
        """The action."""
        return jnp.tanh(self.network(obs)[0])


class Determined(eqx.Module):
    """What a deterministic actor–critic knows."""

    actor: Actor
    slow_actor: Actor
    critics: Critics
    slow: Critics
    memories: tuple[PyTree, PyTree]
    """Of the optimisers of critics and actor."""
    limits: Limits
    updates: Int[Array, ""]


class DDPG(AbstractActorCritic[Determined]):
    """Deep deterministic policy gradient.

    ```python
    >>> from forethought.agents.critics.ddpg import DDPG
    >>> DDPG.td3(noise=0.2).delay
    2

    ```

    Args:
        noise: Standard deviation of exploration, in half widths of the limits.
        pooled: What is taken for the value, of several critics: their mean, or the
            least. An actor climbs the mean, or where the least counts the first.
        smoothing: Standard deviation by which the action of a target is blurred, at
            most 2.5 of them.
        delay: Updates of the critics for one of the actor.
        saturation: The cost of the mean square of what the actor's network answers,
            before it is squashed.

    References:
        Lillicrap et al., Continuous control with deep reinforcement learning, 2015,
        arXiv:1509.02971, algorithm 1. Fujimoto, van Hoof and Meger, Addressing function
        approximation error in actor-critic methods, 2018, arXiv:1802.09477, algorithm 1
        (`td3`).

    Note:
        Noise is white, where the first paper has an Ornstein–Uhlenbeck process; TD3
        found no difference. Two critics whose mean counts stand in the place of one.
    """

    noise: Nonnegative = eqx.field(static=True, default=0.1)
    pooled: Literal["mean", "least"] = eqx.field(static=True, default="mean")
    smoothing: Nonnegative = 0.0
    delay: Count = eqx.field(static=True, default=1)
    saturation: Nonnegative = 0.0

    @classmethod
    def td3(cls, **fields: Any) -> "DDPG":
        """The settings that make it TD3."""
        own = {"critics": 2, "pooled": "least", "smoothing": 0.2, "delay": 2}
        return cls(**own | fields)

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Determined:
        """Networks that have seen nothing.

        Raises:
            TypeError: Observations are no vectors, or actions know no limits.
        """
        inputs, limits = sizes("DDPG", spec)
        actor_key, critic_key = jax.random.split(key)
        outputs = len(limits.centre)
        drawn = network(self, inputs, outputs, key=actor_key)
        # Actions begin near the middle, where their slope is not yet lost.
        actor = Actor(spread_out(drawn, 0.1, key=actor_key))
        critics = pair_critics(self, inputs, outputs, key=critic_key)
        return Determined(
            actor,
            jax.tree.map(jnp.copy, actor),
            critics,
            jax.tree.map(jnp.copy, critics),
            (fresh_memory(self, critics), fresh_memory(self, actor)),
            limits,
            jnp.zeros((), jnp.int32),
        )

    def policy(self, known: Determined) -> Noisy:
        """The actor, with noise on it where it explores."""
        return Noisy(known.actor, known.limits, self.noise)

    def follower(self, known: Determined) -> tuple[Noisy, Mode]:
        """The actor's slow copy, without noise."""
        return Noisy(known.slow_actor, known.limits, self.noise), "exploit"

    def bootstrap(
        self, known: Determined, obs: Obs, *, key: PRNGKeyArray
    ) -> Float[Array, " critic"]:
        r"""$Q_i'(o, \mu'(o))$, of an action that is blurred if that is asked for."""
        unit = known.slow_actor(obs)
        if self.smoothing > 0:
            noise = jax.random.normal(key, unit.shape, unit.dtype)
            blur = self.smoothing * jnp.clip(noise, -WIDEST, WIDEST)
            unit = jnp.clip(unit + blur, -1, 1)
        return judged(known.slow, obs, unit)

    def pool(self, values: Float[Array, " critic"]) -> Scalar:
        """Their mean, or the least."""
        return jnp.mean(values) if self.pooled == "mean" else jnp.min(values)

    def judge(
        self, known: Determined, obs: Obs, action: Action
    ) -> Float[Array, " critic"]:
        """What each critic expects of an action."""
        return judged(known.critics, obs, known.limits.unit(action))

    def bonus(self, known: Determined, obs: Obs, *, key: PRNGKeyArray) -> Scalar:
        """Nothing: rewards alone count."""
        return jnp.zeros((), obs.dtype)

    def improve(
        self, known: Determined, aims: Aims, *, key: PRNGKeyArray
    ) -> tuple[Determined, Metrics]:
        """A step of the critics, then of the actor."""
        critic_memory, actor_memory = known.memories

        def critic_loss(critics: Critics) -> tuple[Scalar, Metrics]:
            return misfit(lambda o, u: judged(critics, o, known.limits.unit(u)), aims)

        critics, critic_memory, told = descend(
            self, "critic", critic_loss, known.critics, critic_memory
        )
        climbed = critics if self.pooled == "mean" else critics[:1]

        def actor_loss(actor: Actor) -> tuple[Scalar, Metrics]:
            def one(obs: Obs) -> tuple[Array, ...]:
                before = actor.network(obs)[0]
                unit = jnp.tanh(before)
                value = jnp.mean(judged(climbed, obs, unit))
                return value, unit, jnp.mean(before**2)

            value, unit, loud = jax.vmap(one)(aims.starts)
            loss = self.saturation * jnp.mean(loud) - jnp.mean(value)
            return loss, {"saturated": saturated(unit)}

        actor, actor_memory, more = descend(
            self, "policy", actor_loss, known.actor, actor_memory
        )
        updates = known.updates + 1
        if self.delay > 1:
            due = updates % self.delay == 0
            actor, actor_memory = jax.tree.map(
                lambda new, old: jnp.where(due, new, old),
                (actor, actor_memory),
                (known.actor, known.memories[1]),
            )
        known = Determined(
            actor,
            followed(self, known.slow_actor, actor, updates),
            critics,
            followed(self, known.slow, critics, updates),
            (critic_memory, actor_memory),
            known.limits,
            updates,
        )
        return known, told | more

    def make(self, brief: Brief) -> OffPolicy:
        """The agent that learns so, from what it did itself."""
        return OffPolicy(self)
