"""A task as one sees it who was never told its dynamics, but learned a model of them."""

import dataclasses

from forethought.core.readout import AbstractJudge
from forethought.core.spaces import Box, Space
from forethought.environments.plant import Shown, Told
from forethought.models.around.doubting import Doubting, DoubtingCloud
from forethought.models.base import AbstractLearned
from forethought.objectives.cautious import Cautious
from forethought.objectives.learned import Observed
from forethought.problem import Problem
from forethought.tasks.base import Task


def believing(task: Task, model: AbstractLearned, *, caution: float = 0.0) -> Task:
    """The same world, for a planner that believes a model of its observations.

    It acts on what the world really is, is shown what one who learns is shown, and is
    judged by the task's own objective.

    Args:
        task: What is acted in; its observations tell its state.
        model: Fitted to its observations.
        caution: The price of doubt (`Cautious`); negative for a bonus.

    Raises:
        TypeError: Observations do not tell the state, so that the objective cannot
            judge them; or a sensor or a world hides the system.
        ValueError: The price is not finite.
    """
    if task.restore is None or task.sensor is not Told or task.world is not None:
        raise TypeError(
            f"A fitted model needs a task whose observations tell its state; those of "
            f"{task.name} do not."
        )
    if not isinstance(task.environment.spec.observation, Box):
        raise TypeError(
            f"A fitted model needs observations that are numbers; those of {task.name} "
            f"are {task.environment.spec.observation}."
        )
    problem = planned_in(
        model, Observed(task.objective, task.restore), task.problem.action, caution
    )
    return dataclasses.replace(
        task, problem=problem, sensor=Shown, wanted=task.objective, optimum=None
    )


def planned_in(
    model: AbstractLearned, objective: AbstractJudge, action: Space, caution: float
) -> Problem:
    """What is planned for in a fitted model.

    Args:
        model: What would happen.
        objective: How good it would be, by what the model reads out.
        action: What may be chosen.
        caution: The price of doubt; where it is zero, nobody asks the model for it.
    """
    if not caution:
        return Problem(model, objective, action, model.cloud)
    careful = Cautious(objective, caution)
    return Problem(Doubting(model), careful, action, DoubtingCloud(model.cloud))
