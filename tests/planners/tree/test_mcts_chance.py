"""Tree search under chance and against another player, beside exact solutions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import AbstractSeen

from forethought.core.spaces import Discrete
from forethought.core.table import Table
from forethought.environments.tables import grids
from forethought.objectives.base import AbstractObjective
from forethought.planners import MCTS, DefaultPolicy, TreePolicy, Widening
from forethought.planners.tables.value_iteration import (
    closed_loop_value,
    open_loop_value,
    value_iteration,
)
from forethought.problem import Problem
from forethought.tasks.grids import exam_table

KEY = jax.random.key(0)
LEAF = DefaultPolicy(rollouts=0)


def run(planner, problem, belief, key=KEY):
    state = planner.init(problem, belief, key=key)
    return planner.plan(problem, belief, state, key=key)


search = eqx.filter_jit(run)


def in_pieces(planner, problem, beliefs, pieces):
    """The plans of a batch after so many pieces of one search."""
    keys = jax.random.split(KEY, len(jax.tree.leaves(beliefs)[0]))
    state = jax.vmap(lambda b, key: planner.init(problem, b, key=key))(beliefs, keys)
    piece = jax.jit(
        jax.vmap(lambda b, state, key: planner.plan(problem, b, state, key=key))
    )
    for i in range(max(pieces)):
        plan, state = piece(beliefs, state, keys)
        if i + 1 in pieces:
            yield jax.tree.map(np.asarray, plan)


def test_regret_in_a_bandit_grows_as_the_logarithm(worlds):
    chances = np.array([0.1, 0.3, 0.9, 0.2])
    arms = np.zeros((1, 4, 2), int)
    probability = np.stack([1 - chances, chances], axis=-1)[None]
    reward = np.broadcast_to([0.0, 1.0], arms.shape)
    problem = worlds.problem_of(Table(arms, probability, reward, arms == 0))
    # With C = 1/2 the score is UCB1's.
    planner = MCTS(1, 250, TreePolicy(0.5, normalise=False), LEAF, nodes=16)
    beliefs = jax.vmap(lambda s: worlds.at(problem, s))(jnp.zeros(20, int))
    gaps = chances.max() - chances
    regrets = []
    for plan, pieces in zip(
        in_pieces(planner, problem, beliefs, (1, 4, 16)), (1, 4, 16), strict=True
    ):
        n = 250 * pieces
        pulls = plan.stats.tree.root_visits
        np.testing.assert_array_equal(pulls.sum(axis=1), n)
        regrets.append((pulls * gaps).sum(axis=1).mean())
        # Auer, Cesa-Bianchi and Fischer, 2002, theorem 1.
        bound = sum(
            8 * np.log(n) / gap + (1 + np.pi**2 / 3) * gap for gap in gaps if gap
        )
        assert regrets[-1] < bound
    # Sixteen times the simulations: a regret that is linear would be 16 times as high,
    # the logarithm is 1.5 times.
    assert regrets[2] < 2.5 * regrets[0]
    assert np.all(plan.actions == 2)
    # Within three sigma of the arm's mean, but for one of twenty: a search stops
    # pulling an arm when it was unlucky.
    sigma = np.sqrt(0.09 / plan.stats.tree.root_visits[:, 2])
    assert np.mean(np.abs(plan.value - 0.9) < 3 * sigma) >= 0.95


LAKES = {
    "lake 4x4": lambda: grids.from_gymnasium("FrozenLake-v1", map_name="4x4"),
    "lake 8x8": lambda: grids.from_gymnasium("FrozenLake-v1", map_name="8x8"),
    "grid 10x10": grids.stochastic_grid,
}


@pytest.mark.parametrize("name", LAKES)
def test_values_of_actions_are_within_three_sigma_of_value_iteration(name, worlds):
    table = LAKES[name]().table
    solution = value_iteration(table, 0.95)
    problem = worlds.problem_of(table, 0.95, solution.V)
    planner = MCTS(1, 400, TreePolicy(5.0, normalise=False), LEAF)
    states = jnp.asarray(np.flatnonzero(solution.V > 0.05)[::3])
    beliefs = jax.vmap(lambda s: worlds.at(problem, s))(states)
    (plan,) = in_pieces(planner, problem, beliefs, (1,))
    arrays = (table.probability, table.reward, table.terminated, table.next_state)
    p, r, ends, to = (np.asarray(each)[states] for each in arrays)
    outcome = r + 0.95 * ~ends * np.asarray(solution.V)[to]
    Q = (p * outcome).sum(-1)
    np.testing.assert_allclose(Q, solution.Q[states], atol=1e-4)
    sigma = np.sqrt(
        (p * (outcome - Q[..., None]) ** 2).sum(-1) / plan.stats.tree.root_visits
    )
    # Of more than a thousand actions some few lie beyond three sigma.
    beyond = np.abs(plan.stats.tree.root_values - Q) > 3 * sigma + 1e-5
    assert beyond.mean() < 0.03


def test_actions_agree_the_more_with_value_iteration_the_longer_the_search(worlds):
    table = LAKES["lake 4x4"]().table
    Q = np.asarray(value_iteration(table, 0.95, iterations=10).Q)
    problem = worlds.problem_of(table, 0.95)
    policy, chance = TreePolicy(0.2), Widening(4, 1.0, 1.0)
    planner = MCTS(10, 300, policy, chance=chance, nodes=3000)
    states = np.repeat(np.flatnonzero(Q.max(axis=1) > 0), 3)
    beliefs = jax.vmap(lambda s: worlds.at(problem, s))(jnp.asarray(states))
    lost = []
    for plan in in_pieces(planner, problem, beliefs, (1, 9)):
        lost.append((Q.max(axis=1)[states] - Q[states, plan.actions[:, 0]]).mean())
    assert lost[1] < 0.7 * lost[0]


def test_a_tree_of_situations_looks_and_a_tree_of_plans_does_not(worlds):
    table = exam_table()
    problem = worlds.problem_of(table, 1.0)
    belief, policy = worlds.at(problem, 0), TreePolicy(0.3, normalise=False)
    looking, _ = search(MCTS(2, 2000, policy), problem, belief)
    blind, state = search(MCTS(2, 2000, policy, open_loop=True), problem, belief)
    # A mean over exploring simulations lies a little below; the two are 0.4 apart.
    assert abs(closed_loop_value(table, 2) - looking.value) < 0.06
    assert abs(open_loop_value(table, 2) - blind.value) < 0.06
    # The plan to take part is worth what it is worth, within three sigma.
    tree = jax.tree.map(np.asarray, state.tree)
    node = tree.children[0, blind.actions[0], 0]
    n = tree.edge_visits[node, 1]
    assert abs(tree.edge_sums[node, 1] / n - 0.2) < 3 * np.sqrt(0.96 / n) and n > 500
    # After the paper is turned, even a tree of plans knows what to do.
    for state, action in ((1, 1), (2, 0)):
        met = worlds.at(problem, state)
        plan, _ = search(MCTS(1, 50, policy, open_loop=True), problem, met)
        assert plan.actions[0] == action


def test_edges_lead_to_all_outcomes_as_often_as_these_are_probable(worlds, x64):
    table = worlds.random_table(11, actions=2, outcomes=3)
    problem = worlds.problem_of(table)
    planner = MCTS(
        2, 3000, TreePolicy(20.0, normalise=False), LEAF, chance=Widening(3, power=1.0)
    )
    found, state = search(planner, problem, worlds.at(problem, 0))
    tree = jax.tree.map(np.asarray, state.tree)
    assert tree.size == 1 + 6 + 36
    for node in np.flatnonzero(tree.depth[: tree.size] < 2):
        for a in range(2):
            children = tree.children[node, a]
            children = children[children >= 0]
            n, where = tree.edge_visits[node, a], (tree.beliefs.x[node], a)
            expected = dict(
                zip(
                    np.asarray(table.next_state[where]).tolist(),
                    np.asarray(table.probability[where]).tolist(),
                    strict=True,
                )
            )
            assert set(tree.beliefs.x[children].tolist()) == set(expected)
            assert tree.drawn[children].sum() == n
            for child in children:
                p = expected[int(tree.beliefs.x[child])]
                deviation = abs(tree.drawn[child] / n - p)
                assert deviation < 4 * np.sqrt(p * (1 - p) / n)
            # What an edge is worth is the mean over all that went through it.
            below = [
                tree.visits[c] * tree.reward[c] + 0.9 * tree.edge_sums[c].sum()
                for c in children
            ]
            np.testing.assert_allclose(tree.edge_sums[node, a], sum(below), 1e-9)
    optimum = worlds.expectimax(table, 0, 2)
    assert found.actions[0] == optimum.argmax()


class Noisy(AbstractSeen):
    """A number that is pushed and shaken."""

    def init(self, *, key):
        return jnp.zeros(())

    def predict(self, belief, action, *, key):
        push = action.astype(belief.dtype) - 1
        return 0.8 * belief + push + jax.random.normal(key, (), belief.dtype)


class Near(AbstractObjective):
    """Squared distance from two."""

    def reward(self, x, action, next_x):
        return -((next_x - 2) ** 2)

    def discount(self, x, action, next_x):
        return jnp.ones_like(x)

    def value(self, x):
        return jnp.zeros_like(x)


def test_outcomes_of_a_continuous_model_widen_with_the_visits():
    problem = Problem(Noisy(), Near(), Discrete(3))
    planner = MCTS(
        4, 500, TreePolicy(3.0, normalise=False), chance=Widening(10, 1.0, 0.5)
    )
    found, state = search(planner, problem, jnp.zeros(()))
    tree = jax.tree.map(np.asarray, state.tree)
    filled = (tree.children >= 0).sum(axis=-1)[: tree.size]
    visits = tree.edge_visits[: tree.size]
    assert np.all(filled <= np.minimum(np.ceil(np.sqrt(visits)), 10))
    assert filled.max() == 10 and found.actions[0] == 2
    # Once there is no room, outcomes are met again, each about as often as any other.
    node, slot = np.argwhere(filled == 10)[0]
    again = tree.visits[tree.children[node, slot]]
    assert again.min() > 0.2 * again.max()


ROWS = np.arange(9).reshape(3, 3)
LINES = np.array([*ROWS, *ROWS.T, ROWS.diagonal(), ROWS[::-1].diagonal()])


class TicTacToe(AbstractSeen):
    """Nine fields: 1 is who moves next, -1 the other one."""

    def init(self, *, key):
        return jnp.zeros(9, jnp.int32)

    def predict(self, belief, action, *, key):
        return -belief.at[action].set(1)


def lost(board):
    return (board[LINES].sum(axis=1) == -3).any()


class Winning(AbstractObjective):
    """One for three in a row; then it is the other one's turn."""

    def reward(self, x, action, next_x):
        return lost(next_x).astype(jnp.float32)

    def discount(self, x, action, next_x):
        over = lost(next_x) | jnp.all(next_x != 0)
        return jnp.where(over, 0.0, -1.0)

    def value(self, x):
        return jnp.zeros(())


def test_tic_tac_toe_is_never_lost_with_a_thousand_simulations():
    problem = Problem(
        TicTacToe(), Winning(), Discrete(9), legal=lambda board: board == 0
    )
    planner = MCTS(9, 1000, TreePolicy(0.5, normalise=False), reuse=False)
    move = jax.jit(
        jax.vmap(lambda board, key: run(planner, problem, board, key)[0].actions[0])
    )
    # Every reply of the other one to every move of the search, from the empty board.
    for begins in (True, False):
        boards, mine, defeats, games = {bytes(36): np.zeros(9, np.int32)}, begins, 0, 0
        while boards:
            rows = list(boards.values())
            if mine:
                full = np.zeros((-(-len(rows) // 16) * 16, 9), np.int32)
                full[: len(rows)] = rows
                keys = jax.random.split(KEY, 16)
                moves = [move(full[i : i + 16], keys) for i in range(0, len(full), 16)]
                pairs = list(zip(rows, np.concatenate(moves), strict=False))
            else:
                pairs = [(row, a) for row in rows for a in np.flatnonzero(row == 0)]
            boards = {}
            for row, a in pairs:
                assert row[a] == 0
                after = row.copy()
                after[a] = 1
                after = -after
                if lost(after) or (after != 0).all():
                    games += 1
                    defeats += bool(lost(after)) and not mine
                else:
                    boards[after.tobytes()] = after
            mine = not mine
        assert defeats == 0 and games > 20
