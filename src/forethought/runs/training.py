"""A training run that cannot be lost: episode by episode, each one on the disk.

After every episode the metrics grow by a line and everything that the run carries is
saved, so that a run that was killed goes on from its last episode and ends with the
same lines as one that never was.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from forethought.agents.base import AbstractAgent
from forethought.agents.model_based import Bootstrap, ModelBased
from forethought.data.replay import Replay, power_of_two
from forethought.objectives.learned import Learned, Observed
from forethought.planners import CEM, AbstractPlanner, RandomShooting
from forethought.runs import checkpoint
from forethought.runs.folder import RunFolder
from forethought.tasks.base import Task
from forethought.training.evaluate import evaluate
from forethought.training.loop import Training, TrainState


@dataclasses.dataclass(frozen=True)
class PETS:
    """An ensemble of Gaussian networks, and CEM over its particles.

    Args:
        model: The ensemble and how it is fitted.
        planner: Who plans in it.
        known_reward: Whether the task's own reward is used where observations tell
            the state; otherwise it is learned.
    """

    model: Bootstrap = Bootstrap()  # noqa: RUF009  (a frozen setting)
    planner: CEM = CEM(  # noqa: RUF009  (a frozen setting)
        30, population=100, elites=10, particles=5, noise_beta=1.0
    )
    known_reward: bool = True


@dataclasses.dataclass(frozen=True)
class ModelBasedV2:
    """One deterministic network, replanned at every step: model-based RL v2.

    Args:
        model: The network and how it is fitted.
        planner: Who plans in it.
        known_reward: As for PETS.
    """

    model: Bootstrap = Bootstrap(  # noqa: RUF009  (a frozen setting)
        members=1, probabilistic=False, propagation="E"
    )
    planner: RandomShooting = RandomShooting(  # noqa: RUF009  (a frozen setting)
        20, population=1000, hold=3
    )
    known_reward: bool = True


AGENTS: dict[str, type] = {"pets": PETS, "mbrl-v2": ModelBasedV2}
"""Every agent that learns, under its name on the command line."""


def make_agent(task: Task, settings: Any) -> AbstractAgent:
    """An agent for a task, from its settings."""
    known = settings.known_reward and task.restore is not None
    recipe = dataclasses.replace(
        settings.model,
        circles=settings.model.circles or task.circles,
        reward=settings.model.reward or not known,
    )
    planner: AbstractPlanner = settings.planner
    if not known:
        return ModelBased(recipe, Learned(), planner)
    assert task.restore is not None

    def restore(seen: Any) -> jax.Array:
        return task.restore(getattr(seen, "obs", seen))  # type: ignore[misc]

    return ModelBased(recipe, Observed(task.problem.objective, restore), planner)


@dataclasses.dataclass(frozen=True)
class Learning:
    """A training run on a task: what is compiled, and how long it goes on.

    Args:
        task: What to learn.
        settings: Of the agent.
        steps: Environment steps; whole episodes are made of them.
        seed: Of everything random.
    """

    task: Task
    settings: Any
    steps: int
    seed: int

    def __post_init__(self):
        """Check the numbers."""
        if self.steps < 2 * self.task.steps:
            raise ValueError(
                f"Training on {self.task.name} needs at least two episodes of "
                f"{self.task.steps} steps, one of them random; got steps={self.steps}."
            )

    @property
    def episodes(self) -> int:
        """How many whole episodes the steps make."""
        return self.steps // self.task.steps

    @property
    def training(self) -> Training:
        """The loop, ready to begin."""
        agent = make_agent(self.task, self.settings)
        capacity = power_of_two(self.episodes * self.task.steps)
        return Training(agent, self.task.environment, Replay(capacity))


Row = dict[str, Any]


def learn(
    run: Learning,
    folder: RunFolder,
    *,
    resume: bool = False,
    on_row: Callable[[Row], None] = lambda row: None,
) -> tuple[TrainState, tuple[str, ...]]:
    """Train, writing a line and a checkpoint after each episode.

    Args:
        run: What to do.
        folder: Where it is kept.
        resume: Whether to go on from the newest usable checkpoint.
        on_row: Called with each line of metrics.

    Returns:
        Where training ended, and sentences about checkpoints that were passed over.

    Raises:
        ValueError: There is no usable checkpoint to go on from.
    """
    training = run.training
    state = training.begin(key=jax.random.key(run.seed))
    done, notices = 0, ()
    if resume:
        found = checkpoint.load(folder.path, state)
        state, done, notices = found.tree, found.step, found.notices
        folder.keep_metrics(done)
    length = run.task.steps

    @eqx.filter_jit
    def collect(state: TrainState, random: bool):
        return training.collect(state, length, random=random)

    for episode in range(done, run.episodes):
        began = time.perf_counter()
        state, trace = collect(state, episode == 0)
        state, metrics = training.learn(state)
        row: Row = {
            "episode": episode + 1,
            "step": (episode + 1) * length,
            "kind": "random" if episode == 0 else "planned",
            "return": float(np.sum(np.asarray(trace.rewards))),
        }
        row |= {
            name: float(np.mean(np.asarray(value)))
            for name, value in metrics.items()
            if np.ndim(value) <= 1
        }
        row["seconds"] = time.perf_counter() - began
        folder.append(row)
        checkpoint.save(folder.path, episode + 1, state, {"episodes": episode + 1})
        on_row(row)
    return state, notices


def score(
    run: Learning, folder: RunFolder, *, episodes: int, seed: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns of evaluation episodes with what a run has learned so far.

    Raises:
        ValueError: There is no usable checkpoint.
    """
    training = run.training
    found = checkpoint.load(folder.path, training.begin(key=jax.random.key(run.seed)))
    returns = eqx.filter_jit(evaluate)(
        training.agent,
        training.environment,
        found.tree.learner,
        episodes=episodes,
        key=jax.random.key(seed),
    )
    return np.asarray(returns), found.notices
