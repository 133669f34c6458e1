"""What one step of acting leaves behind."""

from typing import Protocol, runtime_checkable

import equinox as eqx
from jaxtyping import Array, Bool, Float, PyTree


@runtime_checkable
class Row(Protocol):
    """What a memory asks of the rows that it keeps; they are pytrees of arrays.

    `obs` and `next_obs` have one structure, with the same shapes and dtypes.
    """

    @property
    def obs(self) -> PyTree[Array]:
        """What was seen."""
        ...

    @property
    def next_obs(self) -> PyTree[Array]:
        """What was seen one step later, in the same episode."""
        ...

    @property
    def terminated(self) -> Bool[Array, "*batch"]:
        """Whether the task ended there."""
        ...

    @property
    def truncated(self) -> Bool[Array, "*batch"]:
        """Whether only the recording stopped there."""
        ...


class Transition(eqx.Module):
    """One step: what was seen, what was done, what came of it.

    `terminated` says that the task ended there, so nothing follows; `truncated` says
    that only the recording stopped, so the future after `next_obs` still counts. They
    are kept apart because a value may be bootstrapped after the second and never
    after the first. `next_obs` is always the last observation of the same episode,
    never the first one of the next.

    This is one example; batches have leading axes on every leaf.
    """

    obs: PyTree[Array]
    """What was seen: any pytree."""
    action: Array
    """Shape `[*batch, action]`, or `[*batch]` for discrete actions."""
    reward: Float[Array, "*batch"]
    next_obs: PyTree[Array]
    """What was seen afterwards, in the same structure as `obs`."""
    terminated: Bool[Array, "*batch"]
    truncated: Bool[Array, "*batch"]
    kept: PyTree[Array] = None
    """What the agent wanted kept with its action, such as a log-probability."""
