"""Named tasks: something to control, what is wanted of it, settings that work."""

from collections.abc import Callable

from forethought.core.words import unknown
from forethought.environments.gymnasium.export import register
from forethought.tasks import analytic, benchmarks, grids, physics
from forethought.tasks.base import Task
from forethought.tasks.user import user_task

TASKS: dict[str, Callable[[], Task]] = {
    **analytic.TASKS,
    **physics.TASKS,
    **benchmarks.TASKS,
    **grids.TASKS,
}
"""Every task under its name; calling an entry builds it."""

register(TASKS)


def load(name: str) -> Task:
    """Build a task by name.

    Raises:
        ValueError: There is no such task; the message names the nearest.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]()


__all__ = ["TASKS", "Task", "load", "user_task"]
