"""Worlds of finitely many states: a table as a system and as an environment.

A table may change while it is acted in, as the blocking and the shortcut maze do: the
steps are counted by a clock that goes on when an episode ends.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from forethought.core.spaces import Discrete
from forethought.core.table import Table, pick
from forethought.core.types import Action
from forethought.environments.base import (
    AbstractEnvironment,
    EnvironmentSpec,
    TimeStep,
)


class Walk(eqx.Module):
    """Where somebody stands in a table, and since when."""

    state: Int[Array, ""]
    time: Int[Array, ""]
    """Steps since the episode began."""
    clock: Int[Array, ""]
    """Steps since the first episode began."""


class TabularEnvironment(AbstractEnvironment[Walk]):
    """A table to act in; the observation is the state's number.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.table import Table
    >>> from forethought.environments.tabular import TabularEnvironment
    >>> bandit = Table([[[0], [0]]], [[[1], [1]]], [[[0], [1]]], [[[True], [True]]])
    >>> environment = TabularEnvironment(bandit, episode_length=1)
    >>> state, _ = environment.reset(key=jax.random.key(0))
    >>> float(environment.step(state, jnp.asarray(1), key=state.key)
    (1.0, True)

    ```

    Args:
        table: What follows from each state and action.
        episode_length: Steps after which an episode is truncated; never by default.
        later: Pairs of a clock time and the table that holds from then on, in order.

    Raises:
        ValueError: The length is below one, times do not increase, or tables differ in
            shape.
    """

    tables: Table
    """Leaves with a leading axis `[phase]`."""
    changes: Int[Array, " change"]
    episode_length: int | None = eqx.field(static=True)

    def __init__(
        self,
        table: Table,
        episode_length: int | None = None,
        later: Sequence[tuple[int, Table]] = (),
    ):
        if episode_length is not None and episode_length < 1:
            raise ValueError(
                f"TabularEnvironment needs episode_length >= 1, got {episode_length}."
            )
        times = [time for time, _ in later]
        if any(b <= a for a, b in zip([0, *times], times, strict=False)):
            raise ValueError(
                "TabularEnvironment needs tables at later and later times, got "
                f"{times}."
            )
        tables = [table, *(each for _, each in later)]
        shapes = [list(each.next_state.shape) for each in tables]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(
                f"TabularEnvironment needs tables of one shape, got {shapes}."
            )
        self.tables = jax.tree.map(lambda *leaves: jnp.stack(leaves), *tables)
        self.changes = jnp.asarray(times, jnp.int32)
        self.episode_length = episode_length

    @property
    def spec(self) -> EnvironmentSpec:
        """Numbers of states and of actions."""
        _, states, actions, _ = self.tables.next_state.shape
        return EnvironmentSpec(Discrete(states), Discrete(actions), self.episode_length)

    def reset(self, *, key: PRNGKeyArray) -> tuple[Walk, TimeStep]:
        """Begin the first episode, at clock time zero."""
        return self._begin(jnp.zeros((), jnp.int32), key)

    def restart(self, state: Walk, *, key: PRNGKeyArray) -> tuple[Walk, TimeStep]:
        """Begin the next episode; the clock goes on."""
        return self._begin(state.clock, key)

    def step(
        self, state: Walk, action: Action, *, key: PRNGKeyArray
    ) -> tuple[Walk, TimeStep]:
        """Draw what follows."""
        phases, states = self.tables.start.shape
        # All phases as one table, whose rows a step reads in place.
        table = jax.tree.map(
            lambda leaf: leaf.reshape(phases * states, *leaf.shape[2:]), self.tables
        )
        row = self._phase(state.clock) * states + state.state
        after = table.draw(row, action, key=key)
        time = state.time + 1
        walk = Walk(after.state, time, state.clock + 1)
        truncated = jnp.asarray(False)
        if self.episode_length is not None:
            truncated = (time >= self.episode_length) & ~after.terminated
        step = TimeStep(after.state, after.reward, after.terminated, truncated)
        return walk, step

    def _phase(self, clock: Int[Array, ""]) -> Int[Array, ""]:
        return jnp.sum(clock >= self.changes, dtype=jnp.int32)

    def _begin(self, clock: Int[Array, ""], key: PRNGKeyArray) -> tuple[Walk, TimeStep]:
        state = pick(self.tables.start[self._phase(clock)], key=key)
        zero = jnp.zeros((), self.tables.reward.dtype)
        no = jnp.asarray(False)
        walk = Walk(state, jnp.zeros_like(clock), clock)
        return walk, TimeStep(state, zero, no, no)
