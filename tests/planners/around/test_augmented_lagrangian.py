"""Constraints: against SciPy, the conditions of an optimum, and what cannot be met."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from forethought import tasks
from forethought.core.readout import Readout
from forethought.core.results import name_of
from forethought.core.spaces import Box, free_box, require_box
from forethought.models.linear.dynamics import Linear
from forethought.objectives.base import AbstractObjective, constant
from forethought.objectives.constrained import Constrained, Outside, Reaches
from forethought.objectives.quadratic import Quadratic
from forethought.objectives.task import Regulate
from forethought.planners import CEM, ILQR, AugmentedLagrangian
from forethought.problem import Problem, rollout

KEY = jax.random.key(0)
DISCS = ((-0.6, -0.5, 0.6), (0.8, 0.9, 0.5), (0.6, -0.8, 0.4))


@eqx.filter_jit
def solve(planner, problem, belief, state=None):
    """Plan once, from the planner's own start unless another is given."""
    state = planner.init(problem, belief, key=KEY) if state is None else state
    return planner.plan(problem, belief, state, key=KEY)


def exact(horizon, **settings):
    """iLQR to all digits."""
    return ILQR(horizon, 300, tolerance=1e-14, gradient_tolerance=1e-9, **settings)


MODEL = Linear([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])
COST = Quadratic(np.eye(3), C_final=5 * np.eye(2), gamma=0.95)


def double_integrator(action=None, **constraints):
    """Discounted, from [1, 0] to the origin."""
    return Problem(MODEL, Constrained(COST, **constraints), action or free_box(1))


def slow(x, action):
    """No faster than 0.1 towards the origin."""
    return -x[1:] - 0.1


def at_rest(x):
    """The last velocity."""
    return x[1:]


def test_a_linear_quadratic_problem_with_constraints_agrees_with_slsqp(x64):
    horizon, x = 15, jnp.array([1.0, 0.0])
    box = Box(-np.ones(1), np.ones(1))
    problem = double_integrator(box, inequality=slow, final_equality=at_rest)
    base = Problem(MODEL, COST, box)

    def cost(u):
        return -rollout(base, x, u[:, None], key=KEY).value

    @jax.jit
    def states(u):
        return rollout(base, x, u[:, None], key=KEY).beliefs

    limits = [
        {"type": "ineq", "fun": lambda u: states(u)[:-1, 1] + 0.1},
        {"type": "eq", "fun": lambda u: states(u)[-1, 1:]},
    ]
    slope = jax.jit(jax.jacobian(lambda u: states(u)[:, 1]))(jnp.zeros(horizon))
    limits[0]["jac"] = lambda u: slope[:-1]
    limits[1]["jac"] = lambda u: slope[-1:]
    oracle = scipy.optimize.minimize(
        jax.jit(cost),
        np.zeros(horizon),
        jac=jax.jit(jax.grad(cost)),
        method="SLSQP",
        bounds=[(-1, 1)] * horizon,
        constraints=limits,
        options={"ftol": 1e-15, "maxiter": 500},
    )
    planner = AugmentedLagrangian(exact(horizon), tolerance=1e-9)
    plan, state = solve(planner, problem, x)
    assert oracle.success and name_of(plan.result) == "successful"
    assert float(-plan.value) == pytest.approx(oracle.fun, rel=1e-6)
    np.testing.assert_allclose(plan.actions[:, 0], oracle.x, atol=1e-5)
    assert float(plan.beliefs[:-1, 1].min()) == pytest.approx(-0.1, abs=1e-8)
    assert abs(float(plan.beliefs[-1, 1])) < 1e-8
    assert np.abs(plan.actions).max() <= 1
    # The multipliers are part of the answer: with them one round is enough.
    again, _ = solve(planner, problem, x, state)
    assert int(again.stats.iterations) == 1
    np.testing.assert_allclose(again.actions, plan.actions, atol=1e-7)


def test_a_way_around_obstacles_meets_the_conditions_of_an_optimum(x64):
    task = tasks.load("point-mass")
    reach = Regulate(
        [2.0, 2.0, 0, 0], [1.0, 1.0, 0.1, 0.1], [0.05, 0.05], [20.0, 20.0, 10.0, 10.0]
    )
    box = require_box(task.problem.action, "The test")
    problem = Problem(task.problem.model, Constrained(reach, Outside(DISCS)), box)
    x = task.system.start(key=KEY)
    planner = AugmentedLagrangian(exact(40), tolerance=1e-8)
    plan, _ = solve(planner, problem, x)
    assert name_of(plan.result) == "successful"
    multipliers = plan.stats.multipliers["inequality_multipliers"]

    def lagrangian(actions):
        future = rollout(Problem(task.problem.model, reach, box), x, actions, key=KEY)
        g = jax.vmap(Outside(DISCS))(future.beliefs[:-1], actions)
        return -future.value + jnp.sum(multipliers * g), g

    slope, g = jax.jit(jax.grad(lagrangian, has_aux=True))(plan.actions)
    low, high = plan.actions == box.low[None], plan.actions == box.high[None]
    assert np.abs(slope[~(low | high)]).max() < 1e-6
    assert (slope[low] >= 0).all() and (slope[high] <= 0).all()
    assert float(g.max()) < 1e-7
    assert multipliers.min() >= 0 and multipliers.max() > 1
    assert np.abs(multipliers * g).max() < 1e-6
    missed = np.abs(slope[~(low | high)]).max()
    assert missed <= float(plan.stats.kkt) * (1 + 1e-6) < 1e-6


def test_the_acrobot_reaches_its_goal_exactly(x64):
    task = tasks.load("acrobot")
    goal = (np.pi, 0.0, 0.0, 0.0)
    swing = Regulate(goal, [0.1] * 4, [0.01], [0.0] * 4)
    reached = Constrained(swing, final_equality=Reaches(goal))
    problem = Problem(task.problem.model, reached, task.problem.action)
    planner = AugmentedLagrangian(exact(50, second_order=True), tolerance=1e-8)
    plan, _ = solve(planner, problem, task.system.start(key=KEY))
    assert name_of(plan.result) == "successful"
    np.testing.assert_allclose(plan.beliefs[-1], goal, atol=1e-6)
    # Slightly dearer than the task, whose plan may miss its goal at a price.
    assert -44.6 < float(plan.value) < -44.5
    rounds = int(plan.stats.iterations)
    assert (np.diff(plan.stats.numbers["penalty"][:rounds]) >= 0).all()
    assert plan.stats.violation[rounds - 1] == plan.stats.violation[-1] < 1e-6
    assert float(plan.stats.kkt) < 1e-6


def test_a_planner_that_samples_holds_constraints_too():
    problem = double_integrator(inequality=slow)
    planner = AugmentedLagrangian(CEM(10, population=64, elites=8), rounds=6)
    start = jnp.array([1.0, 0.0])
    plan, _ = solve(planner, problem, start)
    free, _ = solve(
        planner.inner,
        double_integrator(inequality=lambda x, u: x * 0),
        jnp.array([1.0, 0.0]),
    )
    assert free.beliefs[:, 1].min() < -0.13
    assert plan.beliefs[:-1, 1].min() > -0.105
    # Held, but no optimum: the residual tells.
    assert plan.stats.violation[-1] < 1e-2 < plan.stats.kkt


def test_constraints_that_contradict_each_other_end_in_the_code_infeasible(x64):
    problem = double_integrator(
        equality=lambda x, u: u - 1.0, inequality=lambda x, u: u - 0.5
    )
    plan, _ = solve(AugmentedLagrangian(ILQR(5), rounds=4), problem, jnp.ones(2))
    assert name_of(plan.result) == "infeasible"
    assert np.isfinite(plan.actions).all() and np.isfinite(plan.value)
    assert float(plan.stats.violation[-1]) > 0.1


def test_a_start_that_is_no_number_ends_in_a_code_and_finite_actions(x64):
    problem = double_integrator(inequality=slow)
    start = jnp.array([jnp.nan, 0.0])
    plan, _ = solve(AugmentedLagrangian(ILQR(5), rounds=4), problem, start)
    assert name_of(plan.result) == "non_finite"
    assert int(plan.stats.iterations) == 1
    assert np.isfinite(plan.actions).all()


class OneStep(AbstractObjective):
    """Ends after the first step."""

    def reward(self, x, action, next_x):
        return -jnp.sum(action**2)

    def discount(self, x, action, next_x):
        return constant(x, 0)

    def value(self, x):
        return constant(x, 0)


def test_constraints_beyond_the_end_of_an_episode_are_none(x64):
    never = Constrained(OneStep(), lambda x, u: x[:1] - 1.0)
    problem = Problem(MODEL, never, free_box(1))
    plan, _ = solve(AugmentedLagrangian(ILQR(5)), problem, jnp.array([1.0, 2.0]))
    assert float(plan.beliefs[1, 0]) > 1.1
    assert name_of(plan.result) == "successful"


def test_whoever_does_not_know_constraints_pays_for_what_is_broken():
    problem = double_integrator(inequality=slow, final_equality=at_rest)
    x, u = jnp.array([0.0, -0.5]), jnp.zeros(1)
    seen = Readout(x)
    fine = COST.judge(seen, u, seen)[0] - problem.judge(x, u, x)[0]
    assert float(fine) == pytest.approx(100 * 0.4, rel=1e-5)
    fine = COST.beyond(seen) - problem.value(x)
    assert float(fine) == pytest.approx(100 * 0.5, rel=1e-5)


def test_an_objective_without_constraints_is_refused_by_name():
    problem = Problem(Linear(np.ones((1, 2))), Quadratic(np.eye(2)), free_box(1))
    with pytest.raises(TypeError, match=r"Constrained.* the problem's is Quadratic"):
        AugmentedLagrangian(ILQR(5)).init(problem, jnp.zeros(1), key=KEY)
    with pytest.raises(ValueError, match="at least one constraint"):
        Constrained(Quadratic(np.eye(2)))
    with pytest.raises(ValueError, match="price >= 0, got -1"):
        Constrained(Quadratic(np.eye(2)), slow, price=-1.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rounds": 0}, "rounds >= 1, got 0"),
        ({"penalty": 0.0}, "penalty > 0"),
        ({"factor": 1.0}, "factor > 1"),
        ({"share": 1.0}, r"share in \(0, 1\)"),
        ({"tolerance": 0.0}, "tolerance > 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        AugmentedLagrangian(ILQR(5), **settings)
