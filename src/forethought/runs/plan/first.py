"""The first plan of a run in full, kept by a planner around the one that makes it.

A closed loop keeps numbers of each plan. A report shows all that the first one says of
its search, so that plan is carried along, instead of being made once more afterwards.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from forethought.planners.base import AbstractPlanner
from forethought.planners.mpc import blank_plan
from forethought.problem import Plan, Problem


class KeptState(eqx.Module):
    """What the planner inside carries, and the first plan."""

    inner: PyTree
    first: Plan
    """Zeros until it is made."""
    made: Bool[Array, ""]


class KeepsFirst(AbstractPlanner[KeptState]):
    """Plans as another planner does, and remembers the first of its plans.

    Args:
        inner: Who plans.
    """

    inner: AbstractPlanner
    horizon: int = eqx.field(static=True, init=False)

    def __post_init__(self):
        self.horizon = self.inner.horizon

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> KeptState:
        """What the planner inside begins with, and no plan.

        Raises:
            TypeError: The planner inside cannot work on this problem, or cannot begin
                with actions.
            ValueError: The actions have another shape.
        """
        state = self.inner.init(problem, belief, actions, key=key)
        first = blank_plan(self.inner, problem, belief, state, key=key)
        return KeptState(state, first, jnp.asarray(False))

    def plan(
        self, problem: Problem, belief: PyTree, state: KeptState, *, key: PRNGKeyArray
    ) -> tuple[Plan, KeptState]:
        """As the planner inside; the plan is kept if none was made before."""
        plan, inner = self.inner.plan(problem, belief, state.inner, key=key)
        first = jax.tree.map(
            lambda kept, new: jnp.where(state.made, kept, new), state.first, plan
        )
        return plan, KeptState(inner, first, jnp.ones_like(state.made))

    def shift(self, problem: Problem, state: KeptState) -> KeptState:
        """One step later, as the planner inside does it; the first plan stays."""
        inner = self.inner.shift(problem, state.inner)
        return KeptState(inner, state.first, state.made)
