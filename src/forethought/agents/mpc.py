"""Model-predictive control as an agent: it plans in a model that it knows."""

import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Duty, Metrics
from forethought.agents.parts import planning
from forethought.agents.parts.planning import PlanningCarry
from forethought.core.types import Action, Mode
from forethought.data.memory import Memory
from forethought.environments.base import EnvironmentSpec
from forethought.planners.mpc import MPC
from forethought.problem import Problem


class Planning(AbstractAgent[Problem, PlanningCarry]):
    """Plans in a known model, and learns nothing.

    Args:
        problem: What it knows and wants.
        controller: The planner, and how its plans are executed.
    """

    problem: Problem
    controller: MPC

    @property
    def duties(self) -> tuple[Duty, ...]:
        """None: nothing is learned."""
        return ()

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Problem:
        """The problem."""
        return self.problem

    def reset(self, learner: Problem, *, key: PRNGKeyArray) -> PlanningCarry:
        """Believe what the model believes beforehand, and remember no plan."""
        belief_key, plan_key = jax.random.split(key)
        belief = learner.model.init(key=belief_key)
        return planning.reset(self.controller, learner, belief, key=plan_key)

    def act(
        self,
        learner: Problem,
        carry: PlanningCarry,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, PlanningCarry, None]:
        """Observe, plan, and predict what the action will do."""
        return *planning.act(self.controller, learner, carry, obs, key=key), None

    def informed(
        self, problem: Problem, *, key: PRNGKeyArray
    ) -> tuple["Planning", Problem]:
        """Itself, on the problem."""
        return self, problem

    def examined(self, learner: Problem) -> None:
        """No model is learned."""

    def watch(self, carry: PlanningCarry) -> Metrics:
        """What planning came to: see `planning.watch`."""
        return planning.watch(carry)

    def update(
        self, learner: Problem, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Problem, Metrics]:
        """Nothing is learned."""
        return learner, {}
