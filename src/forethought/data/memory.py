"""What is remembered, as whoever learns from it sees it."""

import equinox as eqx
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from forethought.data.replay import Replay
from forethought.data.rings import ReplayState


class Memory(eqx.Module):
    """A replay memory with what it holds: all, the newest, or some of it.

    Args:
        replay: How it is kept.
        state: What it holds.
        new: How many steps of each lane came since one learned from it last; where that
            is long ago, at least so many.
    """

    replay: Replay
    state: ReplayState
    new: int = eqx.field(static=True, default=1)

    def everything(self) -> tuple[PyTree, Bool[Array, " row"]]:
        """All rows from the oldest to the newest, and which of them hold something."""
        return self.replay.ordered(self.state)

    def newest(self) -> PyTree:
        """The rows of the `new` steps taken last, the oldest of them first."""
        return self.replay.newest(self.state, self.new)

    def sample(self, count: int, *, key: PRNGKeyArray) -> PyTree:
        """So many rows, drawn uniformly with replacement."""
        return self.replay.sample(self.state, count, key=key)

    def window(self, count: int, length: int, *, key: PRNGKeyArray) -> PyTree:
        """So many stretches of some length, each within one episode."""
        return self.replay.window(self.state, count, length, key=key)
