"""A training run as one thing, from Python as from the command line.

    import forethought as ft

    run = ft.train("Pendulum-v1", agent="pets", steps=1200, out="runs/mine")
    run.returns
    ft.report(run)

The folder is that of `forethought train`, and the same call with `resume=True` goes on
with it wherever it stopped.
"""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import PyTree

from forethought.agents.schedule import Schedule
from forethought.core.words import duration
from forethought.runs.events import both
from forethought.runs.store.folder import RunFolder, free_folder
from forethought.runs.train.bounds import write_bounds
from forethought.runs.train.config import config_of, differences, refusal
from forethought.runs.train.cost import FILE, Cost, foresee, measured
from forethought.runs.train.intervals import learn, pace, score
from forethought.runs.train.settings import Learning, check, settings_for


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
        return self.folder.metrics()

    @property
    def returns(self) -> np.ndarray:
        """The return of each episode that ended, shape `[episode]`."""
        return np.array([value for row in self.rows for value in row["returns"]], float)

    def evaluate(self, episodes: int = 5, *, seed: int = 1000) -> np.ndarray:
        """Returns of episodes in which the agent does its best and learns nothing.

        Args:
            episodes: How many.
            seed: Of the episodes; not that of the training run.

        Raises:
            ValueError: Fewer than one is asked for, or no checkpoint can be used.
        """
        if episodes < 1:
            raise ValueError(f"evaluate needs episodes >= 1, got {episodes}.")
        return score(self.learning, self.folder, episodes=episodes, seed=seed)[0]


def train(
    name: str,
    agent: Any = "pets",
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
    resume: bool = False,
    tensorboard: bool = False,
    epilogue: bool = True,
    progress: bool = True,
) -> Trained:
    """Learn to act where the dynamics are unknown.

    Args:
        name: Of a task, or of a Gymnasium environment.
        agent: Its name, then with the settings that suit the task; or its settings,
            such as `forethought.PETS(planner=forethought.CEM(20))`.
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
        out: The run folder; by default a new one under `runs/`.
        resume: Whether to go on with the run that `out` holds.
        tensorboard: Whether scalars are written to `tensorboard` in it as well.
        epilogue: Whether training is followed by measuring what random actions and an
            exact model earn, which the report sets beside it.
        progress: Whether to tell at the terminal what it costs and how far it is.

    Returns:
        What came out; everything is in its folder as well.

    Raises:
        ValueError: Something that was given is wrong, or a run is to be gone on with
            that had other settings; they are named.
        TypeError: The agent cannot act in this environment.
        FloatingPointError: The environment gave a number that is not finite.
        OSError: The folder cannot be written.
    """
    from rich.console import Console

    from forethought.runs.store.log import summary_writer

    settings = agent
    if isinstance(agent, str):
        settings = settings_for(name, agent)
    learning = Learning(
        name,
        settings,
        steps=steps,
        random_steps=random_steps,
        seed=seed,
        learn=learn,
        interval=interval,
        evaluate=evaluate,
        evaluate_episodes=evaluate_episodes,
        count=count,
    )
    check(learning)
    if tensorboard:
        summary_writer()
    config = config_of(learning)
    if not resume:
        folder = RunFolder.create(out or new_folder(learning), config)
    elif out is None:
        raise ValueError("Going on needs the folder of a run: train(..., out=DIR).")
    else:
        folder = RunFolder.open(out)
        if changed := differences(folder.config(), config):
            raise ValueError(refusal(changed))
    console = Console(quiet=not progress)
    return train_in(
        learning,
        folder,
        console,
        resume=resume,
        tensorboard=tensorboard,
        epilogue=epilogue,
    )


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
        done = max((row["step"] for row in folder.metrics()), default=0)
    events = TensorBoard(folder.path, done) if tensorboard else None
    try:
        state_cost(learning, folder, console, done)
        with live(console, learning.total_steps) as show:
            watch = show if events is None else both(events, show)
            state, notices = learn(learning, folder, resume=resume, watch=watch)
    finally:
        if events is not None:
            events.close()
    if epilogue:
        with console.status("measuring bounds"):
            agent = learning.training.agent
            write_bounds(folder, learning.name, learning.task, agent, learning.seed)
    return Trained(learning, folder, state.learner, notices)


def state_cost(learning: Learning, folder: RunFolder, console: Any, done: int) -> None:
    """Say what the plans of a run cost, and keep it beside its settings.

    The floor is said before anything is compiled, the rest once one plan was timed. Of
    an agent that learns as it acts its steps are timed instead, learning included.
    """
    if not learning.outside:
        console.print(_pace(learning, done), highlight=False, soft_wrap=True)
        return
    plans = plans_after(learning, done)
    if not plans:
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
    console.print(str(cost), highlight=False, soft_wrap=True)


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
    return free_folder(f"{learning.name}-{config_of(learning)['planner']}")
