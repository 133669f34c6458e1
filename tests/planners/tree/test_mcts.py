"""Tree search without chance, against a plain one in Python and whole trees."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.lanes import in_lanes
from forethought.core.results import Result
from forethought.core.spaces import Box
from forethought.planners import (
    MCTS,
    DefaultPolicy,
    TreePolicy,
    Widening,
    plan_within,
)
from forethought.planners.tree import mcts, simulate
from forethought.problem import Problem

KEY = jax.random.key(3)
LEAF = DefaultPolicy(rollouts=0)


def run(planner, problem, belief, key=KEY):
    state = planner.init(problem, belief, key=key)
    return planner.plan(problem, belief, state, key=key)


search = eqx.filter_jit(run)
go_on = eqx.filter_jit(lambda planner, *rest, key=KEY: planner.plan(*rest, key=key))


class Node:
    """A node of the plain search."""

    def __init__(self, state, reward=0.0, ended=False):
        self.state, self.reward, self.ended = state, reward, ended
        self.visits, self.children = 0, {}
        self.N, self.Q = np.zeros(3), np.zeros(3)


def plain(table, values, horizon, simulations, policy, key, gamma=0.9):
    """The notes' three steps, written as they are read; nodes in order of birth."""
    nodes, low, high = [Node(0)], np.inf, -np.inf
    C = policy.exploration
    for i in range(simulations):
        bits = jax.random.bits(jax.random.fold_in(key, i), (), "uint32")
        first = int(bits) % table.actions
        node, path = nodes[0], []
        while not node.ended and len(path) < horizon:
            with np.errstate(divide="ignore", invalid="ignore"):
                Q = node.Q / node.N
                if policy.normalise:
                    Q = (Q - low) / (high - low) if high > low else 0 * Q
                if policy.score == "uct":
                    parent = np.log(max(node.visits, 1))
                    score = Q + 2 * C * np.sqrt(2 * parent / node.N)
                    score[node.N == 0] = np.inf
                else:
                    mean = np.nansum(node.N * Q) / max(node.N.sum(), 1)
                    P = np.asarray(jax.nn.softmax(policy.prior(at_state(node.state))))
                    score = np.where(node.N > 0, Q, mean)
                    score = score + C * P * np.sqrt(node.visits) / (1 + node.N)
            order = (np.arange(table.actions) + first) % table.actions
            a = int(order[np.argmax(score[order])])
            path.append((node, a))
            if a not in node.children:
                where = (node.state, a, 0)
                child = Node(
                    int(table.next_state[where]),
                    float(table.reward[where]),
                    bool(table.terminated[where]),
                )
                node.children[a] = child
                nodes.append(child)
                node = child
                break
            node = node.children[a]
        node.visits += 1
        value = 0.0 if node.ended else values[node.state]
        below = node
        for parent, a in reversed(path):
            value = below.reward + gamma * value * (not below.ended)
            parent.visits += 1
            parent.N[a] += 1
            parent.Q[a] += value
            low = min(low, parent.Q[a] / parent.N[a])
            high = max(high, parent.Q[a] / parent.N[a])
            below = parent
    return nodes


def at_state(state):
    class Seen:
        x = jnp.asarray(state)

    return Seen


def logits(belief):
    return jnp.sin(3.0 * belief.x.astype(float) + jnp.arange(3.0))


POLICIES = {
    "uct": TreePolicy(0.3, normalise=False),
    "puct": TreePolicy(0.8, "puct", normalise=False, prior=logits),
    "uct of the range": TreePolicy(0.1),
    "puct of the range": TreePolicy(0.8, "puct", prior=logits),
}


@pytest.mark.parametrize("together", [True, False], ids=["at once", "tree by tree"])
@pytest.mark.parametrize("name", POLICIES)
def test_every_tree_of_a_batch_is_that_of_a_plain_search(
    worlds, name, together, x64, monkeypatch
):
    monkeypatch.setattr(mcts, "_together", lambda *_: together)
    table = worlds.random_table(1, ends=0.15)
    values = np.random.default_rng(2).uniform(size=6)
    problem, policy = worlds.problem_of(table, values=values), POLICIES[name]
    belief = worlds.at(problem, 0)
    planner = MCTS(5, 60, policy, LEAF)
    keys = jax.random.split(KEY, 3)
    _, state = jax.jit(jax.vmap(lambda key: run(planner, problem, belief, key)))(keys)
    for lane, key in enumerate(keys):
        tree = jax.tree.map(lambda leaf, lane=lane: np.asarray(leaf[lane]), state.tree)
        nodes = plain(table, values, 5, 60, policy, key)
        assert tree.size == len(nodes)
        for i, node in enumerate(nodes):
            assert tree.beliefs.x[i] == node.state and tree.visits[i] == node.visits
            np.testing.assert_array_equal(tree.edge_visits[i], node.N)
            np.testing.assert_allclose(tree.edge_sums[i], node.Q, rtol=1e-12)
            for a in range(3):
                child = node.children.get(a)
                expected = -1 if child is None else nodes.index(child)
                assert tree.children[i, a, 0] == expected


def test_each_of_the_four_steps_does_its_own_part(worlds):
    table, values = worlds.random_table(1), np.arange(6.0) + 0.5
    problem = worlds.problem_of(table, values=values)
    belief, planner = worlds.at(problem, 0), MCTS(5, 1, default_policy=LEAF)
    settings = planner._search(problem, belief)

    def steps(lanes, tree, keys):
        """The second simulation, which tries action 2 since 1 was the first."""
        first = jnp.ones(1, jnp.int32)
        tree = simulate.simulate(lanes, tree, keys, first)
        walk = simulate.select(lanes, tree, first + 1, keys)
        grown, leaf = simulate.expand(lanes, tree, walk, keys, keys)
        found = simulate.roll_out(lanes, leaf, keys)
        return tree, walk, grown, leaf, found, simulate.back_up(grown, leaf, found)

    tree = planner.init(problem, belief, key=KEY).tree
    run_steps = jax.jit(lambda tree: in_lanes(steps, settings, tree, KEY))
    tree, walk, grown, leaf, found, after = run_steps(tree)
    # Select: out of the tree by an edge of the root that was not tried.
    assert (walk.node, walk.parent, walk.slot, walk.depth) == (mcts.NONE, 0, 2, 1)
    # Expand: one node more, and no edge knows what it is worth.
    reached = int(table.next_state[0, 2, 0])
    assert (tree.size, grown.size, grown.children[0, 2, 0]) == (2, 3, 2)
    assert grown.beliefs.x[2] == leaf.here[0].x == reached
    assert eqx.tree_equal(grown.edge_sums, tree.edge_sums)
    # Roll out: here the value of the leaf alone. Back up: to the root's edge alone.
    assert found == values[reached]
    G = grown.reward[2] + grown.discount[2] * found
    np.testing.assert_allclose(after.edge_sums[0, 2], G, rtol=1e-6)
    np.testing.assert_array_equal(after.edge_visits[0], [0, 1, 1])
    assert after.visits[0] == 2 and after.edge_visits.sum() == 2


def test_a_search_that_goes_everywhere_writes_out_the_whole_tree(worlds, precision):
    table = worlds.random_table(4, actions=2)
    problem = worlds.problem_of(table)
    planner = MCTS(4, 300, TreePolicy(10.0, normalise=False), LEAF)
    found, state = search(planner, problem, worlds.at(problem, 0))
    tree = jax.tree.map(np.asarray, state.tree)
    assert tree.size == 2**5 - 1 and found.stats.numbers["depth"] == 4

    def best(node):
        """The tree's own rewards, backed up by hand."""
        children = tree.children[node, :, 0]
        return np.array([tree.reward[c] + 0.9 * follow(c) for c in children])

    def follow(node):
        return best(node).max() if tree.depth[node] < 4 else 0.0

    for node in range(tree.size):
        left = 4 - tree.depth[node]
        if left:
            expected = worlds.expectimax(table, tree.beliefs.x[node], left)
            np.testing.assert_allclose(best(node), expected, rtol=1e-5)
    assert found.value.dtype == np.dtype(f"float{precision}")


def test_the_principal_line_is_the_best_plan_once_simulations_are_many(worlds):
    table = worlds.random_table(4, actions=2)
    problem = worlds.problem_of(table)
    found, _ = search(
        MCTS(4, 300, TreePolicy(0.2, normalise=False), LEAF),
        problem,
        worlds.at(problem, 0),
    )
    state, optimum = 0, worlds.expectimax(table, 0, 4)
    for t, action in enumerate(np.asarray(found.actions)):
        assert action == worlds.expectimax(table, state, 4 - t).argmax()
        state = int(table.next_state[state, action, 0])
        assert found.beliefs.x[t + 1] == state
    # A mean over all simulations, exploring ones too, is at most the optimum.
    assert 0.9 * optimum.max() < found.value <= optimum.max()
    assert found.stats.tree.chosen.sum() == 5


def scaled(table, scale):
    """The same world, where everything is worth so much more."""
    return eqx.tree_at(lambda table: table.reward, table, scale * table.reward)


@pytest.mark.parametrize(
    ("policy", "depends"),
    [
        (TreePolicy(), False),
        (TreePolicy(0.8, "puct"), False),
        (TreePolicy(1.0, normalise=False), True),
    ],
)
def test_a_search_depends_on_the_scale_of_rewards_only_where_told_to(
    worlds, policy, depends
):
    table, planner = worlds.random_table(4, actions=2), MCTS(4, 100, policy, LEAF)

    @jax.jit
    def visits(scale, key):
        problem = worlds.problem_of(scaled(table, scale))
        plan, _ = run(planner, problem, worlds.at(problem, 0), key)
        return plan.stats.tree.root_visits

    # By a power of two, which rounds nothing.
    keys = jax.random.split(KEY, 6)
    alike = [np.array_equal(*(visits(s, key) for s in (1.0, 2.0**-12))) for key in keys]
    assert all(alike) != depends


def test_a_search_in_two_pieces_is_one_search(worlds, x64):
    problem = worlds.problem_of(worlds.random_table(5, ends=0.1))
    belief, policy = worlds.at(problem, 0), TreePolicy(0.3, normalise=False)
    _, whole = search(MCTS(6, 80, policy, nodes=200), problem, belief)
    half = MCTS(6, 40, policy, nodes=200)
    _, state = search(half, problem, belief)
    _, state = go_on(half, problem, belief, state)
    assert eqx.tree_equal(whole.tree, state.tree)


def test_the_tree_below_the_next_state_is_kept_and_searched_on(worlds):
    problem = worlds.problem_of(worlds.random_table(6))
    planner = MCTS(6, 90, TreePolicy(0.3, normalise=False), LEAF)
    plan, state = search(planner, problem, worlds.at(problem, 0))
    old = jax.tree.map(np.asarray, state.tree)
    child = old.children[0, plan.actions[0], 0]
    later = planner.shift(problem, state)
    kept = eqx.filter_jit(mcts.cut)(state.tree, jnp.asarray(child), 6)
    # By hand: the nodes whose way to the root passes by the child, in their order.
    below = [child]
    for node in range(child + 1, old.size):
        if old.parent[node] in below:
            below.append(node)
    assert kept.size == len(below) > 10
    for name in ("edge_visits", "edge_sums", "visits"):
        rows = np.asarray(getattr(kept, name))[: kept.size]
        np.testing.assert_array_equal(rows, getattr(old, name)[below])
    np.testing.assert_array_equal(kept.beliefs.x[: kept.size], old.beliefs.x[below])
    np.testing.assert_array_equal(kept.depth[: kept.size], old.depth[below] - 1)
    links = np.asarray(kept.children)[: kept.size, :, 0]
    expected = [
        [below.index(c) if c >= 0 else -1 for c in old.children[n, :, 0]] for n in below
    ]
    np.testing.assert_array_equal(links, expected)
    assert np.all(np.asarray(kept.children)[kept.size :] == -1)
    # The next plan finds it by what was observed, and adds its simulations.
    met = worlds.at(problem, old.beliefs.x[child])
    after, _ = go_on(planner, problem, met, later)
    assert after.stats.tree.root_visits.sum() == kept.edge_visits[0].sum() + 90


def test_a_state_that_is_not_in_the_tree_begins_a_new_one(worlds):
    problem = worlds.problem_of(worlds.random_table(6))
    planner = MCTS(6, 90, TreePolicy(0.3, normalise=False), LEAF)
    _, state = search(planner, problem, worlds.at(problem, 0))
    reached = set(np.asarray(state.tree.beliefs.x)[np.asarray(state.tree.depth) == 1])
    elsewhere = worlds.at(problem, min(set(range(6)) - reached))
    later = planner.shift(problem, state)
    fresh, _ = go_on(planner, problem, elsewhere, later)
    done = fresh.stats.numbers["simulations"]
    assert fresh.stats.tree.root_visits.sum() == 90 == done


def test_a_full_tree_is_searched_on(worlds):
    table = worlds.random_table(4, actions=2)
    problem = worlds.problem_of(table)
    planner = MCTS(4, 200, TreePolicy(0.5, normalise=False), LEAF, nodes=12)
    found, state = search(planner, problem, worlds.at(problem, 0))
    assert state.tree.size == 12 and found.stats.tree.root_visits.sum() == 200
    assert found.actions[0] == worlds.expectimax(table, 0, 4).argmax()


def test_what_is_not_a_number_counts_as_the_lowest_return(worlds):
    values = np.array([0.0, 1.0, np.nan, 2.0, 1.0, np.inf])
    problem = worlds.problem_of(worlds.random_table(7), values=values)
    found, _ = search(MCTS(3, 64, default_policy=LEAF), problem, worlds.at(problem, 0))
    assert 0 < found.stats.non_finite.sum() < 64 and bool(jnp.isfinite(found.value))
    assert bool(found.result == Result.successful)
    nothing = worlds.problem_of(worlds.random_table(7), values=np.full(6, np.nan))
    found, _ = search(MCTS(1, 64, default_policy=LEAF), nothing, worlds.at(nothing, 0))
    assert bool(found.result == Result.non_finite)


def test_only_legal_actions_are_tried_and_none_is_a_result(worlds):
    def legal(belief):
        return (jnp.arange(3) != 1) & (belief.x != 5)

    problem = worlds.problem_of(worlds.random_table(8), legal=legal)
    for planner in (MCTS(5, 64), MCTS(5, 64, open_loop=True)):
        found, _ = search(planner, problem, worlds.at(problem, 0))
        visits = found.stats.tree.root_visits
        assert visits[1] == 0 and visits.sum() == 64
        assert not np.any(found.actions == 1)
    stuck, _ = search(MCTS(5, 64), problem, worlds.at(problem, 5))
    assert bool(stuck.result == Result.no_action)


def test_planning_a_second_time_compiles_nothing(worlds, compilations):
    problem = worlds.problem_of(worlds.random_table(9))
    planner = MCTS(4, 16)
    _, state = search(planner, problem, worlds.at(problem, 0))
    beliefs = worlds.at(problem, 1), worlds.at(problem, 2)
    go_on(planner, problem, beliefs[0], planner.shift(problem, state))
    shifted, before = planner.shift(problem, state), compilations.count
    go_on(planner, problem, beliefs[1], shifted)
    assert compilations.count == before


def test_a_plan_within_milliseconds_does_whole_pieces_and_at_least_one(worlds):
    problem = worlds.problem_of(worlds.random_table(9))
    belief, planner = worlds.at(problem, 0), MCTS(4, 16)
    plan, state = plan_within(1e-3, planner, problem, belief, key=KEY)
    assert plan.stats.numbers["simulations"] == 16
    plan, _ = plan_within(50.0, planner, problem, belief, state, key=KEY)
    done = int(plan.stats.numbers["simulations"])
    assert done > 32 and done % 16 == 0
    with pytest.raises(ValueError, match="milliseconds > 0, got 0"):
        plan_within(0.0, planner, problem, belief, key=KEY)
    with pytest.raises(ValueError, match="reuse=True"):
        plan_within(1.0, MCTS(4, reuse=False), problem, belief, key=KEY)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MCTS(5, 0), "simulations >= 1, got 0"),
        (lambda: MCTS(0), "horizon >= 1, got 0"),
        (lambda: MCTS(5, nodes=1), "nodes >= 2, got 1"),
        (lambda: TreePolicy(prior=logits), "score 'puct' to use a prior"),
        (lambda: DefaultPolicy(-1), "rollouts >= 0, got -1"),
        (lambda: Widening(-1), "limit >= 0, got -1"),
        (lambda: Widening(4, 0.0), r"scale > 0, got 0\.0"),
        (lambda: Widening(4, power=2.0), r"power in \[0, 1\], got 2\.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_what_does_not_fit_the_actions_is_refused_in_one_sentence(worlds):
    table = worlds.problem_of(worlds.random_table(1))
    box = Problem(table.model, table.objective, Box([-1.0], [1.0]))
    belief = worlds.at(table, 0)
    with pytest.raises(TypeError, match=r"widening.limit >= 1 .* Box"):
        MCTS(3).init(box, belief, key=KEY)
    with pytest.raises(TypeError, match="widens continuous ones only"):
        MCTS(3, widening=Widening(4)).init(table, belief, key=KEY)
    with pytest.raises(TypeError, match="cannot begin with actions"):
        MCTS(3).init(table, belief, jnp.zeros(3, int), key=KEY)
    with pytest.raises(TypeError, match="priors over discrete actions"):
        planner = MCTS(3, tree_policy=POLICIES["puct"], widening=Widening(4))
        planner.init(box, belief, key=KEY)
