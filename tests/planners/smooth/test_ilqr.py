"""iLQR against closed forms, SciPy, published optima, and hostile problems."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from toys import AbstractSeen, Pendulum, Upright

from forethought import tasks
from forethought.core.results import name_of
from forethought.core.spaces import Box, Discrete, free_box
from forethought.core.types import ravel
from forethought.models.linear.dynamics import Linear
from forethought.objectives.base import AbstractObjective, constant
from forethought.objectives.quadratic import Quadratic
from forethought.planners.linear.lqr import LQR
from forethought.planners.smooth.expansion import expand
from forethought.planners.smooth.ilqr import ILQR, ILQRState
from forethought.problem import Problem, rollout

KEY = jax.random.key(0)
F = np.array([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])


@eqx.filter_jit
def solve(planner, problem, belief, state=None):
    """Plan once, from the planner's own start unless another is given."""
    state = planner.init(problem, belief, key=KEY) if state is None else state
    return planner.plan(problem, belief, state, key=KEY)


def linear_quadratic(action=None, dtype=float):
    cost = Quadratic(jnp.eye(3, dtype=dtype), C_final=5 * jnp.eye(2, dtype=dtype))
    return Problem(Linear(jnp.asarray(F, dtype)), cost, action or free_box(1))


SWING = Problem(Pendulum(), Upright(), Box(-3 * np.ones(1), 3 * np.ones(1)))


def swing_start(dtype=float):
    return Pendulum().at(jnp.array([0.5, 0.0], dtype))


def test_a_linear_quadratic_problem_takes_one_iteration_to_the_lqr_plan(precision):
    dtype, tolerance = (jnp.float32, 2e-5) if precision == 32 else (jnp.float64, 1e-11)
    problem, x = linear_quadratic(dtype=dtype), jnp.array([1.0, -0.5], dtype)
    plan, _ = solve(ILQR(30), problem, x)
    exact, _ = LQR(30).plan(problem, x, None, key=KEY)
    assert name_of(plan.result) == "successful"
    assert int(plan.stats.iterations) <= 2
    assert plan.actions.dtype == plan.value.dtype == dtype
    np.testing.assert_allclose(plan.value, exact.value, rtol=tolerance)
    np.testing.assert_allclose(plan.actions, exact.actions, rtol=0, atol=tolerance * 10)
    for name in ("gains", "states", "V", "V_x", "V_xx"):
        ours, oracle = getattr(plan.feedback, name), getattr(exact.feedback, name)
        np.testing.assert_allclose(ours, oracle, rtol=0, atol=1e3 * tolerance)


@functools.cache
def whole_episode(name, start_action, iterations):
    with jax.enable_x64(True):
        task = tasks.load(name)
        planner = ILQR(task.steps, iterations, tolerance=1e-11, gradient_tolerance=1e-8)
        x = task.system.start(key=KEY)
        actions = jnp.full((task.steps, 1), start_action, x.dtype)
        state = ILQRState(actions, jnp.zeros((), x.dtype))
        plan, _ = solve(planner, task.problem, x, state)
        return plan, name_of(plan.result)


def test_the_acrobot_reaches_the_published_optimum():
    plan, result = whole_episode("acrobot", 0.0, 200)
    assert result == "successful"
    assert float(plan.value) == pytest.approx(-44.5132851412, rel=1e-8)


def test_the_cartpole_reaches_the_published_optimum():
    plan, result = whole_episode("cartpole", 0.01, 1000)
    assert result == "successful"
    assert float(plan.value) == pytest.approx(-1.4114933481, rel=1e-7)


def test_statistics_never_rise_in_cost_and_are_padded_by_their_last_value():
    plan, _ = whole_episode("acrobot", 0.0, 200)
    count, cost = int(plan.stats.iterations), -np.asarray(plan.stats.best)
    assert cost.shape == (200,)
    assert (np.diff(cost) <= 0).all()
    np.testing.assert_array_equal(cost[count:], cost[count - 1])
    assert cost[-1] == -float(plan.value)


def test_limits_bind_exactly_where_scipy_says_and_are_never_crossed(x64):
    horizon, limit = 20, 0.5
    problem = linear_quadratic(Box(-limit * np.ones(1), limit * np.ones(1)))
    x = jnp.array([1.0, 0.0])

    def cost(actions):
        return -rollout(problem, x, actions[:, None], key=KEY).value

    # The cost is quadratic in all actions: ½ uᵀHu + gᵀu, so least squares in Lᵀu.
    H = np.asarray(jax.jit(jax.hessian(cost))(jnp.zeros(horizon)))
    g = np.asarray(jax.jit(jax.grad(cost))(jnp.zeros(horizon)))
    L = np.linalg.cholesky(H)
    oracle = scipy.optimize.lsq_linear(
        L.T, -np.linalg.solve(L, g), (-limit, limit), method="bvls", tol=1e-15
    ).x
    plan, _ = solve(ILQR(horizon, tolerance=1e-13), problem, x)
    actions = np.asarray(plan.actions[:, 0])
    assert name_of(plan.result) == "successful"
    np.testing.assert_allclose(actions, oracle, atol=1e-6)
    assert np.abs(actions).max() <= limit
    clamped = np.abs(actions) == limit
    assert clamped.any() and not clamped.all()
    assert (np.asarray(plan.feedback.gains)[clamped] == 0).all()


def test_two_limited_actions_agree_with_l_bfgs_b(x64):
    problem = Problem(
        Linear([[1.0, 0.1, 0.0, 0.02], [0.0, 1.0, 0.1, -0.03]], [0.01, 0.0]),
        Quadratic(
            [[1.0, 0, 0.2, 0], [0, 1.0, 0, 0], [0.2, 0, 0.3, 0.1], [0, 0, 0.1, 0.2]],
            [0.0, 0.1, 0.0, -0.1],
            C_final=10 * np.eye(2),
        ),
        Box(np.array([-0.8, -0.3]), np.array([0.6, np.inf])),
    )
    x, horizon = jnp.array([1.0, 0.5]), 8

    @jax.jit
    def cost(flat):
        return -rollout(problem, x, flat.reshape(horizon, 2), key=KEY).value

    oracle = scipy.optimize.minimize(
        cost,
        np.zeros(2 * horizon),
        jac=jax.jit(jax.grad(cost)),
        method="L-BFGS-B",
        bounds=[(-0.8, 0.6), (-0.3, None)] * horizon,
        options={"ftol": 1e-15, "gtol": 1e-12, "maxiter": 2000},
    )
    plan, _ = solve(ILQR(horizon, tolerance=1e-13), problem, x)
    assert float(-plan.value) == pytest.approx(oracle.fun, rel=1e-9)
    np.testing.assert_allclose(plan.actions.reshape(-1), oracle.x, atol=1e-4)


def test_rewards_on_readouts_and_memory_in_beliefs_are_planned_through(precision):
    dtype = jnp.float32 if precision == 32 else jnp.float64
    belief = swing_start(dtype)
    plan, _ = solve(ILQR(30, 200), SWING, belief)
    assert name_of(plan.result) == "successful"
    assert np.abs(plan.actions).max() <= 3
    # Time and memory went along, and are no coordinates.
    assert int(plan.beliefs.time[-1]) == 30
    np.testing.assert_array_equal(plan.beliefs.value[1].arrays[-1], 30)
    assert plan.feedback.gains.shape == (30, 1, 2)
    imagined = rollout(SWING, belief, plan.actions, key=KEY)
    assert float(plan.value) == pytest.approx(float(imagined.value), rel=1e-5)
    if precision == 64:
        slope = jax.jit(
            jax.grad(lambda actions: rollout(SWING, belief, actions, key=KEY).value)
        )(plan.actions)
        free = np.abs(plan.actions) < 3
        assert np.abs(slope[free]).max() < 1e-3


def test_the_expansion_is_the_gradient_and_the_gauss_newton_hessian(x64):
    belief = swing_start()
    x, unravel = ravel(belief)

    def after(z):
        return SWING.model.predict(unravel(z[:2]), z[2:], key=KEY)

    def cost(z):
        return -SWING.step(unravel(z[:2]), z[2:], key=KEY)[1]

    @jax.jit
    def both_ways(actions):
        beliefs = rollout(SWING, belief, actions, key=KEY).beliefs
        found = expand(SWING, beliefs, actions, keys=jax.random.split(KEY, 5))
        z = jnp.concatenate([x, actions[0]])
        F = jax.jacfwd(lambda z: ravel(after(z))[0])(z)
        look = jax.jacfwd(lambda z: SWING.model.readout(after(z)).x)(z)[:2]
        return found, F, jax.grad(cost)(z), look

    expansion, F, c, look = both_ways(jnp.linspace(-1, 2, 5)[:, None])
    np.testing.assert_allclose(expansion.F[0], F, rtol=1e-12)
    np.testing.assert_allclose(expansion.c[0], c, rtol=1e-12)
    # The reward is 2·½|residual|² in (sin, cos + 1, rate, action).
    own = np.diag([0.0, 0.2, 0.02])
    np.testing.assert_allclose(expansion.C[0], 2 * look.T @ look + own, atol=1e-12)


def test_the_value_expansion_predicts_plans_from_nearby(x64):
    problem, x = linear_quadratic(), jnp.array([1.0, -0.5])
    offset = jnp.array([0.2, 0.1])
    planner = ILQR(12)
    plan, _ = solve(planner, problem, x)
    moved, _ = solve(planner, problem, x + offset)
    feedback = plan.feedback
    value = (
        feedback.V[0]
        + feedback.V_x[0] @ offset
        + 0.5 * offset @ feedback.V_xx[0] @ offset
    )
    np.testing.assert_allclose(value, moved.value, rtol=1e-10)
    np.testing.assert_allclose(
        feedback.policy.given(x + offset, 0).mean, moved.actions[0], rtol=1e-9
    )


class Cliff(AbstractSeen):
    """Explodes, ever more steeply."""

    def init(self, *, key):
        return jnp.zeros(1)

    def predict(self, belief, action, *, key):
        return belief + 30.0 * belief**3 + action


class Concave(AbstractObjective):
    """Rewards large actions: there is no best one."""

    def reward(self, x, action, next_x):
        return -jnp.sum(x**2) + jnp.sum(action**2)

    def discount(self, x, action, next_x):
        return constant(x, 1.0)

    def value(self, x):
        return -jnp.sum(x**2)


def test_a_start_that_is_no_number_ends_in_a_code_and_finite_actions():
    plan, state = solve(ILQR(5), linear_quadratic(), jnp.array([jnp.nan, 0.0]))
    assert name_of(plan.result) == "non_finite"
    assert np.isfinite(plan.actions).all() and np.isfinite(state.actions).all()
    assert np.isfinite(plan.feedback.gains).all()


def test_a_rollout_that_explodes_ends_in_a_code_and_finite_actions():
    problem = Problem(Cliff(), Quadratic(jnp.eye(2)), free_box(1))
    plan, _ = solve(ILQR(10), problem, jnp.array([9.0]))
    assert name_of(plan.result) == "non_finite"
    assert np.isfinite(plan.actions).all()
    plan, _ = solve(ILQR(10), problem, jnp.array([0.05]))
    assert np.isfinite(plan.actions).all() and np.isfinite(plan.value)


def test_a_cost_without_a_minimum_ends_in_a_code_and_finite_actions():
    problem = Problem(Linear(F), Concave(), free_box(1))
    plan, _ = solve(ILQR(5, 20), problem, jnp.array([1.0, 0.0]))
    assert name_of(plan.result) in ("iteration_limit", "not_converged", "non_finite")
    assert np.isfinite(plan.actions).all() and np.isfinite(plan.value)


def test_a_warm_start_goes_on_where_it_was_and_shifts_in_time(x64):
    belief = swing_start()
    planner = ILQR(30, 200)
    plan, state = solve(planner, SWING, belief)
    again, _ = solve(planner, SWING, belief, state)
    assert int(again.stats.iterations) <= 2
    assert float(again.value) >= float(plan.value) - 1e-9
    shifted = planner.shift(SWING, state)
    np.testing.assert_array_equal(shifted.actions[:-1], plan.actions[1:])
    np.testing.assert_array_equal(shifted.actions[-1], plan.actions[-1])


def test_it_starts_in_the_middle_of_the_limits():
    box = Box(np.array([1.0, -np.inf, 2.0]), np.array([3.0, np.inf, np.inf]))
    problem = Problem(Linear(np.ones((1, 4))), Quadratic(np.eye(4)), box)
    state = ILQR(4).init(problem, jnp.zeros(1), key=KEY)
    np.testing.assert_array_equal(state.actions, [[2.0, 0.0, 2.0]] * 4)


def test_vmap_equals_the_loop(x64):
    planner, problem = ILQR(8), linear_quadratic(Box(-np.ones(1), np.ones(1)))
    x = jnp.array([[1.0, 0.0], [0.1, -0.2], [-2.0, 1.0]])
    together, _ = jax.jit(jax.vmap(lambda x: solve(planner, problem, x)))(x)
    for i in range(3):
        alone, _ = solve(planner, problem, x[i])
        np.testing.assert_allclose(together.actions[i], alone.actions, atol=1e-9)


def test_discrete_actions_are_refused_by_name():
    problem = Problem(Linear(F), Quadratic(np.eye(3)), Discrete(3))
    with pytest.raises(TypeError, match="ILQR plans over continuous actions"):
        ILQR(5).init(problem, jnp.zeros(2), key=KEY)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"horizon": 0}, "horizon >= 1, got 0"),
        ({"horizon": 5, "iterations": 0}, "iterations >= 1"),
        ({"horizon": 5, "step_sizes": 0}, "step_sizes >= 1"),
        ({"horizon": 5, "smallest_step": 0.0}, "smallest_step in"),
        ({"horizon": 5, "factor": 1.0}, "factor > 1"),
        ({"horizon": 5, "regularisation": -1.0}, "regularisation >= 0 and <= largest"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        ILQR(**settings)
