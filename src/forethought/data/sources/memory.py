"""What a replay memory remembers, as a table: of training, or of roll-outs."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from forethought.data.rings import ReplayState
from forethought.data.sources.arrays import NAMES, from_arrays
from forethought.data.sources.table import Table
from forethought.data.transitions import Transition


def of_memory(
    source: str,
    state: ReplayState[Transition],
    obs_names: Sequence[str],
    action_names: Sequence[str],
    *,
    dt: float | None = None,
) -> Table:
    """The transitions that a memory holds, the lanes one after the other.

    An episode that is under way, or whose beginning was forgotten, counts as one.

    Args:
        source: What is remembered, for sentences.
        state: What the memory holds.
        obs_names: Of the numbers of an observation, leaf by leaf.
        action_names: Of those of an action.
        dt: Seconds of a step; no times if not given.

    Raises:
        ValueError: Nothing is remembered.
    """
    if not int(state.steps):
        raise ValueError(f"{source} remembers nothing yet.")
    steps = np.arange(int(state.oldest), int(state.steps))
    lanes = np.arange(state.lanes)
    place = steps % state.capacity
    at = np.asarray(state.at)[place]

    def rows(leaf: Any) -> np.ndarray:
        """Leaves `[step, lane, ...]` by row: a lane after the other."""
        return np.swapaxes(leaf, 0, 1).reshape(-1, *leaf.shape[2:])

    def seen(number: np.ndarray) -> np.ndarray:
        leaves = jax.tree.leaves(state.observations)
        return _wide(
            [rows(np.asarray(leaf)[number % state.room, lanes]) for leaf in leaves]
        )

    def kept(tree: PyTree) -> np.ndarray:
        return rows(np.asarray(tree)[place])

    begins = np.diff(at, axis=0, prepend=at[:1] - 2) != 1
    episode = np.cumsum(rows(begins)) - 1
    first = np.flatnonzero(rows(begins))
    action = kept(state.rows.action)
    arrays = {
        "episode": episode,
        "obs": seen(at),
        "action": action if action.ndim > 1 else action[:, None],
        "reward": kept(state.rows.reward),
        "next_obs": seen(at + 1),
        "terminated": kept(state.rows.terminated),
        "truncated": kept(state.rows.truncated),
        f"obs{NAMES}": np.array(unlike(obs_names)),
        f"action{NAMES}": np.array(unlike(action_names)),
    }
    if dt is not None:
        arrays["time"] = (np.arange(len(episode)) - first[episode]) * dt
    return from_arrays(source, arrays, discrete=action.ndim == 1)


def unlike(names: Sequence[str]) -> list[str]:
    """Names, with a number where the same one comes again."""
    found: list[str] = []
    for name in names:
        each, again = name, 2
        while each in found:
            each, again = f"{name} {again}", again + 1
        found.append(each)
    return found


def _wide(leaves: list[np.ndarray]) -> np.ndarray:
    """Leaves side by side, a row for each."""
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
