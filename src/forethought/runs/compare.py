"""Several planners on one task: what each earned, and how long it thought."""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from forethought.core.results import names
from forethought.planners import AbstractPlanner
from forethought.runs.control import Execution, execute, prepare, reseed
from forethought.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class Score:
    """One planner's episodes on a task, one for each seed."""

    planner: str
    execution: Execution
    replan_every: int
    returns: np.ndarray
    """Shape `[seed]`."""
    plan_seconds: np.ndarray
    """Wall time of one plan, shape `[seed]`."""
    results: dict[str, int]
    """Result codes of all plans that were executed, counted in steps."""
    compile_seconds: float


def compare(
    task: Task,
    planners: Mapping[str, AbstractPlanner],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int | None = None,
    on_score: Callable[[Score], None] | None = None,
) -> list[Score]:
    """Let each planner act on a task, under the same seeds.

    Args:
        task: What to control.
        planners: Planners by the name to show.
        seeds: One episode each; start states and noise are the same for all planners.
        steps: Length of an episode; by default the task's.
        on_score: Called as each planner is done.

    Returns:
        One score for each planner, in their order.

    Raises:
        ValueError: A setting is wrong, or there is no seed or planner.
        TypeError: A planner cannot work on the task.
    """
    if not seeds:
        raise ValueError("A comparison needs at least one seed, got none.")
    if not planners:
        raise ValueError("A comparison needs at least one planner, got none.")
    scores = []
    for name, planner in planners.items():
        prepared = prepare(task, planner, steps=steps, seed=seeds[0])
        runs = [execute(reseed(prepared, seed)) for seed in seeds]
        codes = np.concatenate([names(run.episode.result) for run in runs])
        score = Score(
            name,
            prepared.execution,
            prepared.controller.replan_every,
            np.array([float(run.episode.value) for run in runs]),
            np.array([1 / run.plan_rate for run in runs]),
            dict(collections.Counter(codes.tolist())),
            prepared.compile_seconds,
        )
        scores.append(score)
        if on_score is not None:
            on_score(score)
    return scores
