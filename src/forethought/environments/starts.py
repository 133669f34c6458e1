"""A few starts that come again and again, of an environment with any number of them."""

from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from forethought.core.given.settings import Count, check_ranges
from forethought.core.types import Action
from forethought.environments.base import (
    AbstractEnvironment,
    EnvironmentSpec,
    TimeStep,
)

State = TypeVar("State")


class Numbered(eqx.Module, Generic[State]):
    """A state, and the number of its episode."""

    inside: State
    episode: Int[Array, ""]


class Starts(AbstractEnvironment[Numbered[State]], Generic[State]):
    """An environment whose episodes begin in one of a few ways, in turn.

    Which these are is drawn once: they are those of the keys that are folded from the
    seed, and what an episode draws of itself besides its start is free.

    Args:
        environment: What is acted in.
        count: How many starts.
        seed: Of the starts.

    Raises:
        ValueError: There are none.
    """

    environment: AbstractEnvironment[State]
    count: Count = eqx.field(static=True)
    seed: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        check_ranges(self)

    @property
    def spec(self) -> EnvironmentSpec:
        """That of the environment."""
        return self.environment.spec

    def reset(self, *, key: PRNGKeyArray) -> tuple[Numbered[State], TimeStep]:
        """The first start."""
        return self._begin(jnp.zeros((), jnp.int32))

    def restart(
        self, state: Numbered[State], *, key: PRNGKeyArray
    ) -> tuple[Numbered[State], TimeStep]:
        """The next start."""
        return self._begin(state.episode + 1)

    def step(
        self, state: Numbered[State], action: Action, *, key: PRNGKeyArray
    ) -> tuple[Numbered[State], TimeStep]:
        """As the environment does."""
        inside, after = self.environment.step(state.inside, action, key=key)
        return Numbered(inside, state.episode), after

    def _begin(self, episode: Int[Array, ""]) -> tuple[Numbered[State], TimeStep]:
        key = jax.random.fold_in(jax.random.key(self.seed), episode % self.count)
        inside, first = self.environment.reset(key=key)
        return Numbered(inside, episode), first
