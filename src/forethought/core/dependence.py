"""Does what a function returns depend on its last argument?"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Literal


def depends_on_last(function: Callable, *arguments: Any) -> bool:
    """Whether the last argument, a single array or key, is ever needed.

    A program that reads it and then cancels it counts as one that needs it.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.core.dependence import depends_on_last
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
