import dataclasses

import jax
import numpy as np
import pytest

from forethought.planners import RandomShooting
from forethought.planners.tables.value_iteration import (
    closed_loop_value,
    open_loop_value,
)
from forethought.reports.pages.comparison import looks, rows_of
from forethought.runs.plan.compare import compare
from forethought.runs.plan.replanning import is_random, worth_of_looking
from forethought.tasks import load
from forethought.tasks.grids import exam_table

KEY = jax.random.key(0)
PLANNER = RandomShooting(2, population=16, particles=256)


@pytest.fixture(scope="module")
def worth():
    return worth_of_looking(load("exam"), PLANNER, seed=1, episodes=400)


@pytest.mark.parametrize(
    "side, exact", [("open_loop", open_loop_value), ("closed_loop", closed_loop_value)]
)
def test_both_sides_are_what_the_table_says_within_three_errors(worth, side, exact):
    returns = getattr(worth, side)
    error = np.std(returns) / np.sqrt(len(returns))
    value = exact(exam_table(), 2)
    assert abs(np.mean(returns) - value) < 3 * error < 0.2


def test_a_maze_without_chance_has_nothing_to_look_at():
    maze = load("maze")
    assert not is_random(maze, maze.system.start(key=KEY), 20, key=KEY)
    assert worth_of_looking(maze, PLANNER, steps=5) is None


def test_equations_of_motion_are_not_random_and_ice_is():
    pendulum, lake = load("pendulum"), load("frozen-lake")
    assert not is_random(pendulum, pendulum.system.start(key=KEY), 5, key=KEY)
    assert is_random(lake, lake.system.start(key=KEY), 20, key=KEY)


def test_a_comparison_tells_both_numbers_on_a_random_task_alone():
    (score,) = compare(
        load("exam"), {"shooting": PLANNER}, seeds=(1,), futures=20, count=False
    )
    (row,) = rows_of(score, (1,))
    assert row["closed_loop"] == pytest.approx(np.mean(score.looking.closed_loop))
    (line,) = looks([row])
    assert "open loop" in line and "closed loop" in line
    calm = dataclasses.replace(score, looking=None)
    assert looks(rows_of(calm, (1,))) == []


def test_no_episode_is_refused():
    with pytest.raises(ValueError, match="needs episodes >= 1, got 0"):
        worth_of_looking(load("exam"), PLANNER, episodes=0)
