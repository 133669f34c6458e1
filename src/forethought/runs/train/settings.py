"""What a training run is: who learns, where, when, and how long."""

import dataclasses
import functools
import math
from typing import Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp

from forethought.core.spaces import Box, Discrete
from forethought.core.words import unknown
from forethought.data.parts import power_of_two
from forethought.data.replay import Replay
from forethought.environments.base import AbstractEnvironment
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.runs.train.agents import ONLINE, make_agent, rhythm
from forethought.tasks import TASKS, Task
from forethought.training.host_loop import HostTraining
from forethought.training.loop import Training
from forethought.training.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class Learning:
    """A training run: what is learned, by whom, when, and how long it goes on.

    Args:
        name: Of a task, or of a Gymnasium environment.
        settings: Of the agent.
        steps: Environment steps, over all environments; six episodes in each of them
            if not given.
        seed: Of everything random.
        learn: When the agent learns; after each episode if not given, or after each
            step if it learns online.
        interval: How often there is a line of metrics and a checkpoint, for an agent
            that learns online: after each episode if not given, or where these have no
            length after 1,000 steps. For others an interval ends when they learn.
        random_steps: Environment steps that begin the run with random actions, an
            interval of their own; one episode in each environment if not given, or
            none for an agent that learns online.
        evaluate: When the agent is evaluated, in episodes apart; never if None.
        evaluate_episodes: How many episodes these are.
        count: Environments that are acted in side by side.

    Raises:
        ValueError: There is nothing of that name; a number is below one; the steps are
            no more than the random ones; something is wanted by episodes where these
            have no length; or agent, `learn` and `interval` do not fit together.
    """

    name: str
    settings: Any
    steps: int | None = None
    seed: int = 0
    learn: Schedule | None = None
    interval: Schedule | None = None
    random_steps: int | None = None
    evaluate: Schedule | None = None
    evaluate_episodes: int = 5
    count: int = 1

    def __post_init__(self):
        """Check the name and the numbers."""
        if self.name not in TASKS and self.name not in gymnasium.registry:
            raise unknown(
                "task or Gymnasium environment",
                self.name,
                [*TASKS, *gymnasium.registry],
            )
        for field in ("evaluate_episodes", "count"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"Training needs {field} >= 1, got {getattr(self, field)}."
                )
        if self.online and self.updates.unit != "steps":
            raise ValueError(
                "An agent that learns online needs to learn every so many steps, got "
                f"learning by {self.updates.unit}."
            )
        if not self.online and self.interval is not None:
            raise ValueError(
                "An interval ends when this agent learns, so that training needs no "
                f"interval besides, got one of {self.interval.every:g} "
                f"{self.interval.unit}."
            )
        if self.length is None and self.period.unit == "episodes":
            what = "have intervals" if self.online else "learn"
            raise ValueError(
                f"Episodes of {self.name} have no length, so that training needs to "
                f"{what} by steps or by a ratio to them, got by episodes."
            )
        if self.length is None and self.evaluate is not None:
            raise ValueError(
                f"Evaluation needs episodes of some length, but those of {self.name} "
                "have none."
            )
        if self.random_steps is not None and self.random_steps < 0:
            raise ValueError(
                f"Training needs random_steps >= 0, got {self.random_steps}."
            )
        if self.total_steps <= self.first_steps:
            raise ValueError(
                f"Training on {self.name} needs more steps than the {self.first_steps} "
                f"random ones that it begins with, got steps={self.total_steps}."
            )

    @functools.cached_property
    def task(self) -> Task | None:
        """The task, or None for a Gymnasium environment."""
        return TASKS[self.name]() if self.name in TASKS else None

    @functools.cached_property
    def length(self) -> int | None:
        """Steps after which an episode is truncated; None where it never is."""
        if self.task is not None:
            return self.task.environment.spec.episode_length
        return gymnasium.spec(self.name).max_episode_steps

    @property
    def online(self) -> bool:
        """Whether the agent learns while it acts."""
        return isinstance(self.settings, ONLINE)

    @property
    def learn_every(self) -> int | None:
        """Steps of each environment between updates of an agent that learns online."""
        return math.ceil(self.updates.every / self.count) if self.online else None

    @property
    def updates(self) -> Schedule:
        """When the agent learns."""
        return rhythm(self.settings) if self.learn is None else self.learn

    @property
    def period(self) -> Schedule:
        """When an interval ends."""
        if not self.online:
            return self.updates
        if self.interval is not None:
            return self.interval
        return Schedule() if self.length else Schedule(1000, "steps")

    @property
    def total_steps(self) -> int:
        """Environment steps of the whole run, unless copies have to round them up."""
        return 6 * self._period if self.steps is None else self.steps

    @property
    def first_steps(self) -> int:
        """Environment steps with random actions."""
        if self.random_steps is not None:
            return self.random_steps
        return 0 if self.online else self._period

    @property
    def interval_steps(self) -> int:
        """The most steps of each environment that one interval can have."""
        wait = self.period.wait(steps=0, episodes=0)
        if self.period.unit == "episodes" and self.length is not None:
            return wait * self.length
        return math.ceil(wait / self.count)

    @property
    def _period(self) -> int:
        """Steps of one episode in each environment, or else of an interval."""
        return self.count * (self.length or self.interval_steps)

    @functools.cached_property
    def training(self) -> Training | HostTraining:
        """The loop, ready to begin."""
        agent = make_agent(self.task, self.settings)
        steps = math.ceil(self.total_steps / self.count) + 1
        replay = Replay(power_of_two(steps), self.count)
        every = self.learn_every
        if self.task is not None:
            return Training(agent, self.task.environment, replay, self.count, every)
        environment = GymnasiumEnvironment(self.name, self.count)
        return HostTraining(agent, environment, replay, every)

    @functools.cached_property
    def apart(self) -> AbstractEnvironment | GymnasiumEnvironment:
        """What the agent is evaluated in: not the copies that it is trained in."""
        if self.task is not None:
            return self.task.environment
        return GymnasiumEnvironment(self.name, self.count)

    def reseeded(self, seed: int) -> "Learning":
        """The same from another seed, with the same environments and compiled code."""
        other = dataclasses.replace(self, seed=seed)
        vars(other).update(task=self.task, training=self.training)
        return other


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
            lambda space: jnp.zeros(
                space.shape, float if isinstance(space, Box) else int
            ),
            spec.observation,
            is_leaf=lambda node: isinstance(node, Box | Discrete),
        )
        action, carry = training.agent.act(learner, carry, obs, key=key)
        return action, training.agent.watch(carry)

    eqx.filter_eval_shape(once, jax.random.key(0))
