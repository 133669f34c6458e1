"""A policy that controllers teach, against what it must come to in closed form."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought import tasks
from forethought.agents.base import Brief
from forethought.agents.imitation.imitate import (
    Demonstrations,
    ImitationSettings,
    imitate,
)
from forethought.agents.local.gps import GPS
from forethought.agents.local.linearise import linearised
from forethought.agents.local.local import LocalControl
from forethought.agents.local.starts import by_start, nearest_two
from forethought.agents.local.supervised import taught
from forethought.core.readout import Readout
from forethought.core.spaces import free_box
from forethought.data.replay import Replay
from forethought.environments.analytic import Pendulum
from forethought.environments.simulated import Simulated
from forethought.environments.starts import Starts
from forethought.models.linear.local import LocalSettings
from forethought.objectives.task import PendulumReward
from forethought.policies.affine import TimeVarying
from forethought.policies.gaussian import GaussianPolicy
from forethought.training.evaluate import evaluate
from forethought.training.loop import Training

KEY = jax.random.key(0)
THOROUGH = ImitationSettings(epochs=300, patience=100, threshold=0.0, holdout=0.0)


@pytest.fixture(scope="module")
def seen():
    """Four roll-outs of 12 steps that drift, and the actions of a linear policy."""
    rng = np.random.default_rng(0)
    drift = np.linspace(0, 3, 12)[None, :, None] * np.array([1.0, -2.0])
    x = drift + 0.3 * rng.normal(size=(4, 12, 2))
    K, k = np.array([[1.5, -0.5]]), np.array([0.7])
    return jnp.asarray(x, float), jnp.asarray(x @ K.T + k, float), K, k


def test_a_linear_policy_is_found_again_by_two_roll_outs_and_the_prior(seen):
    """Negative control: the same roll-outs without the prior, which do not tell it."""
    x, u, K, k = seen
    valid, cov = jnp.ones((2, 12), bool), jnp.full((1, 1), 0.04)
    errors, line_of = [], eqx.filter_jit(linearised)
    for strength in (1.0, 1e-9):
        settings = LocalSettings(strength=strength)
        line = line_of(x[:2], u[:2], valid, cov, settings, key=KEY)
        errors.append(float(jnp.max(jnp.abs(line.K - K[None]))))
        if strength == 1.0:
            at_zero = line.k - jnp.einsum("tmn,tn->tm", line.K, line.x)
            np.testing.assert_allclose(at_zero, np.tile(k, (12, 1)), atol=0.02)
            np.testing.assert_allclose(line.cov, np.full((12, 1, 1), 0.04), atol=1e-3)
    assert errors[0] < 0.02 < 0.1 < errors[1]


@pytest.fixture(scope="module")
def disagreeing():
    """Rows that no linear policy answers, some of which are meant more exactly."""
    rng = np.random.default_rng(1)
    obs = rng.normal(size=(400, 2))
    wanted = np.stack([obs[:, 0] ** 2 + obs[:, 1], np.sin(obs[:, 0])], axis=1)
    precision = np.tile(np.array([[2.0, 0.6], [0.6, 0.5]]), (400, 1, 1))
    precision[obs[:, 0] > 0] *= 10.0
    return tuple(jnp.asarray(each, float) for each in (obs, wanted, precision))


def least_squares(obs, wanted, precision):
    """The weights and the bias that are best, by the normal equations."""
    rows = np.concatenate([obs, np.ones((len(obs), 1))], axis=1)
    left = np.einsum("ri,rab,rj->iajb", rows, precision, rows).reshape(6, 6)
    right = np.einsum("ri,rab,rb->ia", rows, precision, wanted).reshape(6)
    return np.linalg.solve(left, right).reshape(3, 2)


def test_a_linear_policy_comes_to_the_weighted_least_squares(disagreeing):
    """Negative control: without the weights it comes to another one."""
    policy = GaussianPolicy(2, free_box(2), depth=0, key=KEY)
    right = least_squares(*map(np.asarray, disagreeing))
    gaps = []
    for precision in (disagreeing[2], None):
        shown = Demonstrations(*disagreeing[:2], jnp.ones(400, bool), precision)
        found, _ = imitate(policy, shown, THOROUGH, loss="weighted", key=KEY)
        best = jnp.concatenate([jnp.eye(2), jnp.zeros((1, 2))])
        z = jax.vmap(lambda o, p=found: p.distribution(Readout(o)).mode)(best)
        solved = np.concatenate([z[:2] - z[2:], z[2:]])
        gaps.append(np.max(np.abs(solved - right)))
    assert gaps[0] < 0.05 < 0.3 < gaps[1]


def test_its_covariance_is_the_inverse_of_the_mean_precision():
    covs = jnp.asarray(np.array([1.0, 0.25]), float)[None, :, None, None]
    still = jnp.zeros((1, 2, 1))
    controllers = TimeVarying(still[0][:, :, None], still[0], still[0], covs[0])
    controllers = jax.tree.map(lambda leaf: leaf[None], controllers)
    policy = GaussianPolicy(1, free_box(1), depth=0, key=KEY)
    x = jnp.zeros((1, 3, 2, 1))
    found, _ = taught(
        *(policy, controllers, x, x, jnp.ones((1, 3, 2), bool), still),
        ImitationSettings(epochs=1, updates=1),
        key=KEY,
    )
    np.testing.assert_allclose(jnp.exp(2 * found.log_std), [1 / 2.5], rtol=1e-5)


def training_of(settings, task, environment, episodes):
    length = environment.spec.episode_length
    room = 1 << (length * episodes).bit_length()
    return Training(settings.make(task.brief), environment, Replay(room))


def learned(settings, rounds, task=None):
    """What is learned from so many improvements on a double integrator."""
    task = tasks.load("double-integrator") if task is None else task
    episodes = settings.conditions * settings.local.rollouts
    train = training_of(settings, task, task.environment, episodes)
    collect = eqx.filter_jit(lambda state: train.collect(state, 60 * episodes)[0])
    state = train.begin(key=KEY)
    for _ in range(rounds):
        state = collect(state)
        state, _ = train.perform(state, train.duties[0])
    found = evaluate(train.agent, task.environment, state.learner, episodes=1, key=KEY)
    return float(found[0]), state.learner, train.agent


ONE = GPS(
    conditions=1,
    depth=0,
    local=LocalControl(rollouts=6, bound=0.5, adaptive=False),
    imitation=THOROUGH,
)


def test_with_one_start_and_a_linear_policy_it_comes_to_the_optimum_of_lqr():
    """-8.917 is that of the task. Negative control: the same without its imitation."""
    best, learner, agent = learned(ONE, 8)
    assert best > 1.02 * -8.917
    task = tasks.load("double-integrator")
    first = agent.init(task.environment.spec, key=KEY).policy
    idle = dataclasses.replace(learner, policy=first)
    found = evaluate(agent, task.environment, idle, episodes=1, key=KEY)
    assert float(found[0]) < 1.5 * -8.917


@pytest.mark.long
def test_so_it_does_under_badmm():
    best, learner, _ = learned(dataclasses.replace(ONE, method="badmm"), 8)
    assert best > 1.1 * -8.917
    assert np.any(np.asarray(learner.multipliers) != 0)


def test_starts_come_in_turn_and_are_the_same_again():
    world = Starts(Simulated(Pendulum(), PendulumReward(), 5), 3)
    state, first = world.reset(key=KEY)
    restart = eqx.filter_jit(world.restart)
    seen = [first.obs]
    for i in range(5):
        state, again = restart(state, key=jax.random.key(i))
        seen.append(again.obs)
    np.testing.assert_array_equal(seen[:3], seen[3:])
    assert len(np.unique(np.asarray(seen), axis=0)) == 3


def test_starts_that_are_not_as_asked_stop_the_run_and_say_what_to_do():
    task, tiny = tasks.load("pendulum"), ImitationSettings(epochs=1, updates=1)
    settings = GPS(
        conditions=2, local=LocalControl(rollouts=2), width=2, imitation=tiny
    )
    bare = Simulated(task.system, task.objective, 8)
    train = training_of(settings, task, bare, 4)
    state, _ = eqx.filter_jit(train.collect)(train.begin(key=KEY), 32)
    state, _ = train.perform(state, train.duties[0])
    assert "more starts than 2" in train.agent.broken(state.learner)
    in_turn = dataclasses.replace(state.learner, apart=jnp.zeros(()))
    assert train.agent.broken(in_turn) is None
    one = dataclasses.replace(
        in_turn, near=nearest_two(jnp.repeat(in_turn.starts[:1], 2, axis=0))
    )
    assert "two are one" in train.agent.broken(one)


def test_episodes_are_sorted_by_the_starts_that_lie_apart():
    """Nine episodes of three starts in any order; which is first found is no matter."""
    rng = np.random.default_rng(0)
    places = np.array([[0.0, 5.0], [1.0, -5.0], [-3.0, 0.0]])
    whose = rng.permutation(np.repeat(np.arange(3), 3))
    obs = jnp.asarray(places[whose][:, None] + np.zeros((9, 4, 2)), float)
    marks = jnp.asarray(whose, float)[:, None, None] + jnp.zeros((9, 3, 1))
    nowhere = jnp.full((3, 2), jnp.nan, float)
    sort = eqx.filter_jit(by_start)
    starts, _, sorted_marks, _ = sort(nowhere, obs, marks, marks[..., 0] > -1, 3, 3)
    assert len(np.unique(np.asarray(starts), axis=0)) == 3
    assert all(len(np.unique(each)) == 1 for each in np.asarray(sorted_marks))
    again = sort(starts, obs, marks, marks[..., 0] > -1, 3, 3)
    np.testing.assert_array_equal(again[2], sorted_marks)


def test_an_objective_is_needed():
    spec = Simulated(Pendulum(), PendulumReward(), 5).spec
    with pytest.raises(TypeError, match="the task does not tell it"):
        GPS().make(Brief()).init(spec, key=KEY)
