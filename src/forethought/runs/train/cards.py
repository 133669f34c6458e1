"""The report cards of a run: one file for each interval that was foreseen.

A card draws from a stream of its own, folded from the run's seed and the interval: a
run is the same with and without cards, and one that was resumed has the same cards.
"""

from collections.abc import Callable

import jax
import numpy as np

from forethought.agents.base import AbstractAgent
from forethought.core.given.settings import key_of
from forethought.runs.store.folder import RunFolder
from forethought.training.forecasts import LEVELS, examine
from forethought.training.loop import TrainState
from forethought.training.slopes import slopes

STREAM = 0x0CA2D
FORM = {
    **dict.fromkeys(("errors", "persistence"), "f ahead dimension"),
    "coverage": f"f {len(LEVELS)} ahead dimension",
    "fan": f"f {2 * len(LEVELS) + 1} time dimension",
    "truth": "f time dimension",
    "doubts": "f 3",
    "names": "U dimension",
}
"""What a card is."""
SLOPES = {
    **dict.fromkeys(("policy", "state", "radius"), "f horizon"),
    "singular": "f horizon coordinate",
}
"""What is kept of gradients through time, beside the card."""


def write_card(
    folder: RunFolder,
    agent: AbstractAgent,
    state: TrainState,
    *,
    interval: int,
    new: int,
    seed: int,
    count: int = 1,
    names: Callable[[int], list[str]],
) -> dict[str, float | None]:
    """Examine the model on an interval that it was not fitted to; keep what is found.

    Args:
        folder: Where `cards/` lies.
        agent: Who acts; it says what of it can be examined.
        state: What it has learned before the interval, and remembers after it.
        interval: Number of the interval; it names the card.
        new: Transitions of the interval.
        seed: Of the run.
        count: Environments that were acted in side by side.
        names: From how many numbers are observed to a name for each.

    Returns:
        Numbers for the line of metrics: none for an agent without such a model, and
        none while there is nothing that the model could have been fitted to.
    """
    memory = state.flow.replay
    examined = agent.examined(state.learner)
    if examined is None or int(memory.size) <= new:
        return {}
    key = jax.random.fold_in(key_of(seed), STREAM)
    key = jax.random.fold_in(key, interval)
    card = examine(*examined, memory, new, count=count, key=key)
    arrays = {name: np.asarray(array) for name, array in vars(card).items()}
    arrays["names"] = np.array(names(card.errors.shape[1]))
    folder.save_arrays(f"cards/{interval:04d}.npz", arrays)
    slope_key = jax.random.fold_in(key, STREAM)
    if (found := slopes(*examined, memory, new, key=slope_key)) is not None:
        arrays = {name: np.asarray(array) for name, array in vars(found).items()}
        folder.save_arrays(f"cards/gradients-{interval:04d}.npz", arrays)
    return card.scalars()


def read_cards(folder: RunFolder) -> dict[int, dict[str, np.ndarray]]:
    """The arrays of every card of a run that can be read, by interval."""
    return _read(folder, "", FORM)


def read_slopes(folder: RunFolder) -> dict[int, dict[str, np.ndarray]]:
    """What is kept of gradients through time, by interval; empty where nothing is."""
    return _read(folder, "gradients-", SLOPES)


def _read(
    folder: RunFolder, before: str, form: dict[str, str]
) -> dict[int, dict[str, np.ndarray]]:
    found = {}
    for path in sorted((folder.path / "cards").glob(f"{before}[0-9]*.npz")):
        interval = int(path.stem.removeprefix(before))
        try:
            found[interval] = folder.arrays(f"cards/{path.name}", form)
        except ValueError:  # damaged: what the others say still holds
            continue
    return found
