"""A training run on the disk: checkpoints, and the memory that they share.

A checkpoint holds all that training carries but what it remembers: that is written in
pieces (`forethought.runs.store.journal`), and a checkpoint holds the record of those
that it needs.
"""

import collections
import pathlib
from typing import Any, NamedTuple

import equinox as eqx

from forethought.data.replay import Replay
from forethought.data.rings import example_of
from forethought.runs.store import checkpoint, journal
from forethought.training.loop import TrainState

KEEP = 3
"""How many checkpoints are kept."""


class Saved(NamedTuple):
    """What `Saving.load` found."""

    interval: int
    state: TrainState
    host: dict[str, Any]
    notices: tuple[str, ...]


class Saving:
    """Writes and reads the states of one run.

    Args:
        folder: The run's folder.
        replay: What the run's memory is.
    """

    def __init__(self, folder: pathlib.Path, replay: Replay):
        self.folder, self.replay = folder, replay
        self._records: collections.deque[journal.Record] = collections.deque(
            maxlen=KEEP
        )

    def save(self, interval: int, state: TrainState, host: dict[str, Any]) -> None:
        """Write a checkpoint, and of the memory what was not written yet.

        Raises:
            OSError: It could not be written; what was saved before is as it was.
        """
        before = self._records[-1] if self._records else None
        record = journal.append(self.folder, state.flow.replay, before)
        checkpoint.save(
            self.folder,
            interval,
            _without_memory(state),
            host | {"replay": record},
            keep=KEEP,
        )
        self._records.append(record)
        if len(self._records) == KEEP:
            journal.prune(self.folder, self._records)

    def load(self, like: TrainState) -> Saved:
        """The newest state that is complete and undamaged.

        Args:
            like: A state of the same run, such as its first.

        Raises:
            ValueError: There is none, or it is that of another run.
        """
        example = example_of(like.flow.replay)

        def memory(host: dict[str, Any]) -> Any:
            if "replay" not in host:
                raise checkpoint.Unusable(
                    "is that of a version that wrote another kind"
                )
            try:
                return journal.restore(
                    self.folder, host["replay"], self.replay, example
                )
            except ValueError as error:
                raise checkpoint.Unusable(f"lacks its memory ({error})") from error

        found = checkpoint.load(self.folder, _without_memory(like), memory)
        self._records.append(found.host["replay"])
        state = eqx.tree_at(
            lambda state: state.flow.replay,
            found.tree,
            found.rest,
            is_leaf=lambda node: node is None,
        )
        return Saved(found.step, state, found.host, found.notices)


def load_learner(folder: pathlib.Path, like: TrainState) -> checkpoint.Checkpoint:
    """What was learned, and no more; the tree is a `TrainState`.

    Who acts may carry something else through an episode than who was trained, as a
    student does without its teacher.

    Raises:
        ValueError: There is no usable checkpoint.
    """
    return checkpoint.load(folder, _without_memory(like), part=".learner")


def _without_memory(state: TrainState) -> TrainState:
    return eqx.tree_at(lambda state: state.flow.replay, state, None)
