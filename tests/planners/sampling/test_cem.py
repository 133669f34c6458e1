"""The parts of PETS's optimiser, each by hand, and the whole on Pendulum-v1."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from forethought import tasks
from forethought.agents.planning.mpc import Planning
from forethought.core.spaces import Box
from forethought.planners import CEM, MPC
from forethought.planners.sampling.cem import CEMState, room
from forethought.planners.sampling.noise import coloured_noise, truncate
from forethought.training.control import begin, closed_loop

START = jnp.array([3.0, 0.0])


@pytest.fixture(scope="module")
def task():
    return tasks.load("pendulum")


def plan(planner, task, state=None):
    state = state or planner.init(task.problem, START, key=jax.random.key(0))
    return eqx.filter_jit(planner.plan)(
        task.problem, START, state, key=jax.random.key(1)
    )


@pytest.mark.parametrize("beta", [0.0, 1.5])
def test_truncated_noise_has_the_moments_of_scipys_truncated_normal(beta):
    count = 40_000
    noise = np.asarray(
        coloured_noise(
            beta, (count, 4, 1), jnp.float32, truncation=2.0, key=jax.random.key(0)
        )
    )[:, :, 0]
    exact = scipy.stats.truncnorm(-2, 2)
    assert np.abs(noise).max() <= 2
    # Five sigma of the sample mean of each power, at each time.
    for power in (1, 2, 4):
        error = np.mean(noise**power, axis=0) - exact.moment(power)
        sigma = np.sqrt(exact.moment(2 * power) - exact.moment(power) ** 2)
        assert np.all(np.abs(error) < 5 * sigma / np.sqrt(count))


def test_truncation_keeps_the_rank_of_every_value(precision):
    z = jnp.linspace(-4.0, 4.0, 41)
    exact = scipy.stats.truncnorm(-2, 2).ppf(scipy.stats.norm.cdf(z))
    np.testing.assert_allclose(truncate(z, 2.0), exact, rtol=2e-5, atol=2e-5)


def test_the_variance_is_capped_by_the_square_of_half_the_way_to_the_nearer_limit():
    box = Box([-1.0, -2.0], [3.0, jnp.inf])
    mean = jnp.array([[0.0, 4.0], [2.5, -2.0]])
    cap = np.square(room(box, mean) / 2)
    # min(((m - low) / 2)^2, ((high - m) / 2)^2), written out; a single limit, where a
    # search may begin, leaves at least a unit.
    np.testing.assert_allclose(cap, [[0.25, 9.0], [0.0625, 0.25]])


def test_truncated_candidates_stay_within_reach_of_the_nearer_limit(task):
    planner = CEM.pets(3, population=300, elites=300, iterations=1, initial_std=5.0)
    mean = jnp.array([[0.0], [1.5], [-2.0]])
    state = CEMState(mean, jnp.zeros((0, 3, 1)), jnp.zeros((), jnp.int32))
    drawn = np.asarray(plan(planner, task, state)[0].stats.candidates)[0, :, :, 0]
    reach = np.array([2.0, 0.5, 0.0])
    assert np.all(np.abs(drawn - np.asarray(mean)[:, 0]) <= reach + 1e-6)
    # 300 draws of std 0.88 of half the reach: five sigma of a standard deviation.
    exact = scipy.stats.truncnorm(-2, 2).std() * reach / 2
    np.testing.assert_allclose(drawn.std(axis=0), exact, rtol=0.15)


@pytest.mark.parametrize("of", ["std", "variance"])
def test_momentum_mixes_what_it_is_said_to_mix(task, of):
    planner = CEM.pets(4, population=20, elites=5, iterations=1, momentum_of=of)
    found, state = plan(planner, task)
    elites = np.asarray(found.stats.candidates)[0]
    np.testing.assert_allclose(state.mean, 0.9 * elites.mean(axis=0), rtol=1e-5)
    # The first standard deviation is half of the half width, which is 2.
    if of == "std":
        std = 0.1 * 1.0 + 0.9 * elites.std(axis=0)
    else:
        std = np.sqrt(0.1 * 1.0**2 + 0.9 * elites.var(axis=0))
    np.testing.assert_allclose(found.stats.numbers["spread"], [std.mean()], rtol=1e-5)


@pytest.mark.parametrize("decay", [1.0, 1.5])
def test_a_search_that_has_settled_stays_where_it_is(task, decay):
    planner = CEM.plain(
        4, population=20, elites=5, stop_std=10.0, population_decay=decay
    )
    found, state = plan(planner, task)
    for stat in map(np.asarray, jax.tree.leaves(found.stats)):
        np.testing.assert_array_equal(stat, stat[[0, 0, 0, 0]])
    np.testing.assert_allclose(
        state.mean, found.stats.candidates[0].mean(axis=0), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("warm_start", "expected"),
    [
        ("repeat", [[2.0], [3.0], [3.0]]),
        ("centre", [[2.0], [3.0], [0.5]]),
        ("none", [[0.5], [0.5], [0.5]]),
    ],
)
def test_the_next_plan_starts_from_the_mean_that_the_warm_start_names(
    task, warm_start, expected
):
    problem = eqx.tree_at(lambda p: p.action, task.problem, Box([-4.0], [5.0]))
    mean = jnp.array([[1.0], [2.0], [3.0]])
    planner = CEM.pets(3, warm_start=warm_start)
    shifted = planner.shift(
        problem, CEMState(mean, mean[None], jnp.zeros((), jnp.int32))
    )
    np.testing.assert_allclose(shifted.mean, expected)
    np.testing.assert_allclose(shifted.kept[0], expected)


def test_a_negative_spread_to_stop_at_is_refused():
    with pytest.raises(ValueError, match=r"stop_std >= 0, got -1\.0"):
        CEM(5, stop_std=-1.0)


def episodes(task, horizon, angles):
    """Returns of 200 steps of control with the exact model, from each angle."""
    controller = MPC(CEM.pets(horizon, population=100, elites=10, iterations=4))
    speeds = jnp.linspace(-1.0, 1.0, 20)[jnp.arange(len(angles)) * 7 % 20]
    starts = jnp.stack([jnp.asarray(angles, speeds.dtype), speeds], axis=1)

    def episode(start, key):
        keys = jax.random.split(key, 201)
        agent = Planning(task.problem, controller)
        loop = begin(agent, task.plant, start, key=keys[0])
        _, episode = closed_loop(agent, task.plant, loop, keys=keys[1:])
        return episode.value

    keys = jax.random.split(jax.random.key(0), len(angles))
    return np.asarray(jax.jit(jax.vmap(episode))(starts, keys))


@pytest.mark.long
def test_on_pendulum_v1_pets_reaches_what_was_measured_elsewhere(task):
    # Twenty angles evenly around the circle. Measured elsewhere on twenty episodes:
    # -213 with a deviation of 83; four sigma of the difference of the two means.
    returns = episodes(task, 30, np.linspace(-np.pi, np.pi, 20, endpoint=False))
    sigma = np.hypot(83, returns.std(ddof=1)) / np.sqrt(20)
    assert abs(returns.mean() + 213) < 4 * sigma


def test_on_pendulum_v1_a_short_horizon_does_not_swing_up(task):
    # Ten angles of the lower half: ten steps ahead, torque does not pay.
    angles = np.linspace(np.pi / 2, 3 * np.pi / 2, 12)[1:-1]
    returns = episodes(task, 10, (angles + np.pi) % (2 * np.pi) - np.pi)
    assert returns.mean() < -1000
