"""What a computation is like, asked of its program instead of its author.

`calls_host` asks whether it leaves compiled code. A callback may have a derivative that
its author wrote, such as a simulator's finite differences. That derivative is a
callback too, and has none of its own; where numbers travel as integers its slope is not
even an error but zero. So whoever needs second derivatives asks first.

`depends_on_last` asks whether an argument matters: of a key, whether there is chance.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

CALLBACKS = ("pure_callback", "io_callback")


def calls_host(function: Callable, *arguments: Any) -> bool:
    """Whether a function of arrays calls back to Python where it runs.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.tracing import calls_host
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


def depends_on_last(function: Callable, *arguments: Any) -> bool:
    """Whether the last argument, a single array or key, is ever needed.

    A program that reads it and then cancels it counts as one that needs it.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.core.tracing import depends_on_last
    >>> depends_on_last(lambda x, y: x + y, 1.0, 2.0)
    True
    >>> depends_on_last(lambda x, y: 2 * x, 1.0, 2.0)
    False

    ```

    Args:
        function: It is traced, not run.
        arguments: Pytrees of arrays to trace it on.
    """
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    needed = {out for out in jaxpr.outvars if not isinstance(out, Literal)}
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            needed |= {x for x in equation.invars if not isinstance(x, Literal)}
    return jaxpr.invars[-1] in needed


def _primitives(jaxpr: Jaxpr) -> Iterator[str]:
    """The names of all that a program does, in loops and branches too."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for part in jax.tree.leaves(equation.params, is_leaf=is_program):
            if isinstance(part, ClosedJaxpr):
                yield from _primitives(part.jaxpr)
            elif isinstance(part, Jaxpr):
                yield from _primitives(part)


def is_program(node: Any) -> bool:
    """Whether a parameter of an operation is a program itself, as a loop's body is."""
    return isinstance(node, (ClosedJaxpr, Jaxpr))
