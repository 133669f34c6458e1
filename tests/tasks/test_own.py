"""Problems of one's own, each in fewer than twenty lines: plan, compare, learn."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import forethought as ft
from forethought.environments.tables.grids import from_gymnasium, grid
from forethought.runs.plan.planning import start_state

KEY = jax.random.key(0)
WALLS = jnp.array([[0, 0, 0, 1], [1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]], bool)
MOVES = jnp.array([[-1, 0], [0, 1], [1, 0], [0, -1]])


def swing():
    def step(state, action):
        angle, speed = state
        speed = speed + 0.05 * (15 * jnp.sin(angle) + 3 * action[0])
        return [angle + 0.05 * speed, speed]

    system = ft.system(step=step, start=[3.1, 0.0], action=(-5.0, 5.0), dt=0.05)
    upright = ft.objective(reward=lambda x, u: jnp.cos(x[0]) - 0.01 * x[1] ** 2)
    return ft.task(system, upright, steps=40)


def maze():
    def step(cell, action):
        to = jnp.clip(cell + MOVES[action], 0, 3)
        return jnp.where(WALLS[to[0], to[1]], cell, to)

    def there(cell, action, to):
        return jnp.all(to == 3)

    def goes_on(*move):
        return jnp.where(there(*move), 0.0, 0.95)

    system = ft.system(step=step, start=[0, 0], action=4, names=("row", "column"))
    return ft.task(system, ft.objective(reward=there, discount=goes_on), steps=12)


def numbered():
    """A corridor of six cells whose end is worth a walk; the state is a number."""
    system = ft.system(
        step=lambda cell, move: jnp.clip(cell + 2 * move - 1, 0, 5),
        start=2,
        action=2,
        states=6,
    )
    wish = ft.objective(
        reward=lambda cell, move, to: to == 5,
        discount=lambda cell, move, to: jnp.where(to == 5, 0.0, 0.9),
    )
    return ft.task(system, wish, steps=10)


def lake():
    rows = ["S...", ".H.H", "...H", "H..G"]
    return ft.task(grid(rows, slip=0.1, pit_reward=0.0), steps=30)


def test_equations_of_motion_are_planned_and_compared():
    task = swing()
    run = ft.control(task, "cem", horizon=20, population=64)
    assert float(jnp.cos(run.episode.states[-1, 0])) > 0.8
    names = ["random-shooting", "mppi"]
    scores = ft.compare(task, names, seeds=[0], steps=2, futures=0, count=False)
    assert [score.planner for score in scores] == names
    assert all(np.isfinite(score.returns).all() for score in scores)


@pytest.mark.long
def test_equations_of_motion_are_learned_on_with_the_objective_known():
    task = swing()
    assert task.environment.spec.observation.shape == (2,)
    assert task.brief.objective is not None
    seen = ft.task(
        ft.system(
            step=lambda x, u: x, start=[0.0], action=(-1, 1), observation=jnp.cos
        ),
        ft.objective(reward=lambda x: x[0]),
    )
    assert seen.brief.objective is None, "what is seen does not tell the state"


def test_a_maze_is_crossed_in_as_few_steps_as_there_are():
    run = ft.control(maze(), "categorical-cem", horizon=12, population=256)
    assert run.episode.states[-1].tolist() == [3, 3]
    assert float(run.episode.value) == pytest.approx(0.95**5)


def test_a_numbered_state_is_a_table_to_agents_and_an_array_to_planners():
    task = numbered()
    assert task.environment.spec.observation == ft.Discrete(6)
    run = ft.control(task, "mcts", simulations=64)
    assert float(run.episode.value) == pytest.approx(0.9**2)
    assert int(start_state(task, 4, key=KEY)) == 4
    with pytest.raises(ValueError, match=r"needs 1 whole numbers \(x1\), got 4.5"):
        start_state(task, 4.5, key=KEY)


def test_a_frozen_lake_is_planned_on_as_its_map_says():
    task = lake()
    run = ft.control(task, "mcts", simulations=64)
    assert run.episode.rewards.shape == (30,)
    assert task.environment.spec.observation == ft.Discrete(16)
    theirs = ft.task(from_gymnasium("FrozenLake-v1", is_slippery=False), steps=20)
    plan = ft.plan(theirs, "random-shooting", population=4096, horizon=12)
    assert float(plan.value) == 1.0


class Corridor(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(7)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 3
        return self.at, {}

    def step(self, action):
        self.at += 2 * int(action) - 1
        return self.at, float(self.at == 6), self.at in (0, 6), False, {}


@pytest.mark.long
def test_a_gymnasium_environment_is_learned_and_acted_in(tmp_path):
    gymnasium.register("Corridor-v7", Corridor, max_episode_steps=50)
    try:
        run = ft.train(
            "Corridor-v7", "dyna", steps=200, out=tmp_path / "run", epilogue=False
        )
        assert [run.policy(cell) for cell in (3, 4, 5)] == [1, 1, 1]
        assert ft.load(tmp_path / "run").act(3) == 1
    finally:
        del gymnasium.registry["Corridor-v7"]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"objective": None}, r"forethought.objective\(reward=\.\.\.\)"),
        ({"objective": 3}, "A task needs an objective, got int"),
        ({"system": 3}, "A task needs a system, got int"),
        ({"steps": 0}, "whole steps >= 1, got 0"),
        ({"steps": 2.5}, "whole steps >= 1, got 2.5"),
        ({"replan_every": 0}, "whole replan_every >= 1, got 0"),
        (
            {"objective": ft.objective(reward=lambda x: 1.0 if x[0] > 0 else 0.0)},
            "test_own.py:.*jnp.where",
        ),
        (
            {"objective": ft.objective(reward=lambda x: x)},
            r"single number, got an array of shape \[2\]",
        ),
    ],
)
def test_parts_that_make_no_task_are_refused(parts, words, unchecked):
    task = swing()
    fine = {"system": task.system, "objective": task.problem.objective, "steps": 3}
    with pytest.raises((ValueError, TypeError), match=words):
        ft.task(**fine | parts)
