"""The training loop, with an agent whose answer is known: LQR on its own problem."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought import tasks
from forethought.agents.base import AbstractAgent
from forethought.agents.planning.mpc import Planning
from forethought.data.replay import Replay
from forethought.planners import LQR, MPC
from forethought.training.evaluate import evaluate
from forethought.training.loop import Training


class Idle(AbstractAgent):
    """Would act beyond all limits."""

    def init(self, spec, *, key):
        return None

    def reset(self, learner, *, key):
        return None

    def act(self, learner, carry, obs, *, key, mode="explore"):
        return jnp.full((1,), 7.0), carry, None

    @property
    def duties(self):
        return ()

    def update(self, learner, memory, *, duty, key):
        return learner, {}

    def examined(self, learner):
        return None

    def watch(self, carry):
        return {}


@pytest.fixture(scope="module")
def task():
    return tasks.load("double-integrator")


@pytest.fixture(scope="module")
def training(task):
    agent = Planning(task.problem, MPC(LQR(20)))
    return Training(agent, task.environment, Replay(128, 2))


@pytest.fixture(scope="module")
def collect(training):
    return eqx.filter_jit(training.collect)


def test_known_dynamics_earn_the_optimum_in_every_episode(task, training, collect):
    state = training.begin(key=jax.random.key(0))
    state, trace = collect(state, 120)
    np.testing.assert_array_equal(np.flatnonzero(trace.ended[:, 0]), [59, 119])
    found = np.asarray(trace.episode_returns)[np.asarray(trace.ended)]
    # What lies beyond the last state is worth less than a thousandth.
    np.testing.assert_allclose(found, task.optimum, rtol=1e-3)
    assert int(state.flow.step) == 240


def test_what_is_kept_are_the_true_transitions_also_where_episodes_end(
    task, training, collect
):
    state, _ = collect(training.begin(key=jax.random.key(0)), 120)
    seen, valid = training.replay.ordered(state.flow.replay)
    assert int(jnp.sum(valid)) == 240
    rows = jax.tree.map(lambda leaf: leaf[:240], seen)
    model = task.problem.model
    after = jax.vmap(lambda x, u: model.predict(x, u, key=jax.random.key(0)))(
        rows.obs, rows.action
    )
    np.testing.assert_allclose(rows.next_obs, after, atol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(rows.truncated), [118, 119, 238, 239])
    assert not np.any(rows.terminated)
    # The step after a truncation starts anew, from the task's own start.
    np.testing.assert_allclose(rows.obs[120:122], [[1.0, 0.0]] * 2)


def test_collecting_in_pieces_equals_collecting_at_once(training, collect):
    start = training.begin(key=jax.random.key(3))
    whole, _ = collect(start, 120)
    half, _ = collect(start, 60)
    pieces, _ = collect(half, 60)
    for one, other in zip(
        jax.tree.leaves(eqx.filter(whole.flow, eqx.is_inexact_array)),
        jax.tree.leaves(eqx.filter(pieces.flow, eqx.is_inexact_array)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_collecting_a_second_time_compiles_nothing(training, collect, compilations):
    state, _ = collect(training.begin(key=jax.random.key(0)), 60)
    before = compilations.count
    collect(state, 60)
    assert compilations.count == before


def test_random_actions_come_from_the_action_space():
    task = tasks.load("pendulum")
    training = Training(Idle(), task.environment, Replay(512))
    state = training.begin(key=jax.random.key(0))
    state, _ = eqx.filter_jit(training.collect)(state, 400, random=True)
    actions = np.asarray(training.replay.ordered(state.flow.replay)[0].action)[:400]
    assert np.all(np.abs(actions) <= 2.0)
    # Uniform on [-2, 2]: mean 0 and variance 4/3, to within five sigma.
    assert abs(actions.mean()) < 5 * np.sqrt(4 / 3 / 400)
    assert abs(actions.var() - 4 / 3) < 5 * np.sqrt((16 / 5 - 16 / 9) / 400)


def test_evaluation_episodes_are_apart_and_run_side_by_side(task, training):
    learner = training.begin(key=jax.random.key(0)).learner
    returns = eqx.filter_jit(evaluate)(
        training.agent,
        task.environment,
        learner,
        episodes=3,
        key=jax.random.key(5),
    )
    np.testing.assert_allclose(returns, [task.optimum] * 3, rtol=1e-3)
