r"""Simulations over a batch of trees: one loop, mapped inside.

A simulation has three parts, under the names of the notes:

1. find a leaf $s_l$ by the *tree policy*,
2. evaluate it by the *default policy*,
3. update all values between $s_1$ and $s_l$.

Loops run over the whole batch until its last lane is done, and what happens in each
turn is mapped over lanes; trees are only gathered from and scattered to, so that no
turn copies them.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree, Scalar

from forethought.core.lanes import Lanes
from forethought.planners.tree.arrays import (
    Description,
    Leaf,
    Path,
    Step,
    Tree,
    grow,
    update,
)
from forethought.planners.tree.lane import Search, Walk, reach, select


def simulate(
    lanes: Lanes[Search], tree: Tree, keys: Key[Array, " lane"], first: Array
) -> Tree:
    """One simulation in every tree: find a leaf, evaluate it, update."""
    parts = jax.vmap(lambda key: jax.random.split(key, 4), out_axes=1)(keys)
    walk_keys, leaf_keys, about_keys, rollout_keys = parts
    walk, path = descend(lanes, tree, first, walk_keys)
    leaf = lanes.each(reach)(tree, walk, leaf_keys)
    values = evaluate(lanes, leaf, rollout_keys)
    tree, leaf, values = jax.vmap(_mend)(tree, leaf, values)
    about = lanes.each(lambda search, leaf, key: search.describe(leaf.belief, key))(
        leaf, about_keys
    )
    tree, step = jax.vmap(_expand)(tree, leaf, about, values, path)
    tree, _ = jax.lax.while_loop(
        lambda carry: jnp.any(carry[1].alive),
        lambda carry: jax.vmap(update)(*carry, path),
        (tree, step),
    )
    return tree


def descend(
    lanes: Lanes[Search], tree: Tree, first: Array, keys: Key[Array, " lane"]
) -> tuple[Walk, Path]:
    """Down every tree until it is left, the episode ends, or the horizon is reached."""
    search = lanes.rebuild(lanes.arrays)
    shape = (keys.shape[0], search.horizon)
    empty = jnp.zeros(shape, tree.reward.dtype)
    chance = search.drawing and not search.open_loop
    path = Path(
        empty if search.open_loop else None,
        empty if search.open_loop else None,
        jnp.zeros(shape, bool) if chance else None,
    )

    def level(carry: tuple[Walk, Path, Array]) -> tuple[Walk, Path, Array]:
        walk, path, turn = carry
        if not search.drawing:
            after = lanes.each(Search.follow)(tree, walk, first)
        else:
            turn_keys = jax.vmap(lambda key: jax.random.fold_in(key, turn))(keys)
            after, anew = lanes.each(Search.draw)(tree, walk, first, turn_keys)
            at = jnp.where(walk.alive, walk.depth, search.horizon)
            _, reward, discount = after.moment
            path = jax.vmap(_note)(path, at, reward, discount, anew)
        return jax.vmap(select)(walk.alive, after, walk), path, turn + 1

    start = lanes.each(Search.start)(tree), path, jnp.zeros((), jnp.int32)
    walk, path, _ = jax.lax.while_loop(
        lambda carry: jnp.any(carry[0].alive), level, start
    )
    return walk, path


def _note(path: Path, at: Array, reward: Array, discount: Array, anew: Array) -> Path:
    def put(row: Array | None, value: Array) -> Array | None:
        return None if row is None else row.at[at].set(value, mode="drop")

    return Path(
        put(path.rewards, reward), put(path.discounts, discount), put(path.drawn, anew)
    )


def _mend(tree: Tree, leaf: Leaf, value: Scalar) -> tuple[Tree, Leaf, Scalar]:
    """Where something is not a number, the lowest return met so far in its place."""
    low = jnp.where(jnp.isfinite(tree.low), tree.low, 0)
    sound = jnp.isfinite(leaf.reward) & jnp.isfinite(leaf.discount)
    fine = sound & jnp.isfinite(value)
    leaf = dataclasses.replace(
        leaf,
        reward=jnp.where(sound, leaf.reward, low),
        discount=jnp.where(sound, leaf.discount, 0),
    )
    tree = dataclasses.replace(
        tree,
        non_finite=tree.non_finite + jnp.where(fine, 0, 1),
        simulations=tree.simulations + 1,
    )
    return tree, leaf, jnp.where(fine, value, jnp.where(sound, low, 0))


def _expand(
    tree: Tree, leaf: Leaf, about: Description, value: Scalar, path: Path
) -> tuple[Tree, Step]:
    """The tree with the leaf in it, and where its update begins."""
    G = leaf.reward + leaf.discount * value
    tree = grow(tree, leaf, about)
    if path.drawn is not None:
        # A new leaf knows that it was drawn; one met again counts it here.
        again = jnp.where(leaf.new | (leaf.depth == 0), tree.parent.shape[0], leaf.node)
        anew = path.drawn[leaf.depth - 1].astype(tree.drawn.dtype)
        tree = dataclasses.replace(
            tree, drawn=tree.drawn.at[again].add(anew, mode="drop")
        )
    above = jnp.maximum(tree.parent[leaf.node], 0), tree.slot[leaf.node]
    node, slot = select(leaf.new, (leaf.node, leaf.slot), above)
    return tree, Step(node, slot, G, leaf.depth > 0)


def evaluate(
    lanes: Lanes[Search], leaf: Leaf, keys: Key[Array, " lane"]
) -> Float[Array, " lane"]:
    """What the default policy earns from every leaf on, on average."""
    search = lanes.rebuild(lanes.arrays)
    count = search.default_policy.rollouts

    def start(search: Search, leaf: Leaf) -> PyTree:
        legal = search.legal(leaf.belief)
        over = leaf.discount == 0
        if legal is not None:
            over |= ~jnp.any(legal)
        alive = ~over & (leaf.depth < search.horizon)
        total = jnp.zeros_like(leaf.reward)
        one = leaf.belief, total, jnp.where(over, 0, total + 1), alive
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf[None], (max(count, 1), *leaf.shape)), one
        )

    def turn(carry: tuple[PyTree, Array]) -> tuple[PyTree, Array]:
        state, time = carry

        def one(search: Search, leaf: Leaf, key: PRNGKeyArray, state: PyTree) -> PyTree:
            return jax.vmap(lambda keys, state: step(search, leaf, keys, state))(
                jax.random.split(jax.random.fold_in(key, time), (count, 2)), state
            )

        def step(
            search: Search, leaf: Leaf, keys: Key[Array, "2"], state: PyTree
        ) -> PyTree:
            belief, total, factor, alive = state
            policy_key, step_key = keys
            action = search.default_policy(search.problem, belief, key=policy_key)
            after, reward, discount = search.step(belief, action, step_key)
            legal, depth = search.legal(after), leaf.depth + time + 1
            on = search.goes_on(depth, discount, legal)
            total_after, factor_after = total + factor * reward, factor * discount
            if legal is not None:
                factor_after = jnp.where(jnp.any(legal), factor_after, 0)
            return select(alive, (after, total_after, factor_after, on), state)

        return lanes.each(one)(leaf, keys, state), time + 1

    state = lanes.each(start)(leaf)
    if count:
        state, _ = jax.lax.while_loop(
            lambda carry: jnp.any(carry[0][3]), turn, (state, jnp.zeros((), jnp.int32))
        )

    def end(search: Search, state: PyTree) -> Scalar:
        beliefs, totals, factors, _ = state
        beyond = jax.vmap(search.problem.value)(beliefs)
        return jnp.mean(totals + jnp.where(factors == 0, 0, factors * beyond))

    return lanes.each(end)(state)
