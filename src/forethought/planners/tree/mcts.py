r"""Monte-Carlo tree search.

Random shooting spends as much on a bad first action as on a good one. A tree search
looks at what it learned so far: each simulation walks down the tree to a leaf, guesses
what the leaf is worth, and tells all nodes on its way, so that the next one goes where
it is promising or where little is known.

Two kinds of tree answer to chance in two ways. In the tree of *situations* (the
default) an edge leads to each of the outcomes that were drawn, and the search decides
anew in each of them: it values closed loops. In the tree of *plans* (`open_loop`) a
node is a sequence of actions, whatever happens on the way, and its value is the mean
over that: it needs less memory and fewer simulations, and values open loops.

Two players who take turns are one whose discount is -1: what is good for the one who
moves next is bad for the one who moved.
"""

from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, PRNGKeyArray, PyTree

from forethought.core.given.settings import Count, Range, Steps
from forethought.core.lanes import Lanes, in_lanes
from forethought.core.results import Result, SearchTree, Stats
from forethought.core.spaces import Box
from forethought.core.tracing import calls_host, depends_on_last
from forethought.planners.base import (
    UNSAID,
    AbstractPlanner,
)
from forethought.planners.tree.arrays import (
    NONE,
    Tree,
    action_of,
    belief_at,
    choose,
    cut,
    find,
    means,
    plant,
)
from forethought.planners.tree.policies import (
    DefaultPolicy,
    Search,
    TreePolicy,
    Widening,
)
from forethought.planners.tree.simulate import simulate
from forethought.problem import Plan, Problem

OUTCOMES = 16
"""Children of an edge where the model draws its outcome and no limit was set."""


class MCTSState(eqx.Module):
    """The tree of the last plan, and how many steps ago that was."""

    tree: Tree | None
    """None where nothing is reused."""
    age: Int[Array, ""]


class MCTS(AbstractPlanner[MCTSState]):
    r"""Monte-Carlo tree search.

    The plan is the principal line: the best edge of the root, the best one of the node
    where it most often led, and so on to the end of the tree; from there on the default
    policy fills it up to the horizon, as it did when the leaf was valued. Its value is
    the mean return of the simulations that began with its first action.

    Memory is linear in `nodes`: each takes a belief, what describes its actions (a
    candidate a slot where they are continuous, a byte a slot where there is a mask, a
    number a slot where there are priors), `4 * slots * (2 + outcomes)` bytes of edges
    and 32 bytes besides, in float32; slots are the actions tried at a node.

    A batch is searched by `jax.vmap` of `plan`: on a CPU tree by tree, each in one
    native loop; on other devices, and where the model calls the host, all trees at once
    in one loop over batched scatters. For a budget in milliseconds see `plan_within`.

    ```python
    >>> import equinox as eqx, jax
    >>> from forethought import tasks
    >>> from forethought.planners import MCTS, TreePolicy
    >>> task, key = tasks.load("exam"), jax.random.key(0)
    >>> planner = MCTS(2, simulations=500, tree_policy=TreePolicy(0.3, normalise=False))
    >>> belief = task.problem.model.init(key=key)
    >>> state = planner.init(task.problem, belief, key=key)
    >>> plan, state = eqx.filter_jit(planner.plan)(task.problem, belief, state, key=key)
    >>> bool(plan.value > 0.4), int(plan.stats.tree.root_visits.sum())
    (True, 500)

    ```

    Args:
        horizon: Steps to look ahead, from the root to the end of a roll-out.
        simulations: How many are done for each plan.
        tree_policy: Which edge to follow inside the tree.
        default_policy: What a leaf is worth.
        widening: How many continuous actions are tried at a node; refused for discrete
            ones, which are all tried.
        chance: How many outcomes an edge may have. With limit 0 it is one where the
            model is deterministic, else 16.
        open_loop: Whether a node is a sequence of actions instead of a situation.
        best: The best edge has the most "visits" or the highest "value".
        reuse: Whether the next plan goes on with the part of the tree that is below the
            belief met, if it is found there.
        nodes: Most nodes of the tree; by default `simulations + 1` if nothing is
            reused, else four times that. A tree that is full goes on to be refined.

    Raises:
        ValueError: A setting lies outside its range.

    References:
        Kocsis and Szepesvári, Bandit based Monte-Carlo planning, 2006. Browne et al., A
        survey of Monte Carlo tree search methods, 2012, algorithm 2 (UCT). Couëtoux et
        al., Continuous upper confidence trees, 2011 (double progressive widening).
        Lecarpentier et al., Open loop execution of tree-search algorithms, 2018,
        arXiv:1805.01367 (trees of plans).
    """

    horizon: Steps = eqx.field(static=True, default=UNSAID)
    simulations: Count = eqx.field(static=True, default=256)
    tree_policy: TreePolicy = TreePolicy()
    default_policy: DefaultPolicy = DefaultPolicy()
    widening: Widening = Widening()
    chance: Widening = Widening()
    open_loop: bool = eqx.field(static=True, default=False)
    best: Literal["visits", "value"] = eqx.field(static=True, default="visits")
    reuse: bool = eqx.field(static=True, default=True)
    nodes: Annotated[int, Range(at_least=2)] | None = eqx.field(
        static=True, default=None
    )

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> MCTSState:
        """A tree of a root alone.

        Raises:
            TypeError: Actions are continuous and no widening is set, or the other way
                round; or actions are given, with which a tree cannot begin.
        """
        if actions is not None:
            raise TypeError(
                "MCTS plans anew from every belief and cannot begin with actions; give "
                "its default policy what to try instead."
            )
        search = self._search(problem, belief)
        age = jnp.zeros((), jnp.int32)
        return MCTSState(self._plant(search, belief, key) if self.reuse else None, age)

    def plan(
        self, problem: Problem, belief: PyTree, state: MCTSState, *, key: PRNGKeyArray
    ) -> tuple[Plan, MCTSState]:
        """Search on in the tree that is there, or in a new one."""
        search = self._search(problem, belief)
        together = _together(problem, belief)
        return in_lanes(self._plan, search, belief, state, key, together=together)

    def shift(self, problem: Problem, state: MCTSState) -> MCTSState:
        """One step later: the next plan looks for its belief one level deeper."""
        return MCTSState(state.tree, state.age + 1)

    def _plan(
        self,
        lanes: Lanes[Search],
        belief: PyTree,
        state: MCTSState,
        keys: Key[Array, " lane"],
    ) -> tuple[Plan, MCTSState]:
        """For a batch: every argument has an axis of lanes."""
        tree = lanes.each(self._begin)(belief, state, keys)
        steps, first = lanes.each(self._deal)(tree, keys)
        tree = jax.lax.fori_loop(
            0,
            self.simulations,
            lambda i, tree: simulate(lanes, tree, steps[:, i], first[:, i]),
            tree,
        )
        return lanes.each(self._end)(tree, belief, keys)

    def _deal(
        self, search: Search, tree: Tree, key: PRNGKeyArray
    ) -> tuple[Key[Array, " simulation"], Int[Array, " simulation"]]:
        """For each simulation a key, and the slot that ties go to."""
        # Keys go by the age of the tree, so that a search may be done in pieces.
        steps = tree.simulations + jnp.arange(self.simulations, dtype=tree.size.dtype)
        keys = jax.vmap(lambda step: jax.random.fold_in(key, step))(steps)
        if isinstance(search.problem.action, Box):
            return keys, jnp.zeros_like(steps)
        bits = jax.vmap(lambda key: jax.random.bits(key, (), "uint32"))(keys)
        return keys, (bits % jnp.uint32(search.slots)).astype(jnp.int32)

    def _begin(
        self, search: Search, belief: PyTree, state: MCTSState, key: PRNGKeyArray
    ) -> Tree:
        """The part of the last tree below this belief, or a new one."""
        fresh = self._plant(search, belief, key)
        if state.tree is None:
            return fresh
        node = find(state.tree, belief, state.age)
        kept = cut(state.tree, jnp.maximum(node, 0), self.horizon)
        kept = eqx.tree_at(
            lambda tree: tree.beliefs,
            kept,
            jax.tree.map(lambda rows, root: rows.at[0].set(root), kept.beliefs, belief),
        )
        return choose(node >= 0, kept, fresh)

    def _plant(self, search: Search, belief: PyTree, key: PRNGKeyArray) -> Tree:
        most = self.simulations + 1
        return plant(
            belief,
            search.describe(belief, key),
            search.slots,
            search.outcomes,
            self.nodes or (4 * most if self.reuse else most),
            search.problem.value(belief).dtype,
            keep_beliefs=not self.open_loop,
        )

    def _end(
        self, search: Search, tree: Tree, belief: PyTree, key: PRNGKeyArray
    ) -> tuple[Plan, MCTSState]:
        state = MCTSState(tree if self.reuse else None, jnp.zeros_like(tree.size))
        return self._read(search, tree, belief, key), state

    def _read(
        self, search: Search, tree: Tree, belief: PyTree, key: PRNGKeyArray
    ) -> Plan:
        """What a tree says."""

        def step(carry, keys):
            node, belief = carry
            slot = self._best(tree, node)
            inside = (node >= 0) & (tree.edge_visits[node, slot] > 0)
            outside = search.default_policy(search.problem, belief, key=keys[0])
            action = action_of(tree, node, slot)
            action = jnp.where(inside, action, outside.astype(action.dtype))
            after, *_ = search.step(belief, action, keys[1])
            children = tree.children[node, slot]
            visits = jnp.where(children >= 0, tree.visits[children], NONE)
            child = jnp.where(inside, children[jnp.argmax(visits)], NONE)
            if not self.open_loop:
                after = choose(child >= 0, belief_at(tree, child), after)
            return (child, after), (action, after, child)

        root = jnp.zeros_like(tree.size)
        _, (actions, beliefs, line) = jax.lax.scan(
            step, (root, belief), jax.random.split(key, (self.horizon, 2))
        )
        beliefs = jax.tree.map(
            lambda first, rest: jnp.concatenate([first[None], rest]), belief, beliefs
        )
        result = Result.where(tree.finite > 0, Result.successful, Result.non_finite)
        some = jnp.any(search.legal(belief))
        result = Result.where(some, result, Result.no_action)
        value = means(tree, root)[self._best(tree, root)]
        if not isinstance(search.problem.action, Box):
            actions = actions.astype(int)
        stats = self._stats(tree, line)
        return Plan(actions, beliefs, value, None, result, stats)

    def _best(self, tree: Tree, node: Int[Array, ""]) -> Int[Array, ""]:
        """The best edge of a node; of equal ones the other measure decides."""
        visits = tree.edge_visits[node].astype(tree.low.dtype)
        values = jnp.where(visits > 0, means(tree, node), -jnp.inf)
        first, second = (visits, values) if self.best == "visits" else (values, visits)
        ties = jnp.where(first == jnp.max(first), second, -jnp.inf)
        return jnp.argmax(ties).astype(tree.size.dtype)

    def _stats(self, tree: Tree, line: Int[Array, " horizon"]) -> Stats:
        """What there is to draw of the tree."""
        parent = jnp.maximum(tree.parent, 0)
        sums, counts = tree.edge_sums, tree.edge_visits.astype(tree.low.dtype)
        total = jnp.maximum(jnp.sum(counts[0]), 1)
        values = sums[parent, tree.slot] / jnp.maximum(counts[parent, tree.slot], 1)
        values = values.at[0].set(jnp.sum(sums[0]) / total)
        nodes = tree.parent.shape[0]
        chosen = jnp.zeros((nodes,), bool).at[0].set(True)
        chosen = chosen.at[jnp.where(line >= 0, line, nodes)].set(True, mode="drop")
        actions = tree.about.actions
        drawn = SearchTree(
            size=tree.size,
            parent=tree.parent,
            slot=tree.slot,
            depth=tree.depth,
            visits=tree.visits,
            values=values,
            chosen=chosen,
            root_visits=tree.edge_visits[0],
            root_values=means(tree, jnp.zeros_like(tree.size)),
            root_actions=None if actions is None else actions[0],
        )
        return Stats(
            non_finite=tree.non_finite[None],
            tree=drawn,
            numbers={"simulations": tree.simulations, "depth": jnp.max(tree.depth)},
        )

    def _search(self, problem: Problem, belief: PyTree) -> Search:
        """The settings on a problem.

        Raises:
            TypeError: They do not fit its actions.
        """
        limit, space = self.widening.limit, problem.action
        if isinstance(space, Box) and limit == 0:
            raise TypeError(
                "MCTS plans over finitely many actions unless widening.limit >= 1 says "
                "how many of a Box to try at a node, but the problem's action space is "
                f"{space} and widening.limit is 0."
            )
        if not isinstance(space, Box) and limit > 0:
            raise TypeError(
                "MCTS tries all discrete actions and widens continuous ones only, got "
                f"{space} and widening.limit {limit}."
            )
        if isinstance(space, Box) and self.tree_policy.prior is not None:
            raise TypeError(
                "MCTS takes priors over discrete actions, but the problem's action "
                f"space is {space}."
            )
        chance = self.chance
        if chance.limit == 0:
            found = OUTCOMES if depends_on_last(*_prediction(problem, belief)) else 1
            chance = Widening(found, chance.scale, chance.power)
        return Search(
            problem,
            self.tree_policy,
            self.default_policy,
            self.widening,
            chance,
            self.horizon,
            self.open_loop,
        )


def _prediction(problem: Problem, belief: PyTree) -> tuple[Any, ...]:
    """What a model predicts as a function, and arguments to trace it on."""

    def predict(belief: PyTree, action: Array, key: PRNGKeyArray) -> PyTree:
        return problem.model.predict(belief, action, key=key)

    action = problem.action.sample(key=jax.random.key(0))
    if isinstance(problem.action, Box):
        action = action.astype(problem.value(belief).dtype)
    return predict, belief, action, jax.random.key(0)


def _together(problem: Problem, belief: PyTree) -> bool:
    """Whether a batch is searched at once, or tree by tree.

    A small model on a CPU is compiled with the whole search into one native loop, which
    is faster than any batch.
    """
    return jax.default_backend() != "cpu" or calls_host(*_prediction(problem, belief))
