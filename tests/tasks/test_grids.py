"""Tasks in tables: what is best in them, and who finds it."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.agents.planning.mpc import Planning
from forethought.core.results import name_of
from forethought.planners import MCTS, MPC, CategoricalCEM, RandomShooting
from forethought.planners.tables.value_iteration import (
    closed_loop_value,
    open_loop_value,
    value_iteration,
)
from forethought.runs.plan.planning import make_planner, plan_from, start_state
from forethought.tasks import load
from forethought.tasks.grids import TASKS
from forethought.training.control import begin, closed_loop

KEY = jax.random.key(0)
SEARCHES = {
    "random-shooting": RandomShooting(2, population=16, particles=4),
    "categorical-cem": CategoricalCEM(
        2, population=16, elites=4, iterations=2, particles=4
    ),
    "mcts": MCTS(2, simulations=32),
}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_agrees_with_its_world_and_names_what_it_shows(name):
    task = load(name)
    system, spec = task.system, task.environment.spec
    assert task.name == name and spec.action == system.action == task.problem.action
    assert spec.observation.n == system.table.states
    for planner in ("random-shooting", "categorical-cem", "mcts"):
        assert make_planner(task, planner).horizon >= 1
    _, first = task.environment.reset(key=KEY)
    assert float(system.table.start[first.obs]) > 0
    restored = task.restore(first.obs)
    assert eqx.tree_equal(restored, system.at(first.obs))


@pytest.mark.parametrize("name", [name for name in TASKS if load(name).optimum])
def test_a_known_optimum_is_what_value_iteration_finds(name, x64):
    task = load(name)
    found = value_iteration(task.system.table, task.problem.objective.gamma)
    best = float(task.system.table.start @ found.V)
    assert best == pytest.approx(task.optimum, rel=1e-12)


@pytest.mark.parametrize("name", SEARCHES)
def test_who_looks_first_passes_easy_exams_and_leaves_hard_ones(name):
    """200 exams, replanned after the paper is turned: within four sigma of 0.6."""
    task, planner = load("exam"), SEARCHES[name]
    agent = Planning(task.problem, MPC(planner))

    @jax.jit
    @jax.vmap
    def sit(key):
        begin_key, key = jax.random.split(key)
        loop = begin(agent, task.plant, task.system.at(0), key=begin_key)
        keys = jax.random.split(key, 2)
        return closed_loop(agent, task.plant, loop, keys=keys)[1]

    episodes = sit(jax.random.split(KEY, 200))
    returns = np.asarray(episodes.rewards.sum(-1))
    assert set(returns.tolist()) <= {0.0, 1.0}  # nobody takes part in a hard exam
    optimum = closed_loop_value(task.system.table, 2)
    assert abs(returns.mean() - optimum) < 4 * np.sqrt(0.6 * 0.4 / 200)


@pytest.mark.parametrize("name", ["random-shooting", "categorical-cem"])
def test_with_closed_eyes_the_best_is_to_take_part(name):
    """The plan's exact worth is the open-loop optimum; its own estimate is near."""
    task = load("exam")
    planner = dataclasses.replace(SEARCHES[name], particles=256)
    plan = plan_from(planner, task.problem, task.system.at(0), key=KEY)
    assert name_of(plan.result) == "successful"
    dense = task.system.table.dense()
    at, worth = np.asarray(task.system.table.start), 0.0
    for action in plan.actions.tolist():
        worth += at @ np.asarray(dense.R)[:, action]
        at = at @ np.asarray(dense.P)[:, action]
    optimum = open_loop_value(task.system.table, 2)
    assert worth == pytest.approx(optimum, abs=1e-6)
    assert abs(float(plan.value) - optimum) < 4 * np.sqrt(0.96 / 256)


def test_a_tree_search_knows_that_it_will_look():
    """Its value at the start is that of a closed loop, in the limit."""
    task = load("exam")
    planner = MCTS(2, simulations=2000)
    plan = plan_from(planner, task.problem, task.system.at(0), key=KEY)
    assert 0.45 < float(plan.value) < 0.7


def test_a_maze_is_found_through():
    """From six steps before the goal, where every shortest path is a plan."""
    task = load("maze")
    planner = CategoricalCEM(10, population=256, elites=16, iterations=6)
    plan = plan_from(planner, task.problem, task.system.at(44), key=KEY)
    assert float(plan.value) > 0.0
    best = value_iteration(task.system.table, 0.95).V[44]
    assert float(plan.value) == pytest.approx(float(best), rel=1e-5)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (54, r"needs a state in \[0, 54\), got 54"),
        ((-1.0,), "got -1"),
        ((0.5,), r"number of a state, got \[0.5\]"),
        ((1.0, 2.0), "number of a state"),
        (float("nan"), "number of a state"),
    ],
)
def test_a_start_that_is_no_state_is_refused(start, words):
    with pytest.raises(ValueError, match=words):
        start_state(load("maze"), start, key=KEY)


def test_a_start_may_be_a_number_or_a_whole_state():
    task = load("maze")
    for start in (7, (7.0,), jnp.asarray(7), task.system.at(7)):
        assert start_state(task, start, key=KEY).x == 7
