r"""PILCO: a policy that is improved by gradients of what a model foresees of it.

After each episode the model is refitted, and the parameters of a policy are searched
for that cost least in an imagined episode from where episodes begin:

$$J(\theta) = \mathbb E \sum_t c(x_t), \qquad x_0 \sim \mathcal N(m_0, S_0)$$

| a model whose belief is | is followed by | known as |
|---|---|---|
| a Gaussian (`gp-moments`) | moments of state and action, nothing drawn | PILCO |
| a sample's (`gp`) | particles, each with its function | the same, Monte Carlo |
| a sample's (`ensemble`, `bayesian`) | particles, each with its network | deep PILCO |

What particles meet by chance is the same for all parameters (common random numbers), so
that the cost is a smooth function of them either way.
"""

import dataclasses
import math
from typing import Any, Generic, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from forethought.agents.base import AbstractAgent, Brief, Duty, Metrics
from forethought.agents.gradients.backprop import require_vectors
from forethought.agents.gradients.descents import descend
from forethought.agents.gradients.parameters import FRESH, Basis, Line
from forethought.agents.gradients.starts import (
    beginnings,
    bucket,
    first_seen,
    warn_if_wide,
)
from forethought.agents.planning.model_based import briefed, rows_of
from forethought.agents.planning.mpc import Planning
from forethought.core.gaussian import Gaussian
from forethought.core.given.settings import (
    Count,
    Factor,
    Finite,
    Positive,
    Steps,
    Whole,
    check_ranges,
)
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.types import Action, Mode
from forethought.data.memory import Memory
from forethought.environments.base import EnvironmentSpec
from forethought.models.gp.matched import MomentMatching
from forethought.models.gp.recipe import MomentMatchingRecipe
from forethought.models.gp.sampled import GaussianProcess
from forethought.models.learned.recipes import AbstractRecipe
from forethought.models.learned.rows import Rows
from forethought.objectives.expected import expected
from forethought.objectives.saturating import widened
from forethought.planners import CEM, MPC
from forethought.planners.around.following import Following
from forethought.policies.base import AbstractResponsive
from forethought.policies.follow import Moments, Sampled
from forethought.policies.squashed import Squashed
from forethought.problem import Problem, imagine

M = TypeVar("M", bound=AbstractRecipe)
POLICY = Duty("policy")
"""To refit the model after each episode, and search for the policy anew."""


@dataclasses.dataclass(frozen=True)
class PILCO(Generic[M]):
    """A policy improved by gradients through a model's imagination.

    Args:
        model: What is learned of the dynamics. One whose belief is a Gaussian is
            followed by moments, any other by particles.
        policy: Radial basis functions, or an affine function of the state.
        basis: How many of these functions there are.
        horizon: Steps of an imagined episode.
        fresh: How many policies are begun anew at each search, besides the one that is
            at work, which begins twice.
        amplitudes: Spreads of what fresh ones do before squashing, taken in turn.
        widening: How much wider a saturating cost is that all go down first but the
            policy at work, the second time.
        short: Evaluations of the imagined cost by which each of them is tried.
        iterations: Evaluations with which the best goes on.
        patience: After so many searches that gained nothing, the best of the fresh ones
            goes on in the place of the policy at work, unless it is far behind; never
            if 0.
        particles: How many are followed, where any are.
        known_reward: As for PETS.

    References:
        Deisenroth and Rasmussen, PILCO: a model-based and data-efficient approach to
        policy search, 2011. With particles: Amadio et al., 2022, arXiv:2101.12115.
    """

    model: M = MomentMatchingRecipe(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        points=320
    )
    policy: Literal["radial", "affine"] = "radial"
    basis: Count = 30
    horizon: Steps = 40
    fresh: Whole = 3
    amplitudes: tuple[Positive, ...] = (0.3, 1.0)
    widening: Factor = 2.5
    short: Count = 30
    iterations: Count = 100
    patience: Whole = 2
    particles: Count = 100
    known_reward: bool = True

    def __post_init__(self):
        """Check what can be checked alone."""
        check_ranges(self)
        if not self.amplitudes:
            raise ValueError("PILCO needs an amplitude at least, got none.")

    def make(self, brief: Brief) -> "PolicySearch":
        """The agent, for a task that tells so much beforehand."""
        recipe, objective = briefed(self.model, self.known_reward, brief)
        if brief.start is not None:
            warn_if_wide(brief.start[1], recipe.angles)
        return PolicySearch(self, recipe, objective, brief.start)


class Searched(eqx.Module):
    """What is known of the dynamics, and the policy that suits it best."""

    problem: Problem
    parameters: Basis | Line
    policy: AbstractResponsive
    value: Scalar
    """The return that is foreseen of it."""
    stale: Array
    """Searches since one gained something; negative before the first."""


class PolicySearch(AbstractAgent[Searched, Array]):
    """Searches for a policy in what its model foresees.

    Args:
        settings: How.
        recipe: How the model begins.
        objective: What is wanted, of what the model reads out.
        start: Mean and standard deviation of what is observed first; seen from the
            starts of episodes if it is not told.
    """

    settings: PILCO = eqx.field(static=True)
    recipe: AbstractRecipe
    objective: AbstractJudge
    start: tuple[tuple[Finite, ...], tuple[Finite, ...]] | None = eqx.field(static=True)

    @property
    def duties(self) -> tuple[Duty, ...]:
        """To refit and to search after each episode."""
        return (POLICY,)

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Searched:
        """A model that has seen nothing, and any policy.

        Raises:
            TypeError: Actions are discrete.
            ValueError: Gaussians go through the model, and numbers have 32 bits.
        """
        box = require_vectors(spec.action)
        model_key, draw_key = jax.random.split(key)
        model = self.recipe.begin(spec, key=model_key)
        problem = Problem(model, self.objective, spec.action, model.cloud)
        if _by_moments(problem):
            if jnp.finfo(jnp.result_type(float)).bits != 64:
                raise ValueError(
                    "PILCO by moments needs numbers of 64 bits, in which differences "
                    "of large numbers keep their digits, got 32; give --precision 64, "
                    'or in Python jax.config.update("jax_enable_x64", True).'
                )
            judge = expected(problem.objective)
            problem = eqx.tree_at(lambda each: each.objective, problem, judge)
        rows = jnp.zeros((self.settings.basis, *spec.observation.shape))
        nothing = jnp.zeros((), rows.dtype)
        angles, draw = self.recipe.angles, FRESH[self.settings.policy]
        first = draw(rows, nothing + 1, box.shape[0], angles, key=draw_key)
        inner = first.policy(angles)
        policy = Squashed(inner, box) if box.bounded else inner
        return Searched(problem, first, policy, nothing, jnp.asarray(-1, jnp.int32))

    def reset(self, learner: Searched, *, key: PRNGKeyArray) -> Scalar:
        """Nothing is carried but the return that was foreseen."""
        return learner.value

    def act(
        self,
        learner: Searched,
        carry: Scalar,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, Scalar, None]:
        """What the policy does.

        Exploring and exploiting are the same: what the model does not know explores.
        """
        action, _ = learner.policy.act(Readout(obs), key=key, mode="exploit")
        # The episode may have begun before this policy was found.
        return action, learner.value, None

    def update(
        self, learner: Searched, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Searched, Metrics]:
        """Refit the model to all that was seen, and search for a policy in it."""
        fit_key, search_key = jax.random.split(key)
        rows, begins = rows_of(memory), beginnings(memory)
        count, most = jnp.sum(rows.valid), rows.valid.shape[0]
        model: Any = learner.problem.model
        held = isinstance(model, MomentMatching | GaussianProcess)
        room = model.processes.points.shape[0] if held else 0
        # Where it is known how many there are, no more are looked at.
        size = most if isinstance(count, Tracer) else bucket(int(count), room, most)
        rows, begins = jax.tree.map(lambda leaf: leaf[:size], (rows, begins))
        model, told = model.fit(rows, key=fit_key)
        small = model.narrowed(min(size, room)) if held else model
        problem = eqx.tree_at(lambda each: each.model, learner.problem, small)
        learner, found = _search(self, learner, problem, rows, begins, search_key)
        learner = eqx.tree_at(lambda each: each.problem.model, learner, model)
        return learner, told | found

    def informed(
        self, problem: Problem, *, seconds: float = math.inf, key: PRNGKeyArray
    ) -> tuple[AbstractAgent, PyTree]:
        """One who plans at every step by CEM, in place of a policy that is searched."""
        horizon = min(self.settings.horizon, 25)
        planner = CEM(horizon, population=150, elites=15, iterations=5)
        return Planning(problem, MPC(planner)), problem

    def examined(self, learner: Searched) -> tuple[Problem, Following] | None:
        """What it imagines with, and its policy as the one who plans.

        Not where Gaussians go through it: thousands of them would take minutes.
        """
        if _by_moments(learner.problem):
            return None
        horizon = self.settings.horizon
        return learner.problem, Following(policy=learner.policy, horizon=horizon)

    def watch(self, carry: Array) -> Metrics:
        """`plan_value` is the return that was foreseen of the policy at work."""
        return {"plan_value": carry, "plan_failed": jnp.zeros_like(carry, bool)}

    def foreseen(
        self,
        problem: Problem,
        policy: AbstractResponsive,
        start: Gaussian,
        *,
        key: PRNGKeyArray,
    ) -> Scalar:
        """The return of an imagined episode.

        Args:
            problem: Model and objective.
            policy: Who acts.
            start: What is observed first.
            key: Whatever is drawn is drawn from it.
        """
        horizon = self.settings.horizon
        if _by_moments(problem):
            how = Moments("exploit")
            return imagine(problem, policy, start, horizon, follow=how, key=key).value
        model, how = problem.model, Sampled("exploit")
        count = problem.cloud.enough(model, self.settings.particles)
        belief_key, key = jax.random.split(key)
        belief = model.init(key=belief_key)
        cloud = problem.cloud.spread(model, belief, count, key=belief_key)

        def one(belief: PyTree, key: PRNGKeyArray) -> Scalar:
            start_key, look_key, key = jax.random.split(key, 3)
            belief = model.observe(belief, start.sample(key=start_key), key=look_key)
            return imagine(problem, policy, belief, horizon, follow=how, key=key).value

        return jnp.mean(jax.vmap(one)(cloud, jax.random.split(key, count)))

    def dressed(
        self, parameters: Basis | Line, like: AbstractResponsive
    ) -> AbstractResponsive:
        """The policy of some parameters, within the limits of another one."""
        inner = parameters.policy(self.recipe.angles)
        return like.around(inner) if isinstance(like, Squashed) else inner


@eqx.filter_jit
def _search(
    agent: PolicySearch,
    learner: Searched,
    problem: Problem,
    rows: Rows,
    begins: Array,
    key: PRNGKeyArray,
) -> tuple[Searched, Metrics]:
    """The best policy that descents from several places lead to."""
    it = agent.settings
    pick_key, draw_key, imagine_key = jax.random.split(key, 3)
    start = first_seen(agent.start, rows, begins)
    previous, restore = ravel_pytree(learner.parameters)
    dtype, sides = start.mean.dtype, rows.action.shape[1]
    share, count = rows.valid.astype(dtype), it.fresh + 2
    amplitudes = jnp.resize(jnp.asarray(it.amplitudes, dtype), (count,))

    def draw(amplitude: Array, i: Array) -> Array:
        pick, key = (jax.random.fold_in(each, i) for each in (pick_key, draw_key))
        at = jax.random.choice(pick, len(share), (it.basis,), p=share)
        angles, obs = agent.recipe.angles, rows.obs[at]
        drawn = FRESH[it.policy](obs, amplitude, sides, angles, key=key)
        return ravel_pytree(drawn)[0]

    drawn = jax.vmap(draw)(amplitudes, jnp.arange(count))
    first = learner.stale < 0
    # The policy at work begins twice: from the wider cost on, as fresh ones do, too.
    starts = drawn.at[-2:].set(jnp.where(first, drawn[-2:], previous[None]))
    at = jnp.arange(count)
    old = at >= count - 2
    tired = (it.patience > 0) & (learner.stale >= it.patience)

    def cost(x: Array, factor: Scalar) -> Scalar:
        policy = agent.dressed(restore(x), learner.policy)
        judge = widened(problem.objective, factor)
        there = eqx.tree_at(lambda each: each.objective, problem, judge)
        return -agent.foreseen(there, policy, start, key=imagine_key)

    found = descend(
        cost,
        starts,
        fresh=(at < count - 1) | first,
        barred=old & ~first & tired,
        widening=it.widening,
        short=it.short,
        long=it.iterations,
    )
    fine = jnp.isfinite(found.cost)
    gained = -found.cost > learner.value + 0.05 * jnp.abs(learner.value)
    stale = jnp.where(first | gained | tired, 0, learner.stale + 1)
    parameters = restore(jnp.where(fine, found.x, previous))
    after = Searched(
        problem=learner.problem,
        parameters=parameters,
        policy=agent.dressed(parameters, learner.policy),
        value=jnp.where(fine, -found.cost, learner.value),
        stale=jnp.where(fine, stale.astype(jnp.int32), learner.stale),
    )
    return after, {
        "foreseen": after.value,
        "search_failed": (~fine).astype(dtype),
        "starts_failed": jnp.sum(~jnp.isfinite(found.costs)).astype(dtype),
        "previous_kept": (jnp.argmin(found.costs) >= count - 2).astype(dtype),
        "imagined": found.evaluations.astype(dtype),
    }


def _by_moments(problem: Problem) -> bool:
    """Whether Gaussians go through the model."""
    like = eqx.filter_eval_shape(
        lambda key: problem.model.readout(problem.model.init(key=key)),
        jax.random.key(0),
    )
    return isinstance(like.x, Gaussian)
