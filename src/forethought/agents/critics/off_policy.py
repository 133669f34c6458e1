"""An agent of an actor–critic: it acts, replays what it did, and learns of it.

What the literature gives names to are settings of it:

| name | actor–critic |
|---|---|
| SAC (Haarnoja et al., 2018) | a policy that draws, the least of two critics |
| DDPG (Lillicrap et al., 2015), TD3 (Fujimoto et al., 2018) | an actor without chance |
| NAF (Gu et al., 2016) | critics with a maximum in closed form |

All of these look one step ahead; other targets make other agents of them.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Duty, Metrics
from forethought.agents.critics.base import AbstractActorCritic, Aims
from forethought.agents.critics.targets import (
    AbstractTarget,
    Judge,
    Lens,
    OneStep,
    Steps,
)
from forethought.agents.schedule import Schedule
from forethought.core.readout import Readout
from forethought.core.types import Action, Mode
from forethought.data.memory import Memory
from forethought.data.transitions import Transition
from forethought.environments.base import EnvironmentSpec


class Critical(eqx.Module):
    """What such an agent has learned."""

    known: PyTree
    """By the actor–critic."""
    lens: Lens
    updates: Int[Array, ""]
    """How many there were."""
    broken: Int[Array, ""]
    """The first of them that came to no number, and was not made; zero if none."""


class OffPolicy(AbstractAgent[Critical, None]):
    """Learns from replayed steps, inside the loop that acts.

    Args:
        critic: Who acts and who judges.
        target: What critics should say.
    """

    critic: AbstractActorCritic
    target: AbstractTarget = OneStep()

    @property
    def duties(self) -> tuple[Duty, ...]:
        """Rounds of updates; and before them, what observations look like."""
        critic = self.critic
        learn = Duty(
            "critics",
            Schedule(critic.every, "steps"),
            times=critic.updates,
            begin=critic.start,
            inside=True,
            rows=critic.batch,
        )
        if critic.standardise == 0:
            return (learn,)
        look = Duty(
            "lens",
            Schedule(critic.standardise, "steps"),
            until=critic.standardise_until,
            inside=True,
        )
        return look, learn

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Critical:
        """Nothing learned yet.

        Raises:
            TypeError: The actor–critic cannot act there.
        """
        known = self.critic.init(spec, key=key)
        none = jnp.zeros(spec.observation.shape)
        zero = jnp.zeros((), jnp.int32)
        return Critical(known, Lens(none, none + 1), zero, zero)

    def reset(self, learner: Critical, *, key: PRNGKeyArray) -> None:
        """Nothing is carried from step to step."""

    def act(
        self,
        learner: Critical,
        carry: None,
        obs: Float[Array, " obs"],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, None, None]:
        """What the policy does; where it explores untaught, any action."""
        any_key, key = jax.random.split(key)
        action, _ = self.judge(learner).policy.act(Readout(obs), key=key, mode=mode)
        if mode == "explore":
            untaught = learner.updates == 0
            other = learner.known.limits.sample(key=any_key).astype(action.dtype)
            action = jnp.where(untaught, other, action)
        return action, None, None

    @eqx.filter_jit
    def update(
        self, learner: Critical, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Critical, Metrics]:
        """Take one step of learning, or a look at what observations are like."""
        if duty.name == "lens":
            return dataclasses.replace(learner, lens=lens_of(memory)), {}
        row_key, target_key, key = jax.random.split(key, 3)
        steps = self.steps(memory.sample(self.critic.batch, key=row_key))
        aims, told = self.target.aims(self.judge(learner), steps, key=target_key)
        return self._improve(learner, jax.lax.stop_gradient(aims), told, key)

    def judge(self, learner: Critical) -> Judge:
        """The actor–critic with what it knows."""
        return Judge(self.critic, learner.known, learner.lens)

    def steps(self, seen: Transition) -> Steps:
        """Replayed steps as targets take them."""
        real = seen.reward.dtype
        gamma = jnp.asarray(self.critic.gamma, real)
        return Steps(
            seen.obs,
            seen.action,
            seen.reward * self.critic.reward_scale,
            seen.next_obs,
            jnp.where(seen.terminated, jnp.zeros_like(gamma), gamma),
        )

    def broken(self, learner: Critical) -> str | None:
        """At which update learning came to no number."""
        if int(learner.broken) == 0:
            return None
        return f"learning came to no finite number at update {int(learner.broken):,}"

    def examined(self, learner: Critical) -> None:
        """No model is learned."""

    def watch(self, carry: None) -> Metrics:
        """Nothing is told of an action."""
        return {}

    def _improve(
        self, learner: Critical, aims: Aims, told: Metrics, key: PRNGKeyArray
    ) -> tuple[Critical, Metrics]:
        """One update, unless it leads to what is no number."""
        lens = learner.lens
        aims = Aims(
            lens(aims.obs), aims.action, aims.value, lens(aims.starts), aims.weight
        )
        known, more = self.critic.improve(learner.known, aims, key=key)
        told |= more
        updates = learner.updates + 1
        fine = jnp.all(jnp.isfinite(jnp.stack(list(told.values()))))
        known = jax.tree.map(
            lambda new, old: jnp.where(fine, new, old), known, learner.known
        )
        first = (learner.broken == 0) & ~fine
        broken = jnp.where(first, updates, learner.broken)
        return Critical(known, lens, updates, broken), told


def lens_of(memory: Memory) -> Lens:
    """Mean and spread of all that is remembered; a spread of none counts as one."""
    seen, valid = memory.everything()
    there = valid[:, None].astype(seen.obs.dtype)
    count = jnp.maximum(jnp.sum(there), 1)
    mean = jnp.sum(there * seen.obs, axis=0) / count
    square = jnp.sum(there * (seen.obs - mean[None]) ** 2, axis=0) / count
    spread = jnp.sqrt(square)
    return Lens(mean, jnp.where(spread > 1e-6, spread, jnp.ones_like(spread)))
