"""Two planners in a row: one to find the hill, one to climb it.

A sampling planner finds its way past kinks, contacts and wrong turns, and stops short
of the top; a planner that follows derivatives goes straight to the top of whatever hill
it begins on.
"""

import dataclasses

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.planners.base import AbstractPlanner
from forethought.problem import Plan, Problem


class Polished(AbstractPlanner[PyTree]):
    """The plan of a first planner, improved by a second that begins with its actions.

    The next plan's first search begins with the polished actions, shifted by a step.

    ```python
    >>> import equinox as eqx, jax, jax.numpy as jnp
    >>> from forethought import tasks
    >>> from forethought.planners import CEM, ILQR, Polished
    >>> task, x, key = tasks.load("pendulum"), jnp.array([3.0, 0.0]), jax.random.key(0)
    >>> planner = Polished(CEM(30, population=64), ILQR(30))
    >>> state = planner.init(task.problem, x, key=key)
    >>> plan, state = eqx.filter_jit(planner.plan)(task.problem, x, state, key=key)
    >>> bool(plan.value > plan.stats.numbers["first_value"])
    True

    ```

    Args:
        first: Finds actions to begin with.
        second: Begins with them; its plan is the plan.

    Raises:
        ValueError: The two look ahead over different horizons.
    """

    first: AbstractPlanner
    second: AbstractPlanner
    horizon: int = eqx.field(static=True, init=False)

    def __post_init__(self):
        self.horizon = self.first.horizon

    def __check_init__(self):
        if self.first.horizon != self.second.horizon:
            raise ValueError(
                "Polished needs two planners of one horizon, got "
                f"{self.first.horizon} and {self.second.horizon}."
            )

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> PyTree:
        """What the first planner begins with.

        Raises:
            TypeError: One of the two cannot work on this problem, or the second cannot
                begin with actions.
        """
        state = self.first.init(problem, belief, actions, key=key)
        # The second is asked now, so that a refusal comes before the first plan.
        plan, _ = eqx.filter_eval_shape(
            self.first.plan, problem, belief, state, key=key
        )
        eqx.filter_eval_shape(self.second.init, problem, belief, plan.actions, key=key)
        return state

    def plan(
        self, problem: Problem, belief: PyTree, state: PyTree, *, key: PRNGKeyArray
    ) -> tuple[Plan, PyTree]:
        """Search, then polish."""
        first_key, second_key, init_key = jax.random.split(key, 3)
        rough, _ = self.first.plan(problem, belief, state, key=first_key)
        start = self.second.init(problem, belief, rough.actions, key=init_key)
        plan, _ = self.second.plan(problem, belief, start, key=second_key)
        numbers = plan.stats.numbers | {"first_value": rough.value}
        stats = dataclasses.replace(plan.stats, numbers=numbers)
        plan = eqx.tree_at(lambda plan: plan.stats, plan, stats)
        return plan, self.first.init(problem, belief, plan.actions, key=init_key)

    def shift(self, problem: Problem, state: PyTree) -> PyTree:
        """One step later, as the first planner does it."""
        return self.first.shift(problem, state)
