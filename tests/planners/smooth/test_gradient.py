"""Gradient ascent against LQR, SciPy and finite differences, and on learned models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from toys import AbstractLasting

from forethought.cli.options import PlanArguments, PlanOptions
from forethought.cli.parse import BadInput, parse
from forethought.core.results import name_of
from forethought.core.returns import Risk
from forethought.core.spaces import Box, Discrete, free_box
from forethought.models.learned.ensemble import Ensemble
from forethought.models.learned.transforms import Transform
from forethought.models.linear.dynamics import Linear
from forethought.objectives.base import AbstractObjective, constant
from forethought.objectives.quadratic import Quadratic
from forethought.planners import LQR, GradientAscent
from forethought.planners.smooth.gradient import Optimiser
from forethought.problem import Problem, evaluate, rollout

KEY = jax.random.key(0)
F = np.array([[1.0, 0.3, 0.05], [0.0, 1.0, 0.3]])
HORIZON = 8
SMOOTH = Optimiser("adam", 0.3, 0.98)


def solve(planner, problem, belief, actions=None):
    """Plan once, compiled."""

    @jax.jit
    def plan(belief):
        state = planner.init(problem, belief, actions, key=KEY)
        return planner.plan(problem, belief, state, key=KEY)[0]

    return plan(belief)


def linear_quadratic(box):
    """A mass to bring to rest."""
    cost = Quadratic(jnp.eye(3), C_final=5 * jnp.eye(2))
    return Problem(Linear(jnp.asarray(F, float)), cost, box)


@pytest.mark.parametrize(
    ("optimiser", "iterations", "tolerance"),
    [(SMOOTH, 600, 1e-7), (Optimiser("lbfgs", 1.0), 40, 1e-9)],
    ids=["adam", "lbfgs"],
)
def test_it_finds_the_optimum_of_lqr(x64, optimiser, iterations, tolerance):
    problem, x = linear_quadratic(free_box(1)), jnp.array([1.0, -0.5])
    optimum = solve(LQR(HORIZON), problem, x)
    planner = GradientAscent(HORIZON, iterations, optimiser, tolerance=1e-6)
    plan = solve(planner, problem, x)
    assert name_of(plan.result) == "successful"
    assert plan.stats.iterations < iterations
    np.testing.assert_allclose(plan.value, optimum.value, rtol=tolerance)
    np.testing.assert_allclose(plan.actions, optimum.actions, atol=10 * tolerance**0.5)


def test_the_optimum_within_limits_is_that_of_scipy(x64):
    problem = linear_quadratic(Box([-0.05], [0.15]))
    x = jnp.array([1.0, -0.5])

    def cost(actions):
        return -rollout(problem, x, actions[:, None], key=KEY).value

    found = scipy.optimize.minimize(
        jax.jit(jax.value_and_grad(cost)),
        np.zeros(HORIZON),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-0.05, 0.15)] * HORIZON,
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    steady = Optimiser("momentum", 1.0)
    plan = solve(GradientAscent(HORIZON, 500, steady, tolerance=1e-7), problem, x)
    assert name_of(plan.result) == "successful"
    np.testing.assert_allclose(plan.value, -found.fun, rtol=1e-9)
    np.testing.assert_allclose(plan.actions[:, 0], found.x, atol=1e-4)
    at_limit = np.isin(found.x, (-0.05, 0.15))
    assert 0 < at_limit.sum() < HORIZON
    np.testing.assert_array_equal(plan.actions[at_limit, 0], found.x[at_limit])


class Near(AbstractObjective):
    """A reward for observations near zero and gentle actions."""

    def reward(self, x, action, next_x):
        return -jnp.sum(next_x**2) - 0.1 * jnp.sum(action**2)

    def discount(self, x, action, next_x):
        return constant(x, 0.9)

    def value(self, x):
        return constant(x, 0)


class Steep(AbstractLasting):
    """A very large cost, least at a half."""

    def reward(self, x, action, next_x):
        return -1e6 * (1 + jnp.sum((action - 0.5) ** 2))


def test_a_steep_return_within_limits_is_not_taken_for_a_flat_one(x64):
    problem = Problem(Linear(jnp.asarray(F, float)), Steep(), Box([-1.0], [1.0]))
    plan = solve(GradientAscent(2, 300, SMOOTH), problem, jnp.zeros(2))
    np.testing.assert_allclose(plan.actions, 0.5, atol=1e-3)
    assert name_of(plan.result) == "successful"


def test_it_climbs_the_risk_of_an_ensemble_along_the_true_gradient(x64):
    model = Ensemble(
        Transform(2, 1), size=2, width=6, depth=1, propagation="TS1", key=KEY
    )
    problem = Problem(model, Near(), Box([-1.0], [1.0]), model.cloud)
    belief = model.observe(model.init(key=KEY), jnp.array([0.5, -0.3]), key=KEY)
    risk, actions = Risk("cvar", 0.5), jnp.full((3, 1), 0.2)
    planner = GradientAscent(3, 5, particles=4, risk=risk)

    @jax.jit
    def everything(actions):
        def score(actions):
            return evaluate(problem, belief, actions, key=KEY, particles=4, risk=risk)

        state = planner.init(problem, belief, actions, key=KEY)
        plan, _ = planner.plan(problem, belief, state, key=KEY)
        return jax.value_and_grad(score)(actions), plan

    (_, slope), plan = everything(actions)
    for t in range(3):
        ahead, behind = (
            everything(actions.at[t, 0].add(step))[0][0] for step in (1e-5, -1e-5)
        )
        np.testing.assert_allclose(slope[t, 0], (ahead - behind) / 2e-5, rtol=1e-6)
    returns = plan.stats.best
    assert np.all(np.diff(returns) >= 0) and returns[-1] > returns[0]
    assert plan.value >= returns[-1]


class Hills(AbstractLasting):
    """A low hill at -0.5, a high one at 0.7, and no number at all beyond a cliff."""

    cliff: float = 2.0

    def reward(self, x, action, next_x):
        u = action[0]
        low = 0.5 * jnp.exp(-(((u + 0.5) / 0.2) ** 2))
        high = jnp.exp(-(((u - 0.7) / 0.3) ** 2))
        return low + high + jnp.where(u > self.cliff, jnp.nan, 0 * u)


HILLS = Problem(Linear(jnp.asarray(F)), Hills(), Box([-1.0], [1.0]))


def test_random_starts_find_a_higher_hill_than_the_last_plan(precision):
    x, start = jnp.zeros(2), jnp.full((2, 1), -0.5)
    alone = solve(GradientAscent(2, 60), HILLS, x, start)
    among = solve(GradientAscent(2, 60, restarts=16), HILLS, x, start)
    assert name_of(alone.result) == "successful"
    np.testing.assert_allclose(alone.actions, -0.5, atol=0.01)
    np.testing.assert_allclose(among.actions, 0.7, atol=0.02)


def test_it_stops_before_what_is_not_finite_and_says_so(precision):
    problem = Problem(HILLS.model, Hills(cliff=0.3), HILLS.action)
    x = jnp.zeros(2)
    start = jnp.full((2, 1), 0.2)
    plan = solve(GradientAscent(2, 20), problem, x, start)
    assert name_of(plan.result) == "non_finite"
    assert np.isfinite(plan.value) and np.all(plan.actions <= 0.3)
    assert np.all(plan.actions >= start)
    assert plan.stats.non_finite[-1] == 1
    hopeless = solve(GradientAscent(2, 20), problem, x, start + 0.3)
    assert name_of(hopeless.result) == "non_finite" and hopeless.value == -np.inf
    np.testing.assert_array_equal(hopeless.actions, start + 0.3)
    saved = solve(GradientAscent(2, 50, restarts=8), problem, x, start + 0.3)
    assert np.isfinite(saved.value)


def test_a_plan_that_was_cut_short_is_the_best_met(precision):
    problem, x = linear_quadratic(Box([-0.4], [0.3])), jnp.array([1.0, -0.5])
    wild = GradientAscent(HORIZON, 7, Optimiser("sgd", 50.0))
    still = jnp.zeros((HORIZON, 1))
    plan = solve(wild, problem, x, still)
    assert name_of(plan.result) == "iteration_limit"
    still = rollout(problem, x, still, key=KEY)
    assert plan.value >= still.value
    imagined = rollout(problem, x, plan.actions, key=KEY)
    np.testing.assert_allclose(plan.value, imagined.value, rtol=1e-6)


def test_what_is_wrong_is_refused_and_named():
    for wrong, words in (
        ({"horizon": 0}, "horizon >= 1, got 0"),
        ({"horizon": 3, "iterations": 0}, "iterations >= 1, got 0"),
        ({"horizon": 3, "restarts": -1}, "restarts >= 0, got -1"),
        ({"horizon": 3, "tolerance": -1.0}, "tolerance >= 0, got -1"),
    ):
        with pytest.raises(ValueError, match=f"GradientAscent needs {words}"):
            GradientAscent(**wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="learning_rate > 0, got 0"):
        Optimiser(learning_rate=0.0)
    with pytest.raises(ValueError, match=r"decay in \(0, 1\], got 2"):
        Optimiser(decay=2.0)
    discrete = Problem(Linear(jnp.asarray(F)), Hills(), Discrete(2))
    with pytest.raises(TypeError, match="GradientAscent plans over continuous"):
        GradientAscent(3).init(discrete, jnp.zeros(2), key=KEY)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "momentum", "sgd"])
def test_the_command_line_can_say_which_optimiser(name):
    form = PlanArguments[GradientAscent]
    told = ["--planner.optimiser.name", name, "--planner.optimiser.decay", "0.9"]
    default = PlanArguments(PlanOptions(), GradientAscent(5))
    planner = parse(form, "plan TASK", told, default=default).planner
    assert planner == GradientAscent(5, optimiser=Optimiser(name, decay=0.9))
    with pytest.raises(BadInput, match="rmsprop"):
        parse(form, "plan TASK", [*told[:1], "newton"], default=default)
    params = jnp.ones((2, 1))
    rule = planner.optimiser.transformation
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = rule.update(params, rule.init(params), params)
    assert np.all(updates < 0)
