import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from forethought.core.results import name_of
from forethought.planners import ILQR, LQR, AugmentedLagrangian
from forethought.planners.around.optimality import along
from forethought.problem import rollout
from forethought.tasks import TASKS, gallery
from forethought.tasks.optima import best_return

KEY = jax.random.key(0)
CONSTRAINED = ("acrobot-goal", "obstacle-unicycle", "obstacle-car")


@pytest.mark.parametrize("name", gallery.GALLERY)
def test_the_stored_actions_cost_what_is_stored_and_no_small_step_costs_less(name, x64):
    """First-order optimality within the limits, in float64."""
    entry = gallery.load(name)
    box, actions = entry.problem.action, jnp.asarray(entry.optimum.actions)
    assert actions.shape == (entry.horizon, *box.shape)

    @jax.jit
    @jax.value_and_grad
    def cost(actions):
        return -rollout(entry.problem, entry.start, actions, key=KEY).value

    value, slope = cost(actions)
    assert float(value) == pytest.approx(entry.optimum.cost, rel=1e-10)
    lower, upper = actions <= box.low[None], actions >= box.high[None]
    assert np.all((actions >= box.low[None]) & (actions <= box.high[None]))
    if name in CONSTRAINED:  # where the cost has kinks; see the test of KKT below
        beliefs = rollout(entry.problem, entry.start, actions, key=KEY).beliefs
        assert along(entry.problem, beliefs, actions).violation < 1e-10
    else:
        inward = (lower & (slope > 0)) | (upper & (slope < 0))
        assert np.abs(np.where(inward, 0, slope)).max() < 1e-4 * (1 + value)
    random = np.random.default_rng(0)
    for _ in range(5):
        noise = 1e-4 * jnp.asarray(random.normal(size=actions.shape))
        assert cost(box.clip(actions + noise))[0] >= value * (1 - 1e-9)


@pytest.mark.parametrize("name", gallery.GALLERY)
def test_two_solvers_found_each_optimum(name):
    optimum = gallery.load(name).optimum
    first, second = optimum.solvers.values()
    assert optimum.cost == min(first, second)
    assert optimum.digits >= 8
    assert abs(first - second) <= 10.0**-optimum.digits * optimum.cost
    assert optimum.proven == (name.startswith("lq-") or name == "double-integrator")


@pytest.mark.parametrize("name", gallery.GALLERY)
def test_an_entry_is_planned_once_from_one_start_and_so_is_its_namesake(name):
    entry = gallery.load(name)
    assert entry.task.name == name and entry.task.summary
    assert entry.task.replan_every == entry.task.steps == entry.horizon
    other = entry.task.system.start(key=jax.random.key(5))
    np.testing.assert_array_equal(entry.start, other)
    assert entry.task.optimum == best_return(name) == -entry.optimum.cost
    if name in TASKS:
        assert TASKS[name]().optimum == entry.task.optimum
        assert TASKS[name]().steps == entry.horizon


@pytest.mark.parametrize("name", ["pendulum-swing-up", "quadrotor", "point-mass"])
def test_ilqr_from_near_the_stored_actions_returns_to_the_stored_optimum(name, x64):
    """A cheap part of `benchmarks/optima.py`."""
    entry = gallery.load(name)
    planner = ILQR(entry.horizon, 300, tolerance=1e-12, gradient_tolerance=1e-8)
    noise = 1e-3 * np.random.default_rng(1).normal(size=entry.optimum.actions.shape)

    @jax.jit
    def solve(actions):
        state = planner.init(entry.problem, entry.start, actions, key=KEY)
        return planner.plan(entry.problem, entry.start, state, key=KEY)[0].value

    found = -float(solve(jnp.asarray(entry.optimum.actions + noise)))
    assert found == pytest.approx(entry.optimum.cost, rel=1e-6)


@pytest.mark.parametrize("name", CONSTRAINED)
def test_near_a_constrained_optimum_multipliers_meet_kkt_to_a_millionth(name, x64):
    entry = gallery.load(name)
    inner = ILQR(entry.horizon, 200, tolerance=1e-14, gradient_tolerance=1e-10)
    planner = AugmentedLagrangian(inner, tolerance=1e-8)
    noise = 1e-3 * np.random.default_rng(1).normal(size=entry.optimum.actions.shape)

    @jax.jit
    def solve(actions):
        state = planner.init(entry.problem, entry.start, actions, key=KEY)
        return planner.plan(entry.problem, entry.start, state, key=KEY)[0]

    plan = solve(jnp.asarray(entry.optimum.actions + noise))
    assert name_of(plan.result) == "successful"
    assert plan.stats.kkt < 1e-6 and plan.stats.violation[-1] < 1e-8
    assert -float(plan.value) == pytest.approx(entry.optimum.cost, rel=1e-6)
    np.testing.assert_allclose(plan.actions, entry.optimum.actions, atol=1e-4)
    # Whoever breaks a constraint by a unit pays more than that is worth.
    multipliers = [np.abs(each).max() for each in plan.stats.multipliers.values()]
    assert max(multipliers) < entry.problem.objective.price


@pytest.mark.parametrize(("state", "action"), [(1, 1), (3, 2), (8, 3)])
def test_lqr_costs_the_optimum_of_a_random_problem_of_any_size(state, action, x64):
    task = gallery.random_lq(state, action, steps=12, seed=4)
    planner, x = LQR(12), task.system.start(key=KEY)
    plan = planner.plan(task.problem, x, None, key=KEY)[0]
    assert float(plan.value) == pytest.approx(task.optimum, rel=1e-11)


def test_a_random_problem_of_long_horizon_costs_what_scipys_equation_says(x64):
    task = gallery.random_lq(4, 2, steps=400, seed=2)
    F, C = np.asarray(task.problem.model.F), np.asarray(task.problem.objective.C)
    A, B, n = F[:, :4], F[:, 4:], 4
    P = scipy.linalg.solve_discrete_are(A, B, C[:n, :n], C[n:, n:], s=C[:n, n:])
    x = np.asarray(task.system.start(key=KEY))
    assert -task.optimum == pytest.approx(0.5 * x @ P @ x, rel=1e-10)


def test_the_same_seed_gives_the_same_problem_and_another_gives_another():
    one, same, other = (gallery.random_lq(3, 1, seed=seed) for seed in (0, 0, 1))
    assert one.optimum == same.optimum != other.optimum


def test_wrong_names_and_sizes_are_refused():
    with pytest.raises(ValueError, match="did you mean 'acrobot'"):
        gallery.load("acrobat")
    with pytest.raises(ValueError, match="action >= 1, got 0"):
        gallery.random_lq(3, 0)
