r"""Guided policy search: one policy, taught by local controllers from several starts.

    run        the policy, N times from each start (or, under BADMM, the controllers)
    fit        dynamics of each step around each start, with a mixture as their prior
    linearise  the policy around each start, by the same kind of fit
    improve    each controller, within a KL bound of the policy
    imitate    the policy is fitted to all controllers, where they are sure the most

Seen from the policy this is mirror descent: a step that is best within a bound, in the
room of controllers, and then back to what one network can do.

**Notation.** $p_i$ the controller of start $i$, $\pi$ the policy and $\bar\pi_i$ its
linearisation, $\epsilon$ the bound, $C_t$ the covariance of a controller; of BADMM
$\lambda_t$ the multipliers and $\nu$ the weight of the divergence.
"""

import dataclasses
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Scalar

from forethought.agents.base import AbstractAgent, Brief, Duty, Metrics
from forethought.agents.imitation.imitate import ImitationSettings
from forethought.agents.local.badmm import bounded
from forethought.agents.local.linearise import linearised
from forethought.agents.local.local import (
    LocalControl,
    LocalImprovement,
    apart_of,
    cost_of,
    explored,
)
from forethought.agents.local.starts import (
    by_start,
    distances,
    nearest_two,
    newest,
    scales,
)
from forethought.agents.local.supervised import (
    answers,
    deviations,
    everywhere,
    kept,
    mean_action,
    taught,
)
from forethought.agents.schedule import Schedule
from forethought.core.given.settings import (
    Factor,
    Nonnegative,
    Positive,
    Range,
    Whole,
    check_ranges,
)
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.results import Result
from forethought.core.spaces import Box
from forethought.core.types import Action, Mode
from forethought.data.memory import Memory
from forethought.environments.base import EnvironmentSpec
from forethought.models.linear.local import Local
from forethought.models.linear.rollouts import Rollouts
from forethought.planners.smooth.ilqg import ILQGState, adapted
from forethought.policies.gaussian import GaussianPolicy
from forethought.problem import Problem

Method = Literal["mirror", "badmm"]
"""Mirror descent: controllers stay near the policy, which acts. BADMM: they stay near
themselves, act, and are pulled to the policy by multipliers and a growing weight."""


@dataclasses.dataclass(frozen=True)
class GPS:
    r"""A network that local controllers teach.

    Args:
        conditions: Starts that episodes come from in turn, while it learns.
        local: How each controller is improved: roll-outs from each start, bound, fits.
        method: Mirror descent, or BADMM.
        width: Units of each hidden layer of the policy.
        depth: How many hidden layers; none is a linear policy.
        imitation: How it is fitted to the controllers, each time from the weights that
            it has.
        weight: $\nu$ of BADMM at first, in units of the cost of a step; at zero
            controllers improve as if there were no policy, which imitates them.
        ramp: What that is multiplied by at each improvement.
        dual: Step of BADMM's multipliers.

    Raises:
        ValueError: A setting lies outside its range.

    References:
        Montgomery and Levine, Guided policy search via approximate mirror descent,
        2016, arXiv:1607.04614, algorithm 2 and §4.2 (the step of the bound). Levine,
        Finn, Darrell and Abbeel, End-to-end training of deep visuomotor policies,
        2016, arXiv:1504.00702, §4.1 and appendix A (BADMM).
    """

    conditions: Annotated[int, Range(at_least=1, limit=1000)] = 4
    local: LocalControl = LocalControl(  # noqa: RUF009
        rollouts=10, bound=0.3, adaptive=False
    )
    method: Method = "mirror"
    width: Annotated[int, Range(at_least=1)] = 32
    depth: Whole = 2
    imitation: ImitationSettings = ImitationSettings(  # noqa: RUF009
        epochs=300, patience=30, holdout=0.0, threshold=0.0
    )
    weight: Nonnegative = 0.01
    ramp: Factor = 1.5
    dual: Positive = 0.1

    def __post_init__(self):
        """Check what can be checked alone."""
        check_ranges(self)

    def make(self, brief: Brief) -> "Guided":
        """The agent, for a task that tells so much beforehand."""
        return Guided(self, brief.objective, brief.circles, brief.angles)


class Taught(eqx.Module):
    """The policy, and what is known around each start; leaves of those `[start]`."""

    policy: GaussianPolicy
    shift: Float[Array, " observation"]
    """What is taken from observations before the policy sees them."""
    scale: Float[Array, " observation"]
    """What they are divided by then."""
    plans: ILQGState
    models: Local
    starts: Float[Array, "start observation"]
    """What is seen first; NaN before anything was."""
    promised: Float[Array, " start"]
    """By how much costs were to fall at the last improvement; NaN before it."""
    costs: Float[Array, " start"]
    multipliers: Float[Array, "start time action"]
    weight: Scalar
    limits: Box
    apart: Scalar
    """How far apart episodes of one start began, against how far they went."""
    near: Scalar
    """How far apart the nearest two starts are, in units of their spread."""


class Walk(eqx.Module):
    """What is carried through an episode."""

    time: Int[Array, ""]
    x: Float[Array, " coordinate"]
    whose: Int[Array, ""]
    """Which start it is from."""


class Guided(AbstractAgent[Taught, Walk]):
    """Teaches a policy by controllers around several starts.

    Args:
        settings: How.
        objective: What is wanted, of observations.
        circles: Pairs of observed dimensions with cosine and sine of one angle.
        angles: Observed dimensions that are angles themselves.
    """

    settings: GPS = eqx.field(static=True)
    objective: AbstractJudge | None = None
    circles: tuple[tuple[Whole, Whole], ...] = eqx.field(static=True, default=())
    angles: tuple[Whole, ...] = eqx.field(static=True, default=())

    @property
    def duties(self) -> tuple[Duty, ...]:
        """To improve controllers and policy once each start had its roll-outs."""
        many = self.settings.conditions * self.settings.local.rollouts
        return (Duty("policy", Schedule(many, "episodes"), on_policy=True),)

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Taught:
        """A policy that does next to nothing, and controllers without gains.

        Raises:
            TypeError: Observations are no vectors of numbers, actions are discrete, or
                nobody tells what is wanted.
            ValueError: Episodes have no length.
        """
        it, seen, space = self.settings, spec.observation, spec.action
        alone = self.alone.init(spec, key=key)  # refuses what cannot be controlled
        assert isinstance(space, Box)
        size, count = seen.shape[0], it.conditions

        def each(leaf: Array) -> Array:
            return jnp.broadcast_to(leaf[None], (count, *leaf.shape))

        plans, models = jax.tree.map(each, (alone.plan, alone.model))
        policy = GaussianPolicy(
            size, space, it.width, it.depth, it.local.spread, key=key
        )
        nan, m = jnp.full((), jnp.nan, float), space.shape[0]
        return Taught(
            policy=policy,
            shift=jnp.zeros(size),
            scale=jnp.ones(size),
            plans=plans,
            models=models,
            starts=jnp.full((count, size), jnp.nan, float),
            promised=each(nan),
            costs=each(nan),
            multipliers=jnp.zeros((count, alone.model.steps, m)),
            weight=nan,
            limits=space,
            apart=jnp.zeros(()),
            near=jnp.ones(()),
        )

    @property
    def alone(self) -> LocalImprovement:
        """A controller by itself."""
        own = self.settings.local
        return LocalImprovement(own, self.objective, self.circles, self.angles)

    def reset(self, learner: Taught, *, key: PRNGKeyArray) -> Walk:
        """Nothing was seen."""
        none = jnp.zeros((), jnp.int32)
        size = learner.plans.policy.x.shape[2]
        return Walk(none, jnp.zeros(size), none)

    def act(
        self,
        learner: Taught,
        carry: Walk,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, Walk, None]:
        """The policy's mean or a draw; exploring under BADMM, the controller's."""
        x = self.alone.coordinates(obs.shape[0]).onward(obs, carry.x)
        nearest = jnp.argmin(distances(learner.starts, obs)).astype(jnp.int32)
        whose = jnp.where(carry.time == 0, nearest, carry.whose)
        if mode == "explore" and self.settings.method == "badmm":
            own = jax.tree.map(lambda leaf: leaf[whose], learner.plans.policy)
            action, _ = own.act(Readout(x, time=carry.time), key=key, mode=mode)
            action = learner.limits.clip(action)
        else:
            seen = Readout((obs - learner.shift) / learner.scale)
            action, _ = learner.policy.act(seen, key=key, mode=mode)
        return action, Walk(carry.time + 1, x, whose), None

    def update(
        self, learner: Taught, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Taught, Metrics]:
        """Improve each controller on what was seen from its start, then the policy.

        Raises:
            ValueError: The memory is too small to hold that.
        """
        it = self.settings
        number, steps = it.conditions * it.local.rollouts, learner.multipliers.shape[1]
        seen = newest(memory, number, steps)
        return _learned(self, learner, *seen, key)

    def broken(self, learner: Taught) -> str | None:
        """What went wrong: numbers that are none, or starts that are not as asked."""
        count = self.settings.conditions
        if float(learner.near) < 1e-6:
            return (
                f"{count} starts of which two are one; set conditions to as many as "
                "the environment begins in"
            )
        if float(learner.apart) > 0.1:
            return (
                f"more starts than {count}, around which no {count} trajectories lie; "
                "let episodes begin in that many places in turn "
                "(forethought.environments.starts.Starts)"
            )
        if not bool(jnp.all(jnp.isfinite(learner.plans.policy.k))):
            return "a controller that is not finite"
        return None

    def examined(self, learner: Taught) -> None:
        """Its models hold around single trajectories, in coordinates of their own."""

    def watch(self, carry: Walk) -> Metrics:
        """Nothing is told of an action."""
        return {}


@eqx.filter_jit
def _learned(
    agent: Guided,
    learner: Taught,
    obs: Float[Array, "rollout look observation"],
    action: Array,
    valid: Array,
    key: PRNGKeyArray,
) -> tuple[Taught, Metrics]:
    it = agent.settings
    count, each = it.conditions, it.local.rollouts
    known = jnp.all(jnp.isfinite(learner.starts))
    starts, *parts = by_start(learner.starts, obs, action, valid, count, each)
    obs, action, valid = parts
    shift, scale = scales(obs, valid)
    learner = dataclasses.replace(
        learner,
        starts=starts,
        shift=jnp.where(known, learner.shift, shift),
        scale=jnp.where(known, learner.scale, scale),
        near=nearest_two(starts),
    )
    coordinates = agent.alone.coordinates(obs.shape[-1])
    origin = jnp.zeros(coordinates.size, obs.dtype)
    along = jax.vmap(jax.vmap(coordinates.along, (0, None)), (0, None))
    seen = jax.vmap(Rollouts)(along(obs, origin), action, valid)

    looks = everywhere(lambda o: (o - learner.shift) / learner.scale, obs[:, :, :-1])

    def means(policy: GaussianPolicy) -> Array:
        return everywhere(lambda look: mean_action(policy, look), looks)

    spread = jnp.diag(deviations(learner.policy) ** 2)
    keys = jax.random.split(key, count + 1)
    judge = agent.alone.wanted(obs.shape[-1])
    steps = action.shape[2]

    def problem_in(model: Local) -> Problem:
        return Problem(model, judge, learner.limits)

    costs = jax.vmap(lambda m, s: cost_of(problem_in(m), s))(learner.models, seen)
    usual = it.weight * jnp.mean(jnp.abs(costs)) / steps
    weight = jnp.where(jnp.isnan(learner.weight), usual, it.ramp * learner.weight)

    def improved(plan, model, seen, meant, promised, before, cost, multipliers, key):
        fit_key, line_key, key = jax.random.split(key, 3)
        model, _ = model.fit(seen, key=fit_key)
        problem = problem_in(model)
        wider = adapted(plan.scale, promised, before - cost)
        first = jnp.isnan(promised) | (not it.local.adaptive)
        scale = jnp.where(first, plan.scale, wider)
        line = linearised(
            *(seen.obs[:, :-1], meant, seen.valid, spread, it.local.model),
            key=line_key,
        )
        old = kept(line, plan.policy) if it.method == "mirror" else plan.policy
        state = ILQGState(old, scale, plan.price)
        pull = None if it.method == "mirror" else (line, multipliers, weight)
        found = bounded(
            problem, state, it.local.bound, pull, sweeps=it.local.sweeps, key=key
        )
        good = found.result == Result.successful
        price = jnp.where(good, found.price, plan.price)
        policy = explored(kept(found.policy, old), learner.limits, it.local.floor)
        promised = jnp.where(good, found.predicted, jnp.nan)
        plan = ILQGState(policy, scale, price)
        return plan, model, promised, found.kl, apart_of(seen), ~good

    parts = (learner.plans, learner.models, seen, means(learner.policy))
    parts += (learner.promised,)
    parts += (learner.costs, costs, learner.multipliers, keys[:count])
    plans, models, promised, kl, apart, failed = jax.vmap(improved)(*parts)
    multipliers = learner.multipliers
    pushed = multipliers / jnp.where(weight > 0, weight, jnp.ones_like(weight))
    x = seen.obs[:, :, :-1]
    policy, told = taught(
        learner.policy,
        plans.policy,
        *(x, looks, valid, pushed),
        it.imitation,
        key=keys[count],
    )
    if it.method == "badmm":
        gap = jnp.mean(means(policy) - answers(plans.policy, x), axis=1)
        multipliers = multipliers + it.dual * weight * gap
    after = dataclasses.replace(
        learner,
        policy=policy,
        plans=plans,
        models=models,
        promised=promised,
        costs=costs,
        multipliers=multipliers,
        weight=weight,
        apart=jnp.max(apart),
    )
    metrics = {
        "cost": jnp.mean(costs),
        "worst_cost": jnp.max(costs),
        "promised": jnp.mean(promised),
        "kl": jnp.mean(kl),
        "bound": it.local.bound * steps * jnp.mean(plans.scale),
        "improvement_failed": jnp.mean(failed.astype(obs.dtype)),
        "spread": jnp.exp(jnp.mean(policy.log_std)),
    }
    return after, metrics | told
