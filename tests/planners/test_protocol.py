"""One table: every planner on every kind of problem keeps the same promises."""

import dataclasses
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought import tasks
from forethought.core.readout import Readout
from forethought.core.spaces import Discrete
from forethought.core.types import ravel
from forethought.models.base import AbstractModel
from forethought.objectives.base import AbstractObjective, constant
from forethought.objectives.constrained import Constrained
from forethought.planners import (
    ILQR,
    LQR,
    MCTS,
    PLANNERS,
    Implicit,
    Widening,
)
from forethought.planners.registry import assemble
from forethought.problem import Problem, rollout

SMALL = {
    "random-shooting": {"horizon": 6, "population": 16},
    "cem": {"horizon": 6, "population": 16, "elites": 4, "iterations": 2},
    "categorical-cem": {"horizon": 6, "population": 16, "elites": 4, "hold": 2},
    "mppi": {"horizon": 6, "population": 16, "hold": 2, "degree": 3},
    "gradient": {"horizon": 6, "iterations": 3, "restarts": 1},
    "lqr": {"horizon": 6},
    "ilqr": {"horizon": 6, "iterations": 3},
    "mcts": {"horizon": 6, "simulations": 16},
    "augmented-lagrangian": {"rounds": 2},
    "polished": {},
}
NAMELESS = {
    "ddp": ILQR(6, 3, second_order=True),
    "implicit": Implicit(ILQR(6, 3)),
    "mcts-widening": MCTS(6, 16, widening=Widening(4)),
}
PROBLEMS = ("double-integrator", "pendulum", "mujoco-cartpole")
ROWS = [
    (planner, task)
    for planner, entry in PLANNERS.items()
    for task in PROBLEMS
    if planner not in ("categorical-cem", "mcts")
    and not entry.parts
    and (planner != "lqr" or task == "double-integrator")
]
ROWS += [
    (name, "thrusters") for name in PLANNERS if PLANNERS[name].can.actions != "box"
]
ROWS += [("polished", "pendulum"), ("ddp", "pendulum")]
ROWS += [("augmented-lagrangian", "slow-pendulum"), ("implicit", "pendulum")]
ROWS += [("mcts-widening", "pendulum")]


class Thrusters(AbstractModel):
    """A speed and a position, pushed by one of three thrusters."""

    def init(self, *, key):
        return jnp.zeros(2)

    def predict(self, belief, action, *, key):
        push = jnp.array([-1.0, 0.0, 1.0], belief.dtype)[action]
        return belief + 0.1 * jnp.stack([belief[1], push])

    def observe(self, belief, obs, *, key):
        return obs

    def readout(self, belief):
        return Readout(belief)


class ToTheOrigin(AbstractObjective):
    """Squared distance."""

    def reward(self, x, action, next_x):
        return -jnp.sum(next_x**2)

    def discount(self, x, action, next_x):
        return constant(x, 1)

    def value(self, x):
        return constant(x, 0)


class Point:
    """Where the thrusters start."""

    def start(self, *, key):
        return jnp.array([1.0, 0.5])


def load(name):
    """A task by name, the one with discrete actions, or the one with a constraint."""
    if name in tasks.TASKS:
        return tasks.load(name)
    if name == "slow-pendulum":
        task = tasks.load("pendulum")
        slow = Constrained(task.problem.objective, lambda x, u: x[1:] ** 2 - 4.0)
        return dataclasses.replace(
            task, problem=Problem(task.problem.model, slow, task.problem.action)
        )
    problem = Problem(Thrusters(), ToTheOrigin(), Discrete(3))
    return types.SimpleNamespace(problem=problem, system=Point())


@dataclasses.dataclass
class Row:
    """A planner on a problem, compiled once for all tests of the row."""

    planner: object
    task: object
    belief: object
    plan: object
    batched: object


@pytest.fixture(scope="module", params=[32, 64], ids=["float32", "float64"])
def bits(request):
    """Every row runs in both precisions."""
    with jax.enable_x64(request.param == 64):
        yield request.param


@pytest.fixture(scope="module", params=ROWS, ids="-".join)
def row(request, bits):
    """One planner on one problem."""
    name, task_name = request.param
    task = load(task_name)
    planner = NAMELESS.get(name) or assemble(name, lambda each: SMALL[each])

    def plan(belief, key):
        state = planner.init(task.problem, belief, key=key)
        plan, state = planner.plan(task.problem, belief, state, key=key)
        return plan, planner.shift(task.problem, state)

    start = task.system.start(key=jax.random.key(1))
    return Row(planner, task, start, jax.jit(plan), jax.jit(jax.vmap(plan)))


def test_every_planner_has_a_row():
    assert set(SMALL) == set(PLANNERS)


def test_a_plan_is_finite_keeps_its_dtype_and_its_limits(row, bits):
    plan, _ = row.plan(row.belief, jax.random.key(0))
    assert plan.actions.shape[0] == row.planner.horizon
    assert plan.value.dtype == jnp.dtype(f"float{bits}") and np.isfinite(plan.value)
    space = row.task.problem.action
    if isinstance(space, Discrete):
        assert jnp.issubdtype(plan.actions.dtype, jnp.integer)
        assert np.all((plan.actions >= 0) & (plan.actions < space.n))
    else:
        assert plan.actions.dtype == plan.value.dtype
        assert np.all(plan.actions >= space.low[None])
        assert np.all(plan.actions <= space.high[None])


def test_the_value_of_a_plan_is_what_its_rollout_returns(row, bits):
    plan, _ = row.plan(row.belief, jax.random.key(0))
    imagined = rollout(
        row.task.problem, row.belief, plan.actions, key=jax.random.key(9)
    )
    tolerance = 1e-4 if bits == 32 else 1e-9
    # The value of a tree is that of all who begin alike, not of one line.
    if not isinstance(row.planner, MCTS):
        np.testing.assert_allclose(imagined.value, plan.value, rtol=tolerance)
    for expected, found in zip(
        jax.tree.leaves(imagined.beliefs), jax.tree.leaves(plan.beliefs), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_planning_a_second_time_compiles_nothing(row, compilations):
    row.plan(row.belief, jax.random.key(0))
    shifted = jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf) / 8, row.belief)
    key = jax.random.key(5)
    before = compilations.count
    row.plan(shifted, key)
    assert compilations.count == before


def test_the_same_key_gives_the_same_plan(row):
    first, _ = row.plan(row.belief, jax.random.key(3))
    again, _ = row.plan(row.belief, jax.random.key(3))
    np.testing.assert_array_equal(first.actions, again.actions)


def test_planning_in_a_batch_equals_planning_in_a_loop(row, bits):
    vector, unravel = ravel(row.belief)
    beliefs = [row.belief, unravel(vector + 0.05)]
    keys = jax.random.split(jax.random.key(2), 2)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *beliefs)
    batch, _ = row.batched(stacked, keys)
    tolerance = 2e-3 if bits == 32 else 1e-7
    for i, belief in enumerate(beliefs):
        single, _ = row.plan(belief, keys[i])
        np.testing.assert_allclose(
            batch.actions[i], single.actions, rtol=tolerance, atol=tolerance
        )


def test_a_search_begins_with_the_actions_it_is_given(row):
    plan, _ = row.plan(row.belief, jax.random.key(0))
    key, problem = jax.random.key(1), row.task.problem
    if isinstance(row.planner, (LQR, MCTS)):
        with pytest.raises(TypeError, match=r"cannot begin with actions"):
            row.planner.init(problem, row.belief, plan.actions, key=key)
        return
    state, blank = (
        eqx.filter_eval_shape(row.planner.init, problem, row.belief, actions, key=key)
        for actions in (plan.actions, None)
    )
    assert eqx.tree_equal(state, blank)
    with pytest.raises(ValueError, match="to begin with, got"):
        row.planner.init(problem, row.belief, plan.actions[1:], key=key)


def test_planner_state_and_plan_are_pytrees_of_arrays(row):
    for tree in row.plan(row.belief, jax.random.key(0)):
        leaves, structure = jax.tree.flatten(tree)
        assert all(eqx.is_array(leaf) for leaf in leaves)
        rebuilt = jax.tree.unflatten(structure, leaves)
        assert jax.tree.structure(rebuilt) == structure


def test_a_shifted_plan_state_has_the_shapes_it_had_before(row):
    state = row.planner.init(row.task.problem, row.belief, key=jax.random.key(0))
    _, shifted = row.plan(row.belief, jax.random.key(0))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), shifted
    )


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_gradient_through_a_rollout_is_finite_and_not_zero(name, precision):
    task = tasks.load(name)
    start = task.system.start(key=jax.random.key(1))
    actions = jnp.full((4, *task.problem.action.shape), 0.1)

    @jax.jit
    @jax.grad
    def gradient(actions):
        return rollout(task.problem, start, actions, key=jax.random.key(0)).value

    found = gradient(actions)
    assert np.all(np.isfinite(found)) and np.all(found != 0)


@pytest.mark.parametrize("name", ["pendulum", "mujoco-cartpole"])
def test_lqr_refuses_what_is_not_linear_quadratic_and_says_what_is_needed(name):
    task = tasks.load(name)
    start = task.system.start(key=jax.random.key(0))
    with pytest.raises(TypeError, match=r"LQR needs .*Linear"):
        planner = LQR(3)
        state = planner.init(task.problem, start, key=jax.random.key(0))
        planner.plan(task.problem, start, state, key=jax.random.key(0))
