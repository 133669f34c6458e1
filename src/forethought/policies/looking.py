"""A policy that looks at the world through a function: scaled, restored, averaged."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.core.readout import Readout
from forethought.core.types import Action, Mode
from forethought.policies.base import AbstractPolicy


class Looking(AbstractPolicy[PyTree]):
    """Acts as another policy does on what a function makes of the state.

    Numbers of the function, such as scales, are no parameters: no gradient reaches
    them, one of the state goes through.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.readout import Readout
    >>> from forethought.core.spaces import Box
    >>> from forethought.policies.looking import Looking
    >>> from forethought.policies.mlp import MLPPolicy
    >>> key = jax.random.key(0)
    >>> turns = lambda x: jnp.stack([jnp.cos(x[0]), jnp.sin(x[0]), x[1]])
    >>> policy = Looking(MLPPolicy(3, Box([-2.0], [2.0]), key=key), turns)
    >>> policy.act(Readout(jnp.zeros(2)), key=key, mode="exploit")[0].shape
    (1,)

    ```

    Args:
        policy: Who acts.
        view: What it is shown of a state: any function of it.
    """

    policy: AbstractPolicy
    view: Any

    def act(
        self, seen: Readout[PyTree], *, key: PRNGKeyArray, mode: Mode
    ) -> tuple[Action, PyTree]:
        """As the policy does."""
        shown = dataclasses.replace(seen, x=held(self.view)(seen.x))
        return self.policy.act(shown, key=key, mode=mode)


def held(function: Callable) -> Callable:
    """The same function, whose own numbers no gradient reaches."""
    leaves, structure = jax.tree.flatten(function)
    still = [
        jax.lax.stop_gradient(leaf) if isinstance(leaf, Array) else leaf
        for leaf in leaves
    ]
    return jax.tree.unflatten(structure, still)
