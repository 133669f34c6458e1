"""LQR against brute force, against SciPy's Riccati equation, and against bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from forethought.core.results import name_of
from forethought.core.spaces import Box, Discrete, free_box
from forethought.core.types import Stamped
from forethought.models.linear.dynamics import Linear
from forethought.objectives.quadratic import Quadratic
from forethought.planners.linear.lqr import LQR
from forethought.planners.linear.riccati import lqr
from forethought.problem import Problem, rollout

STATE, ACTION, HORIZON = 3, 2, 6
BOTH = STATE + ACTION
KEY = jax.random.key(0)
DOUBLE_INTEGRATOR = np.array([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])


def varying_arrays(seed=0):
    """Random dynamics and convex costs, different at every step."""
    random = np.random.default_rng(seed)
    F = random.normal(size=(HORIZON, STATE, BOTH)) * 0.7
    f = random.normal(size=(HORIZON, STATE))
    root = random.normal(size=(HORIZON, BOTH, BOTH))
    C = root @ root.swapaxes(1, 2) + 0.1 * np.eye(BOTH)
    c = random.normal(size=(HORIZON, BOTH))
    root = random.normal(size=(STATE, STATE))
    return F, f, C, c, root @ root.T, random.normal(size=STATE)


def brute_force(F, f, C, c, V, v, x, gamma=1.0):
    """Least squares over all actions at once: states are affine in them."""
    count = HORIZON * ACTION
    G, g = np.zeros((STATE, count)), np.array(x)
    H, h, total = np.zeros((count, count)), np.zeros(count), 0.0
    for t in range(HORIZON):
        select = np.zeros((ACTION, count))
        select[:, t * ACTION : (t + 1) * ACTION] = np.eye(ACTION)
        Z, z = np.concatenate([G, select]), np.concatenate([g, np.zeros(ACTION)])
        weight = gamma**t
        H += weight * Z.T @ C[t] @ Z
        h += weight * Z.T @ (C[t] @ z + c[t])
        total += weight * (0.5 * z @ C[t] @ z + z @ c[t])
        G, g = F[t] @ Z, F[t] @ z + f[t]
    weight = gamma**HORIZON
    H += weight * G.T @ V @ G
    h += weight * G.T @ (V @ g + v)
    total += weight * (0.5 * g @ V @ g + g @ v)
    u = np.linalg.solve(H, -h)
    return u.reshape(HORIZON, ACTION), total + 0.5 * h @ u


def varying_problem(dtype, gamma=1.0):
    F, f, C, c, V, v = (jnp.asarray(array, dtype) for array in varying_arrays())
    C = 0.5 * (C + C.swapaxes(1, 2))
    objective = Quadratic(C, c, 0.5 * (V + V.T), v, gamma=gamma)
    return Problem(Linear(F, f), objective, free_box(ACTION))


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_the_plan_is_the_minimum_of_the_stacked_problem(gamma):
    x = np.array([1.0, -2.0, 0.5])
    actions, cost = brute_force(*varying_arrays(), x, gamma)
    with jax.enable_x64(True):
        problem = varying_problem(jnp.float64, gamma)
        belief = Stamped(jnp.asarray(x), jnp.asarray(0))
        plan, _ = LQR(HORIZON).plan(problem, belief, None, key=KEY)
        imagined = rollout(problem, belief, plan.actions, key=KEY)
        value = imagined.value
        assert name_of(plan.result) == "successful"
    np.testing.assert_allclose(plan.actions, actions, rtol=1e-9)
    np.testing.assert_allclose(plan.value, -cost, rtol=1e-9)
    np.testing.assert_allclose(value, -cost, rtol=1e-9)
    np.testing.assert_allclose(
        imagined.beliefs.value, plan.beliefs.value, rtol=1e-9, atol=1e-12
    )


def test_float32_agrees_with_brute_force_to_single_precision():
    x = np.array([1.0, -2.0, 0.5])
    actions, cost = brute_force(*varying_arrays(), x)
    problem = varying_problem(jnp.float32)
    belief = Stamped(jnp.asarray(x, jnp.float32), jnp.asarray(0))
    plan, _ = LQR(HORIZON).plan(problem, belief, None, key=KEY)
    assert plan.actions.dtype == plan.value.dtype == jnp.float32
    np.testing.assert_allclose(plan.actions, actions, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(plan.value, -cost, rtol=1e-4)


def test_a_plan_from_a_later_time_is_the_rest_of_the_plan():
    with jax.enable_x64(True):
        problem = varying_problem(jnp.float64)
        start = Stamped(jnp.array([1.0, -2.0, 0.5]), jnp.asarray(0))
        whole, _ = LQR(HORIZON).plan(problem, start, None, key=KEY)
        later = jax.tree.map(lambda leaf: leaf[2], whole.beliefs)
        rest, _ = LQR(HORIZON - 2).plan(problem, later, None, key=KEY)
    np.testing.assert_allclose(rest.actions, whole.actions[2:], rtol=1e-9)
    np.testing.assert_allclose(rest.value, whole.feedback.V[2], rtol=1e-9)


def test_the_feedback_is_optimal_and_its_value_exact_away_from_the_plan():
    with jax.enable_x64(True):
        problem = varying_problem(jnp.float64)
        start = Stamped(jnp.array([1.0, -2.0, 0.5]), jnp.asarray(0))
        offset = jnp.array([0.3, 0.2, -0.7])
        moved = Stamped(start.value + offset, start.time)
        plan, _ = LQR(HORIZON).plan(problem, start, None, key=KEY)
        other, _ = LQR(HORIZON).plan(problem, moved, None, key=KEY)
        feedback = plan.feedback
        value = (
            feedback.V[0]
            + feedback.V_x[0] @ offset
            + 0.5 * offset @ feedback.V_xx[0] @ offset
        )
        action = feedback.policy.given(moved, 0).mean
    np.testing.assert_allclose(action, other.actions[0], rtol=1e-9)
    np.testing.assert_allclose(value, other.value, rtol=1e-9)


@pytest.mark.parametrize(
    ("gamma", "P"),
    [
        (1.0, [[17.8349313222, 10.0124921973], [10.0124921973, 17.8565864603]]),
        (0.99, [[16.421179982, 9.1976222113], [9.1976222113, 16.9231211399]]),
    ],
)
def test_a_long_horizon_reaches_the_algebraic_riccati_equation(gamma, P):
    A, B = DOUBLE_INTEGRATOR[:, :2], DOUBLE_INTEGRATOR[:, 2:]
    scale = np.sqrt(gamma)
    oracle = scipy.linalg.solve_discrete_are(scale * A, scale * B, np.eye(2), np.eye(1))
    gain = -gamma * np.linalg.solve(1 + gamma * B.T @ oracle @ B, B.T @ oracle @ A)
    with jax.enable_x64(True):
        zeros = jnp.zeros(3)
        F = jnp.asarray(DOUBLE_INTEGRATOR)
        solution = lqr(F, zeros[:2], jnp.eye(3), zeros, horizon=400, gamma=gamma)
    np.testing.assert_allclose(solution.V[0], oracle, rtol=1e-10)
    np.testing.assert_allclose(solution.V[0], P, rtol=1e-9)
    np.testing.assert_allclose(solution.K[0], gain, rtol=1e-10)
    if gamma == 1.0:
        np.testing.assert_allclose(solution.K[0], [[-0.9170745631, -1.635596185]])


def test_systems_beyond_the_unrolled_size_give_the_same_answer():
    random = np.random.default_rng(1)
    state, action = 20, 9
    A = random.normal(size=(state, state)) / np.sqrt(state)
    B = random.normal(size=(state, action))
    oracle = scipy.linalg.solve_discrete_are(A, B, np.eye(state), np.eye(action))
    with jax.enable_x64(True):
        F = jnp.asarray(np.concatenate([A, B], axis=1))
        zeros = jnp.zeros(state + action)
        C = jnp.eye(state + action)
        solution = lqr(F, zeros[:state], C, zeros, horizon=200)
    assert solution.positive
    np.testing.assert_allclose(solution.V[0], oracle, rtol=1e-9, atol=1e-9)


def test_a_cost_without_a_minimum_ends_in_the_code_indefinite():
    state, C = 2, jnp.diag(jnp.array([1.0, 1.0, -1.0]))
    F, free = jnp.asarray(DOUBLE_INTEGRATOR, jnp.float32), free_box(1)

    @jax.jit
    def plan(C):
        problem = Problem(Linear(F), Quadratic(C), free)
        return LQR(5).plan(problem, jnp.ones(state), None, key=KEY)[0]

    assert name_of(plan(C).result) == "indefinite"
    assert name_of(plan(jnp.eye(3)).result) == "successful"


@pytest.mark.parametrize(
    ("pushed", "price", "code"),
    [(0.0, 1.0, "non_finite"), (1e-3, 1.0, "successful"), (0.0, -1.0, "indefinite")],
)
def test_a_cost_that_overflows_has_no_sign_and_one_without_a_minimum_has(
    pushed, price, code
):
    """A state that grows tenfold each step, out of reach, for thirty of them."""

    free = free_box(1)

    @jax.jit
    def plan(F, C):
        problem = Problem(Linear(F), Quadratic(C), free)
        return LQR(30).plan(problem, jnp.ones(1), None, key=KEY)[0]

    F, C = jnp.array([[10.0, pushed]]), jnp.diag(jnp.array([1.0, price]))
    found = plan(F, C)
    assert name_of(found.result) == code
    assert np.isfinite(found.actions).all()


def test_matrices_may_be_nested_lists():
    C, c, V, v = [[1, 0], [0, 1]], [0, 0], [[1]], [0]
    found = jax.jit(lambda: lqr([[1, 1]], [0], C, c, V, v, W=[[0]], horizon=40))()
    # The golden ratio.
    np.testing.assert_allclose(found.V[0], (1 + np.sqrt(5)) / 2, rtol=1e-6)


def test_a_start_that_is_no_number_ends_in_a_code_and_finite_actions():
    F = jnp.asarray(DOUBLE_INTEGRATOR, jnp.float32)
    problem = Problem(Linear(F), Quadratic(jnp.eye(3)), free_box(1))
    plan, _ = LQR(5).plan(problem, jnp.array([jnp.nan, 0.0]), None, key=KEY)
    assert name_of(plan.result) == "non_finite"
    assert np.isfinite(plan.actions).all()


def test_the_second_call_does_not_compile_again_and_vmap_equals_the_loop():
    problem = Problem(
        Linear(DOUBLE_INTEGRATOR.astype(np.float32)), Quadratic(jnp.eye(3)), free_box(1)
    )
    traces = []

    @eqx.filter_jit
    def plan(x):
        traces.append(None)
        return LQR(5).plan(problem, x, None, key=KEY)[0].actions

    x = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    alone = jnp.stack([plan(x[0]), plan(x[1])])
    assert len(traces) == 1
    together = jax.vmap(plan)(x)
    np.testing.assert_allclose(together, alone, rtol=1e-6)


LINEAR = Linear(DOUBLE_INTEGRATOR.astype(np.float32))


@pytest.mark.parametrize(
    ("problem", "error", "words"),
    [
        (Problem(LINEAR, Quadratic(np.eye(3)), Discrete(2)), TypeError, "continuous"),
        (
            Problem(LINEAR, Quadratic(np.eye(3)), Box(-np.ones(1), np.ones(1))),
            TypeError,
            "use ILQR",
        ),
        (
            Problem(LINEAR, Quadratic(np.eye(3)[None].repeat(4, 0)), free_box(1)),
            TypeError,
            "time axis",
        ),
        (Problem(LINEAR, Quadratic(np.eye(4)), free_box(1)), ValueError, "2 states"),
        (Problem(LINEAR, Quadratic(np.eye(3)), free_box(2)), ValueError, "1 actions"),
        (
            Problem(LINEAR, Quadratic(np.diag([1.0, 1.0, 0.0])), free_box(1)),
            ValueError,
            "positive definite",
        ),
    ],
)
def test_problems_it_cannot_solve_are_refused_with_the_reason(problem, error, words):
    with pytest.raises(error, match=words):
        LQR(5).init(problem, jnp.zeros(2), key=KEY)


def test_a_horizon_of_zero_is_refused():
    with pytest.raises(ValueError, match="horizon >= 1, got 0"):
        LQR(0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.eye(3)[:2],), r"shape \[state \+ action"),
        ((np.eye(3), np.zeros(2)), r"c of shape \[3\]"),
        ((np.zeros((4, 3, 3)) + np.eye(3), np.zeros((5, 3))), "length in time"),
        ((np.diag([1.0, np.nan, 1.0]),), "finite"),
        ((np.array([[1.0, 0.5], [0.0, 1.0]]),), "symmetric C"),
        ((np.diag([1.0, -2.0, 1.0]),), "semidefinite C, but .* -2"),
        ((np.diag([1.0, 1.0, 0.0]), None, np.eye(2)), "action block of C"),
        ((np.eye(3), None, np.diag([1.0, -3.0])), "C_final, but .* -3"),
        ((np.eye(3), None, np.eye(3)), "C_final of shape"),
    ],
)
def test_a_quadratic_that_is_none_is_refused_with_the_reason(arguments, words):
    with pytest.raises(ValueError, match=words):
        Quadratic(*arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.eye(3),), r"F of shape"),
        ((np.ones((2, 3)), np.zeros(3)), r"f of shape \[2\]"),
        ((np.ones((4, 2, 3)), np.zeros((5, 2))), "length in time"),
        ((np.full((2, 3), np.inf),), "finite"),
    ],
)
def test_linear_dynamics_that_are_none_are_refused_with_the_reason(arguments, words):
    with pytest.raises(ValueError, match=words):
        Linear(*arguments)


def test_two_different_lengths_in_time_are_refused():
    F = jnp.zeros((4, 2, 3))
    with pytest.raises(ValueError, match="one horizon"):
        lqr(F, jnp.zeros(2), jnp.eye(3), jnp.zeros(3), horizon=5)


def noisy_arrays(seed):
    """As `varying_arrays`, with a covariance at every step."""
    random = np.random.default_rng(seed)
    root = random.normal(size=(HORIZON, STATE, STATE))
    return *varying_arrays(seed), root @ root.swapaxes(1, 2)


@pytest.fixture(scope="module")
def three_ways():
    """Five problems solved in a sweep, by joining stretches, and all at once."""
    with jax.enable_x64(True):
        problems = [noisy_arrays(seed) for seed in range(5)]
        stacked = [jnp.asarray(np.stack(each)) for each in zip(*problems, strict=True)]

        def solve(*arrays, **settings):
            return lqr(*arrays[:-1], W=arrays[-1], gamma=0.9, **settings)

        last = [jnp.moveaxis(array, 0, -1) for array in stacked]
        sweep = jax.jit(jax.vmap(solve))(*stacked)
        joined = jax.jit(jax.vmap(lambda *each: solve(*each, parallel=True)))(*stacked)
        batch = jax.jit(lambda *each: solve(*each, batched=True))(*last)
        batch = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), batch)
        return sweep, joined, batch


@pytest.mark.parametrize("way", [1, 2], ids=["parallel", "batched"])
def test_other_orders_of_the_work_find_the_same_solution(three_ways, way):
    expected, found = three_ways[0], three_ways[way]
    for one, other in zip(
        jax.tree.leaves(expected), jax.tree.leaves(found), strict=True
    ):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-10)


def test_batches_of_many_states_are_solved_as_one_by_one(x64):
    n, batch, random = 6, 3, np.random.default_rng(0)
    eye = np.eye(n + 1)[:, :, None] * np.ones(batch)
    F = random.normal(size=(n, n + 1, batch))
    arrays = (F, np.ones((n, batch)), eye, np.ones((n + 1, batch)), eye[:n, :n])
    arrays = [jnp.asarray(each) for each in arrays]

    def solve(*arrays, **settings):
        return lqr(*arrays[:-1], W=arrays[-1], horizon=3, gamma=0.9, **settings)

    expected = jax.jit(jax.vmap(solve, in_axes=-1, out_axes=-1))(*arrays)
    found = jax.jit(lambda *arrays: solve(*arrays, batched=True))(*arrays)
    for one, other in zip(
        jax.tree.leaves(expected), jax.tree.leaves(found), strict=True
    ):
        np.testing.assert_allclose(other, one, rtol=1e-9)


def test_noise_costs_the_discounted_traces_and_changes_no_gain(three_ways, x64):
    *arrays, W = noisy_arrays(0)
    still = jax.jit(lambda *each: lqr(*each, gamma=0.9))(*map(jnp.asarray, arrays))
    noisy = three_ways[0]
    np.testing.assert_allclose(noisy.K[0], still.K, rtol=1e-12)
    np.testing.assert_allclose(noisy.k[0], still.k, rtol=1e-12)
    traces = [
        0.5 * 0.9 ** (t + 1) * np.trace(np.asarray(still.V[t + 1]) @ W[t])
        for t in range(HORIZON)
    ]
    np.testing.assert_allclose(noisy.w[0, 0] - still.w[0], sum(traces), rtol=1e-12)


def test_joining_stretches_in_the_planner_gives_the_same_plan(x64):
    problem = varying_problem(jnp.float64, 0.9)
    start = Stamped(jnp.array([1.0, -2.0, 0.5]), jnp.asarray(0))
    plans = [
        jax.jit(lambda x, planner=planner: planner.plan(problem, x, None, key=KEY)[0])(
            start
        )
        for planner in (LQR(HORIZON), LQR(HORIZON, parallel=True))
    ]
    for one, other in zip(*map(jax.tree.leaves, plans), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-10)


def test_an_action_that_costs_nothing_cannot_be_planned_in_parallel_unseen():
    F, C = jnp.asarray(DOUBLE_INTEGRATOR, jnp.float32), jnp.diag(jnp.array([1.0, 1, 0]))
    zeros, V = jnp.zeros(3), jnp.eye(2)
    sweep, joined = (
        jax.jit(lambda F, way=way: lqr(F, zeros[:2], C, zeros, V, horizon=3, **way))(F)
        for way in ({}, {"parallel": True})
    )
    assert sweep.positive and not joined.positive


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_an_infinite_horizon_is_the_limit_of_long_ones(gamma, x64):
    linear = Linear(jnp.asarray(DOUBLE_INTEGRATOR), jnp.array([0.02, -0.05]))
    C = jnp.array([[1.0, 0.2, 0.1], [0.2, 0.5, 0.0], [0.1, 0.0, 0.3]])
    objective = Quadratic(C, jnp.array([0.3, -0.1, 0.2]), gamma=gamma)
    problem, x = Problem(linear, objective, free_box(1)), jnp.array([1.0, 0.5])
    plan, _ = jax.jit(lambda x: LQR(5, infinite=True).plan(problem, x, None, key=KEY))(
        x
    )
    arrays = linear.F, linear.f, objective.C, objective.c
    far = lqr(*arrays, horizon=600, gamma=gamma)
    found = plan.feedback
    assert name_of(plan.result) == "successful"
    for t in range(5):
        np.testing.assert_allclose(found.gains[t], far.K[0], rtol=1e-9)
        np.testing.assert_allclose(-found.V_xx[t], far.V[0], rtol=1e-9)
    np.testing.assert_allclose(plan.actions[0], far.K[0] @ x + far.k[0], rtol=1e-9)
    np.testing.assert_allclose(-found.V_x[0], far.V[0] @ x + far.v[0], rtol=1e-9)
    end = Quadratic(C, objective.c, far.V[0], far.v[0], gamma=gamma)
    ended = Problem(linear, end, free_box(1))
    value = rollout(ended, x, plan.actions, key=KEY).value
    np.testing.assert_allclose(plan.value, value, rtol=1e-9)


def test_a_system_that_cannot_be_held_for_ever_ends_in_a_code_and_finite_actions():
    linear = Linear(jnp.asarray([[2.0, 0.0, 0.0], [0.0, 0.5, 1.0]], jnp.float32))
    problem = Problem(linear, Quadratic(jnp.eye(3)), free_box(1))
    planner = LQR(4, infinite=True)
    plan, _ = jax.jit(lambda x: planner.plan(problem, x, None, key=KEY))(jnp.ones(2))
    assert name_of(plan.result) == "no_stationary"
    assert np.isfinite(plan.actions).all()


def test_an_infinite_horizon_over_arrays_that_vary_is_refused():
    problem = varying_problem(jnp.float32)
    with pytest.raises(TypeError, match="constant in time to plan for ever"):
        LQR(4, infinite=True).init(problem, jnp.ones(STATE), key=KEY)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"parallel": True, "batched": True}, "one of `parallel` and `batched`"),
        ({"batched": True}, "with 3 axes, or one more"),
    ],
)
def test_settings_that_contradict_are_refused(settings, words):
    zeros = jnp.zeros(3)
    with pytest.raises(ValueError, match=words):
        lqr(jnp.zeros((2, 3)), zeros[:2], jnp.eye(3), zeros, horizon=2, **settings)


@pytest.mark.parametrize("horizon", [HORIZON, None], ids=["finite", "infinite"])
def test_derivatives_of_a_plan_are_those_of_finite_differences(horizon, x64):
    """Of actions and value, in dynamics, costs and the start, along random lines."""
    random = np.random.default_rng(3)
    weights = jnp.asarray(random.normal(size=(HORIZON, 1)))
    # Not symmetric matrices are refused, so costs are made of their roots.
    parts = (jnp.asarray(DOUBLE_INTEGRATOR), jnp.eye(3), jnp.array([1.0, -0.5]))
    planner, free = LQR(HORIZON, infinite=horizon is None), free_box(1)

    @jax.jit
    def outcome(parts):
        F, root, x = parts
        problem = Problem(Linear(F), Quadratic(root @ root.T), free)
        plan = planner.plan(problem, x, None, key=KEY)[0]
        return plan.value + jnp.sum(weights * plan.actions)

    slopes = jax.jit(jax.grad(outcome))(parts)
    for part in range(3):
        line = jnp.asarray(random.normal(size=parts[part].shape))
        ahead, behind = (
            outcome((*parts[:part], parts[part] + step * line, *parts[part + 1 :]))
            for step in (1e-5, -1e-5)
        )
        expected = (ahead - behind) / 2e-5
        np.testing.assert_allclose(jnp.sum(slopes[part] * line), expected, rtol=1e-6)
