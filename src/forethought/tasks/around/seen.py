"""Tasks that are seen through a camera: the state is nobody's to read."""

import dataclasses
from collections.abc import Callable, Mapping

import jax

from forethought.core.given.settings import Count, require
from forethought.environments.camera import Lens, Seen, Stack, aimed
from forethought.environments.plant import Told
from forethought.environments.repeat import Repeated
from forethought.environments.simulated import Simulated
from forethought.models.known import Known
from forethought.objectives.learned import Learned
from forethought.problem import Problem
from forethought.tasks.analytic import TASKS as ANALYTIC
from forethought.tasks.base import Task


def seen(
    task: Task, lens: Lens | None = None, *, repeat: int = 1, stack: int = 1
) -> Task:
    """A task whose learners are shown pictures; planners still know its state.

    Args:
        task: Any whose world is its system alone.
        lens: Where the camera looks; at all of the machine if not given.
        repeat: How often each action is taken.
        stack: How many of the last pictures are seen at once.

    Raises:
        ValueError: The task is acted in something around its system, or a number is
            less than one.
    """
    require("seen", Count, repeat=repeat, stack=stack)
    if task.world is not None or task.sensor is not Told:
        raise ValueError(
            f"A camera needs a task that is acted in its system alone, but "
            f"{task.name} is not."
        )
    if lens is None:
        lens = aimed(task.system, thin=1.0, key=jax.random.key(0))
    system, objective = Seen(task.system, lens), task.objective
    if repeat > 1:
        system, objective = Repeated(system, objective, repeat), Learned()
    steps = -(-task.steps // repeat)
    world = Simulated(system, objective, steps)
    return dataclasses.replace(
        task,
        name=f"pixels-{task.name}",
        summary=f"{task.summary}, from pictures",
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=steps,
        world=Stack(world, stack) if stack > 1 else None,
        settings={},
        optimum=None,
        restore=None,
        circles=(),
        angles=(),
        start=None,
        success=None,
    )


def pixels_pendulum() -> Task:
    """The pendulum in pictures of 32 by 32 grey pixels, each action taken twice."""
    return seen(ANALYTIC["pendulum"](), Lens(32, reach=1.25, thin=1.5), repeat=2)


TASKS: Mapping[str, Callable[[], Task]] = {"pixels-pendulum": pixels_pendulum}
"""Each task of this file by its name."""
