"""A planner at work on a task, in a loop of a person's own, such as of hardware.

```python
>>> import forethought as ft
>>> controller = ft.controller("double-integrator", "ilqr")
>>> action = controller.act([1.0, 0.0])
>>> action.shape, controller.milliseconds.shape
((1,), (1,))

```
"""

from typing import Any

import jax
import numpy as np

from forethought.agents.planning.mpc import Planning
from forethought.core.given.code import naming_the_line
from forethought.core.given.settings import key_of
from forethought.core.types import ravel
from forethought.environments.mujoco.system import MuJoCo
from forethought.environments.plant import Told
from forethought.planners import AbstractPlanner
from forethought.runs.plan.control import controller_for
from forethought.runs.plan.planning import make_planner
from forethought.tasks import load
from forethought.tasks.base import Task
from forethought.training.actor import Actor, Form


@naming_the_line()
def controller(
    task: Task | str,
    planner: AbstractPlanner | str | None = None,
    *,
    replan_every: int | None = None,
    seed: int = 0,
    **settings: Any,
) -> Actor:
    """What acts on a task by planning, one observation at a time.

    It is compiled when it is made. `act` is given what the task's environment shows, as
    in Gymnasium, where that tells the state; or the state, as its coordinates (of
    MuJoCo `qpos` and `qvel`) or whole; or, behind a sensor, what that measures.

    Args:
        task: What to control, or its name.
        planner: Any planner, or its name, then with the settings that suit the task; by
            default one that can.
        replan_every: Steps between plans; by default the task's.
        seed: Of the planner's draws.
        **settings: Of the planner by name, such as `population=200`.

    Raises:
        ValueError: There is no such task, planner or setting; or a number is wrong.
        TypeError: The planner cannot work on this task.
    """
    task = load(task)
    made = make_planner(task, planner, **settings)
    mpc, _ = controller_for(task, made, replan_every=replan_every)
    return Actor(
        Planning(task.problem, mpc), task.problem, _forms(task, seed), seed=seed
    )


def _forms(task: Task, seed: int) -> list[Form]:
    """In what forms a task's state may be told."""
    key = key_of(seed)
    state = task.system.start(key=key)
    if task.sensor is not Told:
        told = jax.tree.map(np.asarray, task.plant.tell(state, key=key))
        return [Form("a measurement", told)]
    forms = []
    if task.restore is not None:
        seen = jax.tree.map(np.asarray, task.system.observe(state))
        forms.append(Form("an observation", seen, task.restore))
    vector, unravel = ravel(state)
    if isinstance(task.system, MuJoCo):
        at, positions = task.system.at, state.qpos.size
        moved = np.concatenate([state.qpos, state.qvel])
        words = "positions and velocities"
        forms.append(Form(words, moved, lambda x: at(x[:positions], x[positions:])))
    elif vector.size:
        names = ", ".join(task.system.state_names)
        forms.append(Form(f"a state ({names})", np.asarray(vector), unravel))
    return [*forms, Form("a whole state", jax.tree.map(np.asarray, state))]
