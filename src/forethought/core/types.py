"""Small containers that beliefs are built from, and how planners see them flat.

A belief is any pytree. Planners of the LQR family need it as a vector: `ravel`
flattens its inexact leaves. Two wrappers say what a leaf means to them: `Stamped`
adds the time step to a state, and `Opaque` marks memory that is carried along but
is no coordinate of the state (a solver's warm start, a clock), so that nobody
differentiates with respect to it.
"""

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

Action = Array
Mode = Literal["explore", "exploit"]
"""Whether to act for the sake of learning, or as well as is known."""
Value = TypeVar("Value")


class Stamped(eqx.Module, Generic[Value]):
    """A value and the time step at which it holds, for what depends on time."""

    value: Value
    time: Int[Array, ""]


class Opaque(eqx.Module):
    """Arrays that a belief carries but that are no coordinates of its state."""

    arrays: PyTree


def _is_opaque(node: Any) -> bool:
    return isinstance(node, Opaque)


def _coordinates(node: PyTree) -> PyTree:
    if _is_opaque(node):
        return jax.tree.map(lambda _: False, node)
    return eqx.is_inexact_array(node)


def ravel(
    belief: PyTree,
) -> tuple[Float[Array, " state"], Callable[[Array], PyTree]]:
    """The belief's coordinates as one vector, and the way back.

    Integer leaves and those inside `Opaque` keep the values that they have in
    `belief`.

    Args:
        belief: Any pytree of arrays.

    Returns:
        The vector, shape `[state]`, and the function that puts a vector back.
    """
    mask = jax.tree.map(_coordinates, belief, is_leaf=_is_opaque)
    coordinates, rest = eqx.partition(belief, mask)
    vector, unravel = ravel_pytree(coordinates)
    return vector, lambda vector: eqx.combine(unravel(vector), rest)


def blank(shapes: PyTree) -> Any:
    """Zeros in the place of shapes, for what is still to come; all else stays.

    Args:
        shapes: What `eqx.filter_eval_shape` returns.
    """

    def zeros(leaf: Any) -> Any:
        shape = isinstance(leaf, jax.ShapeDtypeStruct)
        return jnp.zeros(leaf.shape, leaf.dtype) if shape else leaf

    return jax.tree.map(zeros, shapes)
