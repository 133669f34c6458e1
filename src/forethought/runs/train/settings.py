"""What a training run is: who learns, where, when, and how long."""

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from forethought.agents.base import AbstractAgent, Duty
from forethought.agents.registry import (
    AGENTS,
    NOTHING,
    conditions_of,
    default_settings,
    name_of,
)
from forethought.agents.schedule import Schedule
from forethought.core.given.code import naming_the_line
from forethought.core.given.settings import Count, Seed, Times, Whole, check_ranges
from forethought.core.spaces import Box, Discrete
from forethought.data.parts import power_of_two
from forethought.data.replay import Replay
from forethought.environments.base import AbstractEnvironment, EnvironmentSpec
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.environments.gymnasium.named import (
    full_name,
    length_of,
    registered,
)
from forethought.environments.gymnasium.starts import Starts as HostStarts
from forethought.environments.starts import Starts
from forethought.runs.cost import Needs, needs_of, require_memory
from forethought.runs.train.defaults import TWINS, made, require_known
from forethought.tasks import TASKS, Task
from forethought.tasks.base import observed_names
from forethought.training.host_loop import HostTraining
from forethought.training.loop import Training


@dataclasses.dataclass(frozen=True)
class Learning:
    """A training run: what is learned, by whom, when, and how long it goes on.

    Args:
        name: Of a task, or of a Gymnasium environment: an id, or `module:id` for one
            that a module registers when it is imported.
        settings: Of the agent.
        steps: Environment steps, over all environments; six episodes in each of them
            if not given, or twenty updates of a policy from its own actions.
        seed: Of everything random.
        learn: When the agent learns; as it says itself if not given.
        interval: How often there is a line of metrics and a checkpoint, besides those
            at every time that the agent learns outside the loop that acts. For one that
            learns inside alone after each episode if not given, or where these have no
            length after 1,000 steps.
        random_steps: Environment steps that begin the run with random actions, an
            interval of their own; one episode in each environment if not given, or
            none for an agent that learns inside alone, or from its own actions
            alone.
        evaluate: When the agent is evaluated, in episodes apart; never if None.
        evaluate_episodes: How many episodes these are.
        count: Environments that are acted in side by side.
        env: Arguments of `gymnasium.make`, for a Gymnasium environment.
        own: A task of a person's own, in the place of the one of that name.
        taught: Who teaches an agent that imitates, and what they know.

    Raises:
        ValueError: There is nothing of that name; a number is below one; the steps are
            no more than the random ones; something is wanted by episodes where these
            have no length; `learn` is given for several duties; or `env` is given for
            a task, or holds what cannot be written down.
    """

    name: str
    settings: Any
    steps: Count | None = None
    seed: Seed = 0
    learn: Schedule | None = None
    interval: Schedule | None = None
    random_steps: Whole | None = None
    evaluate: Schedule | None = None
    evaluate_episodes: Times = 5
    count: Times = 1
    env: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    own: Task | None = None
    taught: tuple[AbstractAgent, Any] | None = None

    def __post_init__(self):
        """Check the name and the numbers."""
        check_ranges(self, "Training")
        if self.own is None:
            require_known(self.name)
        object.__setattr__(self, "env", _written(self.name, self.env))
        if self.env and self.task is not None:
            raise ValueError(
                f"Settings of an environment go with one of Gymnasium, got "
                f"{next(iter(self.env))} for the task {self.name}."
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
        if self.total_steps <= self.first_steps:
            raise ValueError(
                f"Training on {self.name} needs more steps than the {self.first_steps} "
                f"random ones that it begins with, got steps={self.total_steps}."
            )

    @functools.cached_property
    def task(self) -> Task | None:
        """The task, or None for a Gymnasium environment."""
        if self.own is not None or self.name not in TASKS:
            return self.own
        return TASKS[self.name]()

    @functools.cached_property
    def known(self) -> Task | None:
        """A task whose dynamics are those that are acted in; None where unknown."""
        if self.task is not None or self.env or self.name not in TWINS:
            return self.task
        return TASKS[TWINS[self.name]]()

    @property
    def full_name(self) -> str:
        """The name by which another program finds the same."""
        return self.name if self.task is not None else full_name(self.name)

    @functools.cached_property
    def agent(self) -> AbstractAgent:
        """Who learns."""
        made = self.settings.make(NOTHING if self.task is None else self.task.brief)
        if self.taught is None:
            return made
        teacher, knowledge = self.taught
        return dataclasses.replace(made, teacher=teacher, knowledge=knowledge)

    @functools.cached_property
    def length(self) -> int | None:
        """Steps after which an episode is truncated; None where it never is."""
        if self.task is not None:
            return self.task.environment.spec.episode_length
        return length_of(registered(self.name), self.env)

    def observed(self, size: int) -> list[str]:
        """A name for each of so many numbers of an observation."""
        environment = self.training.environment
        if isinstance(environment, GymnasiumEnvironment):
            return environment.names(size)
        assert self.task is not None
        return observed_names(self.task, size)

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
        if self.steps is not None:
            return self.steps
        own = [duty.every for duty in self.outside if duty.on_policy]
        updates = [
            math.ceil(20 * clock.every) for clock in own if clock.unit == "steps"
        ]
        return max(6 * self._period, *updates, 0)

    @property
    def first_steps(self) -> int:
        """Environment steps with random actions."""
        if self.random_steps is not None:
            return self.random_steps
        wanted = any(not duty.on_policy for duty in self.outside)
        return self._period if wanted else 0

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
        starts = conditions_of(self.settings)
        if self.task is not None:
            world = self.task.environment
            world = world if starts is None else Starts(world, starts)
            return Training(self.agent, world, replay, self.duties)
        in_turn = [] if starts is None else [lambda env: HostStarts(env, starts)]
        environment = self.copies(self.count, wrappers=in_turn)
        return HostTraining(self.agent, environment, replay, self.duties)

    @functools.cached_property
    def apart(self) -> AbstractEnvironment | GymnasiumEnvironment:
        """What the agent is evaluated in: not the copies that it is trained in."""
        if self.task is not None:
            return self.task.environment
        return self.copies(self.count)

    def copies(self, count: int = 1, **how: Any) -> GymnasiumEnvironment:
        """Copies of the Gymnasium environment.

        Args:
            count: How many.
            **how: Other arguments of `GymnasiumEnvironment`; `options` are added to
                the run's own.
        """
        options = {**self.env, **how.pop("options", {})}
        return GymnasiumEnvironment(self.name, count, options=options, **how)

    def reseeded(self, seed: int) -> "Learning":
        """The same from another seed, with the same environments and compiled code."""
        other = dataclasses.replace(self, seed=seed)
        vars(other).update(task=self.task, training=self.training, agent=self.agent)
        return other


@naming_the_line()
@naming_the_line()
def check(run: Learning) -> None:
    """Let the agent act once on shapes alone, before anything is written or run.

    Raises:
        ValueError: Settings do not fit together, a package is missing, or more memory
            is needed than there is.
        TypeError: The agent cannot act in this environment; those that can are named.
    """
    steps = power_of_two(math.ceil(run.total_steps / run.count) + 1)
    require_memory(f"A memory of {steps:,} steps", 16.0 * steps * run.count)
    spec = made(lambda: run.training).environment.spec
    try:
        found = _act_once(run.settings, run.agent, spec)
    except TypeError as error:
        able = _able(run, spec)
        if not able or name_of(run.settings) in able:
            raise
        raise TypeError(
            f"{str(error).rstrip('.')}; agents that can are {', '.join(able)}."
        ) from error
    require_memory("The agent", found.bytes, found.array)


def _act_once(settings: Any, agent: AbstractAgent, spec: EnvironmentSpec) -> Needs:
    def once(key):
        learner = agent.init(spec, key=key)
        carry = agent.reset(learner, key=key)
        obs = jax.tree.map(
            lambda space: jnp.zeros(
                space.shape, float if isinstance(space, Box) else int
            ),
            spec.observation,
            is_leaf=lambda node: isinstance(node, Box | Discrete),
        )
        action, carry, _ = agent.act(learner, carry, obs, key=key)
        return action, agent.watch(carry)

    return needs_of("The agent", settings, once, jax.random.key(0))


def _able(run: Learning, spec: EnvironmentSpec) -> list[str]:
    """Names of the agents that can act where a run does."""
    brief, found = NOTHING if run.task is None else run.task.brief, []
    for name in AGENTS:
        try:
            settings = default_settings(name, brief, spec.action)
            _act_once(settings, settings.make(brief), spec)
        except (TypeError, ValueError):
            continue
        found.append(name)
    return found


def _written(name: str, env: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they come back from a file: tuples are lists.

    Raises:
        ValueError: One of them has no form there.
    """
    found = {}
    for key, value in env.items():
        try:
            found[key] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} needs settings that can be written down (finite numbers, "
                "strings, truths, lists and dictionaries of them), got "
                f"{key}={value!r}."
            ) from error
    return found
