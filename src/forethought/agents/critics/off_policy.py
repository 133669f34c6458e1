"""An agent of an actor–critic: it acts, replays what it did, and learns of it.

What the literature gives names to are settings of it:

| name | actor–critic |
|---|---|
| SAC (Haarnoja et al., 2018) | a policy that draws, the least of two critics |
| DDPG (Lillicrap et al., 2015), TD3 (Fujimoto et al., 2018) | an actor without chance |
| NAF (Gu et al., 2016) | critics with a maximum in closed form |

All of these look one step ahead and learn from real steps alone. With a model that is
learned beside them, other targets and other sources make other agents of them:

| name | target | source |
|---|---|---|
| MVE (Feinberg et al., 2018) | `Expanded` | real steps |
| STEVE (Buckman et al., 2018) | `Stochastic` | real steps |
| MBPO (Janner et al., 2019) | one step | `Branched`, mostly imagined |
| MBA (Gu et al., 2016) | one step | `Branched`, under NAF |
"""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Duty, Metrics
from forethought.agents.critics.base import AbstractActorCritic, Aims
from forethought.agents.critics.dreams import Dreams
from forethought.agents.critics.sources import AbstractSource, Dreamt, Replayed
from forethought.agents.critics.targets import (
    AbstractTarget,
    Judge,
    Lens,
    OneStep,
    Steps,
)
from forethought.agents.planning.model_based import refitted, unseen_error
from forethought.agents.planning.mpc import Planning
from forethought.agents.schedule import Schedule
from forethought.core.readout import Readout
from forethought.core.types import Action, Mode, blank
from forethought.data.memory import Memory
from forethought.data.replay import Replay
from forethought.data.transitions import Transition
from forethought.environments.base import EnvironmentSpec
from forethought.planners import CEM, MPC
from forethought.planners.around.following import Following
from forethought.problem import Problem

HORIZON = 30
"""Steps that one who knows the dynamics plans ahead."""


class Critical(eqx.Module):
    """What such an agent has learned."""

    known: PyTree
    """By the actor–critic."""
    lens: Lens
    world: Problem | None
    """What is imagined in."""
    dreamt: Dreamt | None
    """Imagined steps, until the next fit."""
    fits: Int[Array, ""]
    """How often the model was fitted."""
    updates: Int[Array, ""]
    """How many there were."""
    broken: Int[Array, ""]
    """The first of them that came to no number, and was not made; zero if none."""


class OffPolicy(AbstractAgent[Critical, None]):
    """Learns from replayed steps, inside the loop that acts.

    Args:
        critic: Who acts and who judges.
        target: What critics should say.
        source: Which steps they learn from.
        dreams: The model that target or source imagine in, if they do.
    """

    critic: AbstractActorCritic
    target: AbstractTarget = OneStep()
    source: AbstractSource = Replayed()
    dreams: Dreams | None = None

    @property
    def duties(self) -> tuple[Duty, ...]:
        """Rounds of updates; what observations look like; and to refit the model."""
        critic, dreams = self.critic, self.dreams
        first = 0 if dreams is None else dreams.every + 1
        learn = Duty(
            "critics",
            Schedule(critic.every, "steps"),
            times=critic.updates,
            begin=max(critic.start, first),
            inside=True,
            rows=critic.batch,
        )
        duties = [learn]
        if critic.standardise > 0:
            clock, until = (
                Schedule(critic.standardise, "steps"),
                critic.standardise_until,
            )
            duties.insert(0, Duty("lens", clock, until=until, inside=True))
        if dreams is not None:
            duties.append(Duty("model", Schedule(dreams.every, "steps")))
        return tuple(duties)

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Critical:
        """Nothing learned yet.

        Raises:
            TypeError: The actor–critic cannot act there.
        """
        # One program: by themselves, its many small ones take far longer to compile.
        return eqx.filter_jit(lambda key: self._begin(spec, key))(key)

    def _begin(self, spec: EnvironmentSpec, key: PRNGKeyArray) -> Critical:
        known_key, world_key, key = jax.random.split(key, 3)
        known = self.critic.init(spec, key=known_key)
        none = jnp.zeros(spec.observation.shape)
        lens, zero, world = Lens(none, none + 1), jnp.zeros((), jnp.int32), None
        if self.dreams is not None:
            model = self.dreams.recipe.begin(spec, key=world_key)
            world = Problem(model, self.dreams.objective, spec.action, model.cloud)
        learner = Critical(known, lens, world, None, zero, zero, zero)
        return dataclasses.replace(learner, dreamt=self._blank(learner, spec, key))

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
        if duty.name == "model":
            return self._imagine(learner, memory, key)
        row_key, target_key, key = jax.random.split(key, 3)
        steps = self.batch(learner, memory, key=row_key)
        aims, told = self.target.aims(
            self.judge(learner), learner.world, steps, key=target_key
        )
        if learner.dreamt is not None:
            share = self.real(learner) / self.critic.batch
            told |= {"real_share": jnp.asarray(share, steps.reward.dtype)}
        return self._improve(learner, jax.lax.stop_gradient(aims), told, key)

    def judge(self, learner: Critical) -> Judge:
        """The actor–critic with what it knows."""
        return Judge(self.critic, learner.known, learner.lens)

    def batch(self, learner: Critical, memory: Memory, *, key: PRNGKeyArray) -> Steps:
        """Steps to learn from, real ones first."""
        real_key, dream_key = jax.random.split(key)
        whole, real, parts = self.critic.batch, self.real(learner), []
        if real > 0:
            parts.append(self.steps(memory.sample(real, key=real_key)))
        if learner.dreamt is not None and real < whole:
            parts.append(learner.dreamt.draw(whole - real, key=dream_key))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

    def real(self, learner: Critical) -> int:
        """How many steps of a batch are real."""
        whole = self.critic.batch
        return whole if learner.dreamt is None else self.source.real(whole)

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

    def informed(
        self, problem: Problem, *, seconds: float = math.inf, key: PRNGKeyArray
    ) -> tuple[AbstractAgent, PyTree]:
        """One who plans at every step by CEM, in place of a policy that is learned."""
        planner = CEM(HORIZON, population=150, elites=15, iterations=5)
        return Planning(problem, MPC(planner)), problem

    def hindsight(
        self,
        learner: Critical,
        seen: Transition,
        alive: Bool[Array, " time"],
        *,
        key: PRNGKeyArray,
    ) -> Metrics:
        r"""What critics expected of the first action, and what came of it.

        Both in the units of rewards: `value_expected` $Q(o_0, a_0)$, and
        `value_realised` $\sum_t \gamma^t r_t$, with all that the critics count
        besides. What lies beyond the last step of an episode that was cut off nobody
        has seen: there, discounted, stands what critics expect.
        """
        first_key, last_key = jax.random.split(key)
        judge, steps = self.judge(learner), self.steps(seen)
        time = jnp.arange(alive.shape[0]).astype(steps.reward.dtype)
        keys = jax.random.split(first_key, alive.shape[0])
        bonus = jax.vmap(lambda obs, key: judge.bonus(obs, key=key))(seen.obs, keys)
        earned = steps.reward + jnp.where(time > 0, bonus, jnp.zeros_like(bonus))
        worth = jnp.asarray(self.critic.gamma, time.dtype) ** time
        earned = jnp.sum(jnp.where(alive, worth * earned, jnp.zeros_like(earned)))
        last = jnp.sum(alive) - 1
        beyond = judge.value(seen.next_obs[last], key=last_key)
        realised = earned + worth[last] * steps.discount[last] * beyond
        expected = self.critic.pool(judge.action_values(seen.obs[0], seen.action[0]))
        scale = self.critic.reward_scale
        return {"value_expected": expected / scale, "value_realised": realised / scale}

    def examined(self, learner: Critical) -> tuple[Problem, Following] | None:
        """What it imagines in, if it does, and its policy as the one who plans."""
        if learner.world is None:
            return None
        policy = self.judge(learner).policy
        return learner.world, Following(policy=policy, horizon=HORIZON, climbs=False)

    def watch(self, carry: None) -> Metrics:
        """Nothing is told of an action."""
        return {}

    def _imagine(
        self, learner: Critical, memory: Memory, key: PRNGKeyArray
    ) -> tuple[Critical, Metrics]:
        """Fit the model to all that was seen, and imagine in it anew."""
        fit_key, key = jax.random.split(key)
        assert learner.world is not None
        news = unseen_error(learner.world, memory, key=jax.random.fold_in(fit_key, 0))
        world, told = refitted(learner.world, memory, key=fit_key)
        told["unseen_error"] = jnp.where(learner.fits > 0, news, jnp.ones_like(news))
        dreamt, more = self.source.gather(
            self.judge(learner), world, memory, learner.fits, key=key
        )
        learner = dataclasses.replace(
            learner, world=world, dreamt=dreamt, fits=learner.fits + 1
        )
        return learner, told | more

    def _blank(
        self, learner: Critical, spec: EnvironmentSpec, key: PRNGKeyArray
    ) -> Dreamt | None:
        """Room for what the source gathers, with nothing in it."""
        if learner.world is None:
            return None
        obs = jnp.zeros(spec.observation.shape)
        action, no = spec.action.sample(key=key), jnp.asarray(False)
        row = Transition(obs, action, jnp.zeros(()), obs, no, no)
        replay = Replay(1)
        memory = Memory(replay, replay.init(row))
        world, judge = learner.world, self.judge(learner)
        return blank(
            eqx.filter_eval_shape(
                lambda key: self.source.gather(judge, world, memory, 0, key=key)[0], key
            )
        )

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
        learner = dataclasses.replace(
            learner, known=known, updates=updates, broken=broken
        )
        return learner, told


def lens_of(memory: Memory) -> Lens:
    """Mean and spread of all that is remembered; a spread of none counts as one."""
    seen, valid = memory.everything()
    there = valid[:, None].astype(seen.obs.dtype)
    count = jnp.maximum(jnp.sum(there), 1)
    mean = jnp.sum(there * seen.obs, axis=0) / count
    square = jnp.sum(there * (seen.obs - mean[None]) ** 2, axis=0) / count
    spread = jnp.sqrt(square)
    return Lens(mean, jnp.where(spread > 1e-6, spread, jnp.ones_like(spread)))
