"""Model-predictive control: any planner, replanned while acting.

Three ways to act on plans differ only in how often one is made and in what is done
with it in between:

- *closed loop, replanned*: plan every `replan_every` steps from the state that was
  met, warm-started from the last plan shifted in time;
- *closed loop by feedback*: between two plans, a planner that returns gains (LQR,
  iLQR) corrects its actions by u = û_t + K_t (x − x̂_t);
- *open loop*: plan once for the whole episode and act with closed eyes.
"""

from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from forethought.core.given.settings import AbstractSettings, Range
from forethought.core.spaces import require_box
from forethought.core.types import Action, blank
from forethought.planners.base import AbstractPlanner
from forethought.problem import Plan, Problem


class MPCState(eqx.Module):
    """What acting carries: the planner's memory, the plan in force, and its age."""

    planner: PyTree
    plan: Plan | None
    """None where every step plans anew; then no plan outlives its step."""
    age: Int[Array, ""]


class MPC(AbstractSettings):
    """A controller made of a planner.

    Args:
        planner: Any planner.
        replan_every: Steps from one plan to the next, at most the planner's horizon.
        feedback: Whether a plan that has gains is followed by them between plans.

    Raises:
        ValueError: `replan_every` is below one or beyond the planner's horizon.

    References:
        Rawlings, Mayne and Diehl, Model Predictive Control, 2nd ed., 2017, §1.3.
    """

    planner: AbstractPlanner
    replan_every: Annotated[int, Range(at_least=1, at_most="planner.horizon")] = (
        eqx.field(static=True, default=1)
    )
    feedback: bool = eqx.field(static=True, default=True)

    def init(self, problem: Problem, belief: PyTree, *, key: PRNGKeyArray) -> MPCState:
        """Remember nothing yet; the first `act` plans."""
        state = self.planner.init(problem, belief, key=key)
        age = jnp.asarray(self.replan_every)
        if self.replan_every == 1:
            return MPCState(state, None, age)
        plan = blank_plan(self.planner, problem, belief, state, key=key)
        return MPCState(state, plan, age)

    def act(
        self, problem: Problem, belief: PyTree, state: MPCState, *, key: PRNGKeyArray
    ) -> tuple[Action, Plan, MPCState]:
        """The action to take in `belief`, the plan it is from, and what to carry on."""

        def replan() -> tuple[Plan, PyTree, Array]:
            plan, memory = self.planner.plan(problem, belief, state.planner, key=key)
            return plan, memory, jnp.zeros_like(state.age)

        if state.plan is None:
            plan, memory, age = replan()
        else:
            plan, memory, age = jax.lax.cond(
                state.age >= self.replan_every,
                replan,
                lambda: (state.plan, state.planner, state.age),
            )
        action = plan.actions[age]
        if self.feedback and plan.feedback is not None:
            box = require_box(problem.action, "Feedback")
            action = box.clip(plan.feedback.policy.given(belief, age).mean)
        memory = self.planner.shift(problem, memory)
        kept = None if state.plan is None else plan
        return action, plan, MPCState(memory, kept, age + 1)


def blank_plan(
    planner: AbstractPlanner,
    problem: Problem,
    belief: PyTree,
    state: PyTree,
    *,
    key: PRNGKeyArray,
) -> Plan:
    """Zeros where a plan will be."""
    plan, _ = eqx.filter_eval_shape(planner.plan, problem, belief, state, key=key)
    return blank(plan)
