"""Imagining what a policy does: roll-outs, moments, and a policy learned that way."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import AbstractSeen

from forethought.core.gaussian import Gaussian
from forethought.core.readout import Readout
from forethought.core.spaces import Box, free_box
from forethought.environments.analytic import Pendulum
from forethought.models.base import AbstractModel
from forethought.models.known import Known
from forethought.models.linear.dynamics import Linear
from forethought.models.linear.kalman import LinearGaussian
from forethought.objectives.base import AbstractObjective, constant
from forethought.objectives.expected import Expected
from forethought.objectives.quadratic import Quadratic
from forethought.objectives.task import PendulumReward
from forethought.policies.affine import TimeVarying
from forethought.policies.base import AbstractPolicy
from forethought.policies.follow import Moments, Sampled
from forethought.policies.mlp import MLPPolicy
from forethought.problem import Problem, imagine, rollout

KEY, HORIZON = jax.random.key(0), 20
PENDULUM = Problem(Known(Pendulum()), PendulumReward(), Pendulum().action)


class Watching(AbstractPolicy):
    """A policy that sees the angle of the pendulum as a circle."""

    policy: MLPPolicy

    def act(self, seen, *, key, mode):
        obs = Pendulum().observe(seen.x)
        return self.policy.act(Readout(obs), key=key, mode=mode)


class Blindfolded(AbstractModel):
    """The pendulum, with no gradient from one step to the next."""

    model: Known

    def init(self, *, key):
        return self.model.init(key=key)

    def predict(self, belief, action, *, key):
        return jax.lax.stop_gradient(self.model.predict(belief, action, key=key))

    def observe(self, belief, obs, *, key):
        return obs

    def readout(self, belief):
        return self.model.readout(belief)


def network(key):
    """A small network on the pendulum."""
    return Watching(MLPPolicy(3, PENDULUM.action, width=16, depth=1, key=key))


def starts(key, count):
    """Near upright, where the motor is just strong enough."""
    high = jnp.array([0.5, 0.5])
    return jax.random.uniform(key, (count, 2), high.dtype, -high, high)


def mean_return(policy, beliefs, mode="exploit", problem=PENDULUM, *, key=KEY):
    """What a policy earns on average, imagined."""

    def one(belief, key):
        follow = Sampled(mode)
        return imagine(problem, policy, belief, HORIZON, follow=follow, key=key).value

    return jnp.mean(jax.vmap(one)(beliefs, jax.random.split(key, len(beliefs))))


class Drifting(AbstractSeen):
    """A number that the action moves, and noise."""

    def init(self, *, key):
        return jnp.zeros(1)

    def predict(self, belief, action, *, key):
        return belief + action + jax.random.normal(key, (1,), belief.dtype)


class UntilTwo(AbstractObjective):
    """Earns minus the distance, and ends beyond two."""

    def reward(self, x, action, next_x):
        return -jnp.abs(next_x[0])

    def discount(self, x, action, next_x):
        return jnp.where(jnp.abs(next_x[0]) > 2, 0.0, 0.9)

    def value(self, x):
        return constant(x, 10)


def test_a_roll_out_of_the_imagined_actions_under_the_same_key_is_the_same_future():
    problem = Problem(Drifting(), UntilTwo(), Box([-1.0], [1.0]))
    policy = TimeVarying(
        K=jnp.full((1, 1, 1), -0.5),
        k=jnp.zeros((1, 1)),
        x=jnp.zeros((1, 1)),
        cov=jnp.ones((1, 1, 1)),
    )

    @jax.jit
    def both(key):
        future = imagine(problem, policy, jnp.zeros(1), 6, key=key)
        return future, rollout(problem, jnp.zeros(1), future.actions, key=key)

    found, same = both(KEY)
    np.testing.assert_allclose(found.beliefs, same.beliefs, rtol=1e-6)
    np.testing.assert_allclose(found.rewards, same.rewards, rtol=1e-6)
    np.testing.assert_allclose(found.final, same.final, rtol=1e-6)
    assert found.actions.shape == (6, 1) and found.kept.shape == (6,)
    # Each step draws anew, from what it sees, and limits hold.
    noise = found.actions + 0.5 * found.beliefs[:-1]
    assert len(np.unique(np.round(noise, 4))) == 6
    assert np.abs(found.actions).max() <= 1
    other, _ = both(jax.random.key(5))
    assert np.abs(other.beliefs[1:] - found.beliefs[1:]).min() > 0


def test_a_network_learns_by_back_propagation_through_what_it_imagines():
    """It earns −3.5 where the untrained one earns −81 and random actions −75."""
    optimiser = optax.adam(2e-2)

    @jax.jit
    def learn(policy):
        def step(carry, key):
            policy, state = carry
            start_key, draw_key = jax.random.split(key)
            slope = jax.grad(mean_return)(
                policy, starts(start_key, 16), "explore", key=draw_key
            )
            up = jax.tree.map(jnp.negative, slope)
            with jax.numpy_dtype_promotion("standard"):  # Optax counts in integers.
                updates, state = optimiser.update(up, state)
            return (eqx.apply_updates(policy, updates), state), None

        keys = jax.random.split(jax.random.key(1), 40)
        return jax.lax.scan(step, (policy, optimiser.init(policy)), keys)[0][0]

    @jax.jit
    def score(policy):
        return mean_return(policy, starts(jax.random.key(9), 64))

    @jax.jit
    def at_random(key):
        fresh = starts(jax.random.key(9), 64)
        actions = jax.random.uniform(key, (64, HORIZON, 1), minval=-2, maxval=2)
        return jnp.mean(
            jax.vmap(lambda x, u: rollout(PENDULUM, x, u, key=KEY).value)(
                fresh, actions
            )
        )

    policy = network(jax.random.key(2))
    untrained, trained = float(score(policy)), float(score(learn(policy)))
    random = float(at_random(jax.random.key(3)))
    assert trained > untrained / 10 and trained > random / 10


def test_the_gradient_of_the_imagined_return_is_that_of_finite_differences(x64):
    policy, beliefs = network(jax.random.key(2)), starts(jax.random.key(3), 3)
    flat, restore = jax.flatten_util.ravel_pytree(policy)
    way = jax.random.normal(KEY, flat.shape, flat.dtype)

    def value(size, problem=PENDULUM):
        return mean_return(restore(flat + size * way), beliefs, "explore", problem)

    @jax.jit
    def slopes(h):
        blind = Problem(Blindfolded(PENDULUM.model), *PARTS)
        ends = value(h) - value(-h)
        return ends / (2 * h), jax.grad(value)(0.0), jax.grad(value)(0.0, blind)

    differences, slope, broken = slopes(1e-6)
    np.testing.assert_allclose(slope, differences, rtol=1e-6)
    assert abs(broken - differences) > 0.1 * abs(differences)


PARTS = PENDULUM.objective, PENDULUM.action

F = np.array([[1.0, 0.1, 0.02], [0.0, 1.0, 0.3]])
C = np.array([[1.0, 0.2, 0.3], [0.2, 0.5, -0.1], [0.3, -0.1, 0.4]])
W = np.array([[0.01, 0.002], [0.002, 0.02]])
SPREAD = Gaussian(jnp.array([1.0, -0.5]), jnp.array([[0.3, 0.1], [0.1, 0.2]]))
GAINS = TimeVarying(
    K=jnp.array([[[-0.8, -0.5]], [[-0.2, -0.9]], [[0.3, -0.4]]]),
    k=jnp.array([[0.5], [-0.3], [0.1]]),
    x=jnp.array([[0.2, 0.1], [0.0, 0.3], [-0.1, 0.0]]),
    cov=jnp.array([[[0.2]], [[0.5]], [[0.1]]]),
)
NOISY = LinearGaussian(Linear(F), W)
LQG = Problem(NOISY, Quadratic(C, C_final=2 * np.eye(2), gamma=0.9), free_box(1))


def scattered(key, mode):
    """Return and last state of one point, moved and pushed by hand."""
    first, *keys = jax.random.split(key, 7)
    x, total = SPREAD.sample(key=first), 0.0
    for t in range(3):
        seen = Readout(x, time=jnp.asarray(t))
        u, _ = GAINS.act(seen, key=keys[2 * t], mode=mode)
        xu = jnp.concatenate([x, u])
        total -= 0.9**t * 0.5 * xu @ jnp.asarray(C, x.dtype) @ xu
        noise = Gaussian(jnp.zeros(2), jnp.asarray(W, x.dtype)).sample(
            key=keys[2 * t + 1]
        )
        x = jnp.asarray(F, x.dtype) @ xu + noise
    return total - 0.9**3 * x @ x, x


@pytest.mark.parametrize("mode", ["explore", "exploit"])
def test_moments_of_an_affine_policy_are_those_of_200_000_points(mode):
    count = 200_000
    returns, last = jax.jit(jax.vmap(lambda key: scattered(key, mode)))(
        jax.random.split(KEY, count)
    )
    future = imagine(LQG, GAINS, SPREAD, 3, follow=Moments(mode), key=KEY)
    end = jax.tree.map(lambda leaf: leaf[-1], future.beliefs)
    sigma = np.sqrt(np.diag(end.cov) / count)
    assert (np.abs(last.mean(axis=0) - end.mean) < 4 * sigma).all()
    # A covariance of n normal draws is known to about sqrt(2 / n).
    size = np.sqrt(np.outer(np.diag(end.cov), np.diag(end.cov)))
    assert (np.abs(np.cov(last.T) - end.cov) < 4 * size * (2 / count) ** 0.5).all()
    sigma = float(returns.std()) / count**0.5
    assert abs(float(returns.mean() - future.value)) < 4 * sigma < 0.03
    told = future.actions
    assert told.mean.shape == (3, 1) and told.cross.shape == (3, 2, 1)


def test_without_the_covariance_of_state_and_action_moments_would_be_wrong():
    seen = Readout(SPREAD, time=jnp.asarray(0))
    response = GAINS.respond(seen, mode="explore")
    alone = eqx.tree_at(lambda it: it.cross, response, 0 * response.cross)
    right, wrong = (NOISY.predict(SPREAD, each, key=KEY) for each in (response, alone))
    assert float(jnp.abs(right.cov - wrong.cov).max()) > 0.05
    surely = eqx.tree_at(lambda it: it.cov, alone, 0 * response.cov)
    same = NOISY.predict(SPREAD, surely, key=KEY)
    known = NOISY.predict(SPREAD, response.mean, key=KEY)
    np.testing.assert_allclose(same.cov, known.cov, rtol=1e-6)
    np.testing.assert_allclose(same.mean, known.mean, rtol=1e-6)


def test_any_objective_is_expected_over_moments():
    class Squares(AbstractObjective):
        def reward(self, x, action, next_x):
            xu = jnp.concatenate([x, action])
            return -0.5 * xu @ jnp.asarray(C, x.dtype) @ xu

        def discount(self, x, action, next_x):
            return constant(x, 0.9)

        def value(self, x):
            return -jnp.sum(x**2)

    points = Problem(NOISY, Expected(Squares()), LQG.action)
    closed, by_points = (
        jax.jit(
            lambda belief, problem=problem: (
                imagine(problem, GAINS, belief, 3, follow=Moments(), key=KEY).value
            )
        )(SPREAD)
        for problem in (LQG, points)
    )
    np.testing.assert_allclose(by_points, closed, rtol=2e-6)


def test_moments_say_what_they_need():
    for problem, policy, belief, words in (
        (LQG, network(KEY), SPREAD, "a policy that answers a distribution"),
        (PENDULUM, GAINS, jnp.zeros(2), "a model that reads out a Gaussian"),
        (Problem(NOISY, LQG.objective, Box([-1.0], [1.0])), GAINS, SPREAD, "limits"),
    ):
        with pytest.raises(TypeError, match=words):
            imagine(problem, policy, belief, 3, follow=Moments(), key=KEY)
    wide = Gaussian(jnp.zeros(3), jnp.eye(3))
    with pytest.raises(ValueError, match="2 coordinates that it acts on, got one ov"):
        GAINS.respond(Readout(wide, time=jnp.asarray(0)), mode="explore")
