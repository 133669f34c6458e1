"""A planner with a task's settings, a state to start in, and one plan from it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from forethought.core.given.code import naming_the_line
from forethought.core.given.settings import key_of
from forethought.core.readout import Readout
from forethought.core.table import require_state
from forethought.core.types import ravel
from forethought.core.words import unknown
from forethought.environments.tables.tabular import TabularSystem
from forethought.planners import MPC, AbstractPlanner
from forethought.planners.base import Unsaid, looking_ahead
from forethought.planners.registry import (
    PLANNERS,
    assemble,
    entry_of,
    name_of,
    usual_planners,
)
from forethought.problem import Plan, Problem
from forethought.runs.plan.foresight import foresee_run
from forethought.tasks import load
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


def make_planner(
    task: Task | str, planner: AbstractPlanner | str | None = None, **settings: Any
) -> AbstractPlanner:
    """Who plans on a task: a planner by name, or one that is given.

    Args:
        task: A task or its name, whose own settings a planner by name has.
        planner: Its name, as on the command line; or a planner, which looks ahead as
            far as suits the task where it was not told how far. By default CEM, or tree
            search where actions are discrete.
        **settings: Of the planner by name, before the task's.

    Raises:
        ValueError: There is no such planner, or no such setting of it; the nearest is
            named. Or settings come with a planner that has its own.
        TypeError: It is neither a planner nor a name.
    """
    task = load(task)
    if planner is None:
        planner = usual_planners(task.problem.action)[0]
    if isinstance(planner, str):
        return _named(task, planner, settings)
    if not isinstance(planner, AbstractPlanner):
        raise TypeError(
            "A planner is one of forethought's, such as CEM(), or the name of one, got "
            f"{planner if isinstance(planner, type) else type(planner)}."
        )
    if settings:
        raise ValueError(
            "Settings go with the name of a planner, but this "
            f"{type(planner).__name__} has its own: set {', '.join(settings)} there."
        )
    if not isinstance(planner.horizon, Unsaid):
        return planner
    name = name_of(planner)
    suits = _named(task, name, {}).horizon if name in PLANNERS else _ahead(task)
    return looking_ahead(planner, suits)


def _ahead(task: Task) -> int:
    """How far planners look ahead on a task that says nothing else."""
    return min(task.steps, 50)


def _named(task: Task, name: str, fields: Mapping[str, Any]) -> AbstractPlanner:
    """A planner by name, with the task's own settings for it."""
    cls = entry_of(name).settings
    known = [field.name for field in dataclasses.fields(cls) if field.init]
    for field in fields:
        if field not in known:
            raise unknown(f"setting of {name}", field, known)

    def settings(each: str) -> Mapping[str, Any]:
        own = {"horizon": _ahead(task)} | dict(task.settings.get(each, {}))
        return own | dict(fields) if each == name else own

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
        state = jax.tree.map(
            lambda leaf, like: jnp.asarray(leaf, like.dtype), start, own
        )
    else:
        whole = isinstance(own, jax.Array) and not vector.size
        like: Any = own if whole else vector
        given = jnp.asarray(start, like.dtype)
        if given.shape != like.shape or (
            whole and (np.asarray(given) != np.asarray(start)).any()
        ):
            names = ", ".join(task.system.state_names)
            raise ValueError(
                f"A start state of {task.name} needs {like.size}"
                f"{' whole' if whole else ''} numbers ({names}), got "
                f"{np.asarray(start).tolist()}."
            )
        state = given if whole else unravel(given)
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


@naming_the_line()
def plan(
    task: Task | str,
    planner: AbstractPlanner | str | None = None,
    *,
    start: Any = None,
    seed: int = 0,
    **settings: Any,
) -> Plan:
    """Plan once from a task's start state.

    Args:
        task: What to control, or its name.
        planner: Any planner, or its name, then with the settings that suit the task; by
            default one that can.
        start: The state to plan from; by default the task's own.
        seed: Of the start state and of the planner's draws.
        **settings: Of the planner by name, such as `population=200`.

    Returns:
        Actions, what the model expects of them, and how planning ended.

    Raises:
        ValueError: There is no such task, planner or setting; or the start state is not
            finite or has the wrong shape.
        TypeError: The planner cannot work on this task.
    """
    task = load(task)
    planner = make_planner(task, planner, **settings)
    foresee_run(task, MPC(planner), 1)
    start_key, key = jax.random.split(key_of(seed))
    state = start_state(task, start, key=start_key)
    belief = first_belief(task, state, key=start_key)
    return plan_from(planner, task.problem, belief, key=key)
