"""A policy as a planner: its plan is what it does in imagination."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.core.given.settings import Steps
from forethought.core.results import Result, Stats
from forethought.planners.base import UNSAID, AbstractPlanner
from forethought.policies.base import AbstractPolicy
from forethought.policies.follow import Sampled
from forethought.problem import Plan, Problem, imagine


class Following(AbstractPlanner[None]):
    """Plans what a policy does, without thinking further.

    ```python
    >>> import jax
    >>> from forethought import tasks
    >>> from forethought.planners.around.following import Following
    >>> from forethought.policies.mlp import MLPPolicy
    >>> problem, key = tasks.load("double-integrator").problem, jax.random.key(0)
    >>> planner = Following(MLPPolicy(2, problem.action, 8, 1, key=key), 5)
    >>> belief = problem.model.init(key=key)
    >>> planner.plan(problem, belief, None, key=key)[0].actions.shape
    (5, 1)

    ```

    Args:
        policy: Who acts.
        horizon: Steps of a plan.
        climbs: Whether the policy is improved by gradients through such plans, so that
            how these grow is worth a look.
    """

    policy: AbstractPolicy
    horizon: Steps = eqx.field(static=True, default=UNSAID)
    climbs: bool = eqx.field(static=True, default=True)

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> None:
        """Nothing is remembered.

        Raises:
            TypeError: Actions to begin with are given, which a policy cannot follow.
        """
        if actions is not None:
            raise TypeError("Following begins with no actions: its policy chooses all.")

    def plan(
        self, problem: Problem, belief: PyTree, state: None, *, key: PRNGKeyArray
    ) -> tuple[Plan, None]:
        """What the policy does at its best."""
        future = imagine(
            problem,
            self.policy,
            belief,
            self.horizon,
            follow=Sampled("exploit"),
            key=key,
        )
        value = future.value
        fine = jnp.isfinite(value)
        result = Result.where(fine, Result.successful, Result.non_finite)
        stats = Stats(
            best=value[None],
            iterations=jnp.ones((), jnp.int32),
            non_finite=(~fine).astype(jnp.int32)[None],
        )
        return Plan(future.actions, future.beliefs, value, None, result, stats), None

    def shift(self, problem: Problem, state: None) -> None:
        """Nothing is remembered."""
