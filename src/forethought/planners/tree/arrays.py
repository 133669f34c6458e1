r"""Search trees as arrays: how they are planted, read and cut.

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
from forethought.core.types import Action, Opaque

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
    finite: Int[Array, ""]
    """Simulations that added to the tree, and whose return was one."""


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
        finite=jnp.zeros((), jnp.int32),
    )


def belief_at(tree: Tree, node: Int[Array, ""]) -> PyTree:
    """What a node believes."""
    return jax.tree.map(lambda leaf: leaf[node], tree.beliefs)


def action_of(tree: Tree, node: Int[Array, ""], slot: Int[Array, ""]) -> Action:
    """The action of an edge."""
    actions = tree.about.actions
    return slot if actions is None else actions[node, slot]


def means(tree: Tree, node: Int[Array, ""]) -> Float[Array, " slot"]:
    """$Q / N$ of a node's edges; zero where there were no visits."""
    count = jnp.maximum(tree.edge_visits[node], 1).astype(tree.edge_sums.dtype)
    return tree.edge_sums[node] / count


def lowest(tree: Tree) -> Scalar:
    """The lowest mean met so far, which counts where something is not a number."""
    return jnp.where(jnp.isfinite(tree.low), tree.low, 0)


def choose(condition: Array, yes: PyTree, no: PyTree) -> PyTree:
    """One of two pytrees."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


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
