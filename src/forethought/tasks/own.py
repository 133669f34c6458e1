"""A task of a person's own: a system, and what is wanted of it."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.core.given.code import naming_the_line
from forethought.core.readout import AbstractJudge
from forethought.core.spaces import Discrete
from forethought.environments.base import AbstractSystem
from forethought.environments.functions import FunctionSystem
from forethought.environments.simulated import Simulated
from forethought.environments.tables.tabular import TabularSystem
from forethought.models.known import Known
from forethought.problem import Problem
from forethought.tasks.base import Task, whole
from forethought.tasks.grids import table_task


@naming_the_line()
def task(
    system: AbstractSystem,
    objective: AbstractJudge | None = None,
    *,
    steps: int = 200,
    name: str = "own",
    summary: str = "a task of one's own",
    replan_every: int = 1,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    restore: Callable[[Array], PyTree[Array]] | None = None,
) -> Task:
    """A task to plan, compare and learn on, by what is acted in and what is wanted.

    Args:
        system: From `forethought.system`, or any other: `MuJoCo`, a grid, your own.
        objective: From `forethought.objective`, or any other. A table or a grid says
            itself what it pays.
        steps: Length of an episode.
        name: For reports.
        summary: One line for reports.
        replan_every: Steps between plans; `steps` for a problem that is planned once
            as a whole.
        settings: For the name of a planner or of an agent, what suits this task.
        restore: The state that an observation tells, where it tells all of it: agents
            that learn are then told the objective, in place of learning it. Known of a
            system of functions that is observed as it is.

    Raises:
        ValueError: There is no objective, or it does not return numbers.
        TypeError: System or objective is none.
    """
    if not isinstance(system, AbstractSystem):
        raise TypeError(f"A task needs a system, got {type(system).__name__}.")
    if not isinstance(objective, AbstractJudge | None):
        raise TypeError(f"A task needs an objective, got {type(objective).__name__}.")
    for what, count in {"steps": steps, "replan_every": replan_every}.items():
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"A task needs whole {what} >= 1, got {count}.")
    settings = settings or {}
    if isinstance(system, TabularSystem) and objective is None:
        return table_task(name, summary, system, steps, settings)
    if objective is None:
        raise ValueError(
            "A task needs an objective, unless its system is a table: "
            "forethought.objective(reward=...)."
        )
    world = None
    if isinstance(system, FunctionSystem):
        if restore is None and system.sees is None:
            restore = whole
        if system.states is not None:
            world = Simulated(system, objective, steps, Discrete(system.states))
    made = Task(
        name=name,
        summary=summary,
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=steps,
        settings=settings,
        replan_every=replan_every,
        restore=restore,
        world=world,
    )
    eqx.filter_eval_shape(lambda key: _first_step(made, key), jax.random.key(0))
    return made


def _first_step(task: Task, key: PRNGKeyArray) -> PyTree:
    """What is told of the first step, which fails where parts do not fit."""
    environment = task.simulated
    state, _ = environment.reset(key=key)
    return environment.step(state, task.system.action.sample(key=key), key=key)
