import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.readout import Readout
from forethought.objectives.task import (
    Avoid,
    Parking,
    PendulumReward,
    Regulate,
    smooth_absolute,
    wrap,
)
from forethought.planners import ILQR, PLANNERS
from forethought.problem import rollout
from forethought.tasks.analytic import TASKS

KEY = jax.random.key(0)


def cost(task, actions):
    start = task.system.start(key=KEY)
    return -float(rollout(task.problem, start, actions, key=KEY).value)


def solve(task, horizon):
    """The return of one plan by iLQR with the task's own settings."""
    planner = ILQR(**{**task.settings["ilqr"], "horizon": horizon})
    start = task.system.start(key=KEY)

    @jax.jit
    def plan(start):
        state = planner.init(task.problem, start, key=KEY)
        return planner.plan(task.problem, start, state, key=KEY)[0]

    return plan(start)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_consistent(name):
    task = TASKS[name]()
    assert task.name == name
    assert task.problem.action.shape == task.system.action.shape
    assert task.replan_every in (1, task.steps)
    assert task.environment.spec.episode_length == task.steps
    for name in task.settings.keys() & PLANNERS.keys():  # the others are agents
        horizon = PLANNERS[name].settings(**task.settings[name]).horizon
        assert task.replan_every <= horizon <= task.steps


@pytest.mark.parametrize("name", TASKS)
def test_rewards_have_finite_first_and_second_derivatives(name, precision):
    """At the start, where it is fixed, and in the middle of the action space."""
    task = TASKS[name]()
    problem, start = task.problem, task.system.start(key=KEY)
    n, kind = start.shape[0], start.dtype
    action = problem.action.sample(key=KEY).astype(kind)

    def stage(both):
        x, u = both[:n], both[n:]
        after = task.system.step(x, u, key=KEY)
        seen, then = Readout.of(x), Readout.of(after)
        reward, _ = problem.objective.judge(seen, u, then)
        return reward + problem.objective.beyond(seen)

    @jax.jit
    def derivatives(both):
        return stage(both), jax.grad(stage)(both), jax.hessian(stage)(both)

    both = jnp.concatenate([start, action])
    value, gradient, hessian = derivatives(both)
    assert value.dtype == gradient.dtype == kind
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert np.isfinite(hessian).all()


def test_the_optimum_of_the_double_integrator_is_that_of_brute_force(x64):
    """Least squares over the stacked actions, with the states written out."""
    task = TASKS["double-integrator"]()
    A, B = np.array([[1, 0.1], [0, 1]]), np.array([[0.005], [0.1]])
    P, T = np.asarray(task.problem.objective.C_final), task.steps
    rows, rhs, reach = [], [], np.zeros((2, T))
    x, root = np.array([1.0, 0.0]), np.linalg.cholesky(P).T
    for t in range(T):
        rows.append(reach.copy())
        rhs.append(-x)
        reach = A @ reach
        reach[:, t] += B[:, 0]
        x = A @ x
    rows += [root @ reach, np.eye(T)]
    rhs += [-root @ x, np.zeros(T)]
    stacked, target = np.concatenate(rows), np.concatenate(rhs)
    actions = np.linalg.lstsq(stacked, target, rcond=None)[0]
    best = 0.5 * np.sum((stacked @ actions - target) ** 2)
    assert -task.optimum == pytest.approx(best, rel=1e-11)
    assert cost(task, jnp.asarray(actions[:, None])) == pytest.approx(best, rel=1e-11)


def test_the_acrobot_costs_without_action_what_trajax_says(x64):
    task = TASKS["acrobot"]()
    assert cost(task, jnp.zeros((50, 1))) == pytest.approx(4959.476212, abs=5e-7)


@pytest.mark.parametrize(
    ("name", "value"),
    [("acrobot", 44.5132851412), ("cartpole", 1.4114933481), ("quadrotor", None)],
)
def test_ilqr_from_the_middle_reaches_the_optimum_that_peers_do(name, value, x64):
    """With the settings of the task; the quadrotor planned as a whole."""
    task = TASKS[name]()
    value = -task.optimum if value is None else value
    plan = solve(task, task.steps)
    assert -float(plan.value) == pytest.approx(value, rel=1e-6)
    assert cost(task, plan.actions) == pytest.approx(value, rel=1e-6)
    assert value >= -task.optimum * (1 - 1e-9)


def test_ilqr_parks_the_car_within_its_limits(x64):
    task = TASKS["car-parking"]()
    plan = solve(task, task.steps)
    actions = np.asarray(plan.actions)
    assert (np.abs(actions) <= [0.5, 2.0]).all()
    np.testing.assert_allclose(plan.beliefs[-1], 0, atol=0.05)
    assert float(plan.value) > -1.91


def test_parking_costs_what_its_formula_says(x64):
    x, u = jnp.array([3.0, -4.0, 0.5, 2.0]), jnp.array([0.5, -2.0])
    near = np.sqrt(9 + 0.01) + np.sqrt(16 + 0.01) - 0.2
    assert -Parking().reward(x, u, x) == pytest.approx(
        0.01 * 0.25 + 1e-4 * 4 + 1e-3 * near, rel=1e-12
    )
    final = (
        0.1 * (np.sqrt(9 + 1e-4) + np.sqrt(16 + 1e-4) - 0.02)
        + (np.sqrt(0.25 + 1e-4) - 0.01)
        + 0.3 * (np.sqrt(5) - 1)
    )
    assert -Parking().value(x) == pytest.approx(final + 1e-3 * near, rel=1e-12)


def test_a_smooth_absolute_value_is_quadratic_inside_and_linear_outside(x64):
    assert smooth_absolute(jnp.zeros(1), (1.0,), (0.1,)) == 0
    assert smooth_absolute(jnp.array([1e-4]), (2.0,), (0.1,)) == pytest.approx(
        2 * 1e-8 / 0.2, rel=1e-4
    )
    assert smooth_absolute(jnp.array([100.0]), (2.0,), (0.1,)) == pytest.approx(
        2 * 99.9, rel=1e-5
    )


def test_angles_wrap_where_gymnasium_wraps_them(x64):
    turns = jnp.array([0.0, 3.0, -3.0, jnp.pi, -jnp.pi, 7.0, -20.0])
    expected = (np.asarray(turns) + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_array_equal(jax.vmap(wrap)(turns), expected)


def test_torque_beyond_the_limit_is_not_charged():
    x, u = jnp.zeros(2), jnp.array([5.0])
    assert PendulumReward().reward(x, u, x) == pytest.approx(-0.004)


def test_a_disc_costs_its_weight_in_the_middle_and_nothing_far_away():
    calm = Regulate([0.0] * 4, [0.0] * 4, [0.0] * 2, [0.0] * 4)
    objective = Avoid(calm, ((1.0, 2.0, 0.5),), weight=7.0)
    u, still = jnp.zeros(2), [0.0, 0.0]

    def reward(*place):
        x = jnp.array([*place, *still])
        return float(objective.reward(x, u, x))

    assert reward(1.0, 2.0) == pytest.approx(-7.0, rel=1e-4)
    assert -0.6 < reward(1.5, 2.0) < -0.4
    assert reward(2.0, 2.0) == pytest.approx(0.0, abs=1e-6)


def test_avoiding_keeps_the_value_and_discount_of_what_is_wanted():
    inner = TASKS["quadrotor"]().problem.objective
    x, u = jnp.arange(6.0), jnp.ones(2)
    outer = Avoid(inner, ((9.0, 9.0, 0.1),))
    assert outer.value(x) == inner.value(x)
    assert outer.discount(x, u, x) == inner.discount(x, u, x) == 1


def test_hovering_at_the_goal_costs_nothing():
    task = TASKS["quadrotor"]()
    hover = jnp.full((2,), task.system.hover)
    assert task.problem.objective.reward(jnp.zeros(6), hover, jnp.zeros(6)) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0.0], [1.0, 1.0], [1.0], [1.0]), r"\(1,\), \(2,\) and \(1,\)"),
        (([0.0], [1.0], [1.0], [1.0], [0.0, 0.0]), r"\(1,\) and \(2,\)"),
    ],
)
def test_weights_of_different_shapes_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Regulate(*arguments)
