"""Acting by a planner at work: what agents that plan have in common."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree, Scalar

from forethought.agents.base import Metrics
from forethought.core.results import Result, Stats
from forethought.core.types import Action
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


def reset(
    controller: MPC, problem: Problem, belief: PyTree, *, key: PRNGKeyArray
) -> PlanningCarry:
    """Remember no plan.

    Args:
        controller: Who plans.
        problem: What is planned for.
        belief: What is believed beforehand.
        key: Consumed.
    """
    memory = controller.init(problem, belief, key=key)

    def first(key: PRNGKeyArray) -> Thought:
        _, plan, after = controller.act(problem, belief, memory, key=key)
        return _thought(plan, after)

    nothing = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
        eqx.filter_eval_shape(first, key),
    )
    return PlanningCarry(belief, memory, nothing)


def act(
    controller: MPC,
    problem: Problem,
    carry: PlanningCarry,
    obs: PyTree[Array],
    *,
    key: PRNGKeyArray,
) -> tuple[Action, PlanningCarry]:
    """Observe, plan, and predict what the action will do."""
    observe_key, plan_key, predict_key = jax.random.split(key, 3)
    belief = problem.model.observe(carry.belief, obs, key=observe_key)
    action, plan, memory = controller.act(
        problem, belief, carry.controller, key=plan_key
    )
    belief = problem.model.predict(belief, action, key=predict_key)
    return action, PlanningCarry(belief, memory, _thought(plan, memory))


def watch(carry: PlanningCarry) -> Metrics:
    """What planning came to.

    `plan_value` is the return that the plan in force expected when it was made. A
    plan is counted at the step that made it: in `plan_failed` if its `Result` is
    worse than an iteration limit, and in `non_finite` with as many of its
    candidates as had no finite return, from planners that tell.
    """
    thought = carry.thought
    usable = (thought.result == Result.successful) | (
        thought.result == Result.iteration_limit
    )
    told = {"plan_value": thought.value, "plan_failed": thought.new & ~usable}
    if thought.stats.non_finite is not None:
        count = jnp.sum(thought.stats.non_finite)
        told["non_finite"] = jnp.where(thought.new, count, jnp.zeros_like(count))
    return told


def _thought(plan: Plan, memory: MPCState) -> Thought:
    return Thought(plan.value, plan.result, plan.stats.small(), memory.age == 1)
