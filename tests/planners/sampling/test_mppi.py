"""MPPI against closed answers: weights, the optimal distribution, the best sample."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import Reach, Sum

from forethought import tasks
from forethought.core.results import Result
from forethought.core.returns import Risk
from forethought.core.spaces import Box
from forethought.planners import MPPI
from forethought.planners.sampling.mppi import MPPIState, effective_samples, weigh
from forethought.planners.sampling.noise import colour, spectral_basis, whiten
from forethought.problem import Problem, rollout

KEY = jax.random.key(0)


def plan(planner, problem, belief, state=None):
    state = planner.init(problem, belief, key=KEY) if state is None else state
    return eqx.filter_jit(planner.plan)(problem, belief, state, key=KEY)


def phase():
    return jnp.zeros((), jnp.int32)


def test_weights_are_the_shares_of_the_exponentials_by_hand(precision):
    returns = jnp.log(jnp.array([1.0, 2.0, 5.0])) - 700.0
    np.testing.assert_allclose(weigh(returns, 1.0), [1 / 8, 2 / 8, 5 / 8], rtol=1e-4)
    # At half the temperature every ratio is squared.
    expected = [1 / 30, 4 / 30, 25 / 30]
    np.testing.assert_allclose(weigh(returns, 0.5), expected, rtol=1e-4)


def test_what_is_not_finite_weighs_nothing_and_the_rest_as_if_alone():
    found = weigh(jnp.array([-jnp.inf, 0.0, jnp.nan, 0.0]), 1e-3)
    np.testing.assert_allclose(found, [0, 0.5, 0, 0.5])
    np.testing.assert_array_equal(weigh(jnp.full(3, -jnp.inf), 1.0), np.zeros(3))


def test_effective_samples_count_equal_weights_and_see_through_unequal_ones():
    assert effective_samples(jnp.full(8, 1 / 8)) == 8
    assert effective_samples(jnp.array([1.0, 0, 0])) == 1
    np.testing.assert_allclose(
        effective_samples(jnp.array([0.5, 0.25, 0.25])), 1 / 0.375
    )
    assert effective_samples(jnp.zeros(3)) == 0


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_whitened_sequences_multiply_as_by_the_inverse_covariance(beta, x64):
    a, b = jax.random.normal(KEY, (2, 7, 1), jnp.float64)
    basis = spectral_basis(7, beta) if beta else np.eye(7)
    expected = a[:, 0] @ np.linalg.solve(basis.T @ basis, b[:, 0])
    found = jnp.sum(whiten(a, beta) * whiten(b, beta))
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(colour(whiten(a, beta), beta), a, rtol=1e-10)


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_the_mean_becomes_that_of_the_optimal_distribution(beta, x64):
    """For a quadratic return it is known: q* is a Gaussian."""
    task = tasks.load("double-integrator")
    start, temperature, std, horizon = jnp.array([1.0, 0.0]), 4.0, 0.7, 4

    def cost(actions):
        return -rollout(task.problem, start, actions[:, None], key=KEY).value

    H, g = jax.jit(lambda u: (jax.hessian(cost)(u), jax.grad(cost)(u)))(
        jnp.zeros(horizon)
    )
    basis = spectral_basis(horizon, beta) if beta else np.eye(horizon)
    precision = np.linalg.inv(std**2 * basis.T @ basis)
    optimal = np.linalg.solve(H + temperature * precision, -g)
    greedy = np.linalg.solve(H, -g)
    planner = MPPI(horizon, 10_000, temperature=temperature, std=std, noise_beta=beta)
    # From the maximum of the return, where only the action's price pulls back.
    state = MPPIState(jnp.asarray(greedy)[:, None], phase())
    found, _ = plan(planner, task.problem, start, state)
    # Five sigma of a weighted mean of that many effective samples.
    spread = np.sqrt(np.diag(np.linalg.inv(H / temperature + precision)))
    error = 5 * spread / np.sqrt(found.stats.numbers["effective_samples"][0])
    assert np.all(np.abs(found.actions[:, 0] - optimal) < error)
    assert np.any(np.abs(greedy - optimal) > 4 * error)


@pytest.mark.parametrize("settings", [{}, {"hold": 3, "degree": 3, "noise_beta": 1.0}])
def test_as_the_temperature_vanishes_the_plan_is_the_best_sample(settings):
    task, start = tasks.load("pendulum"), jnp.array([3.0, 0.0])
    planner = MPPI(12, 64, temperature=1e-6, **settings)
    found, _ = plan(planner, task.problem, start)
    best = found.stats.candidates[0, 0]
    np.testing.assert_allclose(found.actions, best, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.value, found.stats.best[0], rtol=1e-5)
    np.testing.assert_allclose(
        found.stats.numbers["effective_samples"], [1.0], rtol=1e-5
    )


def test_a_hot_search_stays_in_the_middle_of_the_limits():
    problem = Problem(Sum(), Reach(), Box([1.0], [3.0]))
    found, _ = plan(MPPI(3, 20_000, temperature=1e6, std=0.1), problem, jnp.zeros(1))
    # Equal weights: five sigma of the mean of 20,000 draws of deviation 0.1.
    np.testing.assert_allclose(found.actions, 2.0, atol=5 * 0.1 / np.sqrt(20_000))


def test_sequences_that_return_nan_are_counted_and_weigh_nothing():
    problem = Problem(Sum(), Reach(wall=1.0), Box([-1.0], [1.0]))
    found, _ = plan(MPPI(5, 64, temperature=0.01), problem, jnp.zeros(1))
    assert found.stats.non_finite[0] > 0
    assert bool(found.result == Result.successful) and found.value <= 1.0


def test_where_nothing_is_finite_the_mean_stays_and_the_plan_says_so():
    problem = Problem(Sum(), Reach(wall=-jnp.inf), Box([-1.0], [1.0]))
    mean = jnp.array([[0.1], [0.2]])
    found, state = plan(MPPI(2, 8), problem, jnp.zeros(1), MPPIState(mean, phase()))
    assert bool(found.result == Result.non_finite)
    np.testing.assert_array_equal(state.mean, mean)
    np.testing.assert_array_equal(found.stats.numbers["effective_samples"], [0])


def test_a_risk_averse_plan_gives_up_return_for_safety():
    # Pushing earns u (1 + 2 noise): more on average, less in the worst tenth.
    problem = Problem(Sum(noise=2.0), Reach(), Box([0.0], [1.0]))
    settings = {"temperature": 0.01, "iterations": 3, "particles": 100}
    shy = MPPI(1, 64, risk=Risk("cvar", 0.1), **settings)
    assert plan(MPPI(1, 64, **settings), problem, jnp.zeros(1))[0].actions[0, 0] > 0.9
    assert plan(shy, problem, jnp.zeros(1))[0].actions[0, 0] < 0.1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": 0.0}, r"temperature > 0, got 0\.0"),
        ({"std": -1.0}, r"std > 0, got -1\.0"),
        ({"iterations": 0}, "iterations >= 1, got 0"),
        ({"degree": 5}, "degree in \\[0, 3\\], got 5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        MPPI(5, **settings)
