"""A training run as one thing, from Python as from the command line.

    import forethought as ft

    run = ft.train("Pendulum-v1", agent="pets", steps=1200, out="runs/mine")
    run.returns
    ft.report(run)

The folder is that of `forethought train`, and the same call with `resume=True` goes on
with it wherever it stopped.
"""

import dataclasses
import functools
import inspect
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import PyTree

from forethought.agents.registry import AGENTS, Settings, name_of, planner_of
from forethought.agents.schedule import Schedule
from forethought.core.given.code import naming_the_line
from forethought.core.given.settings import Count, require
from forethought.core.words import duration, unknown
from forethought.runs.cost import FILE, Cost, foresee, measured
from forethought.runs.events import both
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.place import free_folder
from forethought.runs.train.acting import actor_of
from forethought.runs.train.bounds import write_bounds
from forethought.runs.train.config import config_of, differences, refusal
from forethought.runs.train.defaults import settings_for
from forethought.runs.train.intervals import learn, pace, score
from forethought.runs.train.lines import lines
from forethought.runs.train.settings import Learning, check
from forethought.runs.train.taught import write_taught
from forethought.tasks.base import Task
from forethought.training.actor import Actor


@dataclasses.dataclass(frozen=True)
class Trained:
    """A training run that came to its end, and its folder."""

    learning: Learning
    folder: RunFolder
    learner: PyTree
    """What was learned."""
    notices: tuple[str, ...] = ()
    """What the user should read: checkpoints that could not be used, and why."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The lines of metrics, one for each interval."""
        return lines(self.folder)

    @property
    def returns(self) -> np.ndarray:
        """The return of each episode that ended, shape `[episode]`."""
        return np.array([value for row in self.rows for value in row["returns"]], float)

    @functools.cached_property
    def policy(self) -> Actor:
        """The agent at work: `policy(obs)` is the action to take.

        It does its best, is compiled once, and remembers what it believes and plans
        until `policy.reset()`.
        """
        return actor_of(self.learning, self.learner)

    def evaluate(self, episodes: int = 5, *, seed: int = 1000) -> np.ndarray:
        """Returns of episodes in which the agent does its best and learns nothing.

        Args:
            episodes: How many.
            seed: Of the episodes; not that of the training run.

        Raises:
            ValueError: Fewer than one is asked for, or no checkpoint can be used.
        """
        require("evaluate", Count, episodes=episodes)
        return score(self.learning, self.folder, episodes=episodes, seed=seed)[0]


def train(
    task: str | Task,
    agent: Any = None,
    *,
    steps: int | None = None,
    random_steps: int | None = None,
    seed: int = 0,
    learn: Schedule | None = None,
    interval: Schedule | None = None,
    evaluate: Schedule | None = None,
    evaluate_episodes: int = 5,
    count: int = 1,
    out: str | os.PathLike | None = None,
    overwrite: bool = False,
    resume: bool = False,
    tensorboard: bool = False,
    epilogue: bool = True,
    progress: bool = True,
    env: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Trained:
    """Learn to act where the dynamics are unknown.

    Args:
        task: A task; or the name of one, or of a Gymnasium environment: its id, or
            `module:id` for one that a module registers when it is imported.
        agent: Its name, then with the settings that suit the task; or its settings,
            such as `forethought.PETS(planner=forethought.CEM(20))`. By default PETS, or
            Dyna where states and actions are numbers of a table.
        steps: Environment steps; by default six episodes.
        random_steps: How many of them are random, at first; by default one episode, or
            none for an agent that learns as it acts.
        seed: Of everything random.
        learn: When the agent learns; as suits it by default, which is after every
            episode, or after every step for one that learns as it acts.
        interval: How often there is a line of metrics and a checkpoint, besides those
            whenever acting stops to learn; after each episode by default for an agent
            that learns as it acts.
        evaluate: When the agent is evaluated in episodes of their own; None for never.
        evaluate_episodes: How many episodes each evaluation plays.
        count: Environments that are acted in side by side.
        out: The run folder, new or empty; by default a new one under `runs/`.
        overwrite: Whether a finished training run that `out` holds is replaced.
        resume: Whether to go on with the run that `out` holds.
        tensorboard: Whether scalars are written to `tensorboard` in it as well.
        epilogue: Whether training is followed by measuring what random actions and an
            exact model earn, which the report sets beside it.
        progress: Whether to tell at the terminal what it costs and how far it is.
        env: Arguments of `gymnasium.make`, for a Gymnasium environment.
        **settings: Settings of the agent that replace those it would have.

    Returns:
        What came out; everything is in its folder as well.

    Raises:
        ValueError: Something that was given is wrong, or a run is to be gone on with
            that had other settings; they are named. Somebody's files lie in `out`, or
            another process writes there.
        TypeError: The agent cannot act in this environment.
        FloatingPointError: The environment gave a number that is not finite.
        OSError: The folder cannot be written.
    """
    from forethought.runs.store.log import Terminal, summary_writer

    if not isinstance(task, str | Task):
        raise TypeError(
            "train needs a Task, or the name of one or of a Gymnasium environment, "
            f"got {task!r}."
        )
    name, own = (task.name, task) if isinstance(task, Task) else (task, None)
    learning = Learning(
        name,
        _settings(name, agent, settings, own, env or {}),
        steps=steps,
        random_steps=random_steps,
        seed=seed,
        learn=learn,
        interval=interval,
        evaluate=evaluate,
        evaluate_episodes=evaluate_episodes,
        count=count,
        env=env or {},
        own=own,
    )
    check(learning)
    if tensorboard:
        summary_writer()
    config = config_of(learning)
    if not resume:
        path = new_folder(learning) if out is None else out
        folder = RunFolder.create(path, config, overwrite=overwrite)
    elif out is None:
        raise ValueError("Going on needs the folder of a run: train(..., out=DIR).")
    else:
        folder = RunFolder.open(out)
        if changed := differences(folder.config(), config):
            raise ValueError(refusal(changed))
    console = Terminal(quiet=not progress)
    with folder.alone():
        return train_in(
            learning,
            folder,
            console,
            resume=resume,
            tensorboard=tensorboard,
            epilogue=epilogue,
        )


def _settings(
    name: str,
    agent: Any,
    fields: Mapping[str, Any],
    own: Task | None,
    env: Mapping[str, Any],
) -> Any:
    """Settings of an agent that was named or given, some of them replaced.

    Raises:
        ValueError: There is no agent of that name, or no such setting; the nearest is
            named.
        TypeError: What was given is no agent.
    """
    if agent is None:
        agent = name_of(settings_for(name, None, task=own, env=env))
    if not isinstance(agent, str | Settings) or isinstance(agent, type):
        raise TypeError(
            f"train needs an agent's name or its settings, such as {', '.join(AGENTS)} "
            f"or PETS(), got {agent!r}."
        )
    kind: Any = AGENTS.get(agent) if isinstance(agent, str) else type(agent)
    if kind is not None:
        known = {field.name for field in dataclasses.fields(kind) if field.init}
        if strange := [each for each in fields if each not in known]:
            called = agent if isinstance(agent, str) else kind.__name__
            options = inspect.signature(train).parameters.keys() - {"settings"}
            raise unknown(
                f"setting of {called} or of train", strange[0], {*known, *options}
            )
    if isinstance(agent, str):
        return settings_for(name, agent, task=own, env=env, **fields)
    return dataclasses.replace(agent, **fields) if fields else agent  # pyright: ignore


def train_in(
    learning: Learning,
    folder: RunFolder,
    console: Any,
    *,
    resume: bool = False,
    tensorboard: bool = False,
    epilogue: bool = True,
) -> Trained:
    """Tell what planning will cost, then train, telling how far it is.

    Args:
        learning: What to do; `check` has let it pass.
        folder: Where it is kept; its config is written.
        console: Where it is told.
        resume: Whether to go on from what the folder holds.
        tensorboard: Whether to write events as well.
        epilogue: Whether to measure at the end what random actions and an exact model
            earn.

    Raises:
        ValueError: There is nothing to go on from, or a package is missing.
        FloatingPointError: The environment gave a number that is not finite.
        OSError: The folder cannot be written.
    """
    from forethought.runs.store.log import TensorBoard, live

    done = 0
    if resume:
        done = max((row["step"] for row in lines(folder)), default=0)
        folder.reopen()
    events = TensorBoard(folder.path, done) if tensorboard else None
    try:
        state_cost(learning, folder, console, done)
        with naming_the_line(), live(console, learning.total_steps) as show:
            watch = show if events is None else both(events, show)
            state, notices = learn(learning, folder, resume=resume, watch=watch)
    finally:
        if events is not None:
            events.close()
    if epilogue:
        with console.status("measuring bounds"):
            write_bounds(folder, learning)
            write_taught(folder, learning, state.learner)
    folder.finish()
    return Trained(learning, folder, state.learner, notices)


def state_cost(learning: Learning, folder: RunFolder, console: Any, done: int) -> None:
    """Say what the plans of a run cost, and keep it beside its settings.

    The floor is said before anything is compiled, the rest once one plan was timed. Of
    an agent that learns as it acts its steps are timed instead, learning included.
    """
    if not learning.outside:
        console.print(_pace(learning, done), soft_wrap=True)
        return
    plans = plans_after(learning, done)
    # A policy acts inside compiled loops of our own tasks: next to nothing, and not
    # what one call from outside would take.
    if not plans or (learning.task and planner_of(learning.settings) is None):
        return
    training = learning.training
    agent, spec = training.agent, training.environment.spec
    cost = foresee(agent, spec, plans)
    tell(console, cost)
    cost = measured(cost, agent, spec, count=learning.count)
    tell(console, cost)
    if not done:
        folder.write_json(FILE, dataclasses.asdict(cost) | {"floor": cost.floor})


def _pace(learning: Learning, done: int) -> str:
    """What a step of acting and learning takes, and all that are left, in a sentence.

    What is compiled for it serves training again.
    """
    took, left = pace(learning), max(0, learning.total_steps - done)
    return (
        f"a step, with what is learned from it, takes {duration(took)} (measured); "
        f"{left:,} steps take about {duration(left * took)}, and writing checkpoints "
        "comes on top"
    )


def tell(console: Any, cost: Cost) -> None:
    """Say a cost at the terminal."""
    console.print(str(cost), soft_wrap=True)


def plans_after(learning: Learning, done: int) -> int:
    """How many plans a run still makes after so many environment steps."""
    steps, first = learning.total_steps, max(done, learning.first_steps)
    plans = max(0, steps - first)
    if learning.evaluate is None or learning.length is None:
        return plans
    length = learning.length
    times = learning.evaluate.due(
        steps=steps, episodes=steps // length
    ) - learning.evaluate.due(steps=done, episodes=done // length)
    return plans + int(times) * learning.evaluate_episodes * length


def new_folder(learning: Learning) -> pathlib.Path:
    """A folder of its own for a run that was given none."""
    name = re.sub(r"[^\w.-]", "-", learning.name)
    return free_folder(f"{name}-{name_of(learning.settings)}")
