"""Acting by a planner at work: what agents that plan have in common."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree, Scalar

from forethought.agents.base import AbstractAgent, Metrics
from forethought.core.results import Result, Stats
from forethought.core.spaces import require_box
from forethought.core.types import Action, Mode, blank
from forethought.planners.mpc import MPC, MPCState
from forethought.problem import Plan, Problem


class Thought(eqx.Module):
    """What the plan in force said when it was made."""

    value: Scalar
    """The return that it expected."""
    result: Result
    """How planning ended."""
    stats: Stats
    """Those of its statistics that are small."""
    new: Bool[Array, ""]
    """Whether it was made at this step."""


class PlanningCarry(eqx.Module):
    """What an episode carries: what is believed, what was planned, what was thought."""

    belief: PyTree
    controller: MPCState
    thought: Thought


class AbstractPlanning(AbstractAgent[Problem, PlanningCarry]):
    """Plans in the problem that it has learned, or always knew."""

    @property
    @abc.abstractmethod
    def controller(self) -> MPC:
        """The planner at work."""

    @property
    @abc.abstractmethod
    def shaken(self) -> float:
        """Standard deviation of the noise on actions while exploring, in half widths.

        Zero where uncertainty explores by itself.
        """

    def reset(self, learner: Problem, *, key: PRNGKeyArray) -> PlanningCarry:
        """Believe what the model believes beforehand, and remember no plan."""
        belief_key, plan_key = jax.random.split(key)
        belief = learner.model.init(key=belief_key)
        return self.believing(learner, belief, key=plan_key)

    def believing(
        self, learner: Problem, belief: PyTree, *, key: PRNGKeyArray
    ) -> PlanningCarry:
        """What is carried by one who believes this, and remembers no plan."""
        memory = self.controller.init(learner, belief, key=key)

        def first(key: PRNGKeyArray) -> Thought:
            _, plan, after = self.controller.act(learner, belief, memory, key=key)
            return _thought(plan, after)

        nothing = blank(eqx.filter_eval_shape(first, key))
        return PlanningCarry(belief, memory, nothing)

    def act(
        self,
        learner: Problem,
        carry: PlanningCarry,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, PlanningCarry, None]:
        """Observe, plan, shake the action to explore, and predict what it will do."""
        observe_key, plan_key, predict_key = jax.random.split(key, 3)
        belief = learner.model.observe(carry.belief, obs, key=observe_key)
        action, plan, memory = self.controller.act(
            learner, belief, carry.controller, key=plan_key
        )
        if self.shaken and mode == "explore":
            box = require_box(learner.action, "Noise")
            action = box.shaken(action, self.shaken, key=jax.random.fold_in(key, 1))
        belief = learner.model.predict(belief, action, key=predict_key)
        return action, PlanningCarry(belief, memory, _thought(plan, memory)), None

    def watch(self, carry: PlanningCarry) -> Metrics:
        """What planning came to.

        `plan_value` is the return that the plan in force expected when it was made. A
        plan is counted at the step that made it: in `plan_failed` if its `Result` is
        worse than an iteration limit, and in `non_finite` with as many of its
        candidates as had no finite return, from planners that tell.
        """
        return told(carry.thought)


def told(thought: Thought) -> Metrics:
    """What a plan came to, as `AbstractPlanning.watch` says it."""
    usable = (thought.result == Result.successful) | (
        thought.result == Result.iteration_limit
    )
    numbers = {"plan_value": thought.value, "plan_failed": thought.new & ~usable}
    if thought.stats.non_finite is not None:
        count = jnp.sum(thought.stats.non_finite)
        numbers["non_finite"] = jnp.where(thought.new, count, jnp.zeros_like(count))
    return numbers


def _thought(plan: Plan, memory: MPCState) -> Thought:
    return Thought(plan.value, plan.result, plan.stats.small(), memory.age == 1)
