"""Tables solved, beside closed forms, linear algebra and linear programming."""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from forethought.core.results import Result
from forethought.core.table import Table, from_dense
from forethought.environments.tables import grids
from forethought.planners.tables.value_iteration import (
    closed_loop_value,
    open_loop_value,
    policy_iteration,
    value_iteration,
)
from forethought.tasks.grids import exam_table

by_values, by_policies = (
    eqx.filter_jit(value_iteration),
    eqx.filter_jit(policy_iteration),
)
by_sweeps = eqx.filter_jit(functools.partial(policy_iteration, sweeps=7))


def random_table(seed, states=6, actions=3, outcomes=3):
    """A table with some ends; its numbers are double where JAX's are."""
    generator = np.random.default_rng(seed)
    shape = (states, actions, outcomes)
    return Table(
        generator.integers(0, states, shape),
        generator.dirichlet(np.ones(outcomes), shape[:2]),
        generator.normal(size=shape),
        generator.random(shape) < 0.1,
        generator.dirichlet(np.ones(states)),
    )


def linear_programme(dense, gamma):
    """The optimal values as the least ones that no backup exceeds."""
    S, A, _ = dense.P.shape
    left = (gamma * dense.P - np.eye(S)[:, None]).reshape(S * A, S)
    found = scipy.optimize.linprog(
        np.ones(S), left, -dense.R.reshape(-1), bounds=(None, None)
    )
    assert found.success
    return found.x


@pytest.mark.parametrize("solve", [by_values, by_policies, by_sweeps])
def test_every_solver_equals_linear_programming(solve, x64):
    for seed, gamma in ((0, 0.9), (1, 0.99)):
        table = random_table(seed)
        dense = jax.tree.map(np.asarray, table.dense())
        found = solve(table, gamma)
        assert bool(found.result == Result.successful)
        optimum = linear_programme(dense, gamma)
        bound = float(found.residual) / (1 - gamma)
        np.testing.assert_allclose(found.V, optimum, atol=1e-6 + bound)
        # The values of the policy alone, by a linear solve.
        s = np.arange(table.states)
        P, R = dense.P[s, found.policy], dense.R[s, found.policy]
        exact = np.linalg.solve(np.eye(len(s)) - gamma * P, R)
        np.testing.assert_allclose(found.V, exact, atol=1e-10 + bound)


@pytest.mark.parametrize("solve", [by_values, by_policies, by_sweeps])
def test_a_chain_is_worth_what_a_formula_says(solve, precision):
    """One reward at the end of six steps: a power of the discount."""
    n, gamma = 6, 0.9
    s = np.arange(n)
    next_state = np.stack([np.maximum(s - 1, 0), np.minimum(s + 1, n - 1)], 1)
    earned = np.zeros((n, 2))
    earned[-1, 1] = 1.0
    ends = earned > 0
    each = [x[:, :, None] for x in (next_state, np.ones((n, 2)), earned, ends)]
    found = solve(Table(*each), gamma)
    np.testing.assert_allclose(found.V, gamma ** (n - 1 - s), rtol=1e-5)
    assert found.policy.tolist() == [1] * n
    assert found.V.dtype == jnp.zeros(()).dtype


@pytest.mark.parametrize(
    ("name", "settings", "gamma", "value", "tolerance"),
    [
        ("CliffWalking-v1", {}, 1.0, -13.0, 1e-9),
        ("FrozenLake-v1", {"map_name": "4x4"}, 0.99, 0.542, 5e-4),
    ],
)
def test_gymnasiums_tables_have_their_known_values(
    name, settings, gamma, value, tolerance, x64
):
    table = grids.from_gymnasium(name, **settings).table
    found = by_values(table, gamma)
    assert float(table.start @ found.V) == pytest.approx(value, abs=tolerance)


def test_the_lake_is_crossed_as_often_as_textbooks_say():
    """0.74 of all episodes of at most 100 steps."""
    lake = grids.from_gymnasium("FrozenLake-v1").table
    assert closed_loop_value(lake, 100) == pytest.approx(0.74, abs=0.005)


def test_a_hundred_thousand_states_are_solved():
    """A corridor with chance, too large for any matrix over pairs of states."""
    n, gamma = 100_000, 0.9
    s = np.arange(n)
    there, back = np.minimum(s + 1, n - 1), np.maximum(s - 1, 0)
    next_state = np.stack([[there, s], [back, s]]).transpose(2, 0, 1)
    odds = np.broadcast_to([0.8, 0.2], next_state.shape)
    earned = (next_state == n - 1) & (s[:, None, None] != n - 1)
    table = Table(next_state, odds, earned, earned | (s == n - 1)[:, None, None])
    # From one cell to the next: p = .8 (gamma V' or 1) + .2 gamma V.
    ratio = 0.8 * gamma / (1 - 0.2 * gamma)
    first = 0.8 / (1 - 0.2 * gamma)
    for found in (by_values(table, gamma), by_policies(table, gamma)):
        assert bool(found.result == Result.successful)
        expected = first * ratio ** np.arange(5)
        np.testing.assert_allclose(found.V[-2:-7:-1], expected, rtol=1e-4)
        assert (np.asarray(found.policy)[-50:-1] == 0).all()


def test_a_search_that_was_cut_short_says_so():
    found = by_values(random_table(0), 0.99, iterations=3)
    assert bool(found.result == Result.iteration_limit)
    assert int(found.iterations) == 3 and float(found.residual) > 0.01


def test_a_maze_is_solved_without_discount_though_one_may_stay_in_it_for_ever():
    maze = grids.dyna_maze().table
    for solve in (by_values, by_policies, by_sweeps):
        found = solve(maze, 1.0)
        assert bool(found.result == Result.successful) and float(found.V[18]) == 1


def endless_table(seed, states, pay=1.0):
    """Dirichlet transitions that never end, paid by one to two for every step."""
    random = np.random.default_rng(seed)
    P = random.dirichlet(np.ones(states), size=(states, 2))
    return from_dense(P, pay * random.uniform(1, 2, size=(states, 2)))


@pytest.mark.parametrize("solve", [by_values, by_policies, by_sweeps])
@pytest.mark.parametrize("pay", [1.0, -1.0])
def test_who_is_paid_for_ever_gets_an_infinite_value_and_no_success(
    solve, pay, precision
):
    for states in (1, 3):
        found = solve(endless_table(states, states, pay), 1.0)
        assert bool(found.result == Result.non_finite)
        np.testing.assert_array_equal(found.V, pay * np.inf)


@pytest.mark.parametrize("solve", [by_values, by_policies, by_sweeps])
def test_only_values_that_lead_to_endless_pay_are_infinite(solve):
    """0 ends or goes to 1, which ends; 2 ends or goes to 3, which is paid for ever."""
    next_state = np.array([[0, 1], [1, 1], [2, 3], [3, 3]])[..., None]
    reward = np.array([[0.5, 0.0], [2.0, 1.0], [9.0, 0.0], [0.1, 0.2]])[..., None]
    ends = np.array([[1, 0], [1, 1], [1, 0], [0, 0]], bool)[..., None]
    table = Table(next_state, np.ones(reward.shape), reward, ends)
    found = solve(table, 1.0)
    assert bool(found.result == Result.non_finite)
    np.testing.assert_array_equal(found.V, [2, 2, np.inf, np.inf])
    assert found.policy.tolist() == [1, 0, 1, 0]
    # To be fined for ever instead is avoided, where one can.
    fined = Table(next_state, np.ones(reward.shape), -reward, ends)
    np.testing.assert_array_equal(solve(fined, 1.0).V, [-0.5, -1, -9, -np.inf])
    # What comes and goes adds up to nothing, which is no number.
    turns = from_dense(np.eye(2)[[[1], [0]]], [[1.0], [-1.0]])
    assert np.isnan(solve(turns, 1.0).V).all()


@pytest.mark.parametrize("solve", [value_iteration, policy_iteration])
def test_values_at_rest_beside_their_own_size_alone_are_no_success(solve):
    """State 0 pays for ever or ends, so that nothing but growth tells."""
    reward = np.array([[[1.0], [0.5]]])
    ends = np.array([[[False], [True]]])
    table = Table(np.zeros((1, 2, 1), int), np.ones((1, 2, 1)), reward, ends)
    found = solve(table, 1.0, tolerance=1e-2)
    assert bool(found.result == Result.non_finite) and float(found.V[0]) == np.inf
    # A pit that one leaves in the end, or waits in unpaid, is no such thing.
    chance = np.array([[[0.99, 0.01], [1.0, 0.0]]])
    reward = np.array([[[1.0, 1.0], [0.0, 0.0]]])
    pit = Table(np.zeros((1, 2, 2), int), chance, reward, [[[False, True]] * 2])
    found = solve(pit, 1.0)
    assert bool(found.result == Result.successful)
    assert float(found.V[0]) == pytest.approx(100, rel=1e-2)


def test_tables_are_solved_side_by_side():
    """`vmap` over discounts equals the loop, in one compilation."""
    table, gammas = random_table(3), jnp.asarray([0.5, 0.9])
    both = jax.jit(jax.vmap(lambda gamma: value_iteration(table, gamma)))(gammas)
    for i, gamma in enumerate((0.5, 0.9)):
        np.testing.assert_allclose(both.V[i], by_values(table, gamma).V, rtol=1e-4)


@pytest.mark.parametrize(
    ("solve", "arguments", "words"),
    [
        (value_iteration, {"gamma": 1.5}, r"gamma in \[0, 1\], got 1.5"),
        (value_iteration, {"iterations": 0}, "iterations >= 1, got 0"),
        (policy_iteration, {"gamma": -0.1}, "got -0.1"),
        (policy_iteration, {"sweeps": 0}, "sweeps >= 1, got 0"),
        (closed_loop_value, {"horizon": 0}, "horizon >= 1, got 0"),
        (open_loop_value, {"horizon": 2, "gamma": 2.0}, "got 2.0"),
        (open_loop_value, {"horizon": 99}, r"got 6 · 3\^99"),
    ],
)
def test_solvers_refuse_numbers_out_of_range(solve, arguments, words):
    with pytest.raises(ValueError, match=words):
        solve(random_table(0), **arguments)


def outcomes(table, s, a):
    """What may follow, as (probability, reward, next state, end) of plain numbers."""
    parts = (table.probability, table.reward, table.next_state, table.terminated)
    return list(zip(*[np.asarray(part)[s, a].tolist() for part in parts], strict=True))


def expectimax(table, s, steps, gamma):
    """The whole tree of a state, node by node."""
    if steps == 0:
        return 0.0
    return max(
        sum(
            p * (r + (0 if end else gamma * expectimax(table, after, steps - 1, gamma)))
            for p, r, after, end in outcomes(table, s, a)
        )
        for a in range(table.actions)
    )


def worth(table, s, plan, gamma):
    """The expected return of a sequence of actions, future by future."""
    if not plan:
        return 0.0
    return sum(
        p * (r + (0 if end else gamma * worth(table, after, plan[1:], gamma)))
        for p, r, after, end in outcomes(table, s, plan[0])
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_values_with_open_and_closed_eyes_equal_exhaustive_search(seed, x64):
    table, steps, gamma = random_table(seed, states=4, actions=2, outcomes=2), 4, 0.9
    start = np.asarray(table.start)
    closed = sum(
        start[s] * expectimax(table, s, steps, gamma) for s in range(table.states)
    )
    opened = max(
        sum(start[s] * worth(table, s, plan, gamma) for s in range(table.states))
        for plan in itertools.product(range(table.actions), repeat=steps)
    )
    assert closed_loop_value(table, steps, gamma) == pytest.approx(closed, abs=1e-12)
    assert open_loop_value(table, steps, gamma) == pytest.approx(opened, abs=1e-12)
    assert opened < closed


@pytest.mark.parametrize("easy", [0.0, 0.25, 0.5, 0.6, 1.0])
def test_an_exam_is_worth_what_the_notes_say(easy, x64):
    """To see is worth the smaller of both shares: easy - max(2 easy - 1, 0)."""
    exam = exam_table(easy)
    opened, closed = open_loop_value(exam, 2), closed_loop_value(exam, 2)
    assert opened == pytest.approx(max(2 * easy - 1, 0), abs=1e-12)
    assert closed == pytest.approx(easy, abs=1e-12)
    assert closed - opened == pytest.approx(min(easy, 1 - easy), abs=1e-12)


def test_without_chance_seeing_is_worth_nothing():
    """Deterministic worlds: a plan is as good as a policy."""
    generator = np.random.default_rng(5)
    P = np.eye(5)[generator.integers(0, 5, (5, 3))]
    table = from_dense(P, generator.normal(size=(5, 3)))
    found = open_loop_value(table, 5), closed_loop_value(table, 5)
    assert found[0] == pytest.approx(found[1], abs=1e-6)
