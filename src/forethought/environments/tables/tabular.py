"""Worlds of finitely many states: a table as a system and as an environment.

A `TabularSystem` is what planners that know the world act in; its state tells also how
it was come by, because the reward of a table belongs to an outcome. A
`TabularEnvironment` is what agents learn in, and shows them the state's number alone.
Its table may change while it is acted in, as in the blocking and the shortcut maze: the
steps are counted by a clock that goes on when an episode ends.
"""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from forethought.core.given.settings import Count, require
from forethought.core.readout import Readout
from forethought.core.spaces import Discrete, Space
from forethought.core.table import Table, pick, require_state
from forethought.core.types import Action
from forethought.environments.base import (
    AbstractEnvironment,
    AbstractSystem,
    Capsules,
    EnvironmentSpec,
    TimeStep,
)

WALL, GOAL, PIT = "#", "G", "H"
"""Letters on a map: what nobody enters, where to go, and where not to fall."""
MOVES = ("up", "right", "down", "left")


@dataclasses.dataclass(frozen=True, eq=False)
class Map:
    """Where the states of a table lie, for drawings.

    Args:
        rows: The map as text, top row first; `#` is a wall, `G` a goal, `H` a hole.
        place: Row and column of each state, shape `[state, 2]`.
        arrows: For each action the step in row and column that it aims at, which is
            zero where it is no move; shape `[action, 2]`.
    """

    rows: tuple[str, ...]
    place: Float[np.ndarray, "state 2"]
    arrows: Float[np.ndarray, "action 2"]

    @property
    def letters(self) -> np.ndarray:
        """The map as an array of letters, shape `[row, column]`."""
        return np.array([list(row) for row in self.rows])


def line(table: Table) -> Map:
    """A map of states side by side, in lines of about equal length."""
    wide = int(np.ceil(np.sqrt(table.states)))
    s = np.arange(table.states)
    place = np.stack([s // wide, s % wide], 1).astype(float)
    rows = ("." * wide,) * int(place[:, 0].max() + 1)
    return Map(rows, place, np.zeros((table.actions, 2)))


class TabularSystem(AbstractSystem[Readout]):
    """A table that one acts in, knowing it.

    ```python
    >>> import jax
    >>> from forethought.environments.tables.grids import dyna_maze
    >>> maze, key = dyna_maze(), jax.random.key(0)
    >>> state = maze.start(key=key)
    >>> int(state.x), int(maze.step(state, jax.numpy.asarray(0), key=key).x)
    (18, 9)

    ```

    Args:
        table: What follows from each state and action.
        map: Where states lie in drawings; side by side by default.
        action_names: One for each action; by default those of a grid's four moves, or
            numbers.
        dt: Seconds that a step takes in a video.

    Raises:
        ValueError: Map or names do not belong to the table.
    """

    table: Table
    map: Map = eqx.field(static=True)
    action: Space
    names: tuple[str, ...] = eqx.field(static=True)
    dt: float = eqx.field(static=True)

    def __init__(
        self,
        table: Table,
        map: Map | None = None,
        action_names: Sequence[str] | None = None,
        dt: float = 0.25,
    ):
        self.table, self.dt = table, dt
        self.map = line(table) if map is None else map
        if action_names is None:
            numbers = tuple(str(a) for a in range(table.actions))
            action_names = MOVES if self.map.arrows.any() else numbers
        self.names = tuple(action_names)
        self.action = Discrete(table.actions)
        found = (len(self.map.place), len(self.map.arrows), len(self.names))
        if found != (table.states, table.actions, table.actions):
            raise ValueError(
                f"TabularSystem needs {table.states} places, {table.actions} arrows "
                f"and {table.actions} action_names, got {found[0]}, {found[1]} and "
                f"{found[2]}."
            )

    @property
    def state_names(self) -> tuple[str, ...]:
        """The state's number."""
        return ("state",)

    @property
    def action_names(self) -> tuple[str, ...]:
        """One choice."""
        return ("action",)

    def start(self, *, key: PRNGKeyArray) -> Readout:
        """A state in which episodes begin."""
        return self.at(self.table.begin(key=key))

    def at(self, state: Int[Array, ""] | int) -> Readout:
        """Standing in a state, where nothing led here.

        Raises:
            ValueError: It is a number, and no state has it.
        """
        if isinstance(state, int):
            require_state("TabularSystem", state, self.table.states)
        zero = jnp.zeros((), self.table.reward.dtype)
        return Readout(jnp.asarray(state, jnp.int32), zero, zero + 1)

    def step(self, state: Readout, action: Action, *, key: PRNGKeyArray) -> Readout:
        """What follows, drawn by its probability."""
        after = self.table.draw(state.x, action, key=key)
        return Readout(after.state, after.reward, after.goes_on)

    def observe(self, state: Readout) -> Int[Array, ""]:
        """The state's number."""
        return state.x

    def sketch(self, state: Readout) -> Capsules:
        """The map from above, a unit for each cell, and a disc where one stands."""
        strokes = _strokes(self.map)
        place = jnp.asarray(self.map.place)[state.x]
        here = jnp.stack([place[1], -place[0]])[None]
        fixed = jnp.asarray(strokes, here.dtype)
        kinds = fixed[:, 5].astype(jnp.int32)
        return Capsules(
            jnp.concatenate([fixed[:, :2], here]),
            jnp.concatenate([fixed[:, 2:4], here]),
            jnp.append(fixed[:, 4], jnp.asarray(0.28, here.dtype)),
            jnp.append(kinds, jnp.zeros((), jnp.int32)),
        )


def _strokes(map: Map) -> np.ndarray:
    """Fixed capsules of a map, rows of (start, end, radius, kind): frame and cells."""
    letters = map.letters
    tall, wide = letters.shape
    left, right, top, bottom = -0.5, wide - 0.5, 0.5, 0.5 - tall
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    strokes = [(*corners[i - 1], *corners[i], 0.04, 1) for i in range(len(corners))]
    strokes += [(x, -y, x, -y, 0.4, 2) for y, x in np.argwhere(letters == GOAL)]
    strokes += [(x, -y, x, -y, 0.15, 1) for y, x in np.argwhere(letters == PIT)]
    if not map.arrows.any():  # no grid that one moves on: each place is marked
        strokes += [(x, -y, x, -y, 0.1, 1) for y, x in map.place]
    left_over = letters == WALL
    for y, x in np.argwhere(left_over):
        # The longer of the two runs of walls that begin here, as one stroke.
        right = int(np.argmin(np.append(left_over[y, x:], False)))
        down = int(np.argmin(np.append(left_over[y:, x], False)))
        if right >= down and right:
            left_over[y, x : x + right] = False
            strokes.append((x, -y, x + right - 1, -y, 0.45, 1))
        elif down:
            left_over[y : y + down, x] = False
            strokes.append((x, -y, x, -(y + down - 1), 0.45, 1))
    return np.array(strokes, float)


class Walk(eqx.Module):
    """Where somebody stands in a table, and since when."""

    state: Int[Array, ""]
    time: Int[Array, ""]
    """Steps since the episode began."""
    clock: Int[Array, ""]
    """Steps since the first episode began."""

    @property
    def system(self) -> Readout:
        """Where one stands, as the state of a `TabularSystem`."""
        zero = jnp.zeros(())
        return Readout(self.state, zero, zero + 1)


class TabularEnvironment(AbstractEnvironment[Walk]):
    """A table to act in; the observation is the state's number.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.table import Table
    >>> from forethought.environments.tables.tabular import TabularEnvironment
    >>> bandit = Table([[[0], [0]]], [[[1], [1]]], [[[0], [1]]], [[[True], [True]]])
    >>> environment = TabularEnvironment(bandit, episode_length=1)
    >>> state, _ = environment.reset(key=jax.random.key(0))
    >>> _, told = environment.step(state, jnp.asarray(1), key=jax.random.key(1))
    >>> float(told.reward), bool(told.terminated)
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
        length = {"episode_length": episode_length}
        require("TabularEnvironment", Count | None, **length)
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
