"""Distillation: what any runs can do, in one network.

    forethought plan pendulum --planner cem --out runs/cem
    forethought distill runs/cem --out runs/student
    forethought evaluate runs/student

A run of it is a training run like any other, of a student that imitates
(`forethought.agents.imitation.dagger`): its folder has the same files, and
`taught.json`, which sets the student beside its teachers.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import PyTree

from forethought.agents.base import AbstractAgent
from forethought.agents.imitation.distill import Distill
from forethought.agents.imitation.teachers import Informed, Several
from forethought.agents.planning.mpc import Planning
from forethought.core.given.settings import check_ranges
from forethought.environments.plant import Told
from forethought.runs.plan.control import controller_for
from forethought.runs.plan.planning import make_planner
from forethought.runs.store.folder import RunFolder
from forethought.runs.train.acting import learned
from forethought.runs.train.config import config_of, like_data
from forethought.runs.train.settings import Learning, check
from forethought.runs.train.trained import Trained, new_folder, train_in
from forethought.tasks import TASKS

EPISODES = 20
"""After each of them the student is fitted, if nothing else is said."""


@dataclasses.dataclass(frozen=True)
class Teacher:
    """Who teaches by a run folder, and what.

    Args:
        name: Of the task or Gymnasium environment.
        env: Arguments of `gymnasium.make`.
        agent: Who acts.
        knowledge: On what.
    """

    name: str
    env: Mapping[str, Any]
    agent: AbstractAgent
    knowledge: PyTree


def distill(
    *runs: str | os.PathLike,
    out: str | os.PathLike | None = None,
    student: Distill = Distill(),  # noqa: B008  (a frozen setting)
    episodes: int | None = None,
    seed: int = 0,
    evaluate_episodes: int = 20,
    overwrite: bool = False,
    progress: bool = True,
) -> Trained:
    """Turn teachers into one network, by imitation with data aggregation.

    The student acts, its teachers say what they would have done there, and after each
    episode it is fitted to all that was said. Where there are several teachers, each
    episode is that of any one.

    ```python
    >>> import forethought as ft
    >>> student = ft.distill("runs/pendulum-cem", episodes=10)  # doctest: +SKIP
    >>> student.evaluate().mean()  # doctest: +SKIP

    ```

    Args:
        *runs: Folders of runs of one task: by `plan`, whose planner teaches, or by
            `train`, whose agent does its best.
        out: The run folder; by default a new one under `runs/`.
        student: The network, and how it is fitted.
        episodes: Episodes that are played; 20 by default.
        seed: Of everything random.
        evaluate_episodes: How many episodes student and teachers play at the end.
        overwrite: Whether a finished run that `out` holds is replaced.
        progress: Whether to tell at the terminal how far it is.

    Returns:
        What came out; it is in the folder as well, with `taught.json` beside.

    Raises:
        ValueError: There is no run, or one of another kind, or nothing in it can be
            used; runs are of several tasks; or the folder is taken.
        TypeError: The student cannot act there.
    """
    from forethought.runs.store.log import Terminal

    learning = lesson(
        runs,
        student,
        episodes=episodes,
        seed=seed,
        evaluate_episodes=evaluate_episodes,
    )
    path = new_folder(learning) if out is None else out
    folder = RunFolder.create(path, config_of(learning), overwrite=overwrite)
    with folder.alone():
        return train_in(learning, folder, Terminal(quiet=not progress))


def lesson(
    runs: Sequence[str | os.PathLike],
    student: Distill,
    *,
    episodes: int | None = None,
    **options: Any,
) -> Learning:
    """The training run of a student, once all is found to fit.

    Args:
        runs: Folders of the teachers' runs.
        student: The network, and how it is fitted.
        episodes: Episodes that are played.
        **options: Others of `Learning`.

    Raises:
        ValueError, TypeError: As `distill`.
    """
    if not runs:
        raise ValueError("distill needs the folder of at least one run: RUN ...")
    check_ranges(student)
    folders = tuple(os.fspath(each) for each in runs)
    teachers = [teacher_of(each) for each in folders]
    name, env = teachers[0].name, teachers[0].env
    for folder, other in zip(folders, teachers, strict=True):
        if (other.name, dict(other.env)) != (name, dict(env)):
            raise ValueError(
                f"distill needs runs of one task, but {folders[0]} is of {name} and "
                f"{folder} of {other.name}"
                f"{'' if other.name != name else ' with other settings'}."
            )
    settings = dataclasses.replace(student, teachers=folders)
    taught = together(teachers)
    like = Learning(name, settings, env=env, random_steps=0, taught=taught, **options)
    if like.length is None:
        raise ValueError(
            f"distill needs episodes of some length, but those of {name} have none."
        )
    steps = like.length * (EPISODES if episodes is None else episodes)
    learning = dataclasses.replace(like, steps=steps)
    check(learning)
    return learning


def again(learning: Learning) -> Learning:
    """A run as its folder tells it, with its teachers, to go on with it.

    Raises:
        ValueError: Their runs are no more, or are not what they were.
    """
    folders = learning.settings.teachers
    taught = together([teacher_of(each) for each in folders])
    return dataclasses.replace(learning, taught=taught)


def together(teachers: Sequence[Teacher]) -> tuple[AbstractAgent, PyTree]:
    """Teachers as one agent, and what it knows."""
    if len(teachers) == 1:
        return teachers[0].agent, teachers[0].knowledge
    knowledge = tuple(each.knowledge for each in teachers)
    return Several(tuple(each.agent for each in teachers)), knowledge


def teacher_of(folder: str | os.PathLike) -> Teacher:
    """Who teaches by a run folder.

    Raises:
        ValueError: It is no folder of such a run, or nothing in it can be used.
    """
    config = RunFolder.open(folder).config()
    if config.get("forethought") == "plan":
        return _planner(folder, config)
    if config.get("forethought", "train") != "train":
        raise ValueError(
            f"distill needs runs of plan or train, but {folder} is one of "
            f"{config.get('forethought')}."
        )
    learning, learner = learned("distill", folder)
    return Teacher(learning.name, learning.env, learning.agent, learner)


def _planner(folder: str | os.PathLike, config: Mapping[str, Any]) -> Teacher:
    """The planner of a run of `plan`, at work."""
    name, options = config.get("task"), config.get("options")
    if not isinstance(options, Mapping) or not isinstance(name, str):
        raise ValueError(f"{folder} needs a config.json with task and options.")
    if name not in TASKS or options.get("model") or options.get("objective"):
        raise ValueError(
            f"distill needs a planner on one of our tasks with its own dynamics, but "
            f"{folder} planned for {options.get('objective') or name}"
            f"{' in ' + str(options['model']) if options.get('model') else ''}."
        )
    task = TASKS[name]()
    if task.restore is None or task.sensor is not Told:
        raise ValueError(
            f"distill needs a task whose observations tell its state, but those of "
            f"{name} do not: its planner cannot say what it would do."
        )
    try:
        like = make_planner(task, config.get("planner"))
        planner = like_data(like, config.get("settings"), "planner")
        mpc, _ = controller_for(
            task,
            planner,
            options.get("steps"),
            replan_every=options.get("replan_every"),
            open_loop=bool(options.get("open_loop")),
        )
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"The planner of {folder} is not read back: {error}"
        ) from error
    agent = Informed(Planning(task.problem, mpc), task.restore)
    return Teacher(name, {}, agent, task.problem)
