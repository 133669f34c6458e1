"""Every planner at the borders of its action space, and where nothing can be scored."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import Near, Reach, Sum

from forethought.core.results import name_of
from forethought.core.spaces import Box, Discrete
from forethought.models.linear.dynamics import Linear
from forethought.objectives.constrained import Constrained
from forethought.objectives.quadratic import Quadratic
from forethought.planners import CEM, MCTS, MPPI, PLANNERS, Widening
from forethought.planners.registry import assemble
from forethought.planners.sampling.mppi import MPPIState
from forethought.problem import Problem

KEY = jax.random.key(0)
SMALL = {
    "cem": {"population": 32, "elites": 4, "iterations": 6},
    "mppi": {"population": 64, "iterations": 20, "temperature": 0.01},
    "gradient": {"restarts": 1},
    "categorical-cem": {"population": 8, "elites": 2, "iterations": 1},
    "mcts": {"simulations": 8},
}
BOXED = sorted(
    name
    for name, entry in PLANNERS.items()
    if (entry.can.actions == "box" and name != "lqr") or name == "random-shooting"
)
INF = np.inf
ABOVE = Box([0.0], [INF])
SIDES = [(0.0, 0.0), (0.2, 0.2), (0.5, INF), (-INF, -0.5), (-1e-6, 1e-6), (-INF, INF)]


def planner_of(name):
    """Small settings, and one step ahead."""
    return assemble(name, lambda each: {"horizon": 1} | SMALL.get(each, {}))


@functools.cache
def first_action(name):
    """The action of a planner by its limits, compiled once for all of them."""
    # (u0 - 0.9)² + (u1 - 0.1)² / 100, up to a constant.
    C, c = jnp.diag(jnp.array([1e-3, 2.0, 0.02])), jnp.array([0.0, -1.8, -0.002])
    objective = Quadratic(C, c)
    if name == "augmented-lagrangian":
        objective = Constrained(objective, lambda x, u: x - 9)
    model, planner = Linear([[1.0, 1.0, 0.0]]), planner_of(name)

    @jax.jit
    def plan(low, high):
        problem, x = Problem(model, objective, Box(low, high)), jnp.zeros(1)
        state = planner.init(problem, x, key=KEY)
        found, state = planner.plan(problem, x, state, key=KEY)
        return found.actions[0], found.result, state

    return plan


@pytest.mark.parametrize("name", BOXED)
def test_a_side_of_any_limits_leaves_the_other_one_its_best(name):
    for low, high in SIDES:
        limits = jnp.array([-1.0, low]), jnp.array([1.0, high])
        u, result, state = first_action(name)(*limits)
        assert abs(float(u[0]) - 0.9) < 0.3 and limits[0][1] <= u[1] <= limits[1][1]
        assert name_of(result) in ("successful", "iteration_limit")
        for leaf in jax.tree.leaves((u, state)):
            assert np.isfinite(leaf).all()


def test_truncated_noise_is_not_held_at_a_single_limit_where_a_search_begins():
    problem = Problem(Sum(), Quadratic(jnp.eye(2), jnp.array([0, -2.0])), ABOVE)
    cem, x = CEM.pets(1, population=64, elites=8), jnp.zeros(1)
    state = cem.init(problem, x, key=KEY)
    plan, _ = eqx.filter_jit(cem.plan)(problem, x, state, key=KEY)
    assert float(plan.actions[0, 0]) > 0.5  # the best is 2


NOWHERE = {name: planner_of(name) for name in (*BOXED, "categorical-cem", "mcts")} | {
    "cem of means": CEM.plain(1, population=8, elites=2, iterations=2),
    "mcts of a box": MCTS(1, 8, widening=Widening(2)),
}


@pytest.mark.parametrize("name", NOWHERE)
def test_where_nothing_can_be_scored_every_planner_says_so(name):
    space = Discrete(3) if name in ("categorical-cem", "mcts") else Box([-1.0], [1.0])
    objective = Reach(wall=-jnp.inf)
    if name == "augmented-lagrangian":
        objective = Constrained(objective, lambda x, u: x - 9)
    problem, x, planner = Problem(Sum(), objective, space), jnp.zeros(1), NOWHERE[name]
    state = planner.init(problem, x, key=KEY)
    plan, _ = eqx.filter_jit(planner.plan)(problem, x, state, key=KEY)
    assert name_of(plan.result) == "non_finite"
    assert np.isfinite(plan.actions).all()


def test_a_search_in_which_no_candidate_has_a_say_is_no_success():
    limits, x = Box([-1.0], [1.0]), jnp.zeros(1)
    # Every other candidate breaks the elites, so that the mean stays where it was.
    problem = Problem(Sum(), Reach(wall=0.0), limits)
    cem = CEM.plain(1, population=8, elites=8)
    state = cem.init(problem, x, key=KEY)
    plan, after = eqx.filter_jit(cem.plan)(problem, x, state, key=KEY)
    assert name_of(plan.result) == "non_finite" and plan.value == 0
    np.testing.assert_array_equal(after.mean, state.mean)
    # Noise so small that the price on leaving the middle is more than a number holds.
    problem, mppi = (
        Problem(Sum(), Near(), limits),
        eqx.tree_at(lambda planner: planner.std, MPPI(1, 8), 1e-39),
    )
    state = MPPIState(jnp.full((1, 1), 0.5), jnp.zeros((), jnp.int32))
    plan, after = eqx.filter_jit(mppi.plan)(problem, x, state, key=KEY)
    assert np.isfinite(plan.value) and name_of(plan.result) == "non_finite"
    np.testing.assert_array_equal(after.mean, state.mean)


@pytest.mark.parametrize("name", ["random-shooting", "cem", "mppi", "gradient", "ilqr"])
def test_planners_begin_where_the_box_rests(name):
    rest = np.array([0.9], np.float32)
    problem = Problem(Sum(), Near(), Box([0.0], [4.0], rest))
    state = planner_of(name).init(problem, jnp.zeros(1), key=KEY)
    begun = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim == 2]
    assert begun and np.all(np.asarray(begun[0]) == rest)
