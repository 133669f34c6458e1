"""Plans as policies: what they do off the plan, and how they explore."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import AbstractSeen

from forethought.core.gaussian import Gaussian
from forethought.core.readout import Readout
from forethought.core.spaces import Box, free_box
from forethought.core.types import Stamped
from forethought.models.linear.dynamics import Linear
from forethought.models.linear.kalman import LinearGaussian
from forethought.objectives.base import AbstractObjective
from forethought.objectives.quadratic import Quadratic
from forethought.planners import ILQR, LQR
from forethought.policies.affine import TimeVarying, maximum_entropy
from forethought.policies.follow import Sampled
from forethought.problem import Problem, imagine

KEY = jax.random.key(0)
F = np.array([[1.0, 0.1, 0.0, 0.02], [0.0, 1.0, 0.1, -0.05]])
C = np.array([[2, 0.1, 0.2, 0], [0.1, 1, 0, 0.1], [0.2, 0, 0.5, 0.1], [0, 0.1, 0.1, 1]])


def two_steps():
    """Feedback over two steps, by numbers that can be checked by eye."""
    return TimeVarying(
        K=jnp.array([[[2.0]], [[3.0]]]),
        k=jnp.array([[0.5], [1.0]]),
        x=jnp.array([[1.0], [2.0]]),
        cov=jnp.array([[[0.25]], [[4.0]]]),
    )


def test_the_action_is_corrected_by_the_deviation_at_its_own_step():
    policy, x = two_steps(), {"count": jnp.array(1.5)}
    for time, expected in ((0, 0.5 + 2 * 0.5), (1, 1 - 3 * 0.5), (7, 1 - 3 * 0.5)):
        seen = Readout(x, time=jnp.asarray(time))
        action, kept = policy.act(seen, key=KEY, mode="exploit")
        np.testing.assert_allclose(action, [expected])
        np.testing.assert_allclose(policy.given(x, time).mean, [expected])
        assert kept is None
    stamped = Readout.of(Stamped(x, jnp.asarray(1)))
    np.testing.assert_allclose(
        policy.act(stamped, key=KEY, mode="exploit")[0], [1 - 3 * 0.5]
    )


def test_exploring_draws_from_the_covariance_and_tells_the_density():
    policy = two_steps()
    seen = Readout(jnp.array([1.5]), time=jnp.asarray(1))
    draws, told = jax.jit(
        jax.vmap(lambda key: policy.act(seen, key=key, mode="explore"))
    )(jax.random.split(KEY, 4000))
    # Five sigmas of 4,000 draws; a standard deviation for a covariance would be 4.
    assert abs(float(draws.std()) - 2) < 5 * 2 / 8000**0.5
    assert abs(float(draws.mean()) + 0.5) < 5 * 2 / 4000**0.5
    expected = -0.5 * ((draws[:, 0] + 0.5) / 2) ** 2 - np.log(2 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(told, expected, rtol=1e-5)


def test_a_policy_that_varies_in_time_must_be_told_it():
    policy = two_steps()
    with pytest.raises(TypeError, match="TimeVarying needs to be told the time"):
        policy.act(Readout(jnp.ones(1)), key=KEY, mode="exploit")
    constant = jax.tree.map(lambda leaf: leaf[:1], policy)
    action, _ = constant.act(Readout(jnp.ones(1)), key=KEY, mode="exploit")
    np.testing.assert_allclose(action, [0.5])


class Bent(AbstractSeen):
    """A push that bends: the only dynamics here that are not linear in the action."""

    def init(self, *, key):
        return jnp.zeros(2)

    def predict(self, belief, action, *, key):
        push = jnp.stack([0.3 * jnp.sin(action[0]), 0.1 * action[1] ** 2])
        return belief + 0.1 * jnp.stack([belief[1], -belief[0]]) + push


class Damped(AbstractObjective):
    """A quadratic cost with a discount."""

    def reward(self, x, action, next_x):
        xu = jnp.concatenate([x, action])
        return -0.5 * xu @ jnp.asarray(C) @ xu

    def discount(self, x, action, next_x):
        return jnp.asarray(0.9, x.dtype)

    def value(self, x):
        return -2 * jnp.sum(x**2)


LQ = Problem(Linear(F), Quadratic(C, C_final=3 * np.eye(2), gamma=0.9), free_box(2))
FILTERED = Problem(LinearGaussian(Linear(F), np.eye(2)), LQ.objective, LQ.action)
BENT = Problem(Bent(), Damped(), free_box(2))
PLANS = {
    "lqr": (LQR(5), LQ),
    "lqr-kalman": (LQR(5), FILTERED),
    "ilqr": (ILQR(5, gradient_tolerance=1e-9), LQ),
    "gauss-newton": (ILQR(5, gradient_tolerance=1e-9), BENT),
    "ddp": (ILQR(5, gradient_tolerance=1e-9, second_order=True), BENT),
}


@functools.cache
def plan_of(name):
    """A plan from one start, whatever the belief."""
    planner, problem = PLANS[name]
    x = jnp.array([1.0, -0.7])
    if problem is FILTERED:
        x = Gaussian(x, 0.1 * jnp.eye(2))

    def plan(x):
        return planner.plan(problem, x, planner.init(problem, x, key=KEY), key=KEY)[0]

    return jax.jit(plan)(x)


def hessian_of_cost_to_go(problem, plan, t):
    """By differentiating one step and the plan's own expansion of what follows."""
    feedback = plan.feedback
    n, model = 2, problem.model
    model = model.dynamics if isinstance(model, LinearGaussian) else model
    x, nominal = feedback.states[t, :n], feedback.states[t + 1, :n]

    def cost(u):
        after = model.predict(x, u, key=KEY)
        reward, discount = problem.objective.judge(Readout(x), u, Readout(after))
        move = after - nominal
        later = feedback.V_x[t + 1, :n] @ move
        later += 0.5 * move @ feedback.V_xx[t + 1, :n, :n] @ move
        return -(reward + discount * later)

    return jax.jit(jax.hessian(cost))(plan.actions[t])


@pytest.mark.parametrize("name", sorted(PLANS.keys() - {"gauss-newton"}))
def test_a_plan_explores_by_the_inverse_hessian_of_its_cost_to_go(name, x64):
    plan, problem = plan_of(name), PLANS[name][1]
    Q_uu = np.asarray(hessian_of_cost_to_go(problem, plan, 1))
    found = np.asarray(plan.feedback.policy.cov[1])
    np.testing.assert_allclose(found @ Q_uu, np.eye(2), rtol=0, atol=1e-7)
    assert np.abs(Q_uu @ Q_uu - np.eye(2)).max() > 0.1


def test_the_bend_of_the_dynamics_counts_for_ddp_alone(x64):
    gentle = plan_of("gauss-newton")
    bent = np.asarray(hessian_of_cost_to_go(BENT, gentle, 1))
    found = np.asarray(gentle.feedback.policy.cov[1])
    assert np.abs(found @ bent - np.eye(2)).max() > 1e-3


def test_where_there_is_no_minimum_nothing_is_explored():
    Q_uu = np.stack([np.diag([2.0, last]) for last in (4.0, -1.0, np.nan)])
    found = jax.jit(maximum_entropy)(jnp.asarray(Q_uu))
    none = np.zeros((2, 2))
    np.testing.assert_allclose(found, [np.diag([0.5, 0.25]), none, none])
    still = eqx.tree_at(lambda it: it.cov, two_steps(), jnp.zeros((2, 1, 1)))
    seen = Readout(jnp.array([1.5]), time=jnp.asarray(0))
    action, _ = still.act(seen, key=KEY, mode="explore")
    np.testing.assert_array_equal(action, [1.5])


def test_imagining_a_plans_policy_gives_what_the_plan_expects_within_limits(x64):
    plan = plan_of("gauss-newton")
    policy, start, best = plan.feedback.policy, plan.beliefs[0], Sampled("exploit")
    limited = Problem(BENT.model, BENT.objective, Box([-1.0, -1.0], [0.01, 0.01]))

    @jax.jit
    def both(start):
        held = imagine(limited, policy, start, 5, key=KEY)
        return imagine(BENT, policy, start, 5, follow=best, key=KEY), held

    future, held = both(start)
    np.testing.assert_allclose(future.actions, plan.actions, rtol=1e-12)
    np.testing.assert_allclose(future.value, plan.value, rtol=1e-12)
    assert float(held.actions.max()) == 0.01
