"""Second derivatives of the dynamics, and states that are guessed."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import Pendulum, Upright

from forethought import tasks
from forethought.core.results import name_of
from forethought.core.spaces import Box, free_box
from forethought.core.types import ravel
from forethought.models.linear.dynamics import Linear
from forethought.objectives.quadratic import Quadratic
from forethought.planners import ILQR, LQR
from forethought.planners.smooth.descent import begin
from forethought.planners.smooth.expansion import expand
from forethought.planners.smooth.recursions import backward, forward, imagine
from forethought.problem import Problem, rollout

KEY = jax.random.key(0)


@eqx.filter_jit
def solve(planner, problem, belief, actions=None, states=None):
    """Plan once from actions and, if given, states."""
    state = planner.init(problem, belief, actions, states, key=KEY)
    return planner.plan(problem, belief, state, key=KEY)


TIGHT = ILQR(10, 200, tolerance=1e-14, gradient_tolerance=1e-10, second_order=True)
FREE = Problem(Pendulum(0.3), Upright(), free_box(1))
LIMITED = Problem(Pendulum(0.3), Upright(), Box(-5 * np.ones(1), 5 * np.ones(1)))


def start():
    return Pendulum(0.3).at(jnp.array([0.5, 0.2]))


@functools.cache
def acrobot(second_order=False, guessed=False):
    """The swing-up from no torque, or from a straight line to the goal."""
    task = tasks.load("acrobot")
    x = task.system.start(key=KEY)
    actions = jnp.zeros((task.steps, 1))
    share = jnp.linspace(0, 1, task.steps + 1)[1:, None]
    line = share * jnp.array([[np.pi, 0, 0, 0]]) if guessed else None
    planner = ILQR(
        50, 200, tolerance=1e-11, gradient_tolerance=1e-9, second_order=second_order
    )
    plan, _ = solve(planner, task.problem, x, actions, line)
    return task.problem, x, plan


def order(errors):
    """The exponent p of the last steps: how e' = c e^p fits three errors."""
    before, now, after = np.log(errors[-3:])
    return (after - now) / (now - before)


def test_both_reach_the_optimum_of_the_acrobot_second_derivatives_sooner(x64):
    (_, _, first), (_, _, second) = acrobot(), acrobot(second_order=True)
    assert name_of(first.result) == name_of(second.result) == "successful"
    assert float(first.value) == pytest.approx(-44.5132851412, rel=1e-8)
    assert float(second.value) == pytest.approx(-44.5132851412, rel=1e-11)
    assert int(second.stats.iterations) < 0.7 * int(first.stats.iterations)


def test_second_derivatives_make_convergence_quadratic_instead_of_linear(x64):
    errors = {}
    for second_order in (False, True):
        stats = acrobot(second_order)[2].stats
        errors[second_order] = stats.numbers["gradient"][: int(stats.iterations)]
    assert errors[True][-1] < 1e-5
    assert 0.9 < order(errors[False]) < 1.1
    assert order(errors[True]) > 1.8


def test_the_cartpole_takes_a_tenth_of_the_iterations_to_all_digits(x64):
    task = tasks.load("cartpole")
    x = task.system.start(key=KEY)
    planner = ILQR(
        task.steps, tolerance=1e-11, gradient_tolerance=1e-9, second_order=True
    )
    plan, _ = solve(planner, task.problem, x, jnp.full((task.steps, 1), 0.01))
    assert name_of(plan.result) == "successful"
    assert float(plan.value) == pytest.approx(-1.411493348143045, rel=1e-12)


def test_the_value_expansion_is_the_hessian_of_the_optimal_return(x64):
    belief = start()
    plan, _ = solve(TIGHT, FREE, belief)
    assert name_of(plan.result) == "successful"
    x, unravel = ravel(belief)

    def value(x, actions):
        return rollout(FREE, unravel(x), actions[:, None], key=KEY).value

    actions = plan.actions[:, 0]
    curved = jax.jit(jax.hessian(value, argnums=(0, 1)))
    (xx, xu), (ux, uu) = curved(x, actions)
    exact = xx - xu @ np.linalg.solve(uu, ux)
    np.testing.assert_allclose(plan.feedback.V_xx[0], exact, rtol=1e-7)
    gains = -np.linalg.solve(uu, ux)[0]
    np.testing.assert_allclose(plan.feedback.gains[0, 0], gains, rtol=1e-7)


def test_limits_hold_and_the_gradient_vanishes_where_they_leave_room(x64):
    belief = start()
    plan, _ = solve(TIGHT, LIMITED, belief)
    assert name_of(plan.result) == "successful"
    climb = jax.jit(jax.grad(lambda u: rollout(LIMITED, belief, u, key=KEY).value))
    slope = climb(plan.actions)
    clamped = np.abs(plan.actions) == 5
    assert np.abs(plan.actions).max() <= 5 and clamped.any() and not clamped.all()
    assert np.abs(slope[~clamped]).max() < 1e-7
    assert (np.sign(slope) == np.sign(plan.actions))[clamped].all()


def test_a_model_without_second_derivatives_is_refused_with_the_reason():
    task = tasks.load("mujoco-cartpole")
    x = task.system.start(key=KEY)
    planner = ILQR(3, second_order=True)
    with pytest.raises(TypeError, match=r"differentiated twice.*Known.*finite diff"):
        planner.init(task.problem, x, key=KEY)
    state = ILQR(3).init(task.problem, x, key=KEY)
    with pytest.raises(TypeError, match="differentiated twice"):
        planner.plan(task.problem, x, state, key=KEY)


def linear_quadratic():
    """Two states, discounted, pushed by what costs something across."""
    C = [[1.0, 0.1, 0.2], [0.1, 1.0, 0.0], [0.2, 0.0, 0.5]]
    cost = Quadratic(C, [0.1, 0.0, -0.2], 5 * np.eye(2), [0.3, 0.1], gamma=0.9)
    model = Linear([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]], [0.02, -0.01])
    return Problem(model, cost, free_box(1))


def test_any_guess_of_a_linear_quadratic_problem_becomes_the_lqr_plan_at_once(x64):
    problem, x = linear_quadratic(), jnp.array([1.0, -0.5])
    states = jax.random.normal(KEY, (12, 2))
    plan, state = solve(ILQR(12), problem, x, jnp.ones((12, 1)), states)
    exact, _ = LQR(12).plan(problem, x, None, key=KEY)
    assert name_of(plan.result) == "successful"
    assert int(plan.stats.iterations) == 1
    np.testing.assert_allclose(plan.actions, exact.actions, atol=1e-12)
    np.testing.assert_allclose(plan.value, exact.value, rtol=1e-12)
    np.testing.assert_allclose(state.states, plan.beliefs[1:], atol=1e-15)


@pytest.mark.parametrize("regularisation", [0.0, 0.7])
def test_a_step_keeps_its_promise_exactly_where_all_is_linear(regularisation, x64):
    problem, x, box = linear_quadratic(), jnp.array([1.0, -0.5]), free_box(1)
    keys, actions = jax.random.split(KEY, 6), jnp.ones((6, 1))
    states = jax.random.normal(KEY, (6, 2))

    @jax.jit
    def promised_and_kept(alpha):
        nominal = imagine(problem, x, actions, keys, states)
        expansion = expand(
            problem, nominal.beliefs, actions, keys=keys, landings=nominal.landings
        )
        sweep = backward(expansion, nominal, box, jnp.asarray(regularisation), keys)
        after = forward(problem, box, keys, nominal, sweep, alpha)
        return sweep.expected(alpha), nominal.cost - after.cost, nominal, after

    for alpha in (0.1, 0.6, 1.0):
        promised, kept, nominal, after = promised_and_kept(jnp.asarray(alpha))
        np.testing.assert_allclose(promised, kept, rtol=1e-11)
        np.testing.assert_allclose(after.gaps, (1 - alpha) * nominal.gaps, atol=1e-13)


def test_a_straight_line_to_the_goal_finds_a_better_swing_up_without_gaps(x64):
    problem, x, plan = acrobot(guessed=True)
    assert name_of(plan.result) == "successful"
    assert float(plan.value) == pytest.approx(-40.4240096, rel=1e-7)
    imagined = rollout(problem, x, plan.actions, key=KEY)
    np.testing.assert_allclose(imagined.beliefs, plan.beliefs, rtol=0, atol=1e-9)
    np.testing.assert_allclose(imagined.value, plan.value, rtol=1e-12)


def test_a_guess_keeps_clock_and_memory_and_shifts_in_time(x64):
    states = 100 * jax.random.normal(KEY, (10, 2))
    plan, state = solve(ILQR(10, 1), LIMITED, start(), jnp.zeros((10, 1)), states)
    assert name_of(plan.result) == "iteration_limit"
    assert int(plan.beliefs.time[-1]) == 10
    np.testing.assert_array_equal(plan.beliefs.value[1].arrays[-1], 10)
    imagined = rollout(LIMITED, start(), plan.actions, key=KEY)
    np.testing.assert_allclose(imagined.value, plan.value, rtol=1e-10)
    shifted = ILQR(10).shift(LIMITED, state)
    assert state.states is not None and shifted.states is not None
    np.testing.assert_array_equal(shifted.states[:-1], state.states[1:])


def test_gaps_that_are_left_at_the_end_are_closed(x64):
    keys, actions, box = jax.random.split(KEY, 10), jnp.ones((10, 1)), free_box(1)
    states = jax.random.normal(KEY, (10, 2))

    @jax.jit
    def close(states):
        nominal = imagine(LIMITED, start(), actions, keys, states)
        descent = begin(nominal, jnp.zeros(()), 1)
        return nominal, descent.possible(LIMITED, box, keys).nominal

    guessed, closed = close(states)
    np.testing.assert_allclose(guessed.states[1:], states, atol=1e-15)
    assert np.abs(guessed.gaps).max() > 1
    assert np.abs(closed.gaps).max() == 0
    imagined = rollout(LIMITED, start(), actions, key=KEY)
    np.testing.assert_allclose(-closed.cost, imagined.value, rtol=1e-14)


def test_states_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"states of shape \[5, 2\].*got \[6, 2\]"):
        ILQR(5).init(linear_quadratic(), jnp.zeros(2), None, jnp.zeros((6, 2)), key=KEY)
