r"""What critics should say of a step that was seen: targets.

A target asks one thing of an actor–critic, `bootstrap`: what its critics expect from an
observation on. So any target goes with any of them.

**Notation.** $r, o'$ reward and next observation; $V_i(o')$ what `bootstrap` answers;
$\gamma$ is zero where the episode terminated, and only there: a step that was merely
the last one recorded has a future.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from forethought.agents.base import Metrics
from forethought.agents.critics.base import AbstractActorCritic, Aims
from forethought.core.given.settings import AbstractSettings
from forethought.core.readout import Readout
from forethought.core.types import Action, Mode
from forethought.policies.base import AbstractPolicy
from forethought.policies.shaken import Shaken
from forethought.problem import Problem

Obs = Float[Array, " obs"]


class Lens(eqx.Module):
    """How networks see what is observed: less a mean, over a spread."""

    mean: Float[Array, " obs"]
    spread: Float[Array, " obs"]

    def __call__(self, obs: Float[Array, "*batch obs"]) -> Float[Array, "*batch obs"]:
        """An observation as networks see it."""
        mean, spread = (
            jnp.broadcast_to(e, obs.shape) for e in (self.mean, self.spread)
        )
        return (obs.astype(mean.dtype) - mean) / spread


class Through(AbstractPolicy[Obs]):
    """A policy that sees through a lens."""

    lens: Lens
    policy: AbstractPolicy[Obs]

    def act(
        self, seen: Readout[Obs], *, key: PRNGKeyArray, mode: Mode
    ) -> tuple[Action, PyTree]:
        """What it does."""
        seen = Readout(self.lens(seen.x), time=seen.time)
        return self.policy.act(seen, key=key, mode=mode)


class Judge(eqx.Module):
    """An actor–critic with what it knows, asked of observations as they are."""

    critic: AbstractActorCritic
    known: PyTree
    lens: Lens

    @property
    def policy(self) -> Through:
        """Who acts."""
        return Through(self.lens, self.critic.policy(self.known))

    def follower(self, noise: float = 0.0) -> tuple[AbstractPolicy[Obs], Mode]:
        """Who acts in the futures that targets are made of, and how.

        Args:
            noise: Standard deviation of what is added to it, in half widths of the
                limits; where there is some, it takes the place of any other chance.
        """
        policy, mode = self.critic.follower(self.known)
        policy = Through(self.lens, policy)
        if noise == 0:
            return policy, mode
        return Shaken(policy, noise * jnp.asarray(self.known.limits.scale)), "explore"

    def bootstrap(self, obs: Obs, *, key: PRNGKeyArray) -> Float[Array, " critic"]:
        """What each critic expects from an observation on."""
        return self.critic.bootstrap(self.known, self.lens(obs), key=key)

    def action_values(self, obs: Obs, action: Action) -> Float[Array, " critic"]:
        """What each critic expects of an action."""
        return self.critic.judge(self.known, self.lens(obs), action)

    def bonus(self, obs: Obs, *, key: PRNGKeyArray) -> Scalar:
        """What values count besides rewards whenever an action is chosen there."""
        return self.critic.bonus(self.known, self.lens(obs), key=key)

    def value(self, obs: Obs, *, key: PRNGKeyArray) -> Scalar:
        """What is expected from an observation on."""
        return self.critic.pool(self.bootstrap(obs, key=key))


class Steps(eqx.Module):
    """A batch of steps, real or imagined: observations as they are, scaled rewards."""

    obs: Float[Array, "row obs"]
    action: Float[Array, "row action"]
    reward: Float[Array, " row"]
    next_obs: Float[Array, "row obs"]
    discount: Float[Array, " row"]
    """What a reward after each is worth: zero where the episode terminated."""


class AbstractTarget(AbstractSettings):
    """Makes aims of steps."""

    @abc.abstractmethod
    def aims(
        self, judge: Judge, world: Problem | None, steps: Steps, *, key: PRNGKeyArray
    ) -> tuple[Aims, Metrics]:
        """What critics should say, observations as they are; and what is told of it.

        Args:
            judge: Who acts and who judges.
            world: What may be imagined in, if anything; its rewards and discounts are
                those of `steps`.
            steps: What happened, or was imagined.
            key: Consumed.
        """


class OneStep(AbstractTarget):
    r"""$y = r + \gamma V(o')$, with $V$ what the critics together say."""

    def aims(
        self, judge: Judge, world: Problem | None, steps: Steps, *, key: PRNGKeyArray
    ) -> tuple[Aims, Metrics]:
        """One aim for each step."""
        keys = jax.random.split(key, steps.reward.shape[0])
        beyond = jax.vmap(lambda obs, key: judge.value(obs, key=key))(
            steps.next_obs, keys
        )
        value = steps.reward + steps.discount * beyond
        return Aims(steps.obs, steps.action, value, steps.obs), {}
