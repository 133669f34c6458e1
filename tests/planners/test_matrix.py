"""Every planner on every kind of belief: it plans, or refuses for a correct reason."""

import contextlib
import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from forethought import tasks
from forethought.core.gaussian import Gaussian
from forethought.core.readout import Readout
from forethought.core.spaces import Box, Discrete, free_box
from forethought.core.types import Opaque, Stamped
from forethought.environments.base import EnvironmentSpec
from forethought.models.base import AbstractModel
from forethought.models.learned.transforms import Transform
from forethought.models.linear.dynamics import Linear
from forethought.models.linear.kalman import LinearGaussian
from forethought.models.linear.local import Local
from forethought.models.registry import MODELS
from forethought.objectives.constrained import Constrained
from forethought.objectives.quadratic import Quadratic
from forethought.planners import CEM, ILQR, MCTS, PLANNERS, Widening
from forethought.planners.registry import assemble
from forethought.problem import Problem
from forethought.tasks.around.believed import planned_in

SETTINGS = {
    "random-shooting": {"population": 4},
    "cem": {"population": 4, "elites": 2, "iterations": 1},
    "categorical-cem": {"population": 4, "elites": 2, "iterations": 1},
    "mppi": {"population": 4},
    "gradient": {"iterations": 1},
    "lqr": {},
    "ilqr": {"iterations": 1, "step_sizes": 2},
    "ilqg": {"iterations": 1, "sweeps": 3},
    "mcts": {"simulations": 4},
    "augmented-lagrangian": {"rounds": 1},
    "polished": {},
}
HORIZON = 2
F = jnp.array(toys.F)


class Nested(AbstractModel):
    """A mass whose belief is a tree: parts by name, a counter, memory."""

    def init(self, *, key):
        return {
            "body": (jnp.ones(1), jnp.zeros(1)),
            "count": jnp.asarray(0),
            "memory": Opaque(jnp.zeros(3)),
        }

    def predict(self, belief, action, *, key):
        (place, speed), memory = belief["body"], belief["memory"].arrays
        return {
            "body": (place + 0.1 * speed, speed + 0.1 * action),
            "count": belief["count"] + 1,
            "memory": Opaque(memory + 1),
        }

    def observe(self, belief, obs, *, key):
        return obs

    def readout(self, belief):
        return Readout(belief["body"])


def of_task(name):
    """A task's problem from its start."""
    task = tasks.load(name)
    return task.problem, task.system.start(key=jax.random.key(1))


def stamped():
    """Linear dynamics that vary in time: the belief carries the time."""
    model = Linear(jnp.stack([F, F, 1.1 * F]))
    problem = Problem(model, Quadratic(jnp.eye(3)), free_box(1))
    return problem, Stamped(jnp.ones(2), jnp.asarray(0))


def gaussian():
    """A Kalman filter's mean and covariance."""
    model = LinearGaussian(Linear(F), 0.01 * jnp.eye(2), jnp.eye(2), jnp.eye(2))
    problem = Problem(model, Quadratic(jnp.eye(3)), free_box(1))
    return problem, Gaussian(jnp.ones(2), jnp.eye(2))


def nested():
    """A tree with parts that are no coordinates."""
    box = Box([-1.0], [1.0])
    return Problem(Nested(), toys.Near(), box), Nested().init(key=jax.random.key(0))


SMALL = {
    "network": {"width": 4, "depth": 1},
    "ensemble": {"members": 2, "width": 4, "depth": 1},
    "bayesian": {"samples": 2, "width": 4},
    "gp": {"samples": 2, "points": 8, "waves": 4},
    "gp-moments": {"points": 8},
    "linear-gaussian": {"samples": 2},
    "local-linear": {"samples": 2, "pieces": 2},
    "distorted": {"members": 2, "width": 4, "depth": 1},
}
SPEC = EnvironmentSpec(free_box(2), Box([-1.0], [1.0]), None)


def learned(name):
    """A model that learns, before it has seen anything, from what was observed."""
    recipe = dataclasses.replace(MODELS[name].recipe, **SMALL[name])
    model, key = recipe.begin(SPEC, key=jax.random.key(0)), jax.random.key(1)
    return planned(model), model.observe(model.init(key=key), jnp.ones(2), key=key)


def planned(model):
    return planned_in(model, toys.Near(), SPEC.action, 0.0)


def local():
    """Mean and covariance under a linear fit of each step."""
    model = Local(Transform(2, 1), 3)
    belief = Stamped(Gaussian(jnp.ones(2), jnp.eye(2)), jnp.asarray(0))
    return Problem(model, Quadratic(jnp.eye(3)), free_box(1)), belief


KINDS = {
    "vector": lambda: of_task("pendulum"),
    "linear": lambda: of_task("double-integrator"),
    "stamped": stamped,
    "mujoco": lambda: of_task("mujoco-cartpole"),
    "gaussian": gaussian,
    "nested": nested,
    **{name: functools.partial(learned, name) for name in SMALL},
    "local": local,
    "discrete": toys.thrusters,
    "table": lambda: of_task("exam"),
}
ELSEWHERE = ("vector", "linear", "mujoco", "discrete")
"""Kinds that `test_protocol.py` plans on; here it is enough that all types fit."""
FAMILIES = ("cem", "ilqr", "lqr", "mcts")
"""One planner for each way of asking a model; for the others that is enough, too."""
FINITE = ("discrete", "table")
LEARNED = (*SMALL, "local")
CONTINUOUS = [kind for kind in KINDS if kind not in FINITE]
QUADRATIC = ("linear", "stamped", "gaussian", "local")
CAN = {name: entry.can for name, entry in PLANNERS.items()}
CAN["ddp"] = CAN["ilqr"]
REFUSALS = (
    {
        (planner, kind): r"discrete actions"
        for kind in CONTINUOUS
        for planner, can in CAN.items()
        if can.actions == "discrete"
    }
    | {
        (planner, kind): r"continuous actions \(a Box\)"
        for kind in FINITE
        for planner, can in CAN.items()
        if can.actions == "box"
    }
    | {("augmented-lagrangian", kind): r"type Constrained" for kind in KINDS}
    | {("ddp", "mujoco"): r"differentiated twice, but Known calls a simulator"}
    | {
        ("lqr", kind): r"LQR needs a Linear .*ILQR"
        for kind in CONTINUOUS
        if kind not in QUADRATIC
    }
)
"""Who refuses what, and the words that say why; everything else must plan."""


def make(name, particles=1):
    """A planner with as little to do as it can, that draws so many futures."""
    if name == "ddp":
        return ILQR(HORIZON, 1, step_sizes=2, second_order=True)

    def settings(each):
        fields = {field.name for field in dataclasses.fields(PLANNERS[each].settings)}
        drawn = {"particles": particles} if "particles" in fields else {}
        return {"horizon": HORIZON} | drawn | SETTINGS[each]

    return assemble(name, settings)


def make_for(name, problem):
    """The same; a tree of continuous actions needs to be told how many."""
    if name == "mcts" and isinstance(problem.action, Box):
        return MCTS(HORIZON, 4, widening=Widening(2))
    return make(name, problem.cloud.enough(problem.model, 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CAN)
def test_a_planner_plans_on_a_belief_or_says_what_is_missing(name, kind):
    problem, belief = KINDS[kind]()
    planner = make_for(name, problem)

    @jax.jit
    def plan(belief, key):
        state = planner.init(problem, belief, key=key)
        plan, state = planner.plan(problem, belief, state, key=key)
        return plan, planner.shift(problem, state)

    if (name, kind) in REFUSALS:
        with pytest.raises(TypeError, match=REFUSALS[name, kind]):
            plan(belief, jax.random.key(0))
        return
    # Of models that learn, one of each kind of belief is planned in for real.
    real = [("cem", "ensemble"), ("mcts", "ensemble"), ("ilqr", "ensemble")]
    real += [("ilqr", "gp-moments"), ("cem", "gp-moments"), ("lqr", "local")]
    same = kind in LEARNED and (name, kind) not in real
    if kind in ELSEWHERE or same or name not in FAMILIES:
        found, _ = jax.eval_shape(plan, belief, jax.random.key(0))
    else:
        found, _ = plan(belief, jax.random.key(0))
        assert np.isfinite(found.value) and np.isfinite(found.actions).all()
    assert (found.feedback is not None) == CAN[name].gains
    assert found.actions.shape == (HORIZON, *problem.action.shape)
    expected = jax.tree.map(lambda leaf: (HORIZON + 1, *leaf.shape), belief)
    assert jax.tree.map(lambda leaf: leaf.shape, found.beliefs) == expected


def test_the_table_names_every_planner():
    assert set(SETTINGS) == set(PLANNERS)
    assert PLANNERS["cem"].settings is CEM
    fitted = {name for name, entry in MODELS.items() if entry.recipe is not None}
    assert set(SMALL) == fitted
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(nested()[1]))


@jax.custom_jvp
def steep(x, action):
    """The sum of a state and an action, which has no slope to ask for."""
    return x + action.astype(x.dtype).reshape(1)


@steep.defjvp
def _(*_):
    raise RuntimeError("somebody asked for a slope")


class Steep(toys.AbstractSeen):
    """A number that an action is added to."""

    def init(self, *, key):
        return jnp.ones(1)

    def predict(self, belief, action, *, key):
        return steep(belief, action)


@pytest.mark.parametrize("name", [name for name in PLANNERS if name != "lqr"])
def test_who_needs_derivatives_asks_for_them_and_nobody_else_does(name):
    # LQR reads a model's matrices, so that it can do without either.
    objective = Constrained(toys.Near(), lambda x, u: x - 9.0)
    space = Discrete(3) if CAN[name].actions == "discrete" else Box([-1.0], [1.0])
    problem = Problem(Steep(), objective, space)
    planner, key = make_for(name, problem), jax.random.key(0)

    def plan(belief):
        state = planner.init(problem, belief, key=key)
        return planner.plan(problem, belief, state, key=key)[0].value

    asked = pytest.raises(RuntimeError, match="asked for a slope")
    with asked if CAN[name].derivatives else contextlib.nullcontext():
        jax.eval_shape(plan, jnp.ones(1))
