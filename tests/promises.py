"""What every planner promises, each promise as a function that fails if it is broken.

A `Row` is a planner on a problem. `Careless` plans what it begins with and breaks one
promise, so that it can be shown that each function bites.
"""

import functools
import io

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from forethought import tasks
from forethought.core.results import Result, Stats
from forethought.core.spaces import Discrete
from forethought.core.types import ravel
from forethought.objectives.constrained import Constrained
from forethought.planners import LQR, MCTS
from forethought.planners.base import AbstractPlanner, first_actions, shift_actions
from forethought.problem import Plan, Problem, rollout

GOOD = {
    "walk": jnp.array([[-1.0], [-1.0], [-0.4], [0.0], [0.0], [0.0]]),
    "fenced-walk": jnp.array([[-0.8], [-0.8], [-0.4], [0.0], [0.0], [0.0]]),
    "thrusters": jnp.full(6, 2),
}
"""Actions that lead to where it is good to be."""
TOYS = {
    "walk": toys.walk,
    "thrusters": toys.thrusters,
    "linear-quadratic": toys.linear_quadratic,
}


@functools.cache
def load(name, bits):
    """A problem, and where it starts."""
    if name == "fenced-walk":
        problem, start = load("walk", bits)
        fenced = Constrained(problem.objective, lambda x, u: -x - 0.5)
        return Problem(problem.model, fenced, problem.action), start
    if name in TOYS:
        return TOYS[name]()
    task = tasks.load(name)
    return task.problem, task.system.start(key=jax.random.key(1))


@functools.cache
def imagined(name, bits):
    """What actions lead to, and what beliefs earn: programs that all rows share."""
    problem, _ = load(name, bits)

    @jax.jit
    def follow(belief, actions):
        return rollout(problem, belief, actions, key=jax.random.key(9)).beliefs

    @jax.jit
    def earn(beliefs, actions):
        now = jax.tree.map(lambda leaf: leaf[:-1], beliefs)
        after = jax.tree.map(lambda leaf: leaf[1:], beliefs)
        rewards, factors = jax.vmap(problem.judge)(now, actions, after)
        discounts = jnp.cumprod(jnp.concatenate([jnp.ones_like(factors[:1]), factors]))
        last = problem.value(jax.tree.map(lambda leaf: leaf[-1], beliefs))
        return jnp.sum(discounts[:-1] * rewards) + discounts[-1] * last

    return follow, earn


class Row:
    """A planner on a problem, compiled once for all tests of the row."""

    def __init__(self, planner, task, bits):
        problem, belief = load(task, bits)
        self.planner, self.problem, self.belief = planner, problem, belief
        self.task, self.bits = task, bits
        self.tolerance = 1e-4 if bits == 32 else 1e-9

        def init(belief, key, actions=None):
            return planner.init(problem, belief, actions, key=key)

        def plan(belief, state, key):
            plan, state = planner.plan(problem, belief, state, key=key)
            return plan, planner.shift(problem, state)

        self.init, self.plan = jax.jit(init), jax.jit(plan)
        self.batch = jax.jit(jax.vmap(plan, in_axes=(0, None, 0)))

    def first(self, seed=0):
        """The first plan and the state after it."""
        key = jax.random.key(seed)
        return self.plan(self.belief, self.init(self.belief, key), key)


def form(tree):
    """Structure, shapes and types of a pytree, weak ones told apart."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in leaves]


def types(row):
    """A plan has the shape of one, and nothing changes type from plan to plan."""
    key = jax.random.key(0)
    state = jax.eval_shape(row.init, row.belief, key)
    plan, after = jax.eval_shape(row.plan, row.belief, state, key)
    horizon, space = row.planner.horizon, row.problem.action
    assert form(after) == form(state)
    assert plan.actions.shape == (horizon, *space.shape)
    if isinstance(space, Discrete):
        assert jnp.issubdtype(plan.actions.dtype, jnp.integer)
    expected = jax.tree.map(lambda leaf: (horizon + 1, *leaf.shape), row.belief)
    assert jax.tree.map(lambda leaf: leaf.shape, plan.beliefs) == expected
    assert plan.value.shape == ()
    for leaf in jax.tree.leaves((plan, after)):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            assert leaf.dtype == f"float{row.bits}"


def refusals(row):
    """It begins with actions, of a plan's shape alone, or says that it cannot."""
    shape = row.planner.horizon, *row.problem.action.shape
    discrete = isinstance(row.problem.action, Discrete)
    actions = jnp.zeros(shape, int if discrete else float)
    if isinstance(row.planner, (LQR, MCTS)):
        with pytest.raises(TypeError, match=r"cannot begin with actions"):
            jax.eval_shape(row.init, row.belief, jax.random.key(0), actions)
        return
    state, blank = (
        jax.eval_shape(row.init, row.belief, jax.random.key(0), each)
        for each in (actions, None)
    )
    assert form(state) == form(blank)
    with pytest.raises(ValueError, match="to begin with, got"):
        jax.eval_shape(row.init, row.belief, jax.random.key(0), actions[1:])


def limits(row):
    """All of a plan is finite, and its actions lie in their space."""
    plan, state = row.first()
    for leaf in jax.tree.leaves((plan.actions, plan.value, plan.beliefs, state)):
        assert np.isfinite(leaf).all()
    space = row.problem.action
    if isinstance(space, Discrete):
        assert np.all((plan.actions >= 0) & (plan.actions < space.n))
    else:
        assert np.all(plan.actions >= space.low[None])
        assert np.all(plan.actions <= space.high[None])


def value(row):
    """The value of a plan is what its own beliefs earn, whatever chance there was."""
    plan, _ = row.first()
    earned = imagined(row.task, row.bits)[1](plan.beliefs, plan.actions)
    np.testing.assert_allclose(earned, plan.value, rtol=row.tolerance)


def beliefs(row):
    """Its beliefs are what the model makes of its actions, up to the model's noise."""
    plan, _ = row.first()
    expected = imagined(row.task, row.bits)[0](row.belief, plan.actions)
    if "walk" not in row.task:
        assert_close(plan.beliefs, expected, row.tolerance)
        return
    # What is left of each step are draws of a normal distribution, none the other's.
    pushed = plan.beliefs[:-1] + jnp.sin(plan.actions)
    noise = np.ravel(plan.beliefs[1:] - pushed) / row.problem.model.noise
    np.testing.assert_array_equal(plan.beliefs[0], row.belief)
    assert np.abs(noise).max() < 5 and np.unique(noise.round(3)).size == noise.size


def programs(row, compilations):
    """From the second plan on nothing is compiled."""
    _, state = row.first()
    nearby = jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf) / 8, row.belief)
    key = jax.random.key(5)
    before = compilations.count
    for _ in range(2):
        _, state = row.plan(nearby, state, key)
    assert compilations.count == before


def repetition(row):
    """The same key gives the same plan."""
    first, again = row.first(3), row.first(3)
    assert eqx.tree_equal(first, again)


def beginning(row):
    """Good actions to begin with are taken up, and make the plan no worse."""
    key = jax.random.key(0)
    blank = row.init(row.belief, key)
    state = row.init(row.belief, key, GOOD[row.task])
    assert not eqx.tree_equal(state, blank)
    (without, _), (plan, _) = (
        row.plan(row.belief, each, key) for each in (blank, state)
    )
    assert not np.array_equal(plan.actions, without.actions)
    assert plan.value >= without.value - row.tolerance


def batches(row):
    """Planning in a batch equals planning in a loop."""
    vector, unravel = ravel(row.belief)
    beliefs = [row.belief, unravel(vector + 0.05)]
    keys = jax.random.split(jax.random.key(2), 2)
    state = row.init(row.belief, keys[0])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *beliefs)
    many, _ = row.batch(stacked, state, keys)
    for i, belief in enumerate(beliefs):
        one, _ = row.plan(belief, state, keys[i])
        for each in ("actions", "value", "beliefs"):
            found = jax.tree.map(lambda leaf, i=i: leaf[i], getattr(many, each))
            assert_close(found, getattr(one, each), 1e-7)


def files(row):
    """Planner and plan state come back from a file."""
    new = row.init(row.belief, jax.random.key(9))
    for tree, other in ((row.planner, row.planner), (row.first()[1], new)):
        file = io.BytesIO()
        eqx.tree_serialise_leaves(file, tree)
        file.seek(0)
        loaded = eqx.tree_deserialise_leaves(file, jax.tree.map(blank, other))
        assert eqx.tree_equal(loaded, tree)


def blank(leaf):
    return jnp.zeros_like(leaf) if eqx.is_array(leaf) else type(leaf)()


def assert_close(found, expected, tolerance):
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@jax.custom_batching.custom_vmap
def drift(x):
    """Nothing, unless it is done in a batch."""
    return x


@drift.def_vmap
def _(size, batched, x):
    return x + 0.01, batched[0]


def whim(actions):
    """Something else each time."""
    shape = jax.ShapeDtypeStruct(actions.shape, actions.dtype)
    return jax.pure_callback(
        lambda x: x + np.random.uniform(size=x.shape).astype(x.dtype), shape, actions
    )


class Memory(eqx.Module):
    """Actions, and how often was planned: as a number, or as a part of the program."""

    actions: jax.Array
    age: jax.Array
    count: int = eqx.field(static=True, default=0)


class Careless(AbstractPlanner[Memory]):
    """Plans what it begins with, and keeps every promise but one, or all."""

    fault: str = eqx.field(static=True)
    share: float = 0.5
    horizon: int = eqx.field(static=True, default=6)

    def init(self, problem, belief, actions=None, *, key):
        if self.fault == "takes anything" and actions is not None:
            actions = actions[: self.horizon - 1][jnp.array([0, *range(5)])]
        if self.fault == "ignores actions":
            actions = None if actions is None else 0 * actions
        first = first_actions("Careless", problem.action, 6, actions, belief.dtype)
        return Memory(first, jnp.zeros((), jnp.int32))

    def shift(self, problem, state):
        fault, actions = self.fault, shift_actions(state.actions)
        if fault == "grows":
            actions = jnp.concatenate([state.actions, actions[-1:]])
        age = state.age.astype(float) if fault == "changes types" else state.age + 1
        return Memory(actions, age, state.count + (fault == "counts outside"))

    def plan(self, problem, belief, state, *, key):
        actions, fault = state.actions, self.fault
        alter = {
            "forgets actions": jnp.zeros_like,
            "leaps": lambda actions: actions + 2,
            "is no number": lambda actions: actions * jnp.nan,
            "has whims": whim,
            "drifts": lambda actions: drift(actions + 0 * belief[None]),
        }
        actions = alter.get(fault, lambda actions: actions)(actions)
        future = rollout(problem, belief, actions, key=key)
        beliefs, value = future.beliefs, future.value
        if fault == "looks elsewhere":
            beliefs = rollout(problem, belief, actions, key=jax.random.key(8)).beliefs
        if fault == "stands still":
            beliefs = jnp.broadcast_to(belief, beliefs.shape)
        if fault == "is narrow":
            value = value.astype("float16")
        plan = Plan(actions, beliefs, value, None, Result.successful, Stats())
        return plan, Memory(actions, state.age, state.count)
