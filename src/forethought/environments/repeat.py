"""Action repeat: an environment that is decided upon less often than it moves."""

from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from forethought.core.given.settings import Count, check_ranges
from forethought.core.types import Action
from forethought.environments.base import (
    AbstractEnvironment,
    EnvironmentSpec,
    TimeStep,
)

State = TypeVar("State")


class Repeat(AbstractEnvironment[State], Generic[State]):
    r"""An environment in which every action is taken several times in a row.

    $$r_t = \sum_{i < n} r_{nt + i}$$

    An episode that ends in between ends there, and nothing is earned after it.

    ```python
    >>> from forethought.environments.analytic import Pendulum
    >>> from forethought.environments.repeat import Repeat
    >>> from forethought.environments.simulated import Simulated
    >>> from forethought.objectives.task import PendulumReward
    >>> pendulum = Simulated(Pendulum(), PendulumReward(), 200)
    >>> Repeat(pendulum, 4).spec.episode_length
    50

    ```

    Args:
        environment: What is acted in.
        times: $n$, how often an action is taken.

    Raises:
        ValueError: `times` is less than one.

    References:
        Mnih et al., Playing Atari with deep reinforcement learning, 2013,
        arXiv:1312.5602, section 5 (frame skipping).
    """

    environment: AbstractEnvironment[State]
    times: Count = eqx.field(static=True)

    def __check_init__(self):
        check_ranges(self)

    @property
    def spec(self) -> EnvironmentSpec:
        """The same spaces; an episode has as many steps as there are decisions."""
        spec = self.environment.spec
        length = spec.episode_length
        # An episode whose length is no multiple is truncated within its last decision.
        length = None if length is None else -(-length // self.times)
        return EnvironmentSpec(spec.observation, spec.action, length)

    def reset(self, *, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        """Begin an episode."""
        return self.environment.reset(key=key)

    def restart(self, state: State, *, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        """Begin the episode after another one."""
        return self.environment.restart(state, key=key)

    def step(
        self, state: State, action: Action, *, key: PRNGKeyArray
    ) -> tuple[State, TimeStep]:
        """Take the action `times` times, or until the episode ends."""
        keys = jax.random.split(key, self.times)

        def again(
            carry: tuple[State, TimeStep], key: PRNGKeyArray
        ) -> tuple[tuple[State, TimeStep], None]:
            state, last = carry
            ended = last.terminated | last.truncated
            after, now = self.environment.step(state, action, key=key)
            now = eqx.tree_at(lambda now: now.reward, now, last.reward + now.reward)
            kept = jax.tree.map(
                lambda old, new: jnp.where(ended, old, new), carry, (after, now)
            )
            return kept, None

        begun = self.environment.step(state, action, key=keys[0])
        return jax.lax.scan(again, begun, keys[1:])[0]
