r"""Grid worlds: mazes drawn as text, and Gymnasium's tabular environments.

A map's letters say what a cell is: `S` a start, `G` a goal, `#` a wall, `H` a hole,
and `.` nothing. Every cell is a state, counted along the rows from the upper left one,
walls too, so that maps of one size have the same states.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from forethought.core.given.settings import Share, require
from forethought.core.table import Table
from forethought.environments.tables.tabular import (
    GOAL,
    MOVES,
    PIT,
    WALL,
    Map,
    TabularSystem,
)

STARTS = 1000
"""Episodes whose first states are looked at where nobody says where they begin."""
STEPS = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])
"""Up, right, down and left, in rows and columns."""

DYNA_MAZE = (
    ".......#G",
    "..#....#.",
    "S.#....#.",
    "..#......",
    ".....#...",
    ".........",
)
BLOCKING_MAZE = (
    "........G",
    ".........",
    ".........",
    "########.",
    ".........",
    "...S.....",
)
BLOCKED_MAZE = (*BLOCKING_MAZE[:3], ".########", *BLOCKING_MAZE[4:])
SHORTCUT_MAZE = BLOCKED_MAZE
OPENED_MAZE = (*BLOCKING_MAZE[:3], ".#######.", *BLOCKING_MAZE[4:])
STOCHASTIC_GRID = (
    "S.........",
    "..#....H..",
    "..#..#....",
    "..#..#..H.",
    ".H...#....",
    ".....####.",
    ".##.......",
    "...H..H...",
    "..........",
    ".....H...G",
)


def grid(
    rows: Sequence[str],
    *,
    slip: float = 0.0,
    goal_reward: float = 1.0,
    pit_reward: float = -1.0,
    step_reward: float = 0.0,
) -> TabularSystem:
    r"""A grid world drawn as text.

    A move is made with probability $1 - \text{slip}$; else it goes to one of the two
    sides, each as often. Whoever would leave the grid or enter a wall stays. A goal
    and a hole end the episode.

    ```python
    >>> from forethought.environments.tables.grids import grid
    >>> world = grid(["S.G", ".#H"], slip=0.2)
    >>> world.table.next_state[0, 1].tolist(), world.table.states
    ([1, 0, 3], 6)

    ```

    Args:
        rows: The map, top row first; all rows equally long.
        slip: Probability that a move goes astray, in [0, 1].
        goal_reward: For coming to a goal.
        pit_reward: For falling into a hole.
        step_reward: For every step, the last one too.

    Raises:
        ValueError: A letter is unknown, rows differ in length, there is no start, or
            `slip` is no probability.

    References:
        Sutton and Barto, Reinforcement learning: an introduction, 2nd ed., 2018,
        example 8.1 (the maze), example 8.2 (blocking), example 8.3 (shortcut).
    """
    if not rows or any(len(row) != len(rows[0]) for row in rows) or not rows[0]:
        raise ValueError(
            f"grid needs rows of one length, got lengths {[len(row) for row in rows]}."
        )
    require("grid", Share, slip=slip)
    letters = np.array([list(row) for row in rows])
    wrong = set(letters.ravel()) - set(f"S.{WALL}{GOAL}{PIT}")
    if wrong:
        raise ValueError(
            f"grid needs letters among S, G, H, # and '.', got {min(wrong)}."
        )
    flat = letters.ravel()
    if not (flat == "S").any():
        raise ValueError("grid needs a start, a cell with the letter S, got none.")
    tall, wide = letters.shape
    place = np.stack(np.divmod(np.arange(flat.size), wide), 1)
    to = place[:, None] + STEPS
    inside = ((to >= 0) & (to < (tall, wide))).all(-1)
    towards = np.clip(to, 0, (tall - 1, wide - 1)) @ np.array([wide, 1])
    here = np.arange(flat.size)[:, None]
    open_ = inside & (flat[towards] != WALL)
    over = np.isin(flat, (GOAL, PIT, WALL))[:, None]
    towards = np.where(open_ & ~over, towards, here)
    # The outcomes of a move: as it was meant, to its left, to its right.
    turns = [0, -1, 1] if slip else [0]
    next_state = np.stack([np.roll(towards, -turn, axis=1) for turn in turns], -1)
    odds = [1 - slip, slip / 2, slip / 2] if slip else [1.0]
    probability = np.broadcast_to(odds, next_state.shape)
    earned = np.select([flat == GOAL, flat == PIT], [goal_reward, pit_reward], 0.0)
    reward = np.where(over[:, :, None], 0.0, earned[next_state] + step_reward)
    ends = np.isin(flat, (GOAL, PIT))[next_state]
    starts = (flat == "S") / (flat == "S").sum()
    table = Table(next_state, probability, reward, ends, starts)
    return TabularSystem(table, Map(tuple(rows), place * 1.0, STEPS * 1.0))


def dyna_maze() -> TabularSystem:
    """Sutton's maze: one reward, at the goal, 14 steps away."""
    return grid(DYNA_MAZE)


def blocking_maze() -> tuple[TabularSystem, TabularSystem]:
    """A maze whose short way is blocked, and what it is like afterwards."""
    return grid(BLOCKING_MAZE), grid(BLOCKED_MAZE)


def shortcut_maze() -> tuple[TabularSystem, TabularSystem]:
    """A maze in which a shorter way opens, and what it is like afterwards."""
    return grid(SHORTCUT_MAZE), grid(OPENED_MAZE)


def stochastic_grid(pit_reward: float = -1.0) -> TabularSystem:
    """Ten by ten cells with holes, where a fifth of the moves go astray.

    Args:
        pit_reward: For falling into a hole.
    """
    return grid(STOCHASTIC_GRID, slip=0.2, pit_reward=pit_reward)


def from_gymnasium(name: str, **settings: Any) -> TabularSystem:
    """One of Gymnasium's tabular environments, by the table `P` that it tells.

    Args:
        name: `FrozenLake-v1`, `CliffWalking-v1`, `Taxi-v4`, or another one with a `P`.
            Where episodes begin is its `initial_state_distrib`, or else what is seen of
            a thousand of them.
        **settings: As for `gymnasium.make`, such as `map_name="8x8"`.

    Raises:
        ValueError: Gymnasium has no such environment, it has no table, or a broken one.
    """
    import gymnasium

    from forethought.environments.gymnasium.border import bordered
    from forethought.environments.gymnasium.named import registered

    made = gymnasium.make(bordered(name, registered(name)), **settings)
    env: Any = made.unwrapped
    P = getattr(env, "P", None)
    if P is None:
        raise ValueError(
            "from_gymnasium needs an environment with a table P, such as FrozenLake-v1,"
            f" CliffWalking-v1 or Taxi-v4, got {name!r}."
        )
    try:
        rows = _rows(P)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"The table P of {name} is broken: P[state][action] should list outcomes "
            "(probability, next state, reward, terminated), with states and actions "
            f"that count from 0; {type(error).__name__}: {error}."
        ) from error
    start = getattr(env, "initial_state_distrib", None)
    start = _seen_starts(made, len(rows)) if start is None else np.asarray(start)
    table = Table(rows[..., 1], rows[..., 0], rows[..., 2], rows[..., 3] > 0, start)
    names, map_ = _described(name.partition("-")[0], env, table)
    made.close()
    return TabularSystem(table, map_, names)


def _rows(P: Any) -> np.ndarray:
    """Outcomes as `[state, action, outcome, 4]`, filled up by ones that never come."""
    states, actions = len(P), len(P[0])
    lists = [[list(P[s][a]) for a in range(actions)] for s in range(states)]
    rows = np.zeros((states, actions, max(len(o) for row in lists for o in row), 4))
    rows[..., 1] = np.arange(states)[:, None, None]
    for s, row in enumerate(lists):
        for a, outcomes in enumerate(row):
            rows[s, a, : len(outcomes)] = outcomes
    return rows


def _seen_starts(env: Any, states: int) -> np.ndarray:
    """How often episodes begin in each state, of as many as are looked at."""
    seen = np.array([env.reset(seed=seed)[0] for seed in range(STARTS)])
    if seen.ndim != 1 or seen.dtype.kind not in "iu" or not (seen < states).all():
        raise ValueError(
            f"The environment {env.spec.id} tells neither initial_state_distrib nor, "
            f"as its observation, one of its {states} states, got {seen[0]}."
        )
    return np.bincount(seen, minlength=states) / STARTS


def _described(
    kind: str, env: Any, table: Table
) -> tuple[tuple[str, ...] | None, Map | None]:
    """Names of actions and a map, of environments that are known."""
    number = np.arange(table.states)
    if kind == "FrozenLake":
        rows = tuple("".join(row).replace("F", ".") for row in env.desc.astype(str))
        place = np.stack(np.divmod(number, len(rows[0])), 1)
        return ("left", "down", "right", "up"), Map(
            rows, place * 1.0, STEPS[[3, 2, 1, 0]] * 1.0
        )
    if kind == "CliffWalking":
        tall, wide = env.shape
        rows = ("." * wide,) * (tall - 1) + (f"S{PIT * (wide - 2)}{GOAL}",)
        place = np.stack(np.divmod(number, wide), 1)
        return MOVES, Map(rows, place * 1.0, STEPS * 1.0)
    if kind == "Taxi":
        # Lower-case letters are four stands, none of them a goal of its own.
        desc = env.desc.astype(str)[1:-1, 1::2]
        rows = tuple("".join(row).replace(" ", ".").lower() for row in desc)
        place = np.stack(np.divmod(number // 20, 5), 1)
        arrows = np.concatenate([STEPS[[2, 0, 1, 3]], np.zeros((2, 2))])
        names = ("down", "up", "right", "left", "pick up", "drop off")
        return names, Map(rows, place * 1.0, arrows)
    return None, None
