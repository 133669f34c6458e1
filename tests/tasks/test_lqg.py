"""LQG: what a regulator that sees through noise costs, from two Riccati equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from forethought.agents.planning.mpc import Planning
from forethought.planners import LQR, MPC
from forethought.tasks import load
from forethought.training.control import begin, closed_loop

EPISODES = 400


def matrices(task):
    """The task's own numbers, and both Riccati solutions by SciPy."""
    model = task.problem.model
    F = np.asarray(model.dynamics.F, float)
    A, B = F[:, :2], F[:, 2:]
    W, H, N = (np.asarray(each, float) for each in (model.W, model.H, model.N))
    P = scipy.linalg.solve_discrete_are(A, B, np.eye(2), np.eye(1))
    S = scipy.linalg.solve_discrete_are(A.T, H.T, W, N)
    return A, B, W, H, N, P, S


def expected_cost(task, steps):
    """½ (tr PΣ + T tr PW + T tr KᵀQ_uuK Σ₊), with Σ₊ what is believed after a look."""
    A, B, W, H, N, P, S = matrices(task)
    Q_uu = np.eye(1) + B.T @ P @ B
    K = np.linalg.solve(Q_uu, B.T @ P @ A)
    seen = S - S @ H.T @ np.linalg.solve(H @ S @ H.T + N, H @ S)
    each = np.trace(P @ W) + np.trace(K.T @ Q_uu @ K @ seen)
    return 0.5 * (np.trace(P @ S) + steps * each)


@pytest.fixture(scope="module")
def episodes():
    """Returns of LQR on the task, and of an LQR that takes readings for the state."""
    with jax.enable_x64(True):
        task = load("lqg")
        agent = Planning(task.problem, MPC(LQR(1)))

        @jax.jit
        @jax.vmap
        def act(key):
            start_key, begin_key, key = jax.random.split(key, 3)
            state = task.system.start(key=start_key)
            loop = begin(agent, task.plant, state, key=begin_key)
            keys = jax.random.split(key, task.steps)
            return closed_loop(agent, task.plant, loop, keys=keys)[1].value

        return task, np.asarray(act(jax.random.split(jax.random.key(101), EPISODES)))


def test_the_cost_is_what_two_riccati_equations_say(episodes):
    """Within 3 sigma of 400 episodes; 1.2 times as much would be 8 sigma away."""
    task, returns = episodes
    sigma = returns.std(ddof=1) / np.sqrt(EPISODES)
    expected = expected_cost(task, task.steps)
    assert abs(returns.mean() + expected) < 3 * sigma
    assert 0.2 * expected > 8 * sigma


def test_the_start_is_drawn_from_what_a_filter_believes_before_it_looks():
    task = load("lqg")
    *_, S = matrices(task)
    np.testing.assert_allclose(task.system.spread, S, rtol=1e-5)
    np.testing.assert_allclose(task.problem.model.start.cov, S, rtol=1e-5)


def test_who_is_told_the_state_pays_less_than_who_must_filter(episodes):
    """The negative control: without the sensor's noise the filter's share is gone."""
    task, returns = episodes
    _, _, W, *_, P, S = matrices(task)
    seeing = 0.5 * (np.trace(P @ S) + task.steps * np.trace(P @ W))
    sigma = returns.std(ddof=1) / np.sqrt(EPISODES)
    assert -returns.mean() - seeing > 10 * sigma
    told = task.plant.tell(jnp.zeros(2), key=jax.random.key(0))
    assert told.shape == (1,) and told[0] != 0
