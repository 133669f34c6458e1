"""An agent that plans in a model, and refits the model to what it saw.

What the literature gives names to are settings of it:

| name | recipe | planner |
|---|---|---|
| model-based RL v2 (Nagabandi et al., 2018) | one deterministic network | any |
| PETS (Chua et al., 2018) | a bootstrap ensemble of Gaussians | CEM, particles |
"""

import dataclasses
import math
from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray

from forethought.agents.base import Brief, Duty, Metrics
from forethought.agents.planning.acting import AbstractPlanning
from forethought.core.given.settings import Count
from forethought.core.readout import AbstractJudge
from forethought.data.memory import Memory
from forethought.environments.base import EnvironmentSpec
from forethought.models.base import AbstractLearned
from forethought.models.learned.recipes import AbstractRecipe
from forethought.models.learned.rows import Rows
from forethought.objectives.learned import Learned
from forethought.planners.base import AbstractPlanner
from forethought.planners.mpc import MPC
from forethought.problem import Problem

FIT = Duty("model")
"""To refit the model after each episode."""
DRAWS = 16
"""How often is drawn what a model expects of a step."""


class ModelBased(AbstractPlanning):
    """Plans in its model at every step, and refits the model to what it saw.

    Args:
        recipe: How the model begins.
        objective: What is wanted, of what the model reads out.
        planner: Who plans.
        replan_every: Steps from one plan to the next.

    References:
        Chua, Calandra, McAllister and Levine, Deep reinforcement learning in a handful
        of trials using probabilistic dynamics models, 2018, algorithm 1.
    """

    recipe: AbstractRecipe
    objective: AbstractJudge
    planner: AbstractPlanner
    replan_every: Count = eqx.field(static=True, default=1)

    @property
    def duties(self) -> tuple[Duty, ...]:
        """To refit the model after each episode."""
        return (FIT,)

    @property
    def controller(self) -> MPC:
        """The planner at work."""
        return MPC(self.planner, self.replan_every)

    @property
    def shaken(self) -> float:
        """Not at all: uncertainty explores by itself."""
        return 0.0

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Problem:
        """The problem as it looks before anything was seen."""
        model = self.recipe.begin(spec, key=key)
        return Problem(model, self.objective, spec.action, model.cloud)

    def informed(
        self, problem: Problem, *, seconds: float = math.inf, key: PRNGKeyArray
    ) -> tuple["ModelBased", Problem]:
        """Itself, planning in the true dynamics.

        Where these are deterministic one particle is as good as many.
        """
        fields = {field.name for field in dataclasses.fields(self.planner)}
        single = "particles" in fields and deterministic(problem, key=key)
        planner = dataclasses.replace(
            self.planner, **({"particles": 1} if single else {})
        )
        return dataclasses.replace(self, planner=planner), problem

    def examined(self, learner: Problem) -> tuple[Problem, AbstractPlanner]:
        """What it plans in, and by whom."""
        return learner, self.planner

    def update(
        self, learner: Problem, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Problem, Metrics]:
        """Refit the model to all that was seen."""
        return refitted(learner, memory, key=key)


def rows_of(memory: Memory) -> Rows:
    """All that was seen, as models are fitted to it."""
    seen, valid = memory.everything()
    return Rows(
        seen.obs, seen.action, seen.reward, seen.next_obs, seen.terminated, valid
    )


def refitted(
    problem: Problem, memory: Memory, *, key: PRNGKeyArray
) -> tuple[Problem, Metrics]:
    """A problem whose model is fitted to all that was seen, and what the fit told."""
    model, metrics = cast(AbstractLearned, problem.model).fit(rows_of(memory), key=key)
    return eqx.tree_at(lambda problem: problem.model, problem, model), metrics


def unseen_error(
    problem: Problem, memory: Memory, *, key: PRNGKeyArray
) -> Float[Array, ""]:
    r"""How far off a model is on the steps since its last fit, one step ahead.

    $$\sqrt{\overline{\big((\hat o' - o') / s\big)^2}}$$

    over these steps and all dimensions. Near one, it would do as well to say that
    things change as they do on average; far above one, the agent came to where its
    model is wrong, and whoever practises in it learns what is not so. That a policy
    leads there is to be seen before the fit that mends it.

    **Notation.** $\hat o'$ the mean of what the model draws, $s$ the standard deviation
    of what one step changes, in all steps before.

    Args:
        problem: Its model was fitted to what came before.
        memory: What was seen, the steps since then among it.
        key: Draws what the model predicts.
    """
    seen, valid = memory.everything()
    new = memory.newest()
    count = jnp.sum(valid) - new.reward.shape[0]
    old = (jnp.arange(valid.shape[0]) < count)[:, None]
    spread = jnp.std(seen.next_obs - seen.obs, axis=0, where=old)
    spread = jnp.where(spread > 0, spread, jnp.ones_like(spread))
    model = cast(AbstractLearned, problem.model)
    prior = model.init(key=key)

    def expected(obs: Array, action: Array, keys: Key[Array, " draw"]) -> Array:
        belief = model.observe(prior, obs, key=keys[0])
        drawn = jax.vmap(lambda key: model.predict(belief, action, key=key))(keys)
        return jnp.mean(jax.vmap(model.expect)(drawn)[0], axis=0)

    keys = jax.random.split(key, (new.reward.shape[0], DRAWS))
    error = jax.vmap(expected)(new.obs, new.action, keys) - new.next_obs
    return jnp.sqrt(jnp.mean((error / spread[None]) ** 2))


def with_brief(
    model: AbstractRecipe, planner: AbstractPlanner, known_reward: bool, brief: Brief
) -> ModelBased:
    """An agent that learns only what a task does not tell.

    Args:
        model: As `briefed` takes it.
        planner: Who plans.
        known_reward: As `briefed` takes it.
        brief: What the task tells.
    """
    return ModelBased(*briefed(model, known_reward, brief), planner)


def briefed(
    model: AbstractRecipe, known_reward: bool, brief: Brief
) -> tuple[AbstractRecipe, AbstractJudge]:
    """A recipe for all that a task does not tell, and what is wanted.

    Args:
        model: How the model begins, as far as its settings say.
        known_reward: Whether the task's own reward and end are used where it tells
            them.
        brief: What the task tells.
    """
    objective = brief.objective if known_reward else None
    recipe = dataclasses.replace(
        model,
        circles=model.circles or brief.circles,
        angles=model.angles or brief.angles,
        reward=model.reward or objective is None,
        termination=model.termination if objective is None else "none",
    )
    return recipe, Learned() if objective is None else objective


def deterministic(problem: Problem, *, key: PRNGKeyArray) -> bool:
    """Whether a step of the model comes out the same whatever is drawn."""
    first, second = jax.random.split(key)
    belief = problem.model.init(key=first)
    action = problem.action.sample(key=first)
    return bool(
        eqx.tree_equal(
            problem.model.predict(belief, action, key=first),
            problem.model.predict(belief, action, key=second),
        )
    )
