"""Logged transitions from anywhere: files, data sets, and run folders of our own."""

import math
import os
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from forethought.core.given.settings import key_of
from forethought.core.spaces import Discrete, Space
from forethought.data.logged import Logged
from forethought.data.sources.arrays import NAMES, from_arrays
from forethought.data.sources.memory import of_memory
from forethought.data.sources.reading import of_table, read_table
from forethought.data.sources.table import Table
from forethought.environments.base import AbstractEnvironment
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.runs.plan.record import FILE, Record
from forethought.runs.store.folder import RunFolder
from forethought.runs.train.config import read_back
from forethought.runs.train.saving import Saving
from forethought.tasks.base import Task, observed_names


def read(path: str | os.PathLike, **given: Any) -> Logged:
    """Read transitions from a file, a data set or a run folder.

    Args:
        path: A file (CSV, Parquet, NPZ), a data set of Minari (its folder, or its name
            after "minari:"), or the folder of a run: of training, whose memory is
            read, or of planning, whose episode is.
        **given: As `forethought.data.sources.reading.read` takes it.

    Raises:
        ValueError: As that, or the run remembers nothing that can be read.
    """
    return of_table(table_of(path), **given)


def table_of(path: str | os.PathLike) -> Table:
    """The table that a file, a data set or a run folder holds.

    Raises:
        ValueError: As `read`.
    """
    if (pathlib.Path(path) / "config.json").is_file():
        folder = RunFolder.open(path)
        return _episode(folder) if folder.has(FILE) else _memory(folder)
    return read_table(path)


class Labels(NamedTuple):
    """What is known of the numbers that an environment shows and takes."""

    obs: tuple[str, ...]
    action: tuple[str, ...]
    dt: float
    """Seconds of a step, or 1 where nothing tells them."""


def labels(
    task: Task | None, environment: AbstractEnvironment | GymnasiumEnvironment
) -> Labels:
    """Names of all that is seen and done in an environment.

    Args:
        task: Whose environment it is, or None for one of Gymnasium.
        environment: What is acted in.
    """
    spec = environment.spec
    spaces = jax.tree.leaves(
        spec.observation, is_leaf=lambda node: isinstance(node, Space)
    )
    seen = sum(math.prod(space.shape) for space in spaces)
    done = math.prod(spec.action.shape)
    if isinstance(environment, GymnasiumEnvironment):
        obs, action, dt = environment.names(seen), (), environment.dt
    else:
        assert task is not None
        obs, dt = observed_names(task, seen), task.system.dt
        action = task.system.action_names
    if isinstance(spec.action, Discrete):
        action = ("action",)
    elif len(action) != done:
        action = tuple(f"action {i}" for i in range(done))
    return Labels(tuple(obs), tuple(action), dt)


def _memory(folder: RunFolder) -> Table:
    """What a training run remembers, as its newest checkpoint has it."""
    learning = read_back("Reading data", folder.path, folder.config())
    bits = folder.config()["options"].get("precision", 32)
    with jax.enable_x64(bits == 64):
        training = learning.training
        like = training.begin(key=key_of(learning.seed))
        state = Saving(folder.path, training.replay).load(like).state
        names = labels(learning.task, training.environment)
        memory = state.flow.replay
        return of_memory(str(folder.path), memory, names.obs, names.action, dt=names.dt)


def _episode(folder: RunFolder) -> Table:
    """The episode of a run that planned; its rewards are discounted, and left out."""
    record = Record.load(folder)
    rows = int(np.sum(record.alive))
    arrays = {
        "obs": record.states[:rows],
        "action": record.actions[:rows],
        "next_obs": record.states[1 : rows + 1],
        "time": np.arange(rows) * record.dt,
        f"obs{NAMES}": np.array(record.state_names),
        f"action{NAMES}": np.array(record.action_names),
    }
    return from_arrays(str(folder.path), arrays)
