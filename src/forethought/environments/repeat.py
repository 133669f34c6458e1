"""Action repeat: an environment that is decided upon less often than it moves."""

from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.core.given.settings import Count, check_ranges, require
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.spaces import Space
from forethought.core.types import Action
from forethought.environments.base import (
    AbstractAround,
    AbstractEnvironment,
    AbstractSystem,
    Capsules,
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


class Repeated(AbstractAround[Readout]):
    """A system in which every action is taken several times, and what that earns.

    What `Repeat` is to an environment, for planners who know the dynamics: a state is
    read out with the sum of the rewards on the way to it, so that `Learned` is the
    objective.

    Args:
        system: Equations of motion.
        objective: Judges each of its steps.
        times: How often an action is taken.

    Raises:
        ValueError: `times` is less than one.
    """

    system: AbstractSystem
    objective: AbstractJudge
    times: Count = eqx.field(static=True)

    action: Space
    dt: float = eqx.field(static=True)

    def __init__(self, system: AbstractSystem, objective: AbstractJudge, times: int):
        require("Repeated", Count, times=times)
        self.system, self.objective, self.times = system, objective, times
        self.action, self.dt = system.action, system.dt * times

    def start(self, *, key: PRNGKeyArray) -> Readout:
        """Where the system starts, and nothing led there."""
        state = self.system.start(key=key)
        zero = jnp.zeros((), jax.tree.leaves(state)[0].dtype)
        return Readout(state, zero, zero + 1)

    def step(self, state: Readout, action: Action, *, key: PRNGKeyArray) -> Readout:
        """The state after all of them; where the episode ends in between, that one."""

        def once(before: Readout, key: PRNGKeyArray) -> tuple[Readout, None]:
            x = self.system.step(before.x, action, key=key)
            reward, discount = self.objective.judge(
                Readout(before.x), action, Readout(x)
            )
            earned, goes_on = _told(before)
            after = Readout(x, earned + reward, goes_on * discount)
            over = before.discount == 0
            kept = jax.tree.map(
                lambda old, new: jnp.where(over, old, new), before, after
            )
            return kept, None

        earned, goes_on = _told(state)
        begun = Readout(state.x, jnp.zeros_like(earned), jnp.ones_like(goes_on))
        return jax.lax.scan(once, begun, jax.random.split(key, self.times))[0]

    def observe(self, state: Readout) -> PyTree[Array]:
        """As the system does."""
        return self.system.observe(state.x)

    def sketch(self, state: Readout) -> Capsules:
        """As the system does."""
        return self.system.sketch(state.x)


def _told(state: Readout) -> tuple[Any, Any]:
    """Reward and discount of a state of `Repeated`, which always has them."""
    return state.reward, state.discount
