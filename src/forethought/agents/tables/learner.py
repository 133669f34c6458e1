"""What agents with a table of values have in common: how they act, when they learn."""

import math
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from forethought.agents.base import AbstractAgent, Duty, Metrics
from forethought.agents.schedule import Schedule
from forethought.core.spaces import Discrete
from forethought.core.types import Action, Mode
from forethought.data.memory import Memory
from forethought.data.transitions import Transition
from forethought.environments.base import EnvironmentSpec
from forethought.environments.tables.tabular import TabularSystem
from forethought.models.known import Known
from forethought.planners.tables.value_iteration import value_iteration
from forethought.problem import Problem

Values = Float[Array, "state action"]


class Valued(eqx.Module):
    """What such an agent has learned, at least."""

    values: Values


Learner = TypeVar("Learner", bound=Valued)


STEP = Duty("values", Schedule(1, "steps"), inside=True)


class Explored(eqx.Module):
    """Whether the last action was drawn at random, to explore."""

    explored: Bool[Array, ""]


class AbstractTabular(AbstractAgent[Learner, Explored]):
    """Acts on a table of values, and learns from the newest transitions."""

    epsilon: eqx.AbstractVar[float]
    """How often an action is drawn at random."""
    gamma: eqx.AbstractVar[float]
    """What a reward one step later is worth."""

    @property
    def duties(self) -> tuple[Duty, ...]:
        """To learn from each step, at once."""
        return (STEP,)

    def reset(self, learner: Learner, *, key: PRNGKeyArray) -> Explored:
        """Nothing is carried from step to step."""
        return Explored(jnp.asarray(False))

    def act(
        self,
        learner: Learner,
        carry: Explored,
        obs: Int[Array, ""],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, Explored, None]:
        """The best action, or now and then any; equals are chosen among by lot."""
        epsilon = self.epsilon if mode == "explore" else 0.0
        return *epsilon_greedy(learner.values[obs], epsilon, key=key), None

    def informed(
        self, problem: Problem, *, seconds: float = math.inf, key: PRNGKeyArray
    ) -> tuple["AbstractTabular[Learner]", Learner] | None:
        """Itself, with the values that solve the table."""
        model = problem.model
        if not (isinstance(model, Known) and isinstance(model.system, TabularSystem)):
            return None
        table = model.system.table
        spec = EnvironmentSpec(Discrete(table.states), Discrete(table.actions), None)
        learner = self.init(spec, key=key)
        values = value_iteration(table, self.gamma).Q
        return self, eqx.tree_at(lambda learner: learner.values, learner, values)

    def examined(self, learner: Learner) -> None:
        """Its model is a table, and forecasts nothing that could be compared."""

    def watch(self, carry: Explored) -> Metrics:
        """How often it explored."""
        return {"explored": carry.explored}


def newest(memory: Memory) -> Transition:
    """The newest transitions, with states and actions as 32-bit numbers."""
    rows = memory.newest()

    def narrow(leaf: Array) -> Array:
        whole = jnp.issubdtype(leaf.dtype, jnp.integer)
        return leaf.astype(jnp.int32) if whole else leaf

    return jax.tree.map(narrow, rows)


def finite(who: str, spec: EnvironmentSpec) -> tuple[int, int]:
    """Numbers of states and actions.

    Raises:
        TypeError: Observations or actions are no single number out of finitely many.
    """
    seen, done = spec.observation, spec.action
    if not (isinstance(seen, Discrete) and isinstance(done, Discrete)):
        raise TypeError(
            f"{who} keeps a table, for which observations and actions need to be "
            f"Discrete, but observations are {type(seen).__name__} and actions "
            f"{type(done).__name__} here."
        )
    return seen.n, done.n


def epsilon_greedy(
    values: Float[Array, " action"], epsilon: float, *, key: PRNGKeyArray
) -> tuple[Int[Array, ""], Explored]:
    """The best of some values, or with some probability any.

    Args:
        values: Of each action; where several are the best, one is drawn.
        epsilon: How often any action is drawn.
        key: Consumed.
    """
    lots_key, any_key, which_key = jax.random.split(key, 3)
    lots = jax.random.uniform(lots_key, values.shape)
    best = jnp.argmax(jnp.where(values == jnp.max(values), lots, -1))
    explored = jax.random.uniform(any_key) < epsilon
    other = jax.random.randint(which_key, (), 0, values.shape[0])
    return jnp.where(explored, other, best.astype(other.dtype)), Explored(explored)
