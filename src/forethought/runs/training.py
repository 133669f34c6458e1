"""A training run that cannot be lost: episode by episode, each one on the disk.

After every episode the metrics grow by a line and everything that the run carries is
saved, so that a run that was killed goes on from its last episode and ends with the
same lines as one that never was.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from forethought.core.names import unknown
from forethought.core.spaces import Box, Discrete
from forethought.data.replay import Replay, power_of_two
from forethought.environments.gymnasium import GymnasiumEnvironment
from forethought.runs import checkpoint
from forethought.runs.agents import AGENTS, PETS, ModelBasedV2, make_agent, settings_for
from forethought.runs.folder import RunFolder
from forethought.tasks import TASKS, Task
from forethought.training.evaluate import evaluate
from forethought.training.host_loop import HostTraining, evaluate_host
from forethought.training.loop import Trace, Training, TrainState

__all__ = [
    "AGENTS",
    "PETS",
    "Learning",
    "ModelBasedV2",
    "check",
    "learn",
    "make_agent",
    "score",
    "settings_for",
]


@dataclasses.dataclass(frozen=True)
class Learning:
    """A training run: what is learned, by whom, and how long it goes on.

    Args:
        name: Of a task, or of a Gymnasium environment.
        settings: Of the agent.
        steps: Environment steps; whole episodes are made of them.
        seed: Of everything random.

    Raises:
        ValueError: There is nothing of that name, its episodes have no length, or the
            steps make fewer than two of them.
    """

    name: str
    settings: Any
    steps: int | None = None
    seed: int = 0

    def __post_init__(self):
        """Check the name and the numbers."""
        if self.name not in TASKS and self.name not in gymnasium.registry:
            raise unknown(
                "task or Gymnasium environment",
                self.name,
                [*TASKS, *gymnasium.registry],
            )
        if self.steps is not None and self.steps < 2 * self.length:
            raise ValueError(
                f"Training on {self.name} needs at least two episodes of "
                f"{self.length} steps, one of them random; got steps={self.steps}."
            )

    @functools.cached_property
    def task(self) -> Task | None:
        """The task, or None for a Gymnasium environment."""
        return TASKS[self.name]() if self.name in TASKS else None

    @functools.cached_property
    def length(self) -> int:
        """Steps of one episode."""
        if self.task is not None:
            return self.task.steps
        length = gymnasium.spec(self.name).max_episode_steps
        if length is None:
            raise ValueError(
                f"Training needs episodes of some length, but {self.name} has none."
            )
        return length

    @property
    def episodes(self) -> int:
        """How many whole episodes the steps make; six if they are not given."""
        return 6 if self.steps is None else self.steps // self.length

    @functools.cached_property
    def training(self) -> Training | HostTraining:
        """The loop, ready to begin."""
        agent = make_agent(self.task, self.settings)
        replay = Replay(power_of_two(self.episodes * self.length))
        if self.task is not None:
            return Training(agent, self.task.environment, replay)
        return HostTraining(agent, GymnasiumEnvironment(self.name), replay)


def check(run: Learning) -> None:
    """Let the agent act once on shapes alone, before anything is written or run.

    Raises:
        ValueError: Settings do not fit together, or a package is missing.
        TypeError: The agent cannot act in this environment.
    """
    try:
        training = run.training
    except ImportError as error:
        raise ValueError(str(error)) from error
    spec = training.environment.spec

    def once(key):
        learner = training.agent.init(spec, key=key)
        carry = training.agent.reset(learner, key=key)
        obs = jax.tree.map(
            lambda box: jnp.zeros(box.shape),
            spec.observation,
            is_leaf=lambda node: isinstance(node, Box | Discrete),
        )
        return training.agent.act(learner, carry, obs, key=key)

    eqx.filter_eval_shape(once, jax.random.key(0))


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
    length = run.length

    @eqx.filter_jit
    def scan(state: TrainState, random: bool) -> tuple[TrainState, Trace]:
        assert isinstance(training, Training)
        return training.collect(state, length, random=random)

    def collect(state: TrainState, random: bool) -> tuple[TrainState, Trace]:
        if isinstance(training, HostTraining):
            return training.collect(state, length, random=random, restart=True)
        return scan(state, random)

    for episode in range(done, run.episodes):
        began = time.perf_counter()
        state, trace = collect(state, episode == 0)
        state, metrics = training.learn(state)
        row: Row = {
            "episode": episode + 1,
            "step": (episode + 1) * length,
            "kind": "random" if episode == 0 else "planned",
            "return": float(np.nanmean(np.asarray(trace.episode_returns))),
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
    like = training.begin(key=jax.random.key(run.seed))
    found = checkpoint.load(folder.path, like)
    key = jax.random.key(seed)
    if isinstance(training, HostTraining):
        returns = evaluate_host(
            training.agent,
            training.environment,
            found.tree.learner,
            episodes=episodes,
            key=key,
        )
    else:
        returns = eqx.filter_jit(evaluate)(
            training.agent,
            training.environment,
            found.tree.learner,
            episodes=episodes,
            key=key,
        )
    return np.asarray(returns), found.notices
