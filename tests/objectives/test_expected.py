"""Expectations by sigma points: against closed forms, against draws, and planned on."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from forethought.core.gaussian import Gaussian, Response, sigma_points
from forethought.core.linalg import root, solve_positive
from forethought.core.readout import Readout
from forethought.environments.analytic import Pendulum
from forethought.models.base import AbstractModel
from forethought.models.known import Known
from forethought.objectives.base import AbstractObjective
from forethought.objectives.expected import Expected
from forethought.objectives.task import PendulumReward, Regulate
from forethought.planners import CEM
from forethought.problem import Problem, rollout

KEY = jax.random.key(0)
NOW = Gaussian(jnp.array([0.5, -1.0]), jnp.array([[0.3, 0.1], [0.1, 0.2]]))
THEN = Gaussian(jnp.array([1.0, 0.2]), jnp.array([[0.1, -0.05], [-0.05, 0.4]]))
U = jnp.array([0.7])


class Cubic(AbstractObjective):
    """A polynomial of third order in everything that happens, and a chance to end."""

    def reward(self, x, action, next_x):
        both = x[0] ** 2 * x[1] + x[1] * action[0] ** 2 - x[0] ** 3
        return both + next_x[0] * next_x[1] ** 2

    def discount(self, x, action, next_x):
        return 1 - 0.1 * next_x[0] ** 2

    def value(self, x):
        return x[0] ** 2 * x[1]


def third(gaussian, i, j, k):
    """E x_i x_j x_k, by the theorem of Isserlis."""
    m, S = np.asarray(gaussian.mean, float), np.asarray(gaussian.cov, float)
    return m[i] * m[j] * m[k] + m[i] * S[j, k] + m[j] * S[i, k] + m[k] * S[i, j]


def test_a_polynomial_of_third_order_is_exact():
    goal = Expected(Cubic())
    judge = eqx.filter_jit(goal.judge)
    reward, discount = judge(Readout(NOW), U, Readout(THEN))
    expected = third(NOW, 0, 0, 1) - third(NOW, 0, 0, 0) + third(THEN, 0, 1, 1)
    expected += -1.0 * 0.7**2
    np.testing.assert_allclose(reward, expected, rtol=1e-5)
    np.testing.assert_allclose(discount, 1 - 0.1 * (1 + 0.1), rtol=1e-6)
    np.testing.assert_allclose(goal.beyond(Readout(NOW)), third(NOW, 0, 0, 1), 1e-5)
    at_mean, _ = Cubic().judge(Readout(NOW.mean), U, Readout(THEN.mean))
    assert abs(float(at_mean - reward)) > 0.1


def test_an_uncertain_action_is_averaged_over_together_with_the_state():
    action = Response(U, jnp.array([[0.5]]), jnp.array([[0.2], [0.1]]))
    both = action.joint(NOW)
    judge = eqx.filter_jit(Expected(Cubic()).judge)
    reward, _ = judge(Readout(NOW), action, Readout(THEN))
    expected = third(both, 0, 0, 1) - third(both, 0, 0, 0) + third(THEN, 0, 1, 1)
    np.testing.assert_allclose(reward, expected + third(both, 1, 2, 2), rtol=1e-5)


def test_a_quadratic_is_its_closed_form_in_both_precisions(precision):
    dtype = f"float{precision}"
    now, then = jax.tree.map(lambda leaf: leaf.astype(dtype), (NOW, THEN))
    w, r, final = np.array([1.0, 0.5]), np.array([2.0]), np.array([3.0, 1.0])
    goal = np.array([0.2, 0.1])
    objective = Expected(Regulate(goal, w, r, final))
    judge = eqx.filter_jit(objective.judge)
    reward, discount = judge(Readout(now), U.astype(dtype), Readout(then))

    def cost(weights, x):
        m, S = np.asarray(x.mean, float), np.asarray(x.cov, float)
        return 0.5 * np.sum(weights * ((m - goal) ** 2 + np.diag(S)))

    tolerance = 1e-6 if precision == 32 else 1e-7
    np.testing.assert_allclose(reward, -cost(w, now) - 0.49, rtol=tolerance)
    np.testing.assert_allclose(objective.beyond(Readout(now)), -cost(final, now), 1e-6)
    assert reward.dtype == discount.dtype == dtype


def test_a_task_reward_is_near_the_mean_of_200_000_draws():
    goal, count = PendulumReward(), 200_000
    narrow = Gaussian(jnp.array([0.4, -1.0]), jnp.diag(jnp.array([0.04, 0.2])))

    @jax.jit
    def draw(keys):
        x = jax.vmap(lambda key: narrow.sample(key=key))(keys)
        return jax.vmap(lambda x: goal.reward(x, U, x))(x)

    draws = draw(jax.random.split(KEY, count))
    judge = eqx.filter_jit(Expected(goal).judge)
    reward, _ = judge(Readout(narrow), U, Readout(narrow))
    sigma = float(draws.std()) / count**0.5
    assert abs(float(draws.mean() - reward)) < 4 * sigma < 0.005
    at_mean = goal.reward(narrow.mean, U, narrow.mean)
    assert abs(float(at_mean - reward)) > 0.05


def test_what_is_known_exactly_is_judged_as_it_is():
    goal, x = PendulumReward(), jnp.array([0.4, -1.0])
    sure = Gaussian(x, jnp.zeros((2, 2)))
    plain, certain = (
        Expected(goal).judge(Readout(seen), U, Readout(seen))[0] for seen in (x, sure)
    )
    np.testing.assert_array_equal(plain, goal.reward(x, U, x))
    np.testing.assert_allclose(certain, plain, rtol=1e-6)


def test_a_singular_covariance_has_a_root_and_finite_slopes():
    half = np.array([[1.0, 0.0], [2.0, 0.0], [0.5, 0.3]])
    both = jax.jit(lambda S: (root(S), jax.jacfwd(root)(S)))
    for S in (half @ half.T, np.zeros((3, 3)), np.diag([0.0, 4.0, 0.0])):
        L, slope = (np.asarray(each) for each in both(jnp.asarray(S, "float32")))
        np.testing.assert_allclose(L @ L.T, S, atol=1e-6)
        np.testing.assert_array_equal(np.triu(L, 1), np.zeros((3, 3)))
        assert np.isfinite(slope).all()


class Regression(AbstractModel):
    """Bayesian linear regression of a pendulum's next state, and moment matching.

    The weights of each coordinate are normal, so that a belief widens where little
    was seen. Sigma points carry the belief through the mean of the regression.
    """

    weights: jax.Array
    cov: jax.Array
    noise: jax.Array

    @staticmethod
    def features(x, action):
        return jnp.concatenate(
            [jnp.ones(1), x, jnp.sin(x[:1]), jnp.cos(x[:1]), action.astype(x.dtype)]
        )

    @classmethod
    def fit(cls, x, actions, next_x, noise):
        """Unit prior over weights of the change, known variance of the noise."""
        phi = jax.vmap(cls.features)(x, actions)
        precision = phi.T @ phi / noise + jnp.eye(phi.shape[1])
        both = jnp.concatenate(
            [phi.T @ (next_x - x) / noise, jnp.eye(phi.shape[1])], axis=1
        )
        solved, _ = solve_positive(precision, both)
        return cls(solved[:, :2], solved[:, 2:], jnp.asarray(noise))

    def init(self, *, key):
        return Gaussian(jnp.array([0.5, 0.0]), 0.01 * jnp.eye(2))

    def predict(self, belief, action, *, key):
        points = belief.unwhiten(sigma_points(2, belief.mean.dtype))
        phi = jax.vmap(lambda x: self.features(x, action))(points)
        moved = points + phi @ self.weights
        mean = jnp.mean(moved, axis=0)
        doubt = jnp.mean(jnp.sum((phi @ self.cov) * phi, axis=1)) + self.noise
        away = moved - mean[None]
        return Gaussian(mean, away.T @ away / len(points) + doubt * jnp.eye(2))

    def observe(self, belief, obs, *, key):
        return Gaussian(obs, jnp.zeros((2, 2)))

    def readout(self, belief):
        return Readout(belief)


def test_a_learner_with_a_gaussian_belief_plans_under_an_expected_task_reward():
    """Fitted to 60 noisy transitions; judged by the true pendulum."""
    system, noise, planner = Pendulum(), 1e-4, CEM(8, 100, elites=10, iterations=4)
    true = Problem(Known(system), PendulumReward(), system.action)

    @jax.jit
    def solve(key):
        keys = jax.random.split(key, 6)
        x = jax.random.uniform(keys[0], (60, 2), minval=-1.5, maxval=1.5)
        pushes = jax.random.uniform(keys[1], (60, 1), minval=-2, maxval=2)
        next_x = jax.vmap(lambda x, u: system.step(x, u, key=KEY))(x, pushes)
        next_x += noise**0.5 * jax.random.normal(keys[2], next_x.shape)
        model = Regression.fit(x, pushes, next_x, noise)
        problem = Problem(model, Expected(PendulumReward()), system.action)
        belief = model.init(key=key)
        state = planner.init(problem, belief, key=key)
        plan, _ = planner.plan(problem, belief, state, key=keys[3])
        ways = jax.random.uniform(keys[4], (50, 8, 1), minval=-2, maxval=2)
        starts = jax.vmap(lambda key: belief.sample(key=key))(
            jax.random.split(keys[5], 200)
        )

        def earned(actions):
            return jnp.mean(
                jax.vmap(lambda x: rollout(true, x, actions, key=key).value)(starts)
            )

        return plan, jax.vmap(earned)(jnp.concatenate([plan.actions[None], ways]))

    plan, earned = solve(jax.random.key(1))
    assert (np.diff(np.asarray(plan.beliefs.cov)[:, 0, 0]) > 0).all()
    assert float(earned[0]) > float(earned[1:].max())
    # The start is 0.1 rad wide, so 200 of them are known to about 3 %.
    np.testing.assert_allclose(plan.value, earned[0], rtol=0.1)
