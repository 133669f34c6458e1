r"""Search trees as arrays: how they are planted, grown, updated and cut.

A node is a situation, an edge an action taken in it. Nodes are numbered in the order
in which they were added, the root is 0, and a parent always comes before its children.
Each edge has a few *slots* for outcomes: one where the model is deterministic, more
where chance decides.

Notation: $N$ are visits, $Q / N$ is the mean return of an edge. Everything here acts
on one tree; a batch of trees has a leading axis `[lane]` on every leaf.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from forethought.core.readout import Readout
from forethought.core.types import Opaque

NONE = -1
"""In the place of a node that is not there."""


class Description(eqx.Module):
    """What a node knows of its actions when it is added; None where all are alike."""

    actions: Float[Array, "*node slot action"] | None
    """Candidates, where actions are continuous."""
    legal: Bool[Array, "*node slot"] | None
    prior: Float[Array, "*node slot"] | None


class Tree(eqx.Module):
    """A search tree of at most `node` nodes.

    Its memory is `node` times (a belief + what describes its actions + `slot` edges of
    `2 + outcome` numbers + 8 numbers).
    """

    beliefs: PyTree
    """Leaves `[node, ...]`; of the root alone where the tree is one of plans."""
    about: Description
    parent: Int[Array, " node"]
    slot: Int[Array, " node"]
    """Which edge of the parent leads here."""
    depth: Int[Array, " node"]
    reward: Float[Array, " node"]
    """Earned on the way here."""
    discount: Float[Array, " node"]
    """After that; zero where the episode ends."""
    drawn: Int[Array, " node"]
    """How often chance led here."""
    visits: Int[Array, " node"]
    children: Int[Array, "node slot outcome"]
    edge_visits: Int[Array, "node slot"]
    edge_sums: Float[Array, "node slot"]
    """$Q$: the sum of the returns that followed each edge."""
    size: Int[Array, ""]
    """Nodes in use."""
    low: Scalar
    high: Scalar
    """The range of all means met; infinite before the first."""
    simulations: Int[Array, ""]
    """Since it was planted."""
    non_finite: Int[Array, ""]
    """Simulations whose return was not a number."""


def plant(
    belief: PyTree,
    about: Description,
    slots: int,
    outcomes: int,
    nodes: int,
    dtype: DTypeLike,
    *,
    keep_beliefs: bool,
) -> Tree:
    """A tree of a root alone.

    Args:
        belief: Where it stands.
        about: What describes its actions.
        slots: Edges of each node.
        outcomes: Children of each edge.
        nodes: How many it may have.
        dtype: Of rewards and values.
        keep_beliefs: Whether nodes keep a belief each, or the root alone does.
    """

    def rows(count: int, first: PyTree) -> PyTree:
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf[None], (count, *leaf.shape)), first
        )

    zeros = jnp.zeros((nodes,), jnp.int32)
    return Tree(
        beliefs=rows(nodes if keep_beliefs else 1, belief),
        about=rows(nodes, about),
        parent=zeros + NONE,
        slot=zeros,
        depth=zeros,
        reward=jnp.zeros((nodes,), dtype),
        discount=jnp.ones((nodes,), dtype),
        drawn=zeros,
        visits=zeros,
        children=jnp.full((nodes, slots, outcomes), NONE, jnp.int32),
        edge_visits=jnp.zeros((nodes, slots), jnp.int32),
        edge_sums=jnp.zeros((nodes, slots), dtype),
        size=jnp.ones((), jnp.int32),
        low=jnp.asarray(jnp.inf, dtype),
        high=jnp.asarray(-jnp.inf, dtype),
        simulations=jnp.zeros((), jnp.int32),
        non_finite=jnp.zeros((), jnp.int32),
    )


def belief_at(tree: Tree, node: Int[Array, ""]) -> PyTree:
    """What a node believes."""
    return jax.tree.map(lambda leaf: leaf[node], tree.beliefs)


def means(tree: Tree, node: Int[Array, ""]) -> Float[Array, " slot"]:
    """$Q / N$ of a node's edges; zero where there were no visits."""
    count = jnp.maximum(tree.edge_visits[node], 1).astype(tree.edge_sums.dtype)
    return tree.edge_sums[node] / count


class Path(eqx.Module):
    """What was met on the way down, by depth; None where the nodes know it."""

    rewards: Float[Array, "*lane horizon"] | None
    discounts: Float[Array, "*lane horizon"] | None
    drawn: Bool[Array, "*lane horizon"] | None
    """Whether the model was asked, and not an outcome that is there chosen again."""


class Leaf(eqx.Module):
    """What is to be added to a tree, or was met again."""

    node: Int[Array, ""]
    """Its parent if it is new, else itself."""
    slot: Int[Array, ""]
    outcome: Int[Array, ""]
    new: Bool[Array, ""]
    belief: PyTree
    reward: Scalar
    discount: Scalar
    depth: Int[Array, ""]


def grow(tree: Tree, leaf: Leaf, about: Description) -> Tree:
    """Add a leaf, if it is new and there is room."""
    nodes = tree.parent.shape[0]
    index = jnp.where(leaf.new & (tree.size < nodes), tree.size, nodes)
    there = jnp.where(index < nodes, leaf.node, nodes)
    again = jnp.where(leaf.new, nodes, leaf.node)

    def put(rows: PyTree, row: PyTree) -> PyTree:
        return jax.tree.map(
            lambda rows, row: rows.at[index].set(row, mode="drop"), rows, row
        )

    beliefs, one = tree.beliefs, jnp.ones_like(tree.size)
    if jax.tree.leaves(beliefs)[0].shape[0] == nodes:
        beliefs = put(beliefs, leaf.belief)
    return dataclasses.replace(
        tree,
        beliefs=beliefs,
        about=put(tree.about, about),
        parent=put(tree.parent, leaf.node),
        slot=put(tree.slot, leaf.slot),
        depth=put(tree.depth, leaf.depth),
        reward=put(tree.reward, leaf.reward),
        discount=put(tree.discount, leaf.discount),
        drawn=put(tree.drawn, one),
        visits=put(tree.visits, one).at[again].add(1, mode="drop"),
        children=tree.children.at[there, leaf.slot, leaf.outcome].set(
            index, mode="drop"
        ),
        size=jnp.minimum(tree.size + leaf.new.astype(tree.size.dtype), nodes),
    )


class Step(eqx.Module):
    """Where an update stands on its way up, and the return from there on."""

    node: Int[Array, ""]
    slot: Int[Array, ""]
    value: Scalar
    alive: Bool[Array, ""]


def update(tree: Tree, step: Step, path: Path) -> tuple[Tree, Step]:
    r"""Update one edge by the return that followed it, and go on to the one above.

    $$N \leftarrow N + 1, \qquad Q \leftarrow Q + G, \qquad
      G \leftarrow r + \gamma G$$
    """
    node, slot, G = step.node, step.slot, step.value
    at = jnp.where(step.alive, node, tree.parent.shape[0])
    # Only added to, never read before: XLA would copy them at every level.
    edge_visits = tree.edge_visits.at[at, slot].add(1, mode="drop")
    edge_sums = tree.edge_sums.at[at, slot].add(G, mode="drop")
    mean = edge_sums[node, slot] / jnp.maximum(edge_visits[node, slot], 1).astype(
        G.dtype
    )
    depth = tree.depth[node] - 1
    drawn = tree.drawn
    if path.drawn is not None:
        drawn = drawn.at[at].add(path.drawn[depth].astype(drawn.dtype), mode="drop")
    reward, discount = tree.reward[node], tree.discount[node]
    if path.rewards is not None and path.discounts is not None:
        reward, discount = path.rewards[depth], path.discounts[depth]
    tree = dataclasses.replace(
        tree,
        drawn=drawn,
        visits=tree.visits.at[at].add(1, mode="drop"),
        edge_visits=edge_visits,
        edge_sums=edge_sums,
        low=jnp.where(step.alive, jnp.minimum(tree.low, mean), tree.low),
        high=jnp.where(step.alive, jnp.maximum(tree.high, mean), tree.high),
    )
    parent = tree.parent[node]
    above = Step(
        jnp.maximum(parent, 0),
        tree.slot[node],
        reward + discount * G,
        step.alive & (parent >= 0),
    )
    return tree, above


def same(a: PyTree, b: PyTree, *, exactly: bool) -> Bool[Array, ""]:
    """Whether the same follows from two beliefs.

    Memory that is no coordinate of a state says nothing of that, nor does the reward
    that was predicted on the way there.

    Args:
        a: A belief.
        b: Another of the same structure.
        exactly: To the last bit, or up to the square root of the precision: the same
            step rounds differently in another program.
    """

    def coordinates(belief: PyTree) -> list[Array]:
        leaves = jax.tree.leaves(
            belief, is_leaf=lambda node: isinstance(node, (Opaque, Readout))
        )
        found = [each.x if isinstance(each, Readout) else each for each in leaves]
        return jax.tree.leaves([each for each in found if not isinstance(each, Opaque)])

    equal = jnp.asarray(True)
    for one, other in zip(coordinates(a), coordinates(b), strict=True):
        alike = one == other
        if not exactly and jnp.issubdtype(one.dtype, jnp.inexact):
            size = float(jnp.finfo(one.dtype).eps) ** 0.5
            alike = jnp.isclose(one, other, rtol=size, atol=size)
        equal &= jnp.all(alike)
    return equal


def find(tree: Tree, belief: PyTree, age: Int[Array, ""]) -> Int[Array, ""]:
    """The most visited node that is `age` steps deep and holds a belief, or `NONE`."""
    alike = jax.vmap(lambda other: same(belief, other, exactly=False))(tree.beliefs)
    count = alike.shape[0]
    used = jnp.arange(count, dtype=tree.size.dtype) < tree.size
    fits = alike & used & (tree.depth[:count] == age)
    best = jnp.argmax(jnp.where(fits, tree.visits[:count], NONE))
    return jnp.where(jnp.any(fits), best.astype(tree.parent.dtype), NONE)


def cut(tree: Tree, node: Int[Array, ""], levels: int) -> Tree:
    """The part of a tree below a node, which becomes the root; the order stays.

    Args:
        tree: At most `levels` deep.
        node: The new root; with the old one nothing changes.
        levels: Of the tree.
    """
    nodes = tree.parent.shape[0]
    index = jnp.arange(nodes, dtype=tree.parent.dtype)
    kept, ancestor = index == node, jnp.maximum(tree.parent, 0)
    for _ in range(levels.bit_length() + 1):
        kept, ancestor = kept | kept[ancestor], ancestor[ancestor]
    kept &= index < tree.size
    place = jnp.cumsum(kept, dtype=index.dtype) - 1
    size = jnp.sum(kept, dtype=index.dtype)
    source = (
        jnp.zeros_like(index).at[jnp.where(kept, place, nodes)].set(index, mode="drop")
    )
    used = index < size

    def rows(leaf: Array) -> Array:
        return leaf[source]

    def numbers(leaf: Array, empty: int = 0) -> Array:
        shape = (nodes, *[1] * (leaf.ndim - 1))
        return jnp.where(
            used.reshape(shape), leaf[source], jnp.asarray(empty, leaf.dtype)
        )

    def moved(leaf: Array) -> Array:
        leaf = numbers(leaf, NONE)
        return jnp.where(leaf >= 0, place[leaf], NONE)

    return dataclasses.replace(
        tree,
        beliefs=jax.tree.map(
            lambda leaf: rows(leaf) if leaf.shape[0] == nodes else leaf, tree.beliefs
        ),
        about=jax.tree.map(rows, tree.about),
        parent=moved(tree.parent).at[0].set(NONE),
        slot=numbers(tree.slot).at[0].set(0),
        depth=numbers(tree.depth - tree.depth[node]),
        reward=numbers(tree.reward).at[0].set(0),
        discount=numbers(tree.discount).at[0].set(1),
        drawn=numbers(tree.drawn),
        visits=numbers(tree.visits),
        children=moved(tree.children),
        edge_visits=numbers(tree.edge_visits),
        edge_sums=numbers(tree.edge_sums),
        size=size,
    )
