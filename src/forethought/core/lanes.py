"""Batches that a program sees as such, where `jax.vmap` alone would be slow.

A `while_loop` under `jax.vmap` carries everything through a select at every turn, which
for a search tree means to copy it. A program that is written for a batch can loop
outside of it instead: the loop is one, and what is done in each turn is mapped.
`in_lanes` hands such a program one lane where it is called alone, and all lanes at once
where it is called under `jax.vmap`, however deeply.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, PyTree

Shared = TypeVar("Shared")


class Lanes(eqx.Module, Generic[Shared]):
    """Something that all lanes share, some of whose arrays may be each lane's own."""

    arrays: list[Array]
    own: tuple[bool, ...] = eqx.field(static=True)
    """Which of the arrays have a leading axis `[lane]`."""
    rebuild: Callable[[list[Array]], Shared] = eqx.field(static=True)

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function(shared, *of one lane)` for all lanes: the rest has a lane axis."""

        def mapped(*lanes: PyTree) -> PyTree:
            axes = ([0 if own else None for own in self.own], *[0] * len(lanes))
            return jax.vmap(
                lambda arrays, *one: function(self.rebuild(arrays), *one), axes
            )(self.arrays, *lanes)

        return mapped


def in_lanes(
    program: Callable[..., PyTree], shared: PyTree, *one: PyTree, together: bool = True
) -> PyTree:
    """Run a program that is written for a batch on one example, or on all under `vmap`.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.lanes import in_lanes
    >>> def double(x):
    ...     return in_lanes(lambda lanes, x: (2 * x, 0 * x + len(x)), None, x)
    >>> jax.vmap(double)(jnp.arange(3))
    (Array([0, 2, 4], dtype=int32), Array([3, 3, 3], dtype=int32))

    ```

    Args:
        program: From `Lanes` and batches, leaves `[lane, ...]`, to a batch.
        shared: What the lanes share, such as a problem.
        one: Pytrees of arrays of one example.
        together: Whether all lanes run at once, or one after another.

    Returns:
        What the program returns for this example.
    """
    arrays, static = eqx.partition(shared, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)

    def rebuild(leaves: list[Array]) -> PyTree:
        return eqx.combine(jax.tree.unflatten(structure, leaves), static)

    def run(own: tuple[bool, ...]) -> Callable[..., PyTree]:
        @custom_vmap
        def call(leaves: list[Array], batch: tuple[PyTree, ...]) -> PyTree:
            count = jax.tree.leaves(batch)[0].shape[0]
            if together or count == 1:
                return program(Lanes(leaves, own, rebuild), *batch)

            def single(each: tuple[list[Array], tuple[PyTree, ...]]) -> PyTree:
                mine, lane = each
                mine = iter(mine)
                given = [
                    next(mine)[None] if is_own else leaf
                    for leaf, is_own in zip(leaves, own, strict=True)
                ]
                lane = jax.tree.map(lambda leaf: leaf[None], lane)
                found = program(Lanes(given, own, rebuild), *lane)
                return jax.tree.map(lambda leaf: leaf[0], found)

            mine = [leaf for leaf, is_own in zip(leaves, own, strict=True) if is_own]
            return jax.lax.map(single, (mine, batch))

        @call.def_vmap
        def _(size: int, batched: Any, leaves: list[Array], batch: PyTree) -> Any:
            count = jax.tree.leaves(batch)[0].shape[0]
            if jax.tree.leaves(batched[1])[0]:
                count = jax.tree.leaves(batch)[0].shape[1]

            def flat(leaf: Array, is_batched: bool) -> Array:
                if not is_batched:
                    leaf = jnp.broadcast_to(leaf[None], (size, *leaf.shape))
                return leaf.reshape(size * count, *leaf.shape[2:])

            def spread(leaf: Array, is_batched: bool, is_own: bool) -> Array:
                if is_own:
                    return flat(leaf, is_batched)
                return jnp.repeat(leaf, count, axis=0) if is_batched else leaf

            leaves = [
                spread(*each) for each in zip(leaves, batched[0], own, strict=True)
            ]
            owned = tuple(a or b for a, b in zip(own, batched[0], strict=True))
            batch = jax.tree.map(flat, batch, batched[1])
            found = run(owned)(leaves, batch)
            found = jax.tree.map(
                lambda leaf: leaf.reshape(size, count, *leaf.shape[1:]), found
            )
            return found, jax.tree.map(lambda _: True, found)

        return call

    batch = jax.tree.map(lambda leaf: leaf[None], one)
    found = run((False,) * len(leaves))(leaves, batch)
    return jax.tree.map(lambda leaf: leaf[0], found)
