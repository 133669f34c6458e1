"""One table: every planner on every kind of problem keeps the same promises.

Promises by shape are asked of every row in both precisions, by tracing alone. Promises
by number are asked of a row that is compiled once; the other precision and batches, of
one row a family. Each promise is a function, and is shown to catch who breaks it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import promises
import pytest

from forethought.planners import ILQR, LQR, MCTS, PLANNERS, Implicit, Widening
from forethought.planners.registry import assemble
from forethought.problem import rollout

SMALL = {
    "random-shooting": {"horizon": 6, "population": 16},
    "cem": {"horizon": 6, "population": 16, "elites": 4, "iterations": 2},
    "categorical-cem": {"horizon": 6, "population": 8, "elites": 2, "iterations": 1},
    "mppi": {"horizon": 6, "population": 16, "hold": 2, "degree": 3},
    "gradient": {"horizon": 6, "iterations": 3, "restarts": 1},
    "lqr": {"horizon": 6},
    "ilqr": {"horizon": 6, "iterations": 1},
    "ilqg": {"horizon": 6, "iterations": 1},
    "mcts": {"horizon": 6, "simulations": 16},
    "augmented-lagrangian": {"rounds": 2},
    "polished": {},
}
NAMELESS = {
    "ddp": ILQR(6, 1, second_order=True),
    "implicit": Implicit(ILQR(6, 1)),
    "mcts-widening": MCTS(6, 16, widening=Widening(4)),
}
SAMPLING = ("random-shooting", "cem", "mppi")
SMOOTH = ("gradient", "ilqr", "ilqg")
ROWS = [
    *((name, "walk") for name in (*SAMPLING, *SMOOTH, "polished", *NAMELESS)),
    *((name, "mujoco-cartpole") for name in (*SAMPLING, *SMOOTH)),
    *((name, "thrusters") for name in ("random-shooting", "categorical-cem", "mcts")),
    ("lqr", "linear-quadratic"),
    ("augmented-lagrangian", "fenced-walk"),
]
FAMILIES = [
    ("cem", "mujoco-cartpole"),
    ("gradient", "walk"),
    ("lqr", "linear-quadratic"),
    ("mcts", "thrusters"),
    ("implicit", "walk"),
]
"""One row for each room of planners."""
PROBLEMS = ("double-integrator", "pendulum", "mujoco-cartpole")


def row_of(name, task, bits):
    planner = NAMELESS.get(name) or assemble(name, lambda each: SMALL[each])
    return promises.Row(planner, task, bits)


@pytest.fixture(scope="module", params=ROWS, ids="-".join)
def row(request):
    """One planner on one problem, in single precision."""
    return row_of(*request.param, 32)


def test_every_planner_has_a_row():
    assert set(SMALL) == set(PLANNERS)
    assert {name for name, _ in ROWS} == {*PLANNERS, *NAMELESS}
    assert set(FAMILIES) <= set(ROWS)


@pytest.mark.parametrize("bits", [32, 64], ids=["float32", "float64"])
@pytest.mark.parametrize(("name", "task"), ROWS)
def test_plans_have_the_types_that_were_promised(name, task, bits):
    with jax.enable_x64(bits == 64):
        row = row_of(name, task, bits)
        promises.types(row)
        promises.refusals(row)


def test_a_plan_is_finite_and_keeps_its_limits(row):
    promises.limits(row)


def test_a_plan_is_what_its_model_and_its_objective_say(row):
    promises.beliefs(row)
    # The value of a tree is that of all who begin alike, not of one line.
    if not isinstance(row.planner, MCTS):
        promises.value(row)


def test_planning_a_second_time_compiles_nothing(row, compilations):
    promises.programs(row, compilations)


def test_the_same_key_gives_the_same_plan(row):
    promises.repetition(row)


def test_a_search_begins_with_the_actions_it_is_given(row):
    if row.task in promises.GOOD and not isinstance(row.planner, MCTS):
        promises.beginning(row)


def test_planner_and_state_come_back_from_a_file(row):
    promises.files(row)


@pytest.mark.parametrize(("name", "task"), FAMILIES)
def test_a_family_plans_in_batches_and_in_double_precision(
    name, task, x64, compilations
):
    family = row_of(name, task, 64)
    promises.batches(family)
    promises.limits(family)
    promises.beliefs(family)
    if not isinstance(family.planner, MCTS):
        promises.value(family)
    promises.programs(family, compilations)


CAUGHT = [
    ("is narrow", promises.types),
    ("grows", promises.types),
    ("changes types", promises.types),
    ("takes anything", promises.refusals),
    ("leaps", promises.limits),
    ("is no number", promises.limits),
    ("looks elsewhere", promises.value),
    ("stands still", promises.beliefs),
    ("counts outside", promises.programs),
    ("has whims", promises.repetition),
    ("ignores actions", promises.beginning),
    ("forgets actions", promises.beginning),
    ("drifts", promises.batches),
    ("counts outside", promises.files),
]


@pytest.mark.parametrize(("fault", "promise"), CAUGHT)
def test_who_breaks_a_promise_is_caught_and_who_does_not_is_not(
    fault, promise, compilations
):
    row, broken = (
        promises.Row(promises.Careless(each), "walk", 32) for each in ("", fault)
    )
    more = {"compilations": compilations} if promise is promises.programs else {}
    promise(row, **more)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        promise(broken, **more)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_gradient_through_a_rollout_is_finite_and_not_zero(name, precision):
    problem, start = promises.load(name, precision)
    actions = jnp.full((4, *problem.action.shape), 0.1)

    @jax.jit
    @jax.grad
    def gradient(actions):
        return rollout(problem, start, actions, key=jax.random.key(0)).value

    found = gradient(actions)
    assert np.all(np.isfinite(found)) and np.all(found != 0)


@pytest.mark.parametrize("name", ["pendulum", "mujoco-cartpole"])
def test_lqr_refuses_what_is_not_linear_quadratic_and_says_what_is_needed(name):
    problem, start = promises.load(name, 32)
    with pytest.raises(TypeError, match=r"LQR needs .*Linear"):
        LQR(3).init(problem, start, key=jax.random.key(0))
    with pytest.raises(TypeError, match=r"LQR needs .*Linear"):
        LQR(3).plan(problem, start, None, key=jax.random.key(0))
