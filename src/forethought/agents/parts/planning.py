"""Acting by planning in a model, known or learned: MPC, model-based RL v2, PETS.

One agent, made of three parts: where the model comes from (a `recipe`), what is wanted
(an `objective`), and who plans (a `planner`). What the literature gives names to are
settings of it:

| name | recipe | planner |
|---|---|---|
| model-predictive control | `Given`, a known model | any |
| model-based RL v2 (Nagabandi et al., 2018) | one deterministic network | any |
| PETS (Chua et al., 2018) | a bootstrap ensemble of Gaussians | CEM, particles |
"""

from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Metrics, Mode
from forethought.core.readout import AbstractJudge
from forethought.core.results import Result
from forethought.core.types import Action
from forethought.data.replay import Replay, ReplayState
from forethought.environments.base import EnvironmentSpec
from forethought.models.base import AbstractLearned, AbstractModel
from forethought.models.learned.recipes import AbstractRecipe
from forethought.models.learned.rows import Rows
from forethought.planners.base import AbstractPlanner
from forethought.planners.mpc import MPC, MPCState
from forethought.problem import Plan, Problem


class Given(eqx.Module):
    """A model that is known, in a recipe's place: there is nothing to learn.

    Args:
        model: The model.
    """

    model: AbstractModel


class MPCCarry(eqx.Module):
    """What an episode carries: what is believed, and what was planned."""

    belief: PyTree
    controller: MPCState
    watched: Metrics
    """What `watch` tells: a controller that plans at every step keeps no plan."""


class ModelBased(AbstractAgent[Problem, MPCCarry]):
    """Plans in its model at every step, and refits the model to what it saw.

    Args:
        recipe: Where the model comes from.
        objective: What is wanted, of what the model reads out.
        planner: Who plans.
        replan_every: Steps from one plan to the next.

    References:
        Chua, Calandra, McAllister and Levine, Deep reinforcement learning in a handful
        of trials using probabilistic dynamics models, 2018, algorithm 1.
    """

    recipe: AbstractRecipe | Given
    objective: AbstractJudge
    planner: AbstractPlanner
    replan_every: int = eqx.field(static=True, default=1)

    @property
    def controller(self) -> MPC:
        """The planner at work."""
        return MPC(self.planner, self.replan_every)

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Problem:
        """The problem as it looks before anything was seen."""
        match self.recipe:
            case Given(model=known):
                return Problem(known, self.objective, spec.action)
            case recipe:
                model = recipe.begin(spec, key=key)
                return Problem(model, self.objective, spec.action, model.cloud)

    def reset(self, learner: Problem, *, key: PRNGKeyArray) -> MPCCarry:
        """Believe what the model believes beforehand, and remember no plan."""
        belief = learner.model.init(key=key)
        memory = self.controller.init(learner, belief, key=key)
        _, plan, _ = eqx.filter_eval_shape(
            self.controller.act, learner, belief, memory, key=key
        )
        nothing = {
            name: jnp.zeros(leaf.shape, leaf.dtype)
            for name, leaf in eqx.filter_eval_shape(_told, plan, memory.age).items()
        }
        return MPCCarry(belief, memory, nothing)

    def act(
        self,
        learner: Problem,
        carry: MPCCarry,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, MPCCarry]:
        """Observe, plan, and predict what the action will do.

        Exploring and exploiting are the same: uncertainty explores by itself.
        """
        observe_key, plan_key, predict_key = jax.random.split(key, 3)
        belief = learner.model.observe(carry.belief, obs, key=observe_key)
        action, plan, memory = self.controller.act(
            learner, belief, carry.controller, key=plan_key
        )
        belief = learner.model.predict(belief, action, key=predict_key)
        return action, MPCCarry(belief, memory, _told(plan, memory.age))

    def recall(self, memory: ReplayState, new: int) -> PyTree:
        """Everything."""
        seen, valid = Replay(memory.capacity).ordered(memory)
        return Rows(
            seen.obs, seen.action, seen.reward, seen.next_obs, seen.terminated, valid
        )

    def update(
        self, learner: Problem, batch: PyTree, *, key: PRNGKeyArray
    ) -> tuple[Problem, Metrics]:
        """Refit the model to all data; a known one stays."""
        if isinstance(self.recipe, Given):
            return learner, {}
        model = cast(AbstractLearned, learner.model)
        model, metrics = model.fit(batch, key=key)
        return eqx.tree_at(lambda learner: learner.model, learner, model), metrics

    def examined(self, learner: Problem) -> tuple[Problem, AbstractPlanner] | None:
        """What it plans in and by whom, unless the model was known all along."""
        return None if isinstance(self.recipe, Given) else (learner, self.planner)

    def watch(self, carry: MPCCarry) -> Metrics:
        """What planning came to.

        `plan_value` is the return that the plan in force expected when it was made. A
        plan is counted at the step that made it: in `plan_failed` if its `Result` is
        worse than an iteration limit, and in `non_finite` with as many of its
        candidates as had no finite return, from planners that tell.
        """
        return carry.watched


def _told(plan: Plan, age: Int[Array, ""]) -> Metrics:
    """What there is to tell of a plan that so many actions were taken from."""
    new = age == 1
    usable = (plan.result == Result.successful) | (
        plan.result == Result.iteration_limit
    )
    told = {"plan_value": plan.value, "plan_failed": new & ~usable}
    if "non_finite" in plan.stats:
        count = jnp.sum(plan.stats["non_finite"])
        told["non_finite"] = jnp.where(new, count, jnp.zeros_like(count))
    return told
