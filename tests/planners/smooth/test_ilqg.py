"""iLQG under a KL bound, against LQR, brute force, and what two controllers do."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.gaussian import Gaussian
from forethought.core.results import Result, name_of
from forethought.core.spaces import Box, Discrete, free_box
from forethought.core.types import Stamped
from forethought.models.learned.transforms import Transform
from forethought.models.linear.dynamics import Linear
from forethought.models.linear.kalman import LinearGaussian
from forethought.models.linear.local import Local
from forethought.models.linear.rollouts import Rollouts
from forethought.objectives.quadratic import Quadratic
from forethought.planners import ILQG, LQR
from forethought.planners.smooth.ilqg import adapted
from forethought.policies.affine import TimeVarying
from forethought.policies.linear_gaussian import divergence, marginals
from forethought.problem import Problem

T, N, M = 5, 2, 2
DRAW = np.random.default_rng(3)
F = np.concatenate([np.eye(N), np.zeros((N, M))], 1) + 0.3 * DRAW.normal(size=(N, 4))
W = np.diag([0.02, 0.05])
C = np.eye(4) + 0.1


def beginning():
    return Gaussian(jnp.array([1.0, -1.0]), jnp.diag(jnp.array([0.1, 0.2])))


KEY = jax.random.key(0)


def noisy(objective=None):
    model = LinearGaussian(Linear(F, [0.1, -0.2]), W, start=beginning())
    return Problem(model, objective or Quadratic(C), free_box(M))


def old_controller(seed=0):
    draw = np.random.default_rng(seed)
    root = draw.normal(size=(T, M, M))
    cov = 0.2 * np.einsum("tij,tkj->tik", root, root) + 0.1 * np.eye(M)

    def some(*shape):
        return jnp.asarray(0.2 * draw.normal(size=shape))

    return TimeVarying(some(T, M, N), some(T, M), some(T, N), jnp.asarray(cov))


def improved(planner, problem, old=None):
    belief = problem.model.init(key=KEY)
    state = planner.init(problem, belief, key=KEY)
    state = state if old is None else dataclasses.replace(state, policy=old)
    return eqx.filter_jit(planner.improved)(problem, belief, state, key=KEY)[0]


def system():
    def often(part):
        return jnp.asarray(np.stack([part] * T))

    return often(F), often(np.array([0.1, -0.2])), often(W)


def policy_of(plan):
    assert plan.feedback is not None
    return plan.feedback.policy


def true_kl(new, old):
    both, _ = marginals(new, *system(), beginning())
    return divergence(new, old, both)


def true_cost(policy):
    both, _ = marginals(policy, *system(), beginning())

    def one(z):
        return 0.5 * (z.mean @ C @ z.mean + jnp.sum(C * z.cov))

    return jnp.sum(jax.vmap(one)(both))


def means_alone(new, old):
    """The broken variant: a divergence that forgets how far states spread."""
    both, _ = marginals(new, *system(), beginning())
    still = eqx.tree_at(lambda s: s.cov, both, jnp.zeros_like(both.cov))
    return divergence(new, old, still)


def test_without_a_bound_one_iteration_is_lqr(x64):
    problem = Problem(Linear(F, [0.1, -0.2]), Quadratic(C), free_box(M))
    x = jnp.array([1.0, -1.0])
    wanted, _ = eqx.filter_jit(LQR(T).plan)(problem, x, None, key=KEY)

    def plan(bound):
        planner = ILQG(T, 1, bound=bound)
        state = planner.init(problem, x, key=KEY)
        return eqx.filter_jit(planner.plan)(problem, x, state, key=KEY)[0]

    found, bounded = plan(float("inf")), plan(0.1)
    assert name_of(found.result) == "successful"
    for one, other in zip(
        jax.tree.leaves(found.feedback), jax.tree.leaves(wanted.feedback), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-10)
    # What holds to its bound is another controller: the comparison can fail.
    gap = policy_of(bounded).K - policy_of(wanted).K
    assert float(jnp.max(jnp.abs(gap))) > 0.01
    assert float(bounded.value) < float(found.value)


def test_the_covariance_of_maximum_entropy_is_the_inverse_hessian_of_the_cost(x64):
    problem = Problem(Linear(F), Quadratic(C), free_box(M))
    x = jnp.array([1.0, -1.0])
    planner = ILQG(T, 1, bound=float("inf"))
    state = planner.init(problem, x, key=KEY)
    plan, _ = eqx.filter_jit(planner.plan)(problem, x, state, key=KEY)
    cov = policy_of(plan).cov
    rest = LQR(T - 1)

    @jax.jit
    def cost(u):
        z = jnp.concatenate([x, u])
        plan, _ = rest.plan(problem, jnp.asarray(F) @ z, None, key=KEY)
        return 0.5 * z @ C @ z - plan.value

    h, e = 1e-3, np.eye(M)
    hessian = np.array(
        [
            [
                (
                    cost(h * (a + b))
                    - cost(h * (a - b))
                    - cost(h * (b - a))
                    + cost(-h * (a + b))
                )
                / (4 * h * h)
                for b in e
            ]
            for a in e
        ]
    )
    np.testing.assert_allclose(cov[0], np.linalg.inv(hessian), rtol=1e-6)
    # The inverse of the diagonal alone would be another one.
    wrong = np.diag(1 / np.diag(hessian))
    assert not np.allclose(cov[0], wrong, rtol=1e-2)


@pytest.mark.parametrize("bound", [0.01, 1.0, 20.0])
def test_the_dual_meets_the_bound(bound, x64):
    old = old_controller()
    found = improved(ILQG(T, 1, bound=bound), noisy(), old)
    epsilon = bound * T
    assert name_of(found.result) == "successful"
    assert abs(float(found.kl) - epsilon) < 0.1 * epsilon
    kl = float(true_kl(found.policy, old))
    assert float(found.kl) == pytest.approx(kl, rel=1e-8)
    assert abs(float(means_alone(found.policy, old)) - kl) > 0.001 * kl
    fall = float(true_cost(old) - true_cost(found.policy))
    assert float(found.predicted) == pytest.approx(fall, rel=1e-8) and fall > 0
    assert int(found.sweeps) <= 12
    last = int(found.sweeps) - 1
    assert float(found.divergences[last]) == float(found.kl)
    assert float(found.prices[last]) == pytest.approx(float(found.price))


def test_no_controller_near_by_is_better_at_the_price(x64):
    old = old_controller()
    found = improved(ILQG(T, 1, bound=1.0), noisy(), old)
    eta = float(found.price)

    @jax.jit
    @jax.grad
    def slope(parts):
        K, k, root = parts
        cov = jnp.einsum("tij,tkj->tik", root, root)
        policy = TimeVarying(K, k, found.policy.x, cov)
        return true_cost(policy) + eta * true_kl(policy, old)

    policy = found.policy
    parts = policy.K, policy.k, jnp.linalg.cholesky(policy.cov)
    for part in slope(parts):
        np.testing.assert_allclose(part, 0, atol=1e-8)
    # Half of each step is not the best.
    half = (old.K + policy.K) / 2, policy.k, parts[2]
    assert max(float(jnp.max(jnp.abs(part))) for part in slope(half)) > 1e-3


def test_the_bound_adapts_to_where_gain_less_error_is_largest():
    a, b = 3.0, 0.5
    scale = jnp.asarray(2.0)
    predicted, realised = a * scale, a * scale - b * scale**2
    assert float(adapted(scale, predicted, realised)) == pytest.approx(a / (2 * b))
    assert float(adapted(scale, predicted, predicted)) == pytest.approx(10.0)
    assert float(adapted(scale, predicted, -100 * predicted)) == pytest.approx(0.2)
    assert float(adapted(scale, predicted, jnp.asarray(jnp.nan))) == pytest.approx(0.2)


class Concave(Quadratic):
    """A cost that falls the faster the larger the action is."""

    def __init__(self):
        self.C = jnp.diag(jnp.array([1.0, 1.0, -50.0, -50.0]))
        self.c, self.C_final, self.c_final, self.gamma = jnp.zeros(4), None, None, 1.0


def faulty(objective=None, **settings):
    old = old_controller()
    found = improved(ILQG(T, 1, **settings), noisy(objective), old)
    kept = marginals(found.policy, *system(), beginning())[0]
    was = marginals(old, *system(), beginning())[0]
    np.testing.assert_allclose(kept.mean, was.mean, atol=1e-9)
    np.testing.assert_allclose(kept.cov, was.cov, atol=1e-9)
    return name_of(found.result)


def test_faults_have_their_codes_and_keep_the_old_controller(x64):
    assert faulty(Concave(), largest_price=1.0) == "indefinite"
    assert faulty(smallest_price=1e-8, largest_price=1e-6) == "no_price"
    broken = eqx.tree_at(lambda q: q.c, Quadratic(C), jnp.full(4, jnp.nan))
    assert faulty(broken) == "non_finite"


def test_a_concave_cost_is_met_at_a_higher_price(x64):
    found = improved(ILQG(T, 1, bound=0.5), noisy(Concave()), old_controller())
    assert name_of(found.result) == "successful"
    assert abs(float(found.kl) - 0.5 * T) < 0.05 * T


def test_it_improves_on_a_fitted_model_and_its_plan_is_over_the_belief(x64):
    draw = np.random.default_rng(0)
    u = draw.normal(size=(12, T, M))
    x = np.zeros((12, T + 1, N))
    x[:, 0] = [1.0, -1.0]
    for t in range(T):
        x[:, t + 1] = np.concatenate([x[:, t], u[:, t]], 1) @ F.T
    model = Local(Transform(N, M), T)
    model, _ = model.fit(Rollouts.pad(list(x), list(u)), key=KEY)
    problem = Problem(model.linear, Quadratic(C), free_box(M))
    planner = ILQG(T, 1, bound=float("inf"))
    belief = Stamped(model.start, jnp.asarray(0))
    state = planner.init(problem, belief, key=KEY)
    plan, _ = eqx.filter_jit(planner.plan)(problem, belief, state, key=KEY)
    exact = Problem(Linear(F), Quadratic(C), free_box(M))
    wanted, _ = eqx.filter_jit(LQR(T).plan)(exact, beginning().mean, None, key=KEY)
    np.testing.assert_allclose(plan.actions, wanted.actions, atol=1e-3)
    assert policy_of(plan).K.shape == (T, M, N + N * N)
    found = improved(planner, Problem(model, Quadratic(C), free_box(M)))
    gains = policy_of(plan).K[:, :, :N]
    np.testing.assert_allclose(found.policy.K, gains, atol=1e-6)


def test_discrete_actions_are_refused():
    problem = Problem(Linear(F), Quadratic(C), Discrete(3))
    with pytest.raises(TypeError, match="ILQG plans over continuous actions"):
        ILQG(T).init(problem, jnp.zeros(N), key=KEY)


@pytest.mark.parametrize(
    "settings", [{"bound": 0.0}, {"spread": -1.0}, {"smallest_price": 1e17}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="ILQG needs"):
        ILQG(T, **settings)


def test_limits_hold_for_the_mean_trajectory(x64):
    limits = Box(jnp.full(M, -0.1), jnp.full(M, 0.1))
    problem = Problem(Linear(F), Quadratic(C), limits)
    planner, x = ILQG(T, 3), jnp.array([1.0, -1.0])
    state = planner.init(problem, x, key=KEY)
    plan, after = eqx.filter_jit(planner.plan)(problem, x, state, key=KEY)
    assert float(jnp.max(jnp.abs(plan.actions))) <= 0.1
    assert np.all(np.diff(np.asarray(plan.stats.best)) > 0)
    assert bool(plan.result == Result.iteration_limit)
    # It asks for more than the limits allow, which the bound is told of.
    assert float(after.scale) < 1
