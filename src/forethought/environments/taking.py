"""Functions that a person writes: called with as much as they take, checked once."""

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree


class Taking(eqx.Module):
    """A function that takes the first of some arguments, and a `key` if it wants one.

    ```python
    >>> from forethought.environments.taking import Taking
    >>> Taking("reward", lambda state: 2 * state, ("state", "action"))(3, 4)
    6

    ```

    Args:
        name: What it is for, for errors.
        function: Arguments that have a default are left to it.
        arguments: What it may take, in this order.

    Raises:
        TypeError: It is no function, or needs other arguments.
    """

    function: Callable[..., Any]
    count: int = eqx.field(static=True)
    random: bool = eqx.field(static=True)

    def __init__(
        self, name: str, function: Callable[..., Any], arguments: tuple[str, ...]
    ):
        form = f"{name}({', '.join(arguments)})"
        if not callable(function):
            raise TypeError(
                f"{name} should be a function, {form}, got {type(function).__name__}."
            )
        try:
            parameters = inspect.signature(function).parameters
        except ValueError as error:
            raise TypeError(
                f"{name} should be a function that says what it takes, {form}, got "
                f"{function!r}."
            ) from error
        needed = [
            each.name
            for each in parameters.values()
            if each.default is each.empty
            and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
            and each.name != "key"
        ]
        any_number = any(
            each.kind == each.VAR_POSITIONAL for each in parameters.values()
        )
        self.function, self.random = function, "key" in parameters
        self.count = len(arguments) if any_number else len(needed)
        if len(needed) > len(arguments):
            raise TypeError(
                f"{name} should take no more than {form} and a key, but it needs "
                f"{', '.join(needed)}."
            )

    def __call__(self, *arguments: Any, key: PRNGKeyArray | None = None) -> Any:
        """Call it with what it takes of these."""
        drawn = {"key": key} if self.random else {}
        return self.function(*arguments[: self.count], **drawn)


def arrays(name: str, tree: PyTree) -> PyTree:
    """Numbers and lists of numbers as arrays; other containers stay.

    Args:
        name: What they are for, for errors.
        tree: What a person gave, or a function of theirs returned.

    Raises:
        TypeError: Something in it is no number.
    """

    def made(leaf: Any) -> Any:
        try:
            array = jnp.asarray(leaf)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{name} should give numbers, lists of numbers that are equally long, "
                f"or trees of them, got {leaf!r}."
            ) from error
        return array.astype(array.dtype)  # no weak type: each step returns the same

    return jax.tree.map(made, tree, is_leaf=lambda node: isinstance(node, list))


def shapes(tree: PyTree) -> str:
    """Types and shapes of arrays in words, such as `float32[2]`."""

    def words(leaf: Any) -> str:
        return f"{leaf.dtype}{list(leaf.shape) if leaf.ndim else ''}"

    return str(jax.tree.map(words, tree)).replace("'", "")
