"""Tasks in tables: mazes, grids with chance, Gymnasium's tables, and an exam.

Planners know the table; agents that learn act in the task's `world`, which shows them
the state's number alone, and whose table may change.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from forethought.core.readout import Readout
from forethought.core.table import Table
from forethought.environments.tables import grids
from forethought.environments.tables.tabular import (
    Map,
    TabularEnvironment,
    TabularSystem,
)
from forethought.models.known import Known
from forethought.objectives.learned import Learned
from forethought.planners.tree.policies import DefaultPolicy, TreePolicy
from forethought.problem import Problem
from forethought.tasks.base import Task

MAZE_STEPS = 2000
"""Length of an episode of learning in a maze; few without planning are longer."""

CHANGING = {"dyna": {"memory": 0.0}, "sweeping": {"memory": 0.0}}
"""Settings of agents that learn where the last outcome tells more than all before."""


def table_task(
    name: str,
    summary: str,
    system: TabularSystem,
    steps: int,
    settings: Mapping[str, Mapping[str, Any]],
    *,
    gamma: float = 1.0,
    optimum: float | None = None,
    world: TabularEnvironment | None = None,
) -> Task:
    """A task of acting in a known table.

    Args:
        name: As on the command line.
        summary: One line for lists.
        system: The table, and how it is drawn.
        steps: Length of an episode.
        settings: As of `Task`.
        gamma: Discount of one step, in (0, 1].
        optimum: The best return, where the world is without chance.
        world: What agents learn in; by default the table, for as many steps.
    """
    dtype = system.table.reward.dtype

    def restore(obs: Int[Array, ""]) -> Readout:
        # Stated here by itself, as a task's function must not hold arrays.
        return Readout(obs, jnp.zeros((), dtype), jnp.ones((), dtype))

    return Task(
        name=name,
        summary=summary,
        system=system,
        problem=Problem(Known(system), Learned(gamma), system.action),
        steps=steps,
        settings=settings,
        optimum=optimum,
        restore=restore,
        world=world or TabularEnvironment(system.table, steps),
    )


def _searches(horizon: int, hold: int = 1) -> dict[str, dict[str, Any]]:
    """Settings of those who plan over discrete actions, in worlds without chance."""
    return {
        "random-shooting": {"horizon": horizon, "population": 2048, "hold": hold},
        "categorical-cem": {
            "horizon": horizon,
            "population": 512,
            "elites": 32,
            "iterations": 6,
            "hold": hold,
        },
        "mcts": {
            "horizon": horizon,
            "simulations": 512,
            "tree_policy": TreePolicy(0.05, normalise=False),
        },
    }


def _chances(horizon: int, hold: int = 1) -> dict[str, dict[str, Any]]:
    """The same in worlds with chance: fewer plans, each in many futures."""
    particles = {"horizon": horizon, "hold": hold, "particles": 16}
    return {
        "random-shooting": {"population": 1024, **particles},
        "categorical-cem": {
            "population": 256,
            "elites": 16,
            "iterations": 4,
            **particles,
        },
        "mcts": {
            "horizon": horizon,
            "simulations": 1024,
            "tree_policy": TreePolicy(0.05, normalise=False),
        },
    }


def maze() -> Task:
    """Sutton's Dyna maze."""
    system = grids.dyna_maze()
    return table_task(
        "maze",
        "find through a maze (Sutton's, 14 steps)",
        system,
        30,
        _searches(40, hold=2),
        gamma=0.95,
        optimum=0.95**13,
        world=TabularEnvironment(system.table, MAZE_STEPS),
    )


def blocking_maze() -> Task:
    """Sutton's maze whose short way is blocked after 1,000 steps of learning."""
    before, after = grids.blocking_maze()
    world = TabularEnvironment(before.table, MAZE_STEPS, [(1000, after.table)])
    return table_task(
        "blocking-maze",
        "a maze whose short way is blocked after 1,000 steps",
        before,
        30,
        _searches(30, hold=2) | CHANGING,
        gamma=0.95,
        optimum=0.95**9,
        world=world,
    )


def shortcut_maze() -> Task:
    """Sutton's maze in which a shorter way opens after 3,000 steps of learning."""
    before, after = grids.shortcut_maze()
    world = TabularEnvironment(before.table, MAZE_STEPS, [(3000, after.table)])
    return table_task(
        "shortcut-maze",
        "a maze in which a shorter way opens after 3,000 steps",
        before,
        30,
        _searches(40, hold=2) | CHANGING,
        gamma=0.95,
        optimum=0.95**15,
        world=world,
    )


def stochastic_grid() -> Task:
    """Ten by ten cells with holes, where a fifth of the moves go astray.

    A hole costs nothing but the goal: planners that see no further than their horizon
    would otherwise rather stay where they are.
    """
    return table_task(
        "stochastic-grid",
        "cross a grid with holes, where moves go astray",
        grids.stochastic_grid(pit_reward=0.0),
        60,
        _chances(60, hold=3),
        gamma=0.99,
    )


def frozen_lake(size: int = 4) -> Task:
    """Gymnasium's FrozenLake-v1, slippery: two of three moves go astray.

    Args:
        size: Of the lake, 4 or 8.
    """
    name = "frozen-lake" if size == 4 else f"frozen-lake-{size}x{size}"
    return table_task(
        name,
        f"cross slippery ice, {size} × {size} (FrozenLake-v1)",
        grids.from_gymnasium("FrozenLake-v1", map_name=f"{size}x{size}"),
        100 if size == 4 else 200,
        _chances(50 if size == 4 else 80)
        | {
            # A random walk rarely crosses, so that many are needed to tell moves apart.
            "mcts": {
                "horizon": 100,
                "simulations": 2048,
                "tree_policy": TreePolicy(0.5, normalise=False),
                "default_policy": DefaultPolicy(rollouts=8),
            }
        },
        gamma=0.99,
    )


def cliff_walking() -> Task:
    """Gymnasium's CliffWalking-v1."""
    return table_task(
        "cliff-walking",
        "walk along a cliff, 13 steps (CliffWalking-v1)",
        grids.from_gymnasium("CliffWalking-v1"),
        30,
        _searches(20, hold=2),
        optimum=-13.0,
        world=TabularEnvironment(
            grids.from_gymnasium("CliffWalking-v1").table, MAZE_STEPS
        ),
    )


def taxi() -> Task:
    """Gymnasium's Taxi-v4."""
    return table_task(
        "taxi",
        "fetch a passenger and bring him where he wants to go (Taxi-v4)",
        grids.from_gymnasium("Taxi-v4"),
        40,
        _searches(20),
        gamma=0.99,
    )


def exam_table(easy: float = 0.6) -> Table:
    """An exam whose difficulty is seen only once the paper is turned over.

    State 0 is before the paper is turned, 1 an easy paper, 2 a hard one, 3 afterwards.
    Action 1 takes part, 0 does not; before the paper is turned neither matters. To take
    part in an easy exam earns 1, in a hard one -1, and not to take part nothing.

    Args:
        easy: Probability of an easy paper.
    """
    next_state = np.full((4, 2, 2), 3)
    next_state[0] = [1, 2]
    probability = np.zeros((4, 2, 2))
    probability[..., 0] = 1.0
    probability[0] = [easy, 1 - easy]
    reward = np.zeros((4, 2, 2))
    reward[1, 1, 0], reward[2, 1, 0] = 1.0, -1.0
    return Table(next_state, probability, reward, next_state == 3)


def exam() -> Task:
    """Take part in an exam or not, by a difficulty that is seen after the first step.

    With closed eyes the best is to take part, which earns 0.2 on average; who looks
    first, and takes part in easy exams alone, earns 0.6.
    """
    place = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [1.0, 2.0]])
    drawing = Map(("...", "S..", "..."), place, np.zeros((2, 2)))
    names = ("leave it", "take part")
    return table_task(
        "exam",
        "take part in an exam if it is easy, as one sees after a step",
        TabularSystem(exam_table(), drawing, names),
        2,
        {
            "random-shooting": {"horizon": 2, "population": 64, "particles": 1024},
            "categorical-cem": {
                "horizon": 2,
                "population": 64,
                "elites": 8,
                "iterations": 3,
                "particles": 1024,
            },
            "mcts": {"horizon": 2},
        },
    )


TASKS: dict[str, Callable[[], Task]] = {
    "maze": maze,
    "blocking-maze": blocking_maze,
    "shortcut-maze": shortcut_maze,
    "stochastic-grid": stochastic_grid,
    "frozen-lake": frozen_lake,
    "frozen-lake-8x8": lambda: frozen_lake(8),
    "cliff-walking": cliff_walking,
    "taxi": taxi,
    "exam": exam,
}
