r"""A local controller: run it a few times, fit dynamics to that, improve it, repeat.

    run      the controller, N times from one start, exploring
    fit      a linear-Gaussian model of each step, with a mixture as its prior
    improve  the controller on that model, within a KL bound of the one that was run
    adapt    the bound, by what was promised of the last improvement and what came

All that is learned of the system holds around the trajectories that were seen, and the
bound keeps the next controller there.

**Notation.** $N$ roll-outs; $\epsilon$ the bound; $J$ the cost of a roll-out, minus its
return under the objective.
"""

import dataclasses
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Scalar

from forethought.agents.base import AbstractAgent, Brief, Duty, Metrics
from forethought.agents.local.coordinates import Coordinates, Unwound
from forethought.agents.local.episodes import newest_episodes
from forethought.agents.schedule import Schedule
from forethought.core.given.settings import (
    Nonnegative,
    Positive,
    Range,
    Whole,
    check_ranges,
)
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.results import Result
from forethought.core.spaces import Box
from forethought.core.types import Action, Mode, Stamped
from forethought.data.memory import Memory
from forethought.environments.base import EnvironmentSpec
from forethought.models.learned.transforms import Transform
from forethought.models.linear.local import Local, LocalSettings
from forethought.models.linear.rollouts import Rollouts
from forethought.planners.smooth.ilqg import ILQG, ILQGState, adapted
from forethought.policies.affine import TimeVarying
from forethought.problem import Problem

APART = 1e-3
"""Deviations of a start from which on it counts as another one, where it is told."""


@dataclasses.dataclass(frozen=True)
class LocalControl:
    r"""A controller around one trajectory, from one start.

    Args:
        rollouts: $N$, from one improvement to the next.
        bound: $\epsilon$ at first, in nats a step.
        spread: Standard deviation of the first controller's actions, in half widths of
            their limits (in their own units where they have none).
        floor: Least standard deviation with which it explores, in the same units.
        model: How a local model is fitted; a `strength` of almost nothing does without
            the mixture's prior.
        absolute: Whether the next state itself is fitted, as in the authors' code; its
            change otherwise, of which less is unknown.
        adaptive: Whether the bound adapts.
        sweeps: The most prices of the bound that are tried in an improvement.

    References:
        Levine and Abbeel, Learning neural network policies with guided policy search
        under unknown dynamics, 2014, algorithm 1 (without the policy). Levine, Finn,
        Darrell and Abbeel, End-to-end training of deep visuomotor policies, 2016.

    Note:
        There the fit's prior knows earlier roll-outs, too; here the newest alone.
        Realised costs are means over roll-outs, not expectations under the next fit.
    """

    rollouts: Annotated[int, Range(at_least=2, limit=10_000)] = 5
    bound: Positive = 1.0
    spread: Positive = 1.0
    floor: Nonnegative = 0.01
    model: LocalSettings = LocalSettings()  # noqa: RUF009
    absolute: bool = False
    adaptive: bool = True
    sweeps: Annotated[int, Range(at_least=1, limit=1000)] = 50

    def __post_init__(self):
        """Check what can be checked alone."""
        check_ranges(self)

    def make(self, brief: Brief) -> "LocalImprovement":
        """The agent, for a task that tells so much beforehand.

        Raises:
            ValueError: Episodes begin in different places.
        """
        if brief.start is not None and max(brief.start[1], default=0.0) > APART:
            raise ValueError(
                "A local controller needs episodes that all begin in one place, but "
                "the first observation has a standard deviation of "
                f"{max(brief.start[1]):.3g} here; fix the start of the system, such as "
                "Pendulum(initial=(3.14, 0.0)), or take an agent with a global policy."
            )
        return LocalImprovement(self, brief.objective, brief.circles, brief.angles)


class Controlled(eqx.Module):
    """What is known around the trajectory, and the controller that follows it."""

    plan: ILQGState
    """The controller at work, the scale of its bound, and its price."""
    model: Local
    """What was fitted last."""
    origin: Float[Array, " coordinate"]
    """Where episodes begin."""
    promised: Scalar
    """By how much the cost was to fall at the last improvement; NaN before it."""
    cost: Scalar
    """$J$ before the last improvement."""
    limits: Box
    """Of the action."""
    apart: Scalar
    """How far apart episodes began, against how far they went."""


class At(eqx.Module):
    """What is carried through an episode."""

    time: Int[Array, ""]
    x: Float[Array, " coordinate"]


class LocalImprovement(AbstractAgent[Controlled, At]):
    """Runs a controller, fits what happened, and improves the controller on the fit.

    Args:
        settings: How.
        objective: What is wanted, of observations; nothing can be improved without.
        circles: Pairs of observed dimensions with cosine and sine of one angle.
        angles: Observed dimensions that are angles themselves.
    """

    settings: LocalControl = eqx.field(static=True)
    objective: AbstractJudge | None
    circles: tuple[tuple[Whole, Whole], ...] = eqx.field(static=True, default=())
    angles: tuple[Whole, ...] = eqx.field(static=True, default=())

    @property
    def duties(self) -> tuple[Duty, ...]:
        """To fit and to improve after so many episodes."""
        every = Schedule(self.settings.rollouts, "episodes")
        return (Duty("controller", every, on_policy=True),)

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Controlled:
        """A controller without gains, and a model that has seen nothing.

        Raises:
            TypeError: Observations are no vectors of numbers, actions are discrete, or
                nobody tells what is wanted.
            ValueError: Episodes have no length.
        """
        seen, space = spec.observation, spec.action
        if not isinstance(seen, Box) or len(seen.shape) != 1:
            raise TypeError(
                "A local controller needs observations that are vectors of numbers, "
                f"but they are {seen} here."
            )
        if not isinstance(space, Box) or len(space.shape) != 1:
            raise TypeError(
                "A local controller needs actions that are vectors of numbers, as it "
                f"answers by gains, but they are {space} here; take an agent for "
                "discrete actions, such as pets or dyna."
            )
        if spec.episode_length is None:
            raise ValueError(
                "A local controller has gains for each step of an episode, but these "
                "have no length here; truncate them."
            )
        objective = self.wanted(seen.shape[0])
        coordinates = objective.coordinates
        n, steps = coordinates.size, spec.episode_length
        absolute = tuple(range(n)) if self.settings.absolute else ()
        transform = Transform(n, space.shape[0], absolute=absolute)
        model = Local(transform, steps, settings=self.settings.model)
        origin, nan = jnp.zeros(n), jnp.full((), jnp.nan, float)
        problem = Problem(model, objective, space)
        state = self.planner(steps).init(problem, model.init(key=key), key=key)
        return Controlled(state, model, origin, nan, nan, space, jnp.zeros(()))

    def coordinates(self, observation: int) -> Coordinates:
        """In which models are fitted and controllers act."""
        return Coordinates(observation, self.circles, self.angles)

    def wanted(self, observation: int) -> Unwound:
        """What is wanted, of coordinates.

        Raises:
            TypeError: Nobody tells it.
        """
        if self.objective is None:
            raise TypeError(
                "A local controller is improved by derivatives of what is wanted, but "
                "the task does not tell it; give a task whose observations tell its "
                "state, or take an agent that learns rewards, such as pets."
            )
        return Unwound(self.objective, self.coordinates(observation))

    def planner(self, steps: int) -> ILQG:
        """Who improves."""
        it = self.settings
        return ILQG(steps, 1, bound=it.bound, spread=it.spread, sweeps=it.sweeps)

    def reset(self, learner: Controlled, *, key: PRNGKeyArray) -> At:
        """The start."""
        return At(jnp.zeros((), jnp.int32), learner.origin)

    def act(
        self,
        learner: Controlled,
        carry: At,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, At, None]:
        """A draw of the controller, or its mean."""
        coordinates = self.coordinates(obs.shape[0])
        x = coordinates.onward(obs, carry.x)
        policy = learner.plan.policy
        action, _ = policy.act(Readout(x, time=carry.time), key=key, mode=mode)
        action = learner.limits.clip(action)
        return action, At(carry.time + 1, x), None

    def update(
        self, learner: Controlled, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Controlled, Metrics]:
        """Fit the newest roll-outs, and improve the controller.

        Raises:
            ValueError: The memory is too small to hold them.
        """
        learner, seen = _seen(self, learner, memory)
        return improved(self, learner, seen, key=key)

    def broken(self, learner: Controlled) -> str | None:
        """What went wrong: numbers that are none, or starts that differ."""
        if float(learner.apart) > 0.1:
            return (
                "roll-outs that begin in different places "
                f"({float(learner.apart):.0%} of their own spread apart), around which "
                "no one trajectory lies; fix the start of the environment"
            )
        if not bool(jnp.all(jnp.isfinite(learner.plan.policy.k))):
            return "a controller that is not finite"
        return None

    def examined(self, learner: Controlled) -> None:
        """Its model holds around one trajectory, in coordinates of its own."""

    def watch(self, carry: At) -> Metrics:
        """Nothing is told of an action."""
        return {}


def improved(
    agent: LocalImprovement, learner: Controlled, seen: Rollouts, *, key: PRNGKeyArray
) -> tuple[Controlled, Metrics]:
    """A controller after one improvement on what was seen of it.

    Args:
        agent: Its settings and objective.
        learner: Whose controller was run.
        seen: The roll-outs, in its coordinates.
        key: Consumed.
    """
    return _improved(agent, learner, seen, key)


def explored(policy: TimeVarying, limits: Box, floor: float) -> TimeVarying:
    """A controller that tries a little more than it wants.

    What is not tried any more could not be fitted any more.

    Args:
        policy: Any.
        limits: Of its actions.
        floor: Standard deviation of what is added, in their half widths.
    """
    half = limits.centre_and_scale(policy.cov.dtype)[1]
    least = jnp.diag(jnp.broadcast_to((floor * half) ** 2, policy.k.shape[1:]))
    return eqx.tree_at(lambda each: each.cov, policy, policy.cov + least[None])


@eqx.filter_jit
def _seen(
    agent: LocalImprovement, learner: Controlled, memory: Memory
) -> tuple[Controlled, Rollouts]:
    """The newest roll-outs in the learner's coordinates, and where these begin.

    It is a program of its own, small, because it is another one each time that the
    memory has grown.
    """
    steps = learner.model.steps
    episodes = newest_episodes(memory, agent.settings.rollouts, steps)
    coordinates = agent.coordinates(episodes.obs.shape[-1])
    begun = coordinates.onward(episodes.obs[0, 0], learner.origin)
    origin = jnp.where(jnp.isnan(learner.cost), begun, learner.origin)
    learner = eqx.tree_at(lambda each: each.origin, learner, origin)
    return learner, episodes.rollouts(coordinates, origin)


@eqx.filter_jit
def _improved(
    agent: LocalImprovement, learner: Controlled, seen: Rollouts, key: PRNGKeyArray
) -> tuple[Controlled, Metrics]:
    it, plan = agent.settings, learner.plan
    wanted = agent.wanted(len(agent.circles) + learner.origin.shape[0])
    fit_key, key = jax.random.split(key)
    model, told = learner.model.fit(seen, key=fit_key)
    problem = Problem(model, wanted, learner.limits)
    cost = cost_of(problem, seen)
    scale = plan.scale
    if it.adaptive:
        wider = adapted(scale, learner.promised, learner.cost - cost)
        scale = jnp.where(jnp.isnan(learner.promised), scale, wider)
    state = ILQGState(plan.policy, scale, plan.price)
    start = Stamped(model.start, jnp.asarray(0))
    found, _ = agent.planner(model.steps).improved(problem, start, state, key=key)
    good = found.result == Result.successful
    price = jnp.where(good, found.price, plan.price)
    policy = explored(found.policy, learner.limits, it.floor)
    after = Controlled(
        plan=ILQGState(policy, scale, price),
        model=model,
        origin=learner.origin,
        limits=learner.limits,
        promised=jnp.where(good, found.predicted, jnp.nan),
        cost=cost,
        apart=apart_of(seen),
    )
    dtype = cost.dtype
    metrics = {
        "cost": cost,
        "promised": found.predicted,
        "kl": found.kl,
        "price": found.price,
        "bound": it.bound * model.steps * scale,
        "sweeps": found.sweeps.astype(dtype),
        "improvement_failed": (~good).astype(dtype),
        "mixture": told["mixture"][-1],
    }
    return after, metrics


def cost_of(problem: Problem, seen: Rollouts) -> Scalar:
    """What the roll-outs cost on average; steps that were not taken cost nothing."""

    def one(x, u, valid):
        def step(before, u, after, time):
            seen, next_seen = Readout(before, time=time), Readout(after, time=time + 1)
            return problem.objective.judge(seen, u, next_seen)[0]

        times = jnp.arange(u.shape[0])
        rewards = jax.vmap(step)(x[:-1], u, x[1:], times)
        end = problem.objective.beyond(Readout(x[-1], time=times[-1] + 1))
        return -jnp.sum(jnp.where(valid, rewards, 0)) - end

    there = jnp.any(seen.valid, axis=1)
    costs = jax.vmap(one)(seen.obs, seen.action, seen.valid)
    share = _share(there, costs.dtype)
    return jnp.sum(share * jnp.where(there, costs, 0))


def apart_of(seen: Rollouts) -> Scalar:
    """The spread of starts, against that of all that was seen; the worst coordinate."""

    def spread(x, which):
        share = _share(which, x.dtype)
        mean = share @ x
        return mean, jnp.sqrt(share @ (x - mean[None]) ** 2)

    _, starts = spread(seen.obs[:, 0], jnp.any(seen.valid, axis=1))
    before = seen.obs[:, :-1]
    rows = before.reshape(-1, before.shape[2])
    mean, ways = spread(rows, seen.valid.reshape(-1))
    known = ways > 1e-6 * (1 + jnp.abs(mean))
    return jnp.max(jnp.where(known, starts / jnp.where(known, ways, 1), 0))


def _share(which: Array, dtype: jnp.dtype) -> Array:
    """Equal weights of some, which add up to one."""
    found = which.astype(dtype)
    return found / jnp.maximum(jnp.sum(found), 1)
