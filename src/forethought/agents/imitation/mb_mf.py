r"""MB-MF: plan in a learned model, imitate the plans, improve what was imitated.

A planner learns from few steps, but stops where its model errs and thinks long before
each of them. A policy that imitates it acts at once, and model-free learning takes it
on from there:

    0  model     plan in the model; refit it after each episode
    1  student   the policy acts, the planner says what it would do (DAgger)
    2  policy    the policy alone, improved by PPO; nothing is planned any more

What of these is under way is part of what was learned, so that acting chooses by it
and a run that is resumed goes on in its phase.
"""

import dataclasses
import math
from typing import Annotated, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Brief, Duty, Metrics
from forethought.agents.imitation.dagger import Label, labelled
from forethought.agents.imitation.imitate import ImitationSettings, imitate, usual_loss
from forethought.agents.on_policy.actor_critic import ActorCritic, Kept
from forethought.agents.on_policy.ppo import PPO
from forethought.agents.planning.acting import PlanningCarry
from forethought.agents.planning.model_based import ModelBased, with_brief
from forethought.agents.schedule import Schedule
from forethought.core.given.settings import Range, Whole, check_ranges
from forethought.core.readout import Readout
from forethought.core.types import Action, Mode
from forethought.data.memory import Memory
from forethought.environments.base import EnvironmentSpec
from forethought.models.learned.recipes import AbstractRecipe, EnsembleRecipe
from forethought.planners import AbstractPlanner, RandomShooting
from forethought.problem import Problem

P = TypeVar("P", bound=AbstractPlanner)
M = TypeVar("M", bound=AbstractRecipe)
MODEL, STUDENT, POLICY = range(3)
"""The phases."""
LONGEST = 2**28
"""Steps of a phase, so that twice the sum of two can still be counted."""
First = Annotated[int, Range(at_least=1, at_most=LONGEST)]
Second = Annotated[int, Range(at_least=0, at_most=LONGEST)]


class Grown(eqx.Module):
    """What was learned so far."""

    problem: Problem
    """The model, and what is wanted in it."""
    actor: ActorCritic
    """The policy and its value."""
    phase: Int[Array, ""]
    warm: Int[Array, ""]
    """How often PPO has learned."""


class GrownCarry(eqx.Module):
    """What an episode carries."""

    planning: PlanningCarry
    phase: Int[Array, ""]
    """That of the last action."""


class Both(eqx.Module):
    """What is kept with a step: for the student, and for PPO."""

    label: Label
    drawn: Kept


class PlannerToPolicy(AbstractAgent[Grown, GrownCarry]):
    """Plans, then imitates its plans, then improves the policy that does.

    Args:
        planning: Who plans in a model that is learned.
        ppo: How the policy begins, and is improved.
        imitation: How it is fitted to what the planner would do.
        model_steps: Environment steps of the first phase, random ones among them.
        imitation_steps: Those of the second.
        critic_updates: How often PPO learns values alone before the policy moves.
    """

    planning: ModelBased
    ppo: PPO
    imitation: ImitationSettings = eqx.field(static=True)
    model_steps: First = eqx.field(static=True)
    imitation_steps: Second = eqx.field(static=True)
    critic_updates: Whole = eqx.field(static=True)

    @property
    def duties(self) -> tuple[Duty, ...]:
        """To learn model, student and policy, each in its phase, and two turns."""
        first, second = self.model_steps, self.model_steps + self.imitation_steps

        def once(name: str, at: int) -> Duty:
            return Duty(name, Schedule(at, "steps"), begin=at, until=2 * at - 1)

        # At the turn itself the fit is done by `imitate`.
        student = Duty("student", begin=min(first + 1, second), until=second)
        policy = Duty(
            "policy",
            Schedule(self.ppo.rollout, "steps"),
            begin=second + 1,
            on_policy=True,
        )
        return (
            Duty("model", until=first),
            once("imitate", first),
            student,
            once("improve", second),
            policy,
        )

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Grown:
        """Model and policy before anything was seen."""
        model_key, policy_key = jax.random.split(key)
        none = jnp.zeros((), jnp.int32)
        return Grown(
            self.planning.init(spec, key=model_key),
            self.ppo.init(spec, key=policy_key),
            none,
            none,
        )

    def reset(self, learner: Grown, *, key: PRNGKeyArray) -> GrownCarry:
        """No plan."""
        planning = self.planning.reset(learner.problem, key=key)
        return GrownCarry(planning, learner.phase)

    def act(
        self,
        learner: Grown,
        carry: GrownCarry,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, GrownCarry, Both]:
        """By plan, by what was imitated, or by a draw of the policy.

        Doing its best, it plans in the first phase alone; exploring, in the second as
        well, for the labels.
        """
        plan_key, draw_key = jax.random.split(key)
        phase, policy = learner.phase, learner.actor.policy
        drawn, _, kept = self.ppo.act(learner.actor, None, obs, key=draw_key, mode=mode)
        best = policy.realise(policy.distribution(Readout(obs)).mode)

        def plan() -> tuple[Action, PlanningCarry]:
            action, planning, _ = self.planning.act(
                learner.problem, carry.planning, obs, key=plan_key, mode=mode
            )
            return action.astype(best.dtype), planning

        last = MODEL if mode == "exploit" else STUDENT
        asked = phase <= last
        # Where nothing is planned, a plan costs nothing.
        wanted, planning = jax.lax.cond(asked, plan, lambda: (best, carry.planning))
        action = jnp.where(phase == STUDENT, best, drawn)
        action = jnp.where(phase == MODEL, wanted, action)
        kept = dataclasses.replace(kept, own=kept.own & (phase == POLICY))
        label = Label(wanted, asked)
        return action, GrownCarry(planning, phase), Both(label, kept)

    def update(
        self, learner: Grown, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Grown, Metrics]:
        """Learn what the duty says; two of them begin a phase.

        `imitate` begins the second phase with a fit to all plans so far, `improve` the
        third with a critic that knows nothing yet and the policy's first spread.
        """
        if duty.name == "model":
            problem, told = self.planning.update(
                learner.problem, memory, duty=duty, key=key
            )
            return dataclasses.replace(learner, problem=problem), told
        if duty.name == "improve":
            size = learner.actor.policy.network.weights[0].shape[0]
            actor = self.ppo.begin(learner.actor.policy, size, key=key)
            phase = jnp.asarray(POLICY, jnp.int32)
            return dataclasses.replace(learner, actor=actor, phase=phase), {}
        if duty.name == "policy":
            return self._improve(learner, memory, duty, key)
        space = learner.problem.action
        shown = labelled(memory, lambda kept: kept.label)
        policy, told = imitate(
            learner.actor.policy,
            shown,
            self.imitation,
            loss=usual_loss(space),
            key=key,
        )
        actor = dataclasses.replace(learner.actor, policy=policy)
        phase = jnp.maximum(learner.phase, STUDENT)
        return dataclasses.replace(learner, actor=actor, phase=phase), told

    def _improve(
        self, learner: Grown, memory: Memory, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Grown, Metrics]:
        """PPO's own update, of the rows that the policy drew in the third phase."""
        drawn = memory.state.rows.kept.drawn
        memory = eqx.tree_at(lambda memory: memory.state.rows.kept, memory, drawn)
        actor, told = self.ppo.update(learner.actor, memory, duty=duty, key=key)
        # A critic that knows nothing would lead the policy astray.
        still = learner.warm < self.critic_updates
        before = learner.actor
        policy, rest = jax.tree.map(
            lambda old, new: jnp.where(still, old, new),
            (before.policy, before.memory),
            (actor.policy, actor.memory),
        )
        actor = dataclasses.replace(actor, policy=policy, memory=rest)
        return dataclasses.replace(learner, actor=actor, warm=learner.warm + 1), told

    def informed(
        self, problem: Problem, *, seconds: float = math.inf, key: PRNGKeyArray
    ) -> tuple[ModelBased, Problem]:
        """Its planner, in the true dynamics."""
        return self.planning.informed(problem, seconds=seconds, key=key)

    def examined(self, learner: Grown) -> tuple[Problem, AbstractPlanner]:
        """What it plans in, and by whom."""
        return self.planning.examined(learner.problem)

    def watch(self, carry: GrownCarry) -> Metrics:
        """`phase`, and what the planner tells; NaN where nothing is planned."""
        told = self.planning.watch(carry.planning)
        value = told["plan_value"]
        plans = carry.phase < POLICY
        told["plan_value"] = jnp.where(plans, value, jnp.full_like(value, jnp.nan))
        for name in told.keys() - {"plan_value"}:
            told[name] = jnp.where(plans, told[name], jnp.zeros_like(told[name]))
        return told | {"phase": carry.phase.astype(value.dtype)}


@dataclasses.dataclass(frozen=True)
class MBMF(Generic[P, M]):
    """A planner in a learned model, imitated by a policy that PPO improves.

    Args:
        model: The network and how it is fitted; or any other model that learns.
        planner: Who plans in it.
        known_reward: Whether the task's own reward and end are used where observations
            tell the state; they are learned otherwise.
        model_steps: Environment steps of the first phase, random ones among them.
        imitation_steps: Those of the second.
        imitation: How the policy is fitted to the plans.
        critic_updates: How often PPO learns values alone before the policy moves.
        ppo: The policy's sizes and first spread, and how it is improved.

    References:
        Nagabandi, Kahn, Fearing and Levine, Neural network dynamics for model-based
        deep reinforcement learning with model-free fine-tuning, 2018, arXiv:1708.02596,
        algorithms 1 and section V; there the last phase is TRPO.
    """

    model: M = EnsembleRecipe(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        members=1, probabilistic=False, propagation="E", termination="learned"
    )
    planner: P = RandomShooting(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        20, population=1000, hold=3
    )
    known_reward: bool = True
    model_steps: First = 2000
    imitation_steps: Second = 1000
    imitation: ImitationSettings = ImitationSettings()  # noqa: RUF009
    critic_updates: Whole = 1
    ppo: PPO = PPO(std=0.5)  # noqa: RUF009

    def __post_init__(self):
        """Check what can be checked alone."""
        check_ranges(self)

    def make(self, brief: Brief) -> PlannerToPolicy:
        """The agent, for a task that tells so much beforehand."""
        return PlannerToPolicy(
            with_brief(self.model, self.planner, self.known_reward, brief),
            self.ppo,
            self.imitation,
            self.model_steps,
            self.imitation_steps,
            self.critic_updates,
        )
