"""A system and an objective as an environment to act in."""

from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from forethought.core.readout import AbstractJudge, Readout
from forethought.core.spaces import Box, Space
from forethought.core.types import Action
from forethought.environments.base import (
    AbstractEnvironment,
    AbstractSystem,
    EnvironmentSpec,
    TimeStep,
)

State = TypeVar("State")


class Timed(eqx.Module, Generic[State]):
    """A system's state and the steps since the episode began."""

    system: State
    time: Int[Array, ""]


class Simulated(AbstractEnvironment[Timed[State]], Generic[State]):
    """An environment whose physics and rewards are both written down.

    Args:
        system: Equations of motion.
        objective: Its rewards; a discount of exactly zero terminates the episode.
        episode_length: Steps after which it is truncated.
        observation: The space of observations; by default unbounded boxes of the shape
            that the system shows, and from 0 to 255 for pictures.
    """

    system: AbstractSystem[State]
    objective: AbstractJudge
    episode_length: int = eqx.field(static=True)
    observation: Space | None = None

    @property
    def spec(self) -> EnvironmentSpec:
        """As the system shows itself, for as many steps."""
        if self.observation is not None:
            action, length = self.system.action, self.episode_length
            return EnvironmentSpec(self.observation, action, length)
        key = jax.eval_shape(lambda: jax.random.key(0))
        obs = jax.eval_shape(
            lambda key: self.system.observe(self.system.start(key=key)), key
        )
        boxes = jax.tree.map(_box, obs)
        return EnvironmentSpec(boxes, self.system.action, self.episode_length)

    def reset(self, *, key: PRNGKeyArray) -> tuple[Timed[State], TimeStep]:
        """A start state of the system."""
        state = self.system.start(key=key)
        obs = self.system.observe(state)
        zero = jnp.zeros((), jax.tree.leaves(obs)[0].dtype)
        no = jnp.asarray(False)
        return Timed(state, jnp.asarray(0)), TimeStep(obs, zero, no, no)

    def restart(
        self, state: Timed[State], *, key: PRNGKeyArray
    ) -> tuple[Timed[State], TimeStep]:
        """A start state again."""
        return self.reset(key=key)

    def step(
        self, state: Timed[State], action: Action, *, key: PRNGKeyArray
    ) -> tuple[Timed[State], TimeStep]:
        """One step of physics, judged by the objective."""
        after = self.system.step(state.system, action, key=key)
        time = state.time + 1
        reward, discount = self.objective.judge(
            Readout.of(state.system, state.time), action, Readout.of(after, time)
        )
        terminated = discount == 0
        obs = self.system.observe(after)
        truncated = (time >= self.episode_length) & ~terminated
        return Timed(after, time), TimeStep(obs, reward, terminated, truncated)


def _box(seen: jax.ShapeDtypeStruct) -> Box:
    """A space for what is seen: any number, or as bright as a pixel is."""
    low, high = (0.0, 255.0) if seen.dtype == jnp.uint8 else (-np.inf, np.inf)
    return Box(np.full(seen.shape, low), np.full(seen.shape, high))
