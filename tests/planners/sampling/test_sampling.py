"""Random shooting and CEM against closed answers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import Reach, Sum

from forethought import tasks
from forethought.core.results import Result
from forethought.core.returns import Risk
from forethought.core.spaces import Box, Discrete
from forethought.objectives.base import AbstractObjective, constant
from forethought.planners import CEM, LQR, MPPI, RandomShooting
from forethought.planners.sampling.spline import Spline
from forethought.problem import Problem, rollout


def plan(planner, problem, belief, key):
    state = planner.init(problem, belief, key=key)
    return eqx.filter_jit(planner.plan)(problem, belief, state, key=key)


@pytest.fixture(scope="module")
def origin():
    return jnp.zeros(1)


@pytest.mark.parametrize(
    ("planner", "tolerance"),
    [
        (CEM(10, population=200, elites=20, iterations=6, initial_std=1.0), 0.01),
        (CEM.plain(10, population=200, elites=20, iterations=20), 0.001),
    ],
    ids=["icem", "plain"],
)
def test_cem_agrees_with_lqr_on_a_linear_quadratic_problem(
    planner, tolerance, precision
):
    task = tasks.load("double-integrator")
    start = jnp.array([1.0, 0.0])
    key = jax.random.key(0)
    exact, _ = plan(LQR(10), task.problem, start, key)
    found, _ = plan(planner, task.problem, start, key)
    assert bool(found.result == Result.successful)
    np.testing.assert_allclose(found.value, exact.value, rtol=tolerance)
    assert found.value <= exact.value + 1e-5


def test_random_shooting_finds_what_enumeration_finds(origin):
    class Table(AbstractObjective):
        """A reward for each pair of successive actions."""

        def reward(self, x, action, next_x):
            table = jnp.array([0.3, -0.2, 0.5])
            return table[action] - 0.2 * next_x[0] ** 2

        def discount(self, x, action, next_x):
            return constant(x, 0.9)

        def value(self, x):
            return x[0]

    problem = Problem(Sum(), Table(), Discrete(3))
    every = jnp.stack(jnp.meshgrid(*[jnp.arange(3)] * 4), axis=-1).reshape(-1, 4)
    returns = jax.vmap(
        lambda actions: rollout(problem, origin, actions, key=jax.random.key(0)).value
    )(every)
    # 81 sequences: 2,000 draws miss the best with probability e^-25.
    found, _ = plan(RandomShooting(4, 2000), problem, origin, jax.random.key(1))
    np.testing.assert_array_equal(found.actions, every[jnp.argmax(returns)])
    np.testing.assert_allclose(found.value, jnp.max(returns), rtol=1e-6)


def test_held_actions_change_only_every_so_often(origin):
    problem = Problem(Sum(), Reach(), Box([-1.0], [1.0]))
    found, _ = plan(RandomShooting(7, 8, hold=3), problem, origin, jax.random.key(0))
    actions = np.asarray(found.actions)[:, 0]
    np.testing.assert_array_equal(actions[:3], actions[0].repeat(3))
    np.testing.assert_array_equal(actions[3:6], actions[3].repeat(3))


@pytest.mark.parametrize("name", [CEM, MPPI])
@pytest.mark.parametrize("degree", [0, 1, 3])
def test_a_shifted_search_begins_with_the_last_one_read_a_step_later(name, degree):
    task, start = tasks.load("pendulum"), jnp.array([3.0, 0.0])
    planner = name(7, 16, iterations=1, hold=3, degree=degree)

    def begin(state):
        return Spline(7, 3, degree)(state.mean, state.phase)

    _, state = plan(planner, task.problem, start, jax.random.key(0))
    for _ in range(4):
        before = begin(state)
        state = planner.shift(task.problem, state)
        np.testing.assert_allclose(begin(state)[:-1], before[1:], rtol=1e-5, atol=1e-6)


def test_splines_of_every_degree_are_drawn_within_the_limits(origin):
    problem = Problem(Sum(), Reach(), Box([0.5], [1.0]))
    for degree in (0, 1, 3):
        planner = RandomShooting(7, 64, hold=2, degree=degree)
        found, _ = plan(planner, problem, origin, jax.random.key(0))
        assert np.all((found.actions >= 0.5) & (found.actions <= 1.0))


def test_discrete_actions_can_be_held_but_not_blended(origin):
    problem = Problem(Sum(), Reach(), Discrete(3))
    with pytest.raises(TypeError, match=r"needs degree 0, .* got degree 1"):
        RandomShooting(3, degree=1).init(problem, origin, key=jax.random.key(0))


@pytest.mark.parametrize(
    "planner", [RandomShooting(3, 1), CEM(3, population=4, elites=4, iterations=1)]
)
def test_actions_to_begin_with_compete_with_what_is_drawn(planner, origin):
    problem = Problem(Sum(), Reach(), Box([-1.0], [1.0]))
    best = jnp.ones((3, 1))

    @jax.jit
    def search(key):
        state = planner.init(problem, origin, best, key=key)
        return planner.plan(problem, origin, state, key=key)[0]

    np.testing.assert_allclose(search(jax.random.key(0)).value, 3.0)


@pytest.mark.parametrize(
    "planner",
    [RandomShooting(5, 64), CEM(5, population=64, noise_beta=0.0)],
    ids=["random-shooting", "cem"],
)
def test_sequences_that_return_nan_are_counted_and_never_chosen(planner, origin):
    problem = Problem(Sum(), Reach(wall=1.0), Box([-1.0], [1.0]))
    found, _ = plan(planner, problem, origin, jax.random.key(0))
    assert np.sum(found.stats.non_finite) > 0
    assert np.isfinite(found.value) and found.value <= 1.0
    assert bool(found.result == Result.successful)
    assert np.all(np.isfinite(found.actions))


@pytest.mark.parametrize(
    "planner", [RandomShooting(5, 64), CEM(5)], ids=["random-shooting", "cem"]
)
def test_where_nothing_is_finite_the_plan_says_so_and_its_actions_are_finite(
    planner, origin
):
    problem = Problem(Sum(), Reach(wall=-jnp.inf), Box([-1.0], [1.0]))
    found, _ = plan(planner, problem, origin, jax.random.key(0))
    assert bool(found.result == Result.non_finite)
    assert np.all(np.isfinite(found.actions))


def test_a_risk_averse_plan_gives_up_return_for_safety(origin):
    # Return of pushing u for one step: u (1 + noise). Its mean grows with u; the mean
    # of its worst tenth is u (1 - 1.755 * 2) < 0, so a cautious planner stays put.
    problem = Problem(Sum(noise=2.0), Reach(), Box([0.0], [1.0]))
    settings = {"population": 64, "elites": 6, "particles": 400, "min_std": 0.01}
    bold, _ = plan(CEM(1, **settings), problem, origin, jax.random.key(0))
    risk = Risk("cvar", 0.1)
    shy, _ = plan(CEM(1, risk=risk, **settings), problem, origin, jax.random.key(0))
    assert bold.actions[0, 0] > 0.9
    assert shy.actions[0, 0] < 0.1


def test_candidates_share_their_noise(origin):
    # With common random numbers the return is linear in the action, so that the best
    # of few candidates is the extreme one whatever the noise was.
    problem = Problem(Sum(noise=0.3), Reach(), Box([0.0], [1.0]))
    found, _ = plan(RandomShooting(1, 256), problem, origin, jax.random.key(3))
    candidates = np.asarray(found.stats.candidates)[0, :, 0, 0]
    np.testing.assert_array_equal(candidates, np.sort(candidates)[::-1])


def test_the_last_plan_shifted_competes_again(origin):
    problem = Problem(Sum(), Reach(), Box([-1.0], [1.0]))
    planner = RandomShooting(3, 1)
    best = jnp.array([[0.1], [0.2], [0.3]])
    state = eqx.tree_at(
        lambda state: state.actions,
        planner.init(problem, origin, key=jax.random.key(0)),
        best,
    )
    shifted = planner.shift(problem, state)
    found, _ = planner.plan(problem, origin, shifted, key=jax.random.key(0))
    np.testing.assert_allclose(found.actions, [[0.2], [0.3], [0.3]])


def test_kept_elites_never_let_the_best_get_worse():
    task = tasks.load("pendulum")
    start = jnp.array([3.0, 0.0])
    planner = CEM(15, population=32, elites=8, iterations=3, keep_fraction=0.5)
    found, _ = plan(planner, task.problem, start, jax.random.key(0))
    best = np.asarray(found.stats.best)
    assert np.all(np.diff(best) >= 0)
    # The kept elites take part, so an iteration's best elite is the best so far.
    elites = found.stats.candidates[:, 0]
    returns = [
        rollout(task.problem, start, actions, key=jax.random.key(0)).value
        for actions in elites
    ]
    np.testing.assert_allclose(returns, best, rtol=1e-5)


def test_the_mean_is_what_plain_cem_returns_and_its_value_is_its_own():
    task = tasks.load("pendulum")
    start = jnp.array([3.0, 0.0])
    planner = CEM.plain(10, population=32, elites=8)
    found, state = plan(planner, task.problem, start, jax.random.key(0))
    np.testing.assert_array_equal(found.actions, state.mean)
    value = rollout(task.problem, start, found.actions, key=jax.random.key(0)).value
    np.testing.assert_allclose(found.value, value, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"horizon": 0}, "horizon >= 1, got 0"),
        ({"elites": 200}, "elites <= population, which is 128, got 200"),
        ({"keep_fraction": 1.5}, r"\[0, 1\], got 1.5"),
        ({"population_decay": 0.5}, ">= 1, got 0.5"),
        ({"particles": 0}, "particles >= 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        CEM(**({"horizon": 5} | settings))


def test_cem_refuses_discrete_actions_by_name(origin):
    problem = Problem(Sum(), Reach(), Discrete(2))
    with pytest.raises(TypeError, match="CEM plans over continuous actions"):
        CEM(3).init(problem, origin, key=jax.random.key(0))
