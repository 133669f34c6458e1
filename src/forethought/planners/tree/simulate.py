r"""One simulation of a tree search, in every tree of a batch: its four steps.

1. *Select* a leaf: follow the tree policy until it leaves the tree.
2. *Expand* the tree: ask the model what is there, and add it.
3. *Roll out* the default policy from there to the horizon.
4. *Back up* what was earned to all edges on the way.

Loops run over the whole batch until its last lane is done, and what happens in each
turn is mapped over lanes; trees are only gathered from and scattered to, so that no
turn copies them.

References:
    Browne et al., A survey of Monte Carlo tree search methods, 2012, §3.1, which calls
    them selection, expansion, simulation and backpropagation.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, PyTree, Scalar

from forethought.core.lanes import Lanes
from forethought.planners.tree.arrays import (
    NONE,
    Tree,
    action_of,
    belief_at,
    choose,
    lowest,
)
from forethought.planners.tree.policies import Search


def simulate(
    lanes: Lanes[Search],
    tree: Tree,
    keys: Key[Array, " lane"],
    first: Int[Array, " lane"],
) -> Tree:
    """One simulation in every tree; ties go to the slot `first`, or the next one."""
    keys = jax.vmap(lambda key: jax.random.split(key, 4), out_axes=1)(keys)
    walk = select(lanes, tree, first, keys[0])
    tree, leaf = expand(lanes, tree, walk, keys[1], keys[2])
    values = roll_out(lanes, leaf, keys[3])
    return back_up(tree, leaf, values)


class Met(eqx.Module):
    """What a model said on the way down: at one level, or by depth `[horizon]`."""

    reward: Float[Array, "*level"]
    discount: Float[Array, "*level"]
    anew: Bool[Array, "*level"]


class Walk(eqx.Module):
    """Where a simulation stands, and which edge led there."""

    node: Int[Array, "*lane"]
    """`NONE` where the edge leads out of the tree."""
    depth: Int[Array, "*lane"]
    parent: Int[Array, "*lane"]
    """Where the edge begins; `NONE` at the root."""
    slot: Int[Array, "*lane"]
    outcome: Int[Array, "*lane"]
    anew: Bool[Array, "*lane"]
    """Whether the model said where the edge leads, and no old outcome was repeated."""
    alive: Bool[Array, "*lane"]
    """Whether it goes on."""
    here: PyTree
    """Belief, reward and discount; None as long as only the tree is asked."""
    met: Met | None
    """None where the tree knows it all."""


def select(
    lanes: Lanes[Search], tree: Tree, first: Array, keys: Key[Array, " lane"]
) -> Walk:
    """Down every tree until it is left, the episode ends, or the horizon is reached."""

    def start(search: Search, tree: Tree) -> Walk:
        zero, no = jnp.zeros_like(tree.size), jnp.asarray(False)
        here = belief_at(tree, zero), tree.reward[0], tree.discount[0]
        legal = search.legal_at(tree, zero, here[0])
        alive = search.goes_on(zero, here[2], legal)
        empty = jnp.zeros((search.horizon,), tree.reward.dtype)
        met = Met(empty, empty, empty.astype(bool)) if search.asks else None
        here = here if search.asks else None
        return Walk(zero, zero, zero + NONE, zero, zero, no, alive, here, met)

    return jax.lax.while_loop(
        lambda walk: jnp.any(walk.alive),
        lambda walk: lanes.each(follow)(tree, walk, first, keys),
        lanes.each(start)(tree),
    )


def follow(
    search: Search, tree: Tree, walk: Walk, first: Array, key: PRNGKeyArray
) -> Walk:
    """One level down one tree by its best edge; a walk that ended stays."""
    node, depth, chance = walk.node, walk.depth + 1, search.outcomes > 1
    belief = walk.here[0] if search.open_loop else belief_at(tree, node)
    slot = search.tree_policy(tree, node, search.open_slots(tree, node, belief), first)
    outcome, anew = jnp.zeros_like(slot), jnp.asarray(search.asks)
    here = met = None
    if search.asks:
        step_key, pick_key = jax.random.split(jax.random.fold_in(key, walk.depth))
        here = search.step(belief, action_of(tree, node, slot), step_key)
        if chance:
            outcome, anew = search.outcome(tree, node, slot, here, pick_key)
    child = tree.children[node, slot, outcome]
    known = belief_at(tree, child), tree.reward[child], tree.discount[child]
    if chance:
        here = choose(child < 0, here, known)
    belief, reward, discount = known if here is None else here
    if search.asks:
        at = jnp.where(walk.alive, walk.depth, search.horizon)
        met = jax.tree.map(
            lambda row, value: row.at[at].set(value, mode="drop"),
            walk.met,
            Met(reward, discount, anew),
        )
    legal = search.legal_at(tree, child, belief)
    alive = (child >= 0) & search.goes_on(depth, discount, legal)
    after = Walk(child, depth, node, slot, outcome, anew, alive, here, met)
    return choose(walk.alive, after, dataclasses.replace(walk, met=met))


def expand(
    lanes: Lanes[Search],
    tree: Tree,
    walk: Walk,
    step_keys: Key[Array, " lane"],
    about_keys: Key[Array, " lane"],
) -> tuple[Tree, Walk]:
    """Add what every walk found outside of its tree, as long as there is room.

    Returns:
        The trees, and the walks knowing what is where they ended.
    """

    def add(
        search: Search, tree: Tree, walk: Walk, key: PRNGKeyArray, about_key: Array
    ) -> tuple[Tree, Walk]:
        new, nodes = walk.node < 0, tree.parent.shape[0]
        here = walk.here
        if here is None:
            at = jnp.where(new, walk.parent, walk.node)
            known = belief_at(tree, at), tree.reward[at], tree.discount[at]
            action = action_of(tree, at, walk.slot)
            here = choose(new, search.step(known[0], action, key), known)
        belief, reward, discount = here
        fine = sound(here)
        reward = jnp.where(fine, reward, lowest(tree))
        discount = jnp.where(fine, discount, 0)
        # Beyond the last node nothing is written.
        index = jnp.where(new & (tree.size < nodes), tree.size, nodes)
        edge = jnp.where(index < nodes, walk.parent, nodes), walk.slot, walk.outcome
        node = jnp.where(new, index, walk.node)

        def put(rows: PyTree, row: PyTree) -> PyTree:
            return jax.tree.map(
                lambda rows, row: rows.at[index].set(row, mode="drop"), rows, row
            )

        drawn = (new | walk.anew).astype(tree.drawn.dtype)
        tree = dataclasses.replace(
            tree,
            beliefs=tree.beliefs if search.open_loop else put(tree.beliefs, belief),
            about=put(tree.about, search.describe(belief, about_key)),
            parent=put(tree.parent, walk.parent),
            slot=put(tree.slot, walk.slot),
            depth=put(tree.depth, walk.depth),
            reward=put(tree.reward, reward),
            discount=put(tree.discount, discount),
            drawn=tree.drawn.at[node].add(drawn, mode="drop"),
            visits=tree.visits.at[node].add(1, mode="drop"),
            children=tree.children.at[edge].set(index, mode="drop"),
            size=tree.size + jnp.where(index < nodes, 1, 0),
        )
        return tree, dataclasses.replace(walk, here=here)

    return lanes.each(add)(tree, walk, step_keys, about_keys)


def sound(here: tuple[PyTree, Scalar, Scalar]) -> Bool[Array, ""]:
    """Whether reward and discount are numbers."""
    return jnp.isfinite(here[1]) & jnp.isfinite(here[2])


class Future(eqx.Module):
    """One roll-out so far."""

    belief: PyTree
    total: Scalar
    """What was earned since the leaf."""
    factor: Scalar
    """The discount of what follows; zero where nothing can."""
    alive: Bool[Array, ""]


def roll_out(
    lanes: Lanes[Search], leaf: Walk, keys: Key[Array, " lane"]
) -> Float[Array, " lane"]:
    """What the default policy earns from every leaf on, on average."""
    count = lanes.rebuild(lanes.arrays).default_policy.rollouts

    def start(search: Search, leaf: Walk) -> tuple[Future, Array]:
        belief, reward, discount = leaf.here
        more = (discount != 0) & sound(leaf.here) & jnp.any(search.legal(belief))
        zero = jnp.zeros_like(reward)
        alive = more & (leaf.depth < search.horizon)
        future = Future(belief, zero, jnp.where(more, zero + 1, 0), alive)
        futures = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf[None], (max(count, 1), *leaf.shape)),
            future,
        )
        return futures, jnp.zeros_like(leaf.depth)

    def turn(
        search: Search, leaf: Walk, key: PRNGKeyArray, futures: Future, time: Array
    ) -> tuple[Future, Array]:
        def step(keys: Key[Array, "2"], now: Future) -> Future:
            action = search.default_policy(search.problem, now.belief, key=keys[0])
            belief, reward, discount = search.step(now.belief, action, keys[1])
            legal = search.legal(belief)
            total = now.total + now.factor * reward
            factor = jnp.where(jnp.any(legal), now.factor * discount, 0)
            alive = search.goes_on(leaf.depth + time + 1, discount, legal)
            return choose(now.alive, Future(belief, total, factor, alive), now)

        keys = jax.random.split(jax.random.fold_in(key, time), (count, 2))
        return jax.vmap(step)(keys, futures), time + 1

    def end(search: Search, futures: Future) -> Scalar:
        total, factor = futures.total, futures.factor
        beyond = jax.vmap(search.problem.value)(futures.belief)
        return jnp.mean(total + jnp.where(factor == 0, 0, factor * beyond))

    futures, time = lanes.each(start)(leaf)
    if count:
        futures, _ = jax.lax.while_loop(
            lambda carry: jnp.any(carry[0].alive),
            lambda carry: lanes.each(turn)(leaf, keys, *carry),
            (futures, time),
        )
    return lanes.each(end)(futures)


def back_up(tree: Tree, leaf: Walk, values: Float[Array, " lane"]) -> Tree:
    r"""Tell every edge on the way up the return that followed it.

    $$G \leftarrow r + \gamma G, \qquad N \leftarrow N + 1, \qquad Q \leftarrow Q + G$$
    """

    def begin(
        tree: Tree, leaf: Walk, value: Scalar
    ) -> tuple[Tree, Array, Array, Array]:
        _, reward, discount = leaf.here
        G = reward + discount * jnp.where(jnp.isfinite(value), value, lowest(tree))
        G = jnp.where(sound(leaf.here), G, lowest(tree))
        fine = sound(leaf.here) & jnp.isfinite(value)
        tree = dataclasses.replace(
            tree,
            simulations=tree.simulations + 1,
            non_finite=tree.non_finite + jnp.where(fine, 0, 1),
            finite=tree.finite + jnp.where(fine & (leaf.node < 0), 1, 0),
        )
        return tree, leaf.parent, leaf.slot, G

    def turn(
        tree: Tree, node: Array, slot: Array, G: Scalar, met: Met | None
    ) -> tuple[Tree, Array, Array, Array]:
        alive = node >= 0
        at = jnp.where(alive, node, tree.parent.shape[0])
        # Only added to, never read before: XLA would copy them at every level.
        N = tree.edge_visits.at[at, slot].add(1, mode="drop")
        Q = tree.edge_sums.at[at, slot].add(G, mode="drop")
        mean = Q[node, slot] / jnp.maximum(N[node, slot], 1).astype(G.dtype)
        reward, discount, drawn = tree.reward[node], tree.discount[node], tree.drawn
        if met is not None:
            above = jax.tree.map(lambda row: row[tree.depth[node] - 1], met)
            reward, discount = above.reward, above.discount
            drawn = drawn.at[at].add(above.anew.astype(drawn.dtype), mode="drop")
        tree = dataclasses.replace(
            tree,
            drawn=drawn,
            visits=tree.visits.at[at].add(1, mode="drop"),
            edge_visits=N,
            edge_sums=Q,
            low=jnp.where(alive, jnp.minimum(tree.low, mean), tree.low),
            high=jnp.where(alive, jnp.maximum(tree.high, mean), tree.high),
        )
        parent = jnp.where(alive, tree.parent[node], NONE)
        return tree, parent, tree.slot[node], reward + discount * G

    tree, *_ = jax.lax.while_loop(
        lambda carry: jnp.any(carry[1] >= 0),
        lambda carry: jax.vmap(turn)(*carry, leaf.met),
        jax.vmap(begin)(tree, leaf, values),
    )
    return tree
