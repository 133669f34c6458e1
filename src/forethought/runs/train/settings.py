"""What a training run is: who learns, where, when, and how long."""

import dataclasses
import functools
import math
from typing import Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp

from forethought.agents.base import AbstractAgent, Brief, Duty
from forethought.agents.registry import default_settings
from forethought.agents.schedule import Schedule
from forethought.core.spaces import Box, Discrete
from forethought.core.words import unknown
from forethought.data.parts import power_of_two
from forethought.data.replay import Replay
from forethought.environments.base import AbstractEnvironment
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.tasks import TASKS, Task
from forethought.training.host_loop import HostTraining
from forethought.training.loop import Training


def settings_for(name: str, agent: str) -> Any:
    """The settings that an agent begins from on a task or in an environment.

    Args:
        name: Of a task, whose own settings for the agent replace defaults, or of a
            Gymnasium environment, which knows of none.
        agent: The agent's name.

    Raises:
        ValueError: There is no agent of that name; the nearest is named.
    """
    if name not in TASKS:
        return default_settings(agent)
    task = TASKS[name]()
    return default_settings(agent, task.brief, **task.settings.get(agent, {}))


@dataclasses.dataclass(frozen=True)
class Learning:
    """A training run: what is learned, by whom, when, and how long it goes on.

    Args:
        name: Of a task, or of a Gymnasium environment.
        settings: Of the agent.
        steps: Environment steps, over all environments; six episodes in each of them
            if not given.
        seed: Of everything random.
        learn: When the agent learns; as it says itself if not given.
        interval: How often there is a line of metrics and a checkpoint, besides those
            at every time that the agent learns outside the loop that acts. For one that
            learns inside alone after each episode if not given, or where these have no
            length after 1,000 steps.
        random_steps: Environment steps that begin the run with random actions, an
            interval of their own; one episode in each environment if not given, or
            none for an agent that learns inside alone.
        evaluate: When the agent is evaluated, in episodes apart; never if None.
        evaluate_episodes: How many episodes these are.
        count: Environments that are acted in side by side.

    Raises:
        ValueError: There is nothing of that name; a number is below one; the steps are
            no more than the random ones; something is wanted by episodes where these
            have no length; or `learn` is given for several duties.
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
        if self.learn is not None and len(self.agent.duties) != 1:
            names = ", ".join(duty.name for duty in self.agent.duties) or "nothing"
            raise ValueError(
                "A schedule to learn by needs an agent with one duty, but this one "
                f"learns {names}; set their schedules in the agent's own settings."
            )
        for what, schedule in self._named_clocks:
            if self.length is None and schedule.unit == "episodes":
                raise ValueError(
                    f"Episodes of {self.name} have no length, so that training needs "
                    f"to {what} by steps or by a ratio to them, got by episodes."
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
    def agent(self) -> AbstractAgent:
        """Who learns."""
        return self.settings.make(Brief() if self.task is None else self.task.brief)

    @functools.cached_property
    def length(self) -> int | None:
        """Steps after which an episode is truncated; None where it never is."""
        if self.task is not None:
            return self.task.environment.spec.episode_length
        return gymnasium.spec(self.name).max_episode_steps

    @property
    def duties(self) -> tuple[Duty, ...]:
        """What is learned, and when."""
        if self.learn is None:
            return self.agent.duties
        return tuple(
            dataclasses.replace(duty, every=self.learn) for duty in self.agent.duties
        )

    @property
    def outside(self) -> tuple[Duty, ...]:
        """What is learned between two intervals."""
        return tuple(duty for duty in self.duties if not duty.inside)

    @property
    def clocks(self) -> tuple[Schedule, ...]:
        """When an interval ends: whenever any of these is due."""
        return tuple(schedule for _, schedule in self._named_clocks)

    @property
    def _named_clocks(self) -> list[tuple[str, Schedule]]:
        found = [("learn", duty.every) for duty in self.outside]
        if self.interval is not None:
            found.append(("have intervals", self.interval))
        usual = Schedule() if self.length else Schedule(1000, "steps")
        return found or [("have intervals", usual)]

    @property
    def total_steps(self) -> int:
        """Environment steps of the whole run, unless copies have to round them up."""
        return 6 * self._period if self.steps is None else self.steps

    @property
    def first_steps(self) -> int:
        """Environment steps with random actions."""
        if self.random_steps is not None:
            return self.random_steps
        return self._period if self.outside else 0

    @property
    def interval_steps(self) -> int:
        """The most steps of each environment that one interval can have."""
        return min(self._most(clock) for clock in self.clocks)

    def _most(self, clock: Schedule) -> int:
        wait = clock.wait(steps=0, episodes=0)
        if clock.unit == "episodes" and self.length is not None:
            return wait * self.length
        return math.ceil(wait / self.count)

    @property
    def _period(self) -> int:
        """Steps of one episode in each environment, or else of an interval."""
        return self.count * (self.length or self.interval_steps)

    @functools.cached_property
    def training(self) -> Training | HostTraining:
        """The loop, ready to begin."""
        steps = math.ceil(self.total_steps / self.count) + 1
        replay = Replay(power_of_two(steps), self.count)
        if self.task is not None:
            return Training(self.agent, self.task.environment, replay, self.duties)
        environment = GymnasiumEnvironment(self.name, self.count)
        return HostTraining(self.agent, environment, replay, self.duties)

    @functools.cached_property
    def apart(self) -> AbstractEnvironment | GymnasiumEnvironment:
        """What the agent is evaluated in: not the copies that it is trained in."""
        if self.task is not None:
            return self.task.environment
        return GymnasiumEnvironment(self.name, self.count)

    def reseeded(self, seed: int) -> "Learning":
        """The same from another seed, with the same environments and compiled code."""
        other = dataclasses.replace(self, seed=seed)
        vars(other).update(task=self.task, training=self.training, agent=self.agent)
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
        action, carry, _ = training.agent.act(learner, carry, obs, key=key)
        return action, training.agent.watch(carry)

    eqx.filter_eval_shape(once, jax.random.key(0))
