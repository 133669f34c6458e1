"""Improving a policy by gradients: against LQR, by hand, and one kind by another."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from toys import Near, Reach, Sum, Thrusters

from forethought import tasks
from forethought.agents.gradients import estimators
from forethought.agents.gradients.backprop import Improvement, improve
from forethought.agents.gradients.estimators import Way, estimate
from forethought.agents.gradients.terminal import Value
from forethought.core.spaces import Discrete, free_box
from forethought.environments.mujoco.system import MuJoCo
from forethought.models.known import Known
from forethought.models.learned.mlp import MLP
from forethought.models.linear.dynamics import Linear
from forethought.models.tables.tabular import TabularCounts
from forethought.objectives.quadratic import Quadratic
from forethought.planners.smooth.gradient import Optimiser
from forethought.policies.affine import TimeVarying
from forethought.policies.looking import Looking
from forethought.problem import Problem, imagine

KEY = jax.random.key(0)
A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.005], [0.1]])
P = scipy.linalg.solve_discrete_are(A, B, np.eye(2), np.eye(1))
GAIN = -np.linalg.solve(np.eye(1) + B.T @ P @ B, B.T @ P @ A)
MASS = Linear(np.concatenate([A, B], axis=1))


def linear(*gain):
    """A linear policy that does not vary in time."""
    return TimeVarying(
        K=jnp.array([[gain]]),
        k=jnp.zeros((1, 1)),
        x=jnp.zeros((1, len(gain))),
        cov=jnp.zeros((1, 1, 1)),
    )


def anywhere(key):
    return jax.random.normal(key, (2,))


@eqx.filter_jit
def improved(problem, policy, settings, value=None):
    return improve(problem, policy, anywhere, settings, value=value, key=KEY)


def test_a_linear_policy_reaches_the_cost_of_lqr_and_finds_its_gain():
    problem = tasks.load("double-integrator").problem
    settings = Improvement(
        horizon=20, updates=300, optimiser=Optimiser("adam", 0.1, 0.985), decay=0.0
    )
    policy, _, told = improved(problem, linear(0.0, 0.0), settings)
    np.testing.assert_allclose(policy.K[0], GAIN, rtol=0.02)
    start = jnp.array([1.0, -0.5])
    earned = imagine(problem, policy, start, 300, key=KEY).value
    np.testing.assert_allclose(earned, -0.5 * start @ P @ start, rtol=0.02)
    assert told["non_finite"] == 0 and told["imagined"] > told["imagined_before"]


def test_a_learned_value_makes_up_for_a_horizon_that_is_too_short():
    # Without it, two steps see no use in braking.
    problem = Problem(MASS, Quadratic(np.eye(3)), free_box(1))
    settings = Improvement(
        horizon=4,
        updates=800,
        optimiser=Optimiser("adam", 0.02, 0.996),
        decay=0.0,
        gamma=0.98,
    )
    blind, _, _ = improved(problem, linear(0.0, 0.0), settings)
    net = MLP(2, 1, 32, 1, probabilistic=False, key=KEY)
    value = Value(net, lambda x: x, jnp.zeros(()))
    told = dataclasses.replace(settings, terminal=True)
    seeing, value, _ = improved(problem, linear(0.0, 0.0), told, value)
    # The best for a discount of 0.98, which is not that without one.
    root = 0.98**0.5
    V = scipy.linalg.solve_discrete_are(root * A, root * B, np.eye(2), np.eye(1))
    best = -np.linalg.solve(np.eye(1) + 0.98 * B.T @ V @ B, 0.98 * B.T @ V @ A)
    off = [np.linalg.norm(each.K[0] - best) for each in (blind, seeing)]
    assert off[1] < 0.25 * off[0]


def pull(horizon, truncate=None, policy=None):
    """The gradient of a return in the gain of a policy, on a swinging system."""
    policy = linear(-0.4, 0.2) if policy is None else policy
    problem = Problem(MASS, Quadratic(np.eye(3)), free_box(1))

    def earned(K):
        acting = eqx.tree_at(lambda policy: policy.K, policy, K)
        start = jnp.array([1.0, 0.3])
        future = imagine(problem, acting, start, horizon, truncate=truncate, key=KEY)
        return future.value

    return jax.grad(earned)(policy.K)[0, 0]


def by_hand(horizon, truncate, stop=jax.lax.stop_gradient):
    """The same as a loop of its own."""

    def earned(K):
        x, total = jnp.array([1.0, 0.3]), 0.0
        for t in range(horizon):
            if t % truncate == 0:
                x = stop(x)
            u = K @ x
            total = total - 0.5 * (x @ x + u @ u)
            x = jnp.asarray(A, x.dtype) @ x + jnp.asarray(B, x.dtype) @ u
        return total

    return jax.grad(earned)(jnp.array([[-0.4, 0.2]]))[0]


def test_truncated_back_propagation_is_a_gradient_that_stops():
    found = pull(7, truncate=3)
    np.testing.assert_allclose(found, by_hand(7, 3), rtol=1e-4)
    forgetful = by_hand(7, 3, stop=lambda x: x)
    np.testing.assert_allclose(pull(7), forgetful, rtol=1e-4)
    assert np.max(np.abs(found - forgetful)) > 0.1 * np.max(np.abs(forgetful))


SHAKY = Problem(Sum(), Near(), free_box(1))


def gradients(kind, horizon, batch=48, draws=300, std=0.3):
    """Draws of a gradient in the gain of a policy on a sum of its actions."""
    policy = linear(-0.5)
    way = Way(horizon, jnp.array([std]))

    @jax.jit
    @jax.vmap
    def draw(key):
        keys = jax.random.split(key, batch)
        beliefs = jnp.ones((batch, 1))
        return estimate(kind, SHAKY, policy, beliefs, way, keys=keys).gradient.K

    return np.asarray(draw(jax.random.split(KEY, draws))).ravel()


@pytest.fixture(scope="module")
def kinds():
    names = ("reparametrised", "score", "mixture")
    return {(name, h): gradients(name, h) for name in names for h in (4, 12)}


def apart(one, other):
    """How many standard errors lie between two means."""
    error = np.sqrt(np.var(one) / len(one) + np.var(other) / len(other))
    return abs(np.mean(one) - np.mean(other)) / error


def test_both_kinds_of_gradient_and_their_mixture_agree_within_four_sigma(kinds):
    for name in ("score", "mixture"):
        assert apart(kinds["reparametrised", 4], kinds[name, 4]) < 4


def test_likelihood_ratios_vary_more_and_the_more_the_longer_they_look(kinds):
    spread = {name: np.var(draws) for name, draws in kinds.items()}
    for horizon in (4, 12):
        least = spread["reparametrised", horizon]
        assert spread["score", horizon] > 3 * least
        # Four standard errors of a ratio of variances of 300 draws each.
        assert spread["mixture", horizon] / least < 1.5
    assert spread["score", 12] > 1.3 * spread["score", 4]


def test_a_baseline_that_knows_its_own_noise_would_be_told(monkeypatch, kinds):
    true = kinds["reparametrised", 4]
    assert apart(gradients("score", 4, batch=2, draws=4000), true) < 4
    everyone = lambda earned: jnp.mean(earned, axis=0, keepdims=True)  # noqa: E731
    monkeypatch.setattr(estimators, "others", everyone)
    # Of two, half of what an action earns is taken for what it would earn anyway.
    assert apart(gradients("score", 4, batch=2, draws=4000), true) > 8


def test_what_is_no_number_is_counted_and_the_last_good_policy_stays():
    policy = linear(1.0)
    settings = Improvement(horizon=3, updates=4, batch=2)
    for wall, wrong in ((0.5, 4), (1e3, 0)):
        problem = Problem(Sum(), Reach(wall), free_box(1))
        after, _, told = improve(
            problem, policy, lambda key: jnp.ones(1), settings, key=KEY
        )
        assert told["non_finite"] == wrong
        assert bool(eqx.tree_equal(after, policy)) == (wrong == 4)


def test_of_updates_that_are_numbers_the_policy_is_kept_when_later_ones_are_not():
    # Gain and offset grow by 0.1 at each of the first two; then a wall is crossed.
    policy = linear(0.0)
    settings = Improvement(
        horizon=1,
        updates=8,
        batch=2,
        optimiser=Optimiser("sgd", 0.1),
        clip=np.inf,
        decay=0.0,
    )
    problem = Problem(Sum(), Reach(1.3), free_box(1))
    after, _, told = improve(
        problem, policy, lambda key: jnp.ones(1), settings, key=KEY
    )
    np.testing.assert_allclose(after.K[0, 0], 0.2, rtol=1e-5)
    assert told["non_finite"] == 6
    assert np.isfinite(told["imagined_before"]) and np.isnan(told["imagined"])


SLIDE = """<mujoco>
  <option timestep="0.05"/>
  <worldbody><body>
    <joint name="slide" type="slide" axis="1 0 0"/><geom size=".1" mass="1"/>
  </body></worldbody>
  <actuator><motor joint="slide" ctrlrange="-1 1"/></actuator>
</mujoco>"""


@pytest.mark.long
def test_a_policy_is_improved_by_the_finite_differences_of_mujoco():
    system = MuJoCo(SLIDE, start_qpos=[1.0])
    problem = Problem(Known(system), Near(), system.action)
    policy = Looking(linear(0.0, 0.0), system.observe)
    settings = Improvement(horizon=3, updates=2, batch=2, decay=0.0)
    start = lambda key: system.start(key=key)  # noqa: E731
    after, _, told = eqx.filter_jit(
        lambda policy: improve(problem, policy, start, settings, key=KEY)
    )(policy)
    assert told["non_finite"] == 0
    assert all(np.all(np.isfinite(value)) for value in told.values())
    # Back to where the engine's own derivative says: against what it is off by.
    assert after.policy.K[0, 0, 0] < -1e-3
    assert told["imagined"] > told["imagined_before"]


def test_what_cannot_be_derived_is_refused_in_a_sentence():
    settings = Improvement(updates=1)
    table = TabularCounts(3, 2, 2)
    for model, action, words in (
        (Thrusters(), Discrete(3), "vectors of real numbers"),
        (table, free_box(1), "a model with derivatives"),
    ):
        problem = Problem(model, Near(), action)
        with pytest.raises(TypeError, match=words):
            improve(problem, linear(0.0, 0.0), anywhere, settings, key=KEY)
    shaky = Improvement(updates=1, batch=2, estimator="mixture", noise=0.1)
    with pytest.raises(ValueError, match="at least 4 futures, got 2"):
        improve(SHAKY, linear(1.0), lambda key: jnp.ones(1), shaky, key=KEY)
    with pytest.raises(ValueError, match="needs noise > 0, got"):
        Improvement(estimator="score")
