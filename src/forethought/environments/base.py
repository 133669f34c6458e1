"""The protocols of what is acted in: systems and environments.

A **system** is physics alone: a state, an action, the next state. The same system is
the plant that is acted in and, through `forethought.models.known.Known`, the model
that a planner thinks with. An **environment** adds what an agent is told: an
observation, a reward, and whether the episode ended. `Simulated` makes one from a
system and an objective.
"""

import abc
from typing import Generic, TypeVar

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Scalar

from forethought.core.spaces import Space
from forethought.core.types import Action

State = TypeVar("State")


class Capsules(eqx.Module):
    """A drawing: thick line segments, all that a sketch of a machine needs.

    A disc or a ball is a capsule whose ends coincide. `kind` picks the colour:
    0 for what moves, 1 for what stands still, 2 for a goal.
    """

    start: Float[Array, "capsule space"]
    end: Float[Array, "capsule space"]
    radius: Float[Array, " capsule"]
    kind: Int[Array, " capsule"]


class AbstractSystem(eqx.Module, Generic[State]):
    """Equations of motion in discrete time, of one example."""

    action: eqx.AbstractVar[Space]
    """What may be applied."""
    dt: eqx.AbstractVar[float]
    """Seconds from one step to the next."""

    @property
    @abc.abstractmethod
    def state_names(self) -> tuple[str, ...]:
        """A name for each coordinate of `ravel(state)`, with its unit."""

    @property
    @abc.abstractmethod
    def action_names(self) -> tuple[str, ...]:
        """A name for each action dimension, with its unit."""

    @abc.abstractmethod
    def start(self, *, key: PRNGKeyArray) -> State:
        """A start state."""

    @abc.abstractmethod
    def step(self, state: State, action: Action, *, key: PRNGKeyArray) -> State:
        """The state `dt` seconds later."""

    @abc.abstractmethod
    def observe(self, state: State) -> PyTree[Array]:
        """What a sensor sees of the state."""

    @abc.abstractmethod
    def sketch(self, state: State) -> Capsules:
        """The state as a drawing, in metres."""


class AbstractAround(AbstractSystem[State]):
    """A system around another one, with the same coordinates and actions."""

    system: eqx.AbstractVar[AbstractSystem]

    @property
    def state_names(self) -> tuple[str, ...]:
        """As the system has them."""
        return self.system.state_names

    @property
    def action_names(self) -> tuple[str, ...]:
        """As the system has them."""
        return self.system.action_names


class EnvironmentSpec(eqx.Module):
    """All that an agent may know of an environment before it acts."""

    observation: PyTree
    """A space, or a pytree of spaces."""
    action: Space
    episode_length: int | None = eqx.field(static=True)
    """Steps after which an episode is truncated; None where it never is."""


class TimeStep(eqx.Module):
    """What an agent is told after each step.

    `terminated` says that the task ended there, so nothing follows; `truncated` says
    that only the recording stopped. They are two different things.
    """

    obs: PyTree[Array]
    reward: Scalar
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]


class AbstractEnvironment(eqx.Module, Generic[State]):
    """An environment in pure JAX: no hidden state, any number at once by `vmap`."""

    @property
    @abc.abstractmethod
    def spec(self) -> EnvironmentSpec:
        """The spaces and the length of an episode."""

    @abc.abstractmethod
    def reset(self, *, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        """Begin an episode; the reward of this time step is zero."""

    @abc.abstractmethod
    def restart(self, state: State, *, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        """Begin the episode after another one; what outlasts episodes goes on.

        Where nothing does, it is the same as `reset`.
        """

    @abc.abstractmethod
    def step(
        self, state: State, action: Action, *, key: PRNGKeyArray
    ) -> tuple[State, TimeStep]:
        """Act once. Nothing resets by itself."""
