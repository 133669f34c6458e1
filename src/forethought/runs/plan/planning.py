"""A planner with a task's settings, a state to start in, and one plan from it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from forethought.core.readout import Readout
from forethought.core.table import require_state
from forethought.core.types import ravel
from forethought.core.words import unknown
from forethought.environments.tables.tabular import TabularSystem
from forethought.planners import AbstractPlanner
from forethought.planners.registry import assemble, entry_of
from forethought.problem import Plan, Problem
from forethought.tasks.base import Task
from forethought.training.control import first_look


@eqx.filter_jit
def plan_from(
    planner: AbstractPlanner, problem: Problem, belief: PyTree, *, key: PRNGKeyArray
) -> Plan:
    """The first plan from a belief, compiled."""
    init_key, plan_key = jax.random.split(key)
    state = planner.init(problem, belief, key=init_key)
    return planner.plan(problem, belief, state, key=plan_key)[0]


def make_planner(task: Task, name: str, **fields: Any) -> AbstractPlanner:
    """A planner by name, with the task's own settings for it.

    Args:
        task: Where the settings come from.
        name: As on the command line.
        **fields: Settings that go before the task's.

    Raises:
        ValueError: There is no such planner, or no such field.
    """
    cls = entry_of(name).settings
    known = [field.name for field in dataclasses.fields(cls) if field.init]
    for field in fields:
        if field not in known:
            raise unknown(f"field of {cls.__name__}", field, known)

    def settings(each: str) -> Mapping[str, Any]:
        own = {"horizon": min(task.steps, 50)} | dict(task.settings.get(each, {}))
        return own | fields if each == name else own

    return assemble(name, settings)


def start_state(task: Task, start: Any, *, key: PRNGKeyArray) -> PyTree:
    """The state to begin in: the task's own, or one given as coordinates or whole.

    Raises:
        ValueError: The coordinates are of the wrong number, or not finite; or there is
            no such state of a table.
    """
    if isinstance(task.system, TabularSystem) and not (
        start is None or isinstance(start, Readout)
    ):
        return task.system.at(_number(task.name, start, task.system.table.states))
    own = task.system.start(key=key)
    vector, unravel = ravel(own)
    if start is None:
        state = own
    elif jax.tree.structure(start) == jax.tree.structure(own) and not isinstance(
        own, jax.Array
    ):
        state = start
    else:
        given = jnp.asarray(start, vector.dtype)
        if given.shape != vector.shape:
            names = ", ".join(task.system.state_names)
            raise ValueError(
                f"A start state of {task.name} needs {vector.shape[0]} numbers "
                f"({names}), got shape {list(given.shape)}."
            )
        state = unravel(given)
    if not bool(jnp.all(jnp.isfinite(ravel(state)[0]))):
        raise ValueError(
            "Planning needs a finite start state, got "
            f"{np.asarray(ravel(state)[0]).tolist()}."
        )
    return state


def first_belief(task: Task, state: PyTree, *, key: PRNGKeyArray) -> PyTree:
    """What a planner believes once it was told of a start state for the first time."""
    keys = jax.random.split(key, 3)
    return first_look(task.problem, task.plant, state, *keys)[-1]


def _number(name: str, start: Any, states: int) -> int:
    """The number of a table's state, given as such or as its only coordinate."""
    given = np.asarray(start, float).ravel()
    if given.size != 1 or not given[0].is_integer():
        raise ValueError(
            f"A start state of {name} needs the number of a state, got "
            f"{given.tolist()}."
        )
    require_state(f"The start of {name}", int(given[0]), states)
    return int(given[0])


def plan(
    task: Task,
    planner: AbstractPlanner | None = None,
    *,
    start: Any = None,
    seed: int = 0,
) -> Plan:
    """Plan once from a task's start state.

    Args:
        task: What to control.
        planner: Any planner; by default CEM with the task's settings.
        start: The state to plan from; by default the task's own.
        seed: Of the start state and of the planner's draws.

    Returns:
        Actions, what the model expects of them, and how planning ended.

    Raises:
        ValueError: The start state is not finite or has the wrong shape.
        TypeError: The planner cannot work on this task.
    """
    planner = planner or make_planner(task, "cem")
    start_key, key = jax.random.split(jax.random.key(seed))
    state = start_state(task, start, key=start_key)
    belief = first_belief(task, state, key=start_key)
    return plan_from(planner, task.problem, belief, key=key)
