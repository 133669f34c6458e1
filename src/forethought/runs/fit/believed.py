"""Tasks for planning with a model that was fitted to data: in a world, or in none.

Where there is a world it is acted in, and what the model had expected stands beside
what happened. Where the data were a file the model itself is the only world there is.
"""

import os
from collections.abc import Sequence

import numpy as np

from forethought.core.linalg import as_float
from forethought.core.readout import AbstractJudge
from forethought.core.spaces import Discrete, Space
from forethought.runs.fit.kept import Fitted, load_fitted
from forethought.tasks import load
from forethought.tasks.around.believed import Imagined, believing, imagined
from forethought.tasks.base import Task


def fitted_of(model: "Fitted | str | os.PathLike") -> Fitted:
    """Models that were fitted, or those of a run folder.

    Raises:
        ValueError: It is no folder of such a run.
        TypeError: It is neither.
    """
    if isinstance(model, str | os.PathLike):
        return load_fitted(model)
    if not isinstance(model, Fitted):
        raise TypeError(
            "Planning with a model needs the folder of a run of fit, or what "
            f"forethought.fit returned, got {type(model).__name__}."
        )
    return model


def task_with_model(
    task: Task | str, model: "Fitted | str | os.PathLike", caution: float = 0.0
) -> Task:
    """A task for a planner that believes a fitted model.

    Args:
        task: What is acted in, or its name.
        model: What `forethought.fit` returned, or its folder; the best model is used.
        caution: The price of a step that is doubted by one standard deviation of the
            data; negative for a bonus.

    Raises:
        ValueError: The model is of other observations or actions.
        TypeError: The task's observations do not tell its state.
    """
    task, fitted = load(task), fitted_of(model)
    made = believing(task, fitted.model, caution=caution)
    spec, own = task.environment.spec, fitted.spec
    if spec.observation.shape != own.observation.shape:
        raise ValueError(
            f"A model for {task.name} needs {spec.observation.shape[0]} observations, "
            f"but it was fitted to {own.observation.shape[0]} "
            f"({', '.join(fitted.names)})."
        )
    if _kind(spec.action) != _kind(own.action):
        raise ValueError(
            f"A model for {task.name} needs {_kind(spec.action)}, but it was fitted to "
            f"{_kind(own.action)}."
        )
    return made


def _kind(action: Space) -> str:
    if isinstance(action, Discrete):
        return f"{action.n} choices"
    return f"actions of {action.shape[0]} numbers"


def task_in_model(
    model: "Fitted | str | os.PathLike",
    objective: AbstractJudge,
    start: Sequence[float],
    *,
    steps: int,
    caution: float = 0.0,
) -> Task:
    """A task whose only world is a fitted model.

    Args:
        model: As for `task_with_model`.
        objective: What is wanted of observations.
        start: The observation to begin with.
        steps: How far to plan.
        caution: As for `task_with_model`.

    Raises:
        ValueError: The start has another number of entries.
    """
    fitted = fitted_of(model)
    names = fitted.names
    if len(start) != len(names):
        raise ValueError(
            f"A plan needs a start of {len(names)} numbers ({', '.join(names)}), got "
            f"{len(start)}."
        )
    data = fitted.data
    spread = np.where(data.deviation > 0, data.deviation, 1.0)
    first = as_float(np.asarray(start, float))
    system = Imagined(
        model=fitted.model,
        first=first,
        action=fitted.spec.action,
        names=(names, data.action_names),
        usual=(as_float(data.mean), as_float(spread)),
    )
    return imagined(data.name, system, objective, steps=steps, caution=caution)
