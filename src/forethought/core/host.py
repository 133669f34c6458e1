"""Does a computation leave compiled code for the host?

A callback may have a derivative that its author wrote, such as a simulator's finite
differences. That derivative is a callback too, and has none of its own; where numbers
travel as integers its slope is not even an error but zero. So whoever needs second
derivatives asks first.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

CALLBACKS = ("pure_callback", "io_callback")


def calls_host(function: Callable, *arguments: Any) -> bool:
    """Whether a function of arrays calls back to Python where it runs.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.host import calls_host
    >>> calls_host(jnp.sin, 1.0)
    False
    >>> calls_host(lambda x: jax.pure_callback(abs, x, x), jnp.ones(()))
    True

    ```

    Args:
        function: It is traced, not run.
        arguments: Pytrees of arrays to trace it on.
    """
    jaxpr = jax.make_jaxpr(function)(*arguments)
    return any(name in CALLBACKS for name in _primitives(jaxpr.jaxpr))


def _primitives(jaxpr: Jaxpr) -> Iterator[str]:
    """The names of all that a program does, in loops and branches too."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for part in jax.tree.leaves(equation.params, is_leaf=_is_program):
            if isinstance(part, ClosedJaxpr):
                yield from _primitives(part.jaxpr)
            elif isinstance(part, Jaxpr):
                yield from _primitives(part)


def _is_program(node: Any) -> bool:
    return isinstance(node, (ClosedJaxpr, Jaxpr))
