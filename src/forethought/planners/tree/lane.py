r"""What one lane of a tree search does: one step down, one transition, one leaf."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from forethought.core.spaces import Box
from forethought.core.tracing import depends_on_last
from forethought.core.types import Action
from forethought.planners.tree.arrays import Description, Leaf, Tree, belief_at, same
from forethought.planners.tree.policies import DefaultPolicy, TreePolicy, Widening
from forethought.problem import Problem


class Walk(eqx.Module):
    """Where a simulation stands on its way down."""

    node: Int[Array, ""]
    slot: Int[Array, ""]
    outcome: Int[Array, ""]
    new: Bool[Array, ""]
    """Whether it left the tree by that edge."""
    alive: Bool[Array, ""]
    depth: Int[Array, ""]
    moment: PyTree
    """Belief, reward and discount where they are drawn on the way, else None."""


class Search(eqx.Module):
    """A planner's settings on one problem; methods act on one tree.

    Args:
        problem: Model and objective.
        tree_policy: Which edge to follow.
        default_policy: What a leaf is worth.
        widening: Of continuous actions.
        chance: Of outcomes.
        horizon: Depth of a leaf that is not expanded.
        open_loop: Whether nodes are sequences of actions instead of situations.
    """

    problem: Problem
    tree_policy: TreePolicy
    default_policy: DefaultPolicy
    widening: Widening
    chance: Widening
    horizon: int = eqx.field(static=True)
    open_loop: bool = eqx.field(static=True)

    @property
    def slots(self) -> int:
        """Edges of each node."""
        space = self.problem.action
        return self.widening.limit if isinstance(space, Box) else space.n

    @property
    def outcomes(self) -> int:
        """Children of each edge."""
        return 1 if self.open_loop else self.chance.limit

    @property
    def drawing(self) -> bool:
        """Whether the model is asked on the way down, not only at the leaf."""
        return self.open_loop or self.outcomes > 1

    def describe(self, belief: PyTree, key: PRNGKeyArray) -> Description:
        """What a node needs to know of its actions."""
        space, dtype = self.problem.action, self.problem.value(belief).dtype
        actions = legal = prior = None
        if isinstance(space, Box):
            actions = space.sample((self.slots,), key=key).astype(dtype)
            if self.default_policy.policy is not None:
                first = self.default_policy(self.problem, belief, key=key)
                actions = actions.at[0].set(first)
        if self.problem.legal is not None and not self.open_loop:
            legal = self.problem.legal(belief)
        if self.tree_policy.prior is not None:
            logits = self.tree_policy.prior(belief)
            if self.problem.legal is not None:
                logits = jnp.where(self.problem.legal(belief), logits, -jnp.inf)
            prior = jax.nn.softmax(logits).astype(dtype)
        return Description(actions, legal, prior)

    def action(self, tree: Tree, node: Int[Array, ""], slot: Int[Array, ""]) -> Action:
        """The action of an edge."""
        actions = tree.about.actions
        return slot if actions is None else actions[node, slot]

    def open_slots(
        self, tree: Tree, node: Int[Array, ""], belief: PyTree
    ) -> Bool[Array, " slot"]:
        """The edges that may be followed."""
        if isinstance(self.problem.action, Box):
            allowed = self.widening(tree.visits[node], tree.edge_sums.dtype)
            return jnp.arange(self.slots, dtype=allowed.dtype) < allowed
        if self.problem.legal is None:
            return jnp.ones((self.slots,), bool)
        if self.open_loop:
            return self.problem.legal(belief)
        assert tree.about.legal is not None
        return tree.about.legal[node]

    def goes_on(self, depth: Array, discount: Array, legal: Array | None) -> Array:
        """Whether anything can follow."""
        alive = (discount != 0) & (depth < self.horizon)
        return alive if legal is None else alive & jnp.any(legal)

    def legal(self, belief: PyTree) -> Array | None:
        """Which actions a belief allows; None where all are allowed."""
        return None if self.problem.legal is None else self.problem.legal(belief)

    def start(self, tree: Tree) -> Walk:
        """At the root."""
        zero, no = jnp.zeros_like(tree.size), jnp.asarray(False)
        belief = belief_at(tree, zero)
        alive = self.goes_on(zero, tree.discount[0], self.legal(belief))
        moment = (belief, tree.reward[0], tree.discount[0]) if self.drawing else None
        return Walk(zero, zero, zero, no, alive, zero, moment)

    def follow(self, tree: Tree, walk: Walk, first: Int[Array, ""]) -> Walk:
        """One level down a tree whose edges have one child each, without the model."""
        slot = self.tree_policy(
            tree, walk.node, self.open_slots(tree, walk.node, None), first
        )
        child = tree.children[walk.node, slot, 0]
        new, depth = child < 0, walk.depth + 1
        legal = None if tree.about.legal is None else tree.about.legal[child]
        alive = ~new & self.goes_on(depth, tree.discount[child], legal)
        node = jnp.where(new, walk.node, child)
        return Walk(node, slot, walk.outcome, new, alive, depth, None)

    def draw(
        self, tree: Tree, walk: Walk, first: Int[Array, ""], key: PRNGKeyArray
    ) -> tuple[Walk, Bool[Array, ""]]:
        """One level down with what the model draws, and whether it was drawn anew."""
        step_key, pick_key = jax.random.split(key)
        belief = walk.moment[0] if self.open_loop else belief_at(tree, walk.node)
        slot = self.tree_policy(
            tree, walk.node, self.open_slots(tree, walk.node, belief), first
        )
        action = self.action(tree, walk.node, slot)
        children = tree.children[walk.node, slot]
        drawn = self.step(belief, action, step_key)
        outcome, anew = jnp.zeros_like(slot), jnp.asarray(True)
        if not self.open_loop:
            outcome, anew = self.by_chance(tree, walk.node, slot, drawn, pick_key)
        child = children[outcome]
        new, depth = child < 0, walk.depth + 1
        moment = drawn
        if not self.open_loop:
            kept = (belief_at(tree, child), tree.reward[child], tree.discount[child])
            moment = jax.tree.map(lambda a, b: jnp.where(new, a, b), drawn, kept)
        legal = self.legal(moment[0])
        alive = ~new & self.goes_on(depth, moment[2], legal)
        node = jnp.where(new, walk.node, child)
        return Walk(node, slot, outcome, new, alive, depth, moment), anew

    def step(self, belief: PyTree, action: Action, key: PRNGKeyArray) -> PyTree:
        """Belief, reward and discount one step later."""
        after, reward, discount = self.problem.step(belief, action, key=key)
        dtype = self.problem.value(belief).dtype
        return after, reward.astype(dtype), discount.astype(dtype)

    def by_chance(
        self, tree: Tree, node: Array, slot: Array, drawn: PyTree, key: PRNGKeyArray
    ) -> tuple[Int[Array, ""], Bool[Array, ""]]:
        """Which outcome of an edge to follow, and whether the model drew it now.

        What was drawn is followed while there may be more outcomes, the same ones
        being joined; then one of those that are there, as often as they were drawn.
        """
        children = tree.children[node, slot]
        there = children >= 0
        filled = jnp.sum(there, dtype=children.dtype)
        visits = tree.edge_visits[node, slot] + 1
        allowed = self.chance(visits, tree.edge_sums.dtype)

        def alike(child: Array) -> Array:
            return (
                same(drawn[0], belief_at(tree, child), exactly=True)
                & (drawn[1] == tree.reward[child])
                & (drawn[2] == tree.discount[child])
            )

        met = there & jax.vmap(alike)(children)
        joined = jnp.where(jnp.any(met), jnp.argmax(met).astype(filled.dtype), filled)
        counts = jnp.cumsum(
            jnp.where(there, tree.drawn[children], 0), dtype=filled.dtype
        )
        most = jnp.maximum(counts[-1], 1)
        ticket = jax.random.randint(key, (), 0, most, filled.dtype)
        kept = jnp.sum(counts <= ticket, dtype=filled.dtype)
        # A draw that is known already needs no room, so that it is always heard.
        anew = (filled < allowed) | jnp.any(met)
        return jnp.where(anew, joined, kept), anew


def reach(search: Search, tree: Tree, walk: Walk, key: PRNGKeyArray) -> Leaf:
    """Where the walk ended, one step beyond the tree if it left it."""
    if search.drawing:
        belief, reward, discount = walk.moment
    else:
        before = belief_at(tree, walk.node)
        stayed = before, tree.reward[walk.node], tree.discount[walk.node]
        action = search.action(tree, walk.node, walk.slot)
        gone = search.step(before, action, key)
        belief, reward, discount = select(walk.new, gone, stayed)
    return Leaf(
        walk.node,
        walk.slot,
        walk.outcome,
        walk.new,
        belief,
        reward,
        discount,
        walk.depth,
    )


def select(condition: Array, yes: PyTree, no: PyTree) -> PyTree:
    """One of two pytrees."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def draws(problem: Problem, belief: PyTree) -> bool:
    """Whether what a model predicts depends on its key."""

    def predict(belief: PyTree, action: Array, key: PRNGKeyArray) -> PyTree:
        return problem.model.predict(belief, action, key=key)

    action = problem.action.sample(key=jax.random.key(0))
    if isinstance(problem.action, Box):
        action = action.astype(problem.value(belief).dtype)
    return depends_on_last(predict, belief, action, jax.random.key(0))
