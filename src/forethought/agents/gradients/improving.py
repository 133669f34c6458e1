"""An agent that acts by a policy, which it improves in a model of what it saw.

| | what it learns from | how often it improves |
|---|---|---|
| model-based RL v0 | what a base policy visits | once |
| model-based RL v1 | that, and what its own policies visit | after each episode |
"""

import dataclasses
import math
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Duty, Metrics
from forethought.agents.gradients.backprop import (
    Improvement,
    improve,
    require_vectors,
)
from forethought.agents.gradients.terminal import Value
from forethought.agents.planning.model_based import refitted, rows_of
from forethought.core.gaussian import Gaussian
from forethought.core.given.settings import Count, Nonnegative
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.spaces import Box, Space
from forethought.core.types import Action, Mode
from forethought.data.memory import Memory
from forethought.environments.base import AbstractSystem, EnvironmentSpec
from forethought.models.known import Known
from forethought.models.learned.mlp import MLP
from forethought.models.learned.recipes import AbstractRecipe
from forethought.models.learned.rows import Rows
from forethought.models.learned.transforms import Transform
from forethought.planners.around.following import Following
from forethought.policies.base import AbstractPolicy
from forethought.policies.follow import Sampled
from forethought.policies.looking import Looking
from forethought.policies.mlp import MLPPolicy
from forethought.policies.shaken import Shaken
from forethought.problem import Problem, Rollout, imagine

LEARN = Duty("policy")
"""To refit the model and improve the policy after each episode."""
ROUNDS, UPDATES, FUTURES, FAR = 80, 25, 16, 200
"""Of improving in the exact model: how often, by how many updates each time, and in
states of how many imagined episodes of what length it begins."""


class View(eqx.Module):
    """What networks of an agent are shown of a readout: scaled numbers.

    Args:
        transform: Its statistics are those of what was seen before the first
            improvement, and never change: what is learned later fits them.
        observe: From what a model reads out to what is observed; None where it is that.
    """

    transform: Transform
    observe: Callable[[PyTree], Array] | None = None

    def __call__(self, x: PyTree) -> Array:
        """The features; of a distribution, those of its mean."""
        if self.observe is not None:
            x = self.observe(x)
        return self.transform.features(x.mean if isinstance(x, Gaussian) else x)


class Practice(eqx.Module):
    """What such an agent has learned."""

    problem: Problem
    """The model as it was fitted last, and what is wanted."""
    policy: Looking
    value: Value | None
    """Of what lies beyond the horizon, where that is learned."""
    improved: Int[Array, ""]
    """How often the policy was improved."""


class Improving(AbstractAgent[Practice, None]):
    """Acts by a policy, and improves it by gradients through a fitted model.

    Args:
        recipe: How the model begins.
        objective: What is wanted, of what the model reads out.
        improvement: How the policy is improved.
        width: Units of each hidden layer of the policy.
        depth: How many hidden layers it has.
        noise: Standard deviation of the noise on its actions while it explores, in
            half widths of the action box.
        once: Whether the policy is improved once, and the model fitted once.
        base: Who acts before the policy was improved; the policy as it begins if None.
    """

    recipe: AbstractRecipe
    objective: AbstractJudge
    improvement: Improvement
    width: Count = eqx.field(static=True, default=32)
    depth: Count = eqx.field(static=True, default=2)
    noise: Nonnegative = eqx.field(static=True, default=0.0)
    once: bool = eqx.field(static=True, default=False)
    base: AbstractPolicy | None = None

    @property
    def duties(self) -> tuple[Duty, ...]:
        """To refit the model and improve the policy after each episode.

        Where that is done once, all times but the first do nothing.
        """
        return (LEARN,)

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Practice:
        """A policy that knows nothing, in a model that has seen nothing.

        Raises:
            TypeError: Actions are discrete, or the observation is no vector.
        """
        model_key, policy_key = jax.random.split(key)
        box = require_vectors(spec.action)
        model = self.recipe.begin(spec, key=model_key)
        problem = Problem(model, self.objective, box, model.cloud)
        return self._beginning(problem, self.recipe.transform(spec), policy_key)

    def reset(self, learner: Practice, *, key: PRNGKeyArray) -> None:
        """Nothing is carried."""

    def act(
        self,
        learner: Practice,
        carry: None,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, None, None]:
        """What the policy does, shaken by noise to explore."""
        space, seen, policy = learner.problem.action, Readout(obs), learner.policy
        action = self._do(policy, seen, space, mode, self.noise, key)
        if self.base is not None:
            other = self._do(self.base, seen, space, mode, 0.0, key)
            action = jnp.where(learner.improved > 0, action, other)
        return action, None, None

    @eqx.filter_jit
    def update(
        self, learner: Practice, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Practice, Metrics]:
        """Refit the model to all that was seen, and improve the policy in it."""
        moving, fixed = eqx.partition(learner, eqx.is_array)

        def learn(moving: PyTree) -> tuple[PyTree, Metrics]:
            after, told = self._learn(eqx.combine(moving, fixed), memory, key)
            return eqx.filter(after, eqx.is_array), told

        if not self.once:
            moving, told = learn(moving)
            return eqx.combine(moving, fixed), told
        blank = jax.tree.map(_nothing, jax.eval_shape(learn, moving)[1])
        moving, told = jax.lax.cond(
            learner.improved > 0, lambda moving: (moving, blank), learn, moving
        )
        return eqx.combine(moving, fixed), told

    def informed(
        self, problem: Problem, *, seconds: float = math.inf, key: PRNGKeyArray
    ) -> tuple["Improving", Practice] | None:
        """Itself, its policy improved in the true dynamics.

        Futures begin in states that the policy visits in imagination.

        Raises:
            TimeoutError: By the time that one of its rounds took, all of them would
                take longer than they may.
        """
        if not isinstance(problem.model, Known):
            return None
        begin_key, key = jax.random.split(key)
        practising = dataclasses.replace(
            self, improvement=dataclasses.replace(self.improvement, updates=UPDATES)
        )
        learner = _knowing(self, problem.model.system, problem, begin_key)
        laps: list[float] = []
        for round_key in jax.random.split(key, ROUNDS):
            began = time.perf_counter()
            learner = jax.block_until_ready(_round(practising, learner, round_key))
            laps.append(time.perf_counter() - began)
            # The first one compiles.
            if min(laps) * ROUNDS > seconds and (len(laps) > 1 or laps[0] > seconds):
                raise TimeoutError(
                    f"Improving a policy in the exact dynamics would take "
                    f"{min(laps) * ROUNDS:.0f} s, longer than the {seconds:.0f} s "
                    "that are spent on it."
                )
        # What is acted in shows observations, and no states.
        shown = _viewed(learner, View(learner.policy.view.transform))
        return dataclasses.replace(self, base=None), shown

    def examined(self, learner: Practice) -> tuple[Problem, Following]:
        """What it imagines in, and its policy as the one who plans."""
        return learner.problem, Following(
            policy=learner.policy, horizon=self.improvement.horizon
        )

    def watch(self, carry: None) -> Metrics:
        """Nothing is told of an action."""
        return {}

    def _do(
        self,
        policy: AbstractPolicy,
        seen: Readout,
        space: Space,
        mode: Mode,
        noise: float,
        key: PRNGKeyArray,
    ) -> Action:
        """An action within its limits."""
        if noise and isinstance(space, Box):
            half = space.centre_and_scale(seen.x.dtype)[1]
            policy = Shaken(policy, noise * half)
        return Sampled(mode).act(policy, seen, space, key=key)[0]

    def _beginning(
        self, problem: Problem, transform: Transform, key: PRNGKeyArray
    ) -> Practice:
        """What is known before anything was learned."""
        policy_key, value_key = jax.random.split(key)
        inputs, box = transform.features_shape, require_vectors(problem.action)
        sizes, view = (self.width, self.depth), View(transform)
        policy, value = MLPPolicy(inputs, box, *sizes, key=policy_key), None
        if self.improvement.terminal:
            net = MLP(inputs, 1, *sizes, probabilistic=False, key=value_key)
            value = Value(net, view, jnp.zeros(()))
        none = jnp.zeros((), jnp.int32)
        return Practice(problem, Looking(policy, view), value, none)

    def _learn(
        self, learner: Practice, memory: Memory, key: PRNGKeyArray
    ) -> tuple[Practice, Metrics]:
        fit_key, key = jax.random.split(key)
        problem, told = refitted(learner.problem, memory, key=fit_key)
        rows, model = rows_of(memory), problem.model
        learner = dataclasses.replace(learner, problem=problem)
        learner = _scaled(learner, rows)

        def start(key: PRNGKeyArray) -> PyTree:
            row_key, init_key, see_key = jax.random.split(key, 3)
            row = memory.sample(1, key=row_key)
            belief = model.init(key=init_key)
            return model.observe(belief, row.obs[0], key=see_key)

        learner, improved = self._improve(learner, start, key)
        return learner, told | improved

    def _improve(
        self,
        learner: Practice,
        start: Callable[[PRNGKeyArray], PyTree],
        key: PRNGKeyArray,
    ) -> tuple[Practice, Metrics]:
        policy, value, told = improve(
            learner.problem,
            learner.policy,
            start,
            self.improvement,
            value=learner.value,
            key=key,
        )
        return Practice(learner.problem, policy, value, learner.improved + 1), told


def _scaled(learner: Practice, rows: Rows) -> Practice:
    """With views of the scale of these rows, unless something was improved before."""
    view = learner.policy.view
    fitted = view.transform.fit(
        rows.obs, rows.action, rows.next_obs, rows.reward, rows.valid
    )
    transform = jax.tree.map(
        lambda new, old: jnp.where(learner.improved > 0, old, new),
        fitted,
        view.transform,
    )
    return _viewed(learner, View(transform, view.observe))


def _viewed(learner: Practice, view: View) -> Practice:
    """With another view of what networks are shown."""
    policy = Looking(learner.policy.policy, view)
    value = learner.value
    if value is not None:
        value = Value(value.network, view, value.scale)
    return Practice(learner.problem, policy, value, learner.improved)


def _knowing(
    agent: Improving, system: AbstractSystem, problem: Problem, key: PRNGKeyArray
) -> Practice:
    """What is known of a system that is known, before its policy was improved."""
    obs = system.observe(system.start(key=key))
    sizes = obs.shape[0], problem.action.shape[0]
    transform = Transform(*sizes, angles=agent.recipe.angles)
    learner = agent._beginning(problem, transform, key)
    return _viewed(learner, View(transform, system.observe))


@eqx.filter_jit
def _round(agent: Improving, learner: Practice, key: PRNGKeyArray) -> Practice:
    """One of several improvements, beginning in states that the policy visits."""
    problem, (visit_key, key) = learner.problem, jax.random.split(key)

    def future(key: PRNGKeyArray) -> Rollout:
        init_key, key = jax.random.split(key)
        belief = problem.model.init(key=init_key)
        how = Sampled("exploit")
        return imagine(problem, learner.policy, belief, FAR, follow=how, key=key)

    futures = jax.vmap(future)(jax.random.split(visit_key, FUTURES))
    observe = learner.policy.view.observe

    def rows_in(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: jax.lax.collapse(leaf, 0, 2), tree)

    beliefs = rows_in(jax.tree.map(lambda leaf: leaf[:, :-1], futures.beliefs))
    after = rows_in(jax.tree.map(lambda leaf: leaf[:, 1:], futures.beliefs))
    actions, rewards = rows_in((futures.actions, futures.rewards))
    obs, next_obs = jax.vmap(observe)(beliefs), jax.vmap(observe)(after)
    fine = jnp.all(jnp.isfinite(obs), 1) & jnp.all(jnp.isfinite(next_obs), 1)
    rows = Rows(obs, actions, rewards, next_obs, jnp.zeros_like(fine), fine)

    def start(key: PRNGKeyArray) -> PyTree:
        place = jax.random.choice(key, fine.shape[0], p=fine / jnp.sum(fine))
        return jax.tree.map(lambda leaf: leaf[place], beliefs)

    return agent._improve(_scaled(learner, rows), start, key)[0]


def _nothing(leaf: jax.ShapeDtypeStruct) -> Array:
    """What is told where nothing was done: NaN, or 0 of what is counted."""
    real = jnp.issubdtype(leaf.dtype, jnp.floating)
    return jnp.full(leaf.shape, jnp.nan if real else 0, leaf.dtype)
