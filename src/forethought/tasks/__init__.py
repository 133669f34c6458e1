"""Named tasks: something to control, what is wanted of it, settings that work.

A task's file is imported when the task is built: a pendulum needs no MuJoCo.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from forethought.core.words import unknown
from forethought.tasks.ids import offer

if TYPE_CHECKING:
    from forethought.environments.gymnasium.export import ToGymnasium
    from forethought.tasks.base import Task as Task
    from forethought.tasks.user import user_task as user_task

_FILES = {
    "analytic": (
        "double-integrator",
        "lqg",
        "pendulum",
        "cartpole",
        "acrobot",
        "car-parking",
        "quadrotor",
        "point-mass",
        "pilco-pendulum",
        "pilco-cartpole",
    ),
    "physics": (
        "mujoco-cartpole",
        "mujoco-acrobot",
        "mujoco-reacher",
        "mujoco-hopper",
        "mujoco-cheetah",
        "mujoco-walker",
        "mujoco-humanoid",
    ),
    "local": ("reach", "lift", "lift-anywhere", "pump"),
    "benchmarks": ("pets-cartpole", "cartpole-swingup", "swimmer", "reacher"),
    "around.seen": ("pixels-pendulum",),
    "grids": (
        "maze",
        "blocking-maze",
        "shortcut-maze",
        "stochastic-grid",
        "frozen-lake",
        "frozen-lake-8x8",
        "cliff-walking",
        "taxi",
        "exam",
    ),
}
"""For each file, the names in its `TASKS`."""


def _build(file: str, name: str) -> "Task":
    return importlib.import_module(f"{__name__}.{file}").TASKS[name]()


TASKS: Mapping[str, Callable[[], "Task"]] = {
    name: functools.partial(_build, file, name)
    for file, names in _FILES.items()
    for name in names
}
"""Every task under its name; calling an entry builds it."""

offer(TASKS, f"{__name__}:to_gymnasium")


def load(task: "str | Task") -> "Task":
    """Build a task by name; one that is built already is returned as it is.

    Raises:
        ValueError: There is no such task; the message names the nearest.
        TypeError: It is neither a task nor a name.
    """
    if isinstance(task, str):
        if task not in TASKS:
            raise unknown("task", task, TASKS)
        return TASKS[task]()
    from forethought.tasks.base import Task

    if not isinstance(task, Task):
        raise TypeError(
            f"A task is a Task or the name of one, got {type(task).__name__}."
        )
    return task


def to_gymnasium(task: "str | Task", **arguments: Any) -> "ToGymnasium":
    """A task as a Gymnasium environment; `gymnasium.make` calls this.

    Args:
        task: A task, or its name.
        **arguments: Those that `gymnasium.make` was given.
    """
    from forethought.environments.gymnasium.export import ToGymnasium

    return ToGymnasium(load(task).environment, **arguments)


__all__ = ["TASKS", "Task", "load", "to_gymnasium", "user_task"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        homes = {"Task": "base", "user_task": "user"}
        file = f"{__name__}.{homes.get(name, name)}"
        if name not in homes and importlib.util.find_spec(file) is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = importlib.import_module(file)
        return getattr(found, name) if name in homes else found
