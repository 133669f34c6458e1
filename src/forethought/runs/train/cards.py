"""The report cards of a run: one file for each interval that was foreseen.

A card draws from a stream of its own, folded from the run's seed and the interval: a
run is the same with and without cards, and one that was resumed has the same cards.
"""

import jax
import numpy as np

from forethought.agents.base import AbstractAgent
from forethought.runs.store.folder import RunFolder
from forethought.tasks.base import Task
from forethought.training.forecasts import examine
from forethought.training.loop import TrainState

STREAM = 0x0CA2D


def write_card(
    folder: RunFolder,
    agent: AbstractAgent,
    state: TrainState,
    *,
    interval: int,
    new: int,
    seed: int,
    count: int = 1,
    task: Task | None = None,
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
        task: Names what is observed, where it can.

    Returns:
        Numbers for the line of metrics: none for an agent without such a model, and
        none while there is nothing that the model could have been fitted to.
    """
    memory = state.flow.replay
    examined = agent.examined(state.learner)
    if examined is None or int(memory.size) <= new:
        return {}
    key = jax.random.fold_in(jax.random.key(seed), STREAM)
    key = jax.random.fold_in(key, interval)
    card = examine(*examined, memory, new, count=count, key=key)
    (folder.path / "cards").mkdir(exist_ok=True)
    arrays = {name: np.asarray(array) for name, array in vars(card).items()}
    arrays["names"] = np.array(observed(task, card.errors.shape[1]))
    folder.save_arrays(f"cards/{interval:04d}.npz", arrays)
    return card.scalars()


def read_cards(folder: RunFolder) -> dict[int, dict[str, np.ndarray]]:
    """The arrays of every card of a run that can be read, by interval."""
    found = {}
    for path in sorted((folder.path / "cards").glob("[0-9]*.npz")):
        try:
            found[int(path.stem)] = folder.arrays(f"cards/{path.name}")
        except ValueError:  # damaged: what the others say still holds
            continue
    return found


def observed(task: Task | None, size: int) -> list[str]:
    """A name for each observed dimension: that of the state which it tells, if any.

    Args:
        task: Whose observations tell its state, in the order of its coordinates, with
            cosine and sine in the place of an angle.
        size: How many dimensions there are.
    """
    plain = [f"observation {i}" for i in range(size)]
    if task is None or task.restore is None:
        return plain
    places = {
        i: part
        for pair in task.circles
        for i, part in zip(pair, ("cos", "sin"), strict=True)
    }
    coordinates, found = list(task.system.state_names), []
    if len(coordinates) + len(task.circles) != size:
        return plain
    for i in range(size):
        part = places.get(i)
        name = coordinates[0] if part == "cos" else coordinates.pop(0)
        found.append(f"{part} {name.split(' (')[0]}" if part else name)
    return found
