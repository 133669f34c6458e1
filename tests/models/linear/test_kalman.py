"""The Kalman filter against one written out in NumPy, and LQG against what happens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from forethought.core.gaussian import Gaussian
from forethought.core.readout import Readout
from forethought.core.results import name_of
from forethought.core.spaces import Box, free_box
from forethought.core.types import Stamped
from forethought.models.linear.dynamics import Linear
from forethought.models.linear.kalman import LinearGaussian
from forethought.objectives.quadratic import Quadratic
from forethought.planners import CEM, ILQR, LQR
from forethought.problem import Problem, rollout

KEY = jax.random.key(0)
F = np.array([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])
A, B = F[:, :2], F[:, 2:]
W = np.array([[0.01, 0.002], [0.002, 0.02]])
H, N = np.array([[1.0, 0.0]]), np.array([[0.05]])
PRIOR = np.array([[0.5, 0.1], [0.1, 0.3]])


def seen_through_noise(dtype, **changes):
    """A double integrator whose position is measured."""
    arrays = {"W": W, "H": H, "N": N} | changes
    arrays = {
        name: None if array is None else jnp.asarray(array, dtype)
        for name, array in arrays.items()
    }
    start = Gaussian(jnp.asarray([1.0, -0.5], dtype), jnp.asarray(PRIOR, dtype))
    return LinearGaussian(Linear(jnp.asarray(F, dtype)), **arrays, start=start)


def textbook(mean, cov, action, obs):
    """One step and one look, as any textbook has them."""
    mean, cov = A @ mean + B @ action, A @ cov @ A.T + W
    S = H @ cov @ H.T + N
    gain = cov @ H.T @ np.linalg.inv(S)
    return mean + gain @ (obs - H @ mean), cov - gain @ S @ gain.T


def test_the_filter_is_the_textbooks_and_settles_where_scipy_says(precision):
    model = seen_through_noise(f"float{precision}")
    random = np.random.default_rng(0)
    actions, seen = random.normal(size=(400, 1)), random.normal(size=(400, 1))

    @jax.jit
    def run(actions, seen):
        def step(belief, inputs):
            belief = model.predict(belief, inputs[0], key=KEY)
            belief = model.observe(belief, inputs[1], key=KEY)
            return belief, belief

        dtype = f"float{precision}"
        inputs = (actions.astype(dtype), seen.astype(dtype))
        return jax.lax.scan(step, model.init(key=KEY), inputs)[1]

    found = run(jnp.asarray(actions), jnp.asarray(seen))
    mean, cov = np.array([1.0, -0.5]), PRIOR
    for t in range(400):
        mean, cov = textbook(mean, cov, actions[t], seen[t])
        tolerance = 2e-3 if precision == 32 else 1e-10
        np.testing.assert_allclose(found.mean[t], mean, atol=tolerance)
        np.testing.assert_allclose(found.cov[t], cov, atol=tolerance / 10)
    before = scipy.linalg.solve_discrete_are(A.T, H.T, W, N)
    after = before - before @ H.T @ H @ before / (before[0, 0] + N[0, 0])
    np.testing.assert_allclose(
        found.cov[-1], after, rtol=1e-4 if precision == 32 else 1e-9
    )
    assert found.mean.dtype == f"float{precision}"


def test_ten_thousand_sharp_looks_in_float32_leave_a_covariance():
    model = seen_through_noise("float32", W=np.diag([0, 1e-8]), N=[[1e-7]])

    @jax.jit
    def run(belief):
        def step(belief, _):
            belief = model.predict(belief, jnp.zeros(1), key=KEY)
            return model.observe(belief, jnp.zeros(1), key=KEY), None

        return jax.lax.scan(step, belief, None, length=10_000)[0]

    cov = np.asarray(run(model.init(key=KEY)).cov, float)
    np.testing.assert_array_equal(cov, cov.T)
    assert np.isfinite(cov).all() and np.linalg.eigvalsh(cov).min() > 0


def test_without_an_observation_matrix_the_state_is_seen_exactly():
    model = seen_through_noise("float32", H=None, N=None)
    belief = model.predict(model.init(key=KEY), jnp.zeros(1), key=KEY)
    seen = model.observe(belief, jnp.array([3.0, 4.0]), key=KEY)
    np.testing.assert_array_equal(seen.mean, [3, 4])
    np.testing.assert_array_equal(seen.cov, np.zeros((2, 2)))


def test_arrays_that_vary_in_time_hold_at_their_own_steps(x64):
    noises = np.stack([N, 2 * N, 5 * N])
    varying = seen_through_noise("float64", N=noises)
    belief = varying.init(key=KEY)
    for t, noise in enumerate([*noises, noises[-1]]):
        assert isinstance(belief, Stamped) and belief.time == t
        constant = seen_through_noise("float64", N=noise)
        y = jnp.asarray([0.3])
        expected = constant.observe(belief.value, y, key=KEY)
        found = varying.observe(belief, y, key=KEY)
        np.testing.assert_allclose(found.value.cov, expected.cov, rtol=1e-14)
        belief = varying.predict(found, jnp.zeros(1), key=KEY)


C = np.array([[1.0, 0.2, 0.1], [0.2, 0.5, 0.0], [0.1, 0.0, 0.3]])


def lqg_problem(dtype, **changes):
    """The double integrator at a price of state, action and both."""
    gamma = changes.pop("gamma", 1.0)
    objective = Quadratic(jnp.asarray(C, dtype), gamma=gamma)
    return Problem(seen_through_noise(dtype, **changes), objective, free_box(1))


def expected_cost(problem, plan, horizon, exact):
    """What following the plan's gains costs: joint moments of state and estimate."""
    gamma, total = problem.objective.gamma, 0.0
    K = np.asarray(plan.feedback.gains)[:, :, :2]
    mean, cov = np.array([1.0, -0.5]), PRIOR
    spread = np.zeros((2, 2))  # covariance of the estimate itself
    for t in range(horizon):
        Z = np.concatenate([np.eye(2), K[t]])
        second = np.zeros((3, 3))
        second[:2, :2] = cov
        second += Z @ (spread + np.outer(mean, mean)) @ Z.T
        total += gamma**t * 0.5 * np.sum(C * second)
        L = A + B @ K[t]
        before = A @ cov @ A.T + W
        if exact:
            cov = np.zeros((2, 2))
        else:
            cov = before - before @ H.T @ H @ before / (before[0, 0] + N[0, 0])
        mean, spread = L @ mean, L @ spread @ L.T + before - cov
    return total


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("exact", [False, True], ids=["LQG", "state seen"])
def test_the_value_is_the_exact_expectation_under_the_feedback(exact, gamma, x64):
    changes = {"H": None, "N": None} if exact else {}
    problem = lqg_problem("float64", gamma=gamma, **changes)
    belief = problem.model.init(key=KEY)
    plan, _ = jax.jit(lambda x: LQR(12).plan(problem, x, None, key=KEY))(belief)
    expected = expected_cost(problem, plan, 12, exact)
    np.testing.assert_allclose(-plan.value, expected, rtol=1e-12)
    blind = rollout(problem, belief, plan.actions, key=KEY)
    assert blind.value < plan.value
    certain = Problem(problem.model.dynamics, problem.objective, problem.action)
    same, _ = LQR(12).plan(certain, belief.mean, None, key=KEY)
    np.testing.assert_allclose(plan.actions, same.actions, rtol=1e-12)
    assert name_of(plan.result) == "successful"


def test_the_expansion_is_exact_in_the_mean_and_has_the_slope_of_the_covariance(x64):
    problem = lqg_problem("float64", gamma=0.95)
    belief = problem.model.init(key=KEY)
    plan = jax.jit(lambda x: LQR(8).plan(problem, x, None, key=KEY)[0])
    here, move = plan(belief), jnp.asarray([0.3, -0.2])
    moved = plan(Gaussian(belief.mean + move, belief.cov))
    slope, curvature = here.feedback.V_x[0], here.feedback.V_xx[0][:2, :2]
    guess = here.value + slope[:2] @ move + 0.5 * move @ curvature @ move
    np.testing.assert_allclose(moved.value, guess, rtol=1e-12)
    np.testing.assert_allclose(
        here.feedback.policy.given(
            Gaussian(belief.mean + move, 2 * belief.cov), 0
        ).mean,
        moved.actions[0],
        rtol=1e-12,
    )
    wide, h = jnp.asarray([[0.3, 0.1], [0.1, 0.2]]), 1e-5
    ends = [plan(Gaussian(belief.mean, belief.cov + s * wide)).value for s in (h, -h)]
    np.testing.assert_allclose(
        (ends[0] - ends[1]) / (2 * h), slope[2:] @ wide.reshape(-1), rtol=1e-7
    )


def test_the_average_cost_of_lqg_is_what_the_trace_formula_says(x64):
    problem, steps = lqg_problem("float64"), 100_000
    model, planner = problem.model, LQR(2, infinite=True)
    V = scipy.linalg.solve_discrete_are(A, B, C[:2, :2], C[2:, 2:], s=C[:2, 2:])
    Q_uu = C[2:, 2:] + B.T @ V @ B
    K = -np.linalg.solve(Q_uu, B.T @ V @ A + C[2:, :2])
    before = scipy.linalg.solve_discrete_are(A.T, H.T, W, N)
    after = before - before @ H.T @ H @ before / (before[0, 0] + N[0, 0])
    formula = 0.5 * np.trace(V @ W) + 0.5 * np.trace(K.T @ Q_uu @ K @ after)

    rest = Gaussian(jnp.zeros(2), jnp.asarray(after))
    plan, _ = jax.jit(lambda x: planner.plan(problem, x, None, key=KEY))(rest)
    np.testing.assert_allclose(plan.feedback.V[1] - plan.feedback.V[0], formula)
    np.testing.assert_allclose(plan.feedback.gains[1][:, :2], K, rtol=1e-9)

    roots = np.linalg.cholesky(W), np.linalg.cholesky(N)

    @jax.jit
    def run(key):
        def step(carry, key):
            x, belief = carry
            u = plan.feedback.policy.given(belief, 0).mean
            cost = -problem.objective.judge(Readout(x), u, Readout(x))[0]
            noise, look = jax.random.normal(key, (3,)), model.predict
            x = jnp.asarray(A) @ x + jnp.asarray(B) @ u + roots[0] @ noise[:2]
            belief = look(belief, u, key=key)
            y = jnp.asarray(H) @ x + roots[1] @ noise[2:]
            return (x, model.observe(belief, y, key=key)), cost

        start = (jnp.asarray(np.linalg.cholesky(after)) @ jnp.ones(2) * 0, rest)
        return jax.lax.scan(step, start, jax.random.split(key, steps))[1]

    costs = np.asarray(run(jax.random.key(1))).reshape(100, 1000).mean(axis=1)
    # Stretches of a thousand steps are independent but for their ends.
    sigma = costs.std(ddof=1) / 10
    assert sigma < 0.03 * formula
    assert abs(costs.mean() - formula) < 3 * sigma


@pytest.mark.long
def test_other_planners_run_on_the_belief_and_come_near_the_optimum(x64):
    problem = lqg_problem("float64")
    box = Problem(
        problem.model, problem.objective, Box(-9 * np.ones(1), 9 * np.ones(1))
    )
    belief, horizon = problem.model.init(key=KEY), 6
    exact, _ = LQR(horizon).plan(problem, belief, None, key=KEY)
    blind = rollout(problem, belief, exact.actions, key=KEY).value
    for planner, space, rtol in [
        (ILQR(horizon), problem, 1e-9),
        (CEM(horizon, population=200, elites=20, iterations=20), box, 1e-3),
    ]:
        plan = jax.jit(
            lambda x, planner=planner, space=space: planner.plan(
                space, x, planner.init(space, x, key=KEY), key=KEY
            )[0]
        )(belief)
        np.testing.assert_allclose(plan.value, blind, rtol=rtol)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"W": np.eye(3)}, r"W of shape \[2, 2\].*\[3, 3\]"),
        ({"W": np.diag([1.0, -1.0])}, "positive semidefinite W, but .* -1"),
        ({"W": [[1.0, 0.5], [0.0, 1.0]]}, "symmetric W"),
        ({"W": np.full((2, 2), np.inf)}, "finite entries, but W"),
        ({"N": [[0.0]]}, "positive definite N"),
        ({"N": None}, "N is missing"),
        ({"H": None}, "H is missing"),
        ({"H": np.ones((1, 3))}, r"H of shape \[1, 2\]"),
        ({"N": np.eye(2)}, r"N of shape \[1, 1\]"),
        ({"h": np.zeros(2)}, r"h of shape \[1\]"),
        ({"H": None, "N": None, "h": np.zeros(1)}, "to go with h"),
    ],
)
def test_what_is_no_covariance_or_has_no_place_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        seen_through_noise("float32", **changes)


def test_a_start_of_another_size_is_refused():
    start = Gaussian(jnp.zeros(3), jnp.eye(3))
    with pytest.raises(ValueError, match="start over 2 states"):
        LinearGaussian(Linear(F.astype(np.float32)), W, start=start)
