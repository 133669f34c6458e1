"""The protocol of agents: how do I get better?

An agent keeps what it learns apart from what it carries through an episode. The
*learner* (parameters, optimisers, data statistics) is large and shared by all
environments that are acted in; the *carry* (belief, plan state) is small, and each
episode has its own, so that `act` can be vmapped over environments.

When it learns, and what, its *duties* say. Training does them when they are due and
knows nothing else of an agent:

| agent | duties |
|---|---|
| PETS | refit the model after each episode |
| Dyna | learn from each step, within the loop that acts |
| MBPO | refit the model every 250 steps; many updates of the policy a step |
"""

import abc
import dataclasses
import math
from typing import Generic, TypeVar

from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from forethought.agents.schedule import Schedule
from forethought.core.given.settings import AbstractSettings, Count, Whole, check_ranges
from forethought.core.readout import AbstractJudge
from forethought.core.types import Action, Mode
from forethought.data.memory import Memory
from forethought.data.transitions import Transition
from forethought.environments.base import EnvironmentSpec
from forethought.planners.base import AbstractPlanner
from forethought.problem import Problem

Learner = TypeVar("Learner")
Carry = TypeVar("Carry")
Metrics = dict[str, Array]
"""Numbers by name; vectors where there is one for each member."""

EPISODE = Schedule(1, "episodes")


@dataclasses.dataclass(frozen=True)
class Duty:
    """Something that an agent learns, and when.

    Args:
        name: What is learned, for metrics and messages.
        every: When it is due.
        times: How many updates it is then.
        begin: Environment steps before which it is never due.
        until: Environment steps after which it is not due any more; None for never.
        inside: Whether it is done within the compiled loop that acts, because it is
            due often and costs little. One that is not ends an interval of training:
            acting stops, and a line of metrics and a checkpoint follow.
        on_policy: Whether only what the agent itself did teaches it anything, so that
            no run begins with random actions for its sake.
        rows: How many steps it learns from at once: a memory has to hold so many.

    Raises:
        ValueError: There are no updates, it ends before it begins, or it is done
            inside and due by episodes.
    """

    name: str
    every: Schedule = EPISODE
    times: Count = 1
    begin: Whole = 0
    until: Whole | None = None
    inside: bool = False
    on_policy: bool = False
    rows: Count = 1

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self, f"Duty {self.name}")
        if self.until is not None and self.begin > self.until:
            raise ValueError(
                f"Duty {self.name} needs begin <= until, got {self.begin} and "
                f"{self.until}."
            )
        if self.inside and self.every.unit == "episodes":
            raise ValueError(
                f"Duty {self.name} is done inside the loop that acts, which needs a "
                "schedule by steps or by a ratio to them, got one by episodes."
            )


@dataclasses.dataclass(frozen=True)
class Brief:
    """What a task tells an agent beforehand; nothing by default.

    Args:
        objective: Reward and end, judged by observations; None where these have to be
            learned.
        circles: Pairs of observed dimensions that hold cosine and sine of one angle.
        angles: Observed dimensions that are angles themselves, in radians.
        gamma: What a reward one step later is worth.
        start: Mean and standard deviation of each number that is first observed.
    """

    objective: AbstractJudge | None = None
    circles: tuple[tuple[int, int], ...] = ()
    angles: tuple[int, ...] = ()
    gamma: float | None = None
    start: tuple[tuple[float, ...], tuple[float, ...]] | None = None


class AbstractAgent(AbstractSettings, Generic[Learner, Carry]):
    """Acts in one environment at a time; several by `jax.vmap` over the carry."""

    @property
    @abc.abstractmethod
    def duties(self) -> tuple[Duty, ...]:
        """What it learns, and when; done in this order where several are due."""

    @abc.abstractmethod
    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Learner:
        """What is known before anything was seen."""

    @abc.abstractmethod
    def reset(self, learner: Learner, *, key: PRNGKeyArray) -> Carry:
        """What is carried through an episode that begins now."""

    @abc.abstractmethod
    def act(
        self,
        learner: Learner,
        carry: Carry,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, Carry, PyTree]:
        """The action to take once `obs` was seen.

        Returns:
            The action; what is carried on; and what is to be kept with the transition,
            such as a log-probability, or None.
        """

    @abc.abstractmethod
    def update(
        self, learner: Learner, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Learner, Metrics]:
        """Do a duty once, with what it wants of what was seen.

        Metrics of a duty that is done inside the loop of acting are real numbers.
        """

    def make(self, brief: Brief) -> "AbstractAgent":
        """Itself: an agent may stand wherever the settings of one are asked for."""
        return self

    def informed(
        self, problem: Problem, *, seconds: float = math.inf, key: PRNGKeyArray
    ) -> tuple["AbstractAgent", PyTree] | None:
        """Who acts, and on what, if nothing were left to learn of a problem.

        What that earns bounds what learning can. None if it cannot be told.

        Args:
            problem: The true dynamics, and what is wanted.
            seconds: Wall time that one who has to practise in them may take.
            key: Consumed.

        Raises:
            TimeoutError: That would take longer.
        """
        return None

    def broken(self, learner: Learner) -> str | None:
        """What went wrong in learning, as in "learning came to …"; None if nothing.

        A run stops then, and keeps what it had learned before. For use on the host.
        """
        return None

    def hindsight(
        self,
        learner: Learner,
        seen: Transition,
        alive: Bool[Array, " time"],
        *,
        key: PRNGKeyArray,
    ) -> Metrics:
        """What an episode of evaluation says of what was expected of it.

        Args:
            learner: What was learned before it.
            seen: The episode, leaves `[time, ...]`; what was kept is left out.
            alive: Which rows belong to it, the first ones; others hold anything.
            key: Consumed.

        Returns:
            Real numbers, which are averaged over episodes; nothing by default.
        """
        return {}

    @abc.abstractmethod
    def examined(self, learner: Learner) -> tuple[Problem, AbstractPlanner] | None:
        """A problem whose model is `AbstractLearned`, and who plans in it.

        The model's forecasts can then be compared with what happened. None if the
        agent has no such model.
        """

    @abc.abstractmethod
    def watch(self, carry: Carry) -> Metrics:
        """Numbers about the last action, for whoever looks on.

        Real numbers are averaged over time, counts and truths are added up, so that
        which of the two a number is, its dtype says.
        """


class AbstractFixed(AbstractAgent[Learner, Carry]):
    """Acts, learns nothing, and has nothing to tell of it."""

    @property
    def duties(self) -> tuple[Duty, ...]:
        """None: nothing is learned."""
        return ()

    def update(
        self, learner: Learner, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Learner, Metrics]:
        """Nothing is learned."""
        return learner, {}

    def examined(self, learner: Learner) -> None:
        """No model is learned."""

    def watch(self, carry: Carry) -> Metrics:
        """Nothing is told."""
        return {}
