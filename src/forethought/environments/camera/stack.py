"""Several pictures at once, so that one observation tells how things move."""

from typing import Generic, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from forethought.core.given.settings import Count, check_ranges
from forethought.core.spaces import Box
from forethought.core.types import Action
from forethought.environments.base import (
    AbstractEnvironment,
    EnvironmentSpec,
    TimeStep,
)

State = TypeVar("State")


class Stacked(eqx.Module, Generic[State]):
    """An environment's state, and what was seen last."""

    environment: State
    pictures: Array
    """The oldest first, along the last axis."""


class Stack(AbstractEnvironment[Stacked[State]], Generic[State]):
    """An environment whose observations hold the last ones, too, channel by channel.

    An episode begins with its first picture repeated.

    Args:
        environment: Its observations are pictures, shape `[row, column, channel]`.
        times: How many of them are seen at once.

    Raises:
        ValueError: `times` is less than one, or observations are no pictures.

    References:
        Mnih et al., Playing Atari with deep reinforcement learning, 2013,
        arXiv:1312.5602, section 4.1.
    """

    environment: AbstractEnvironment[State]
    times: Count = eqx.field(static=True)

    def __check_init__(self):
        check_ranges(self)
        space = self.environment.spec.observation
        if not (isinstance(space, Box) and len(space.shape) == 3):
            shown = getattr(space, "shape", space)
            raise ValueError(
                "A Stack needs observations of shape [row, column, channel], got "
                f"{shown}."
            )

    @property
    def spec(self) -> EnvironmentSpec:
        """As the environment's, with so many times the channels."""
        spec = self.environment.spec
        box = spec.observation
        bounds = (jnp.tile(each, (1, 1, self.times)) for each in (box.low, box.high))
        return EnvironmentSpec(Box(*bounds), spec.action, spec.episode_length)

    def reset(self, *, key: PRNGKeyArray) -> tuple[Stacked[State], TimeStep]:
        """Begin an episode."""
        return self._first(*self.environment.reset(key=key))

    def restart(
        self, state: Stacked[State], *, key: PRNGKeyArray
    ) -> tuple[Stacked[State], TimeStep]:
        """Begin the episode after another one."""
        return self._first(*self.environment.restart(state.environment, key=key))

    def step(
        self, state: Stacked[State], action: Action, *, key: PRNGKeyArray
    ) -> tuple[Stacked[State], TimeStep]:
        """Act once; the oldest picture is forgotten."""
        inner, told = self.environment.step(state.environment, action, key=key)
        older = state.pictures[..., told.obs.shape[-1] :]
        return _showing(inner, told, jnp.concatenate([older, told.obs], axis=-1))

    def _first(self, inner: State, told: TimeStep) -> tuple[Stacked[State], TimeStep]:
        return _showing(inner, told, jnp.tile(told.obs, (1, 1, self.times)))


def _showing(
    inner: State, told: TimeStep, pictures: Array
) -> tuple[Stacked[State], TimeStep]:
    told = eqx.tree_at(lambda told: told.obs, told, pictures)
    return Stacked(inner, pictures), told
