"""What a training run has learned, at work in a loop of a person's own."""

import os

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from forethought.core.given.settings import key_of
from forethought.core.spaces import Box, Discrete
from forethought.environments.base import EnvironmentSpec
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.runs.store.folder import RunFolder
from forethought.runs.train.config import read_back
from forethought.runs.train.saving import load_learner
from forethought.runs.train.settings import Learning
from forethought.training.actor import Actor, Form
from forethought.training.host import read


def load(folder: str | os.PathLike) -> Actor:
    """The agent that a training run has learned, ready to act.

    ```python
    >>> import forethought as ft
    >>> agent = ft.load("runs/Pendulum-v1-pets")  # doctest: +SKIP
    >>> action = agent.act(obs)  # doctest: +SKIP

    ```

    Args:
        folder: Of the run, by `forethought train` or `forethought.train`; the newest of
            its checkpoints counts.

    Raises:
        ValueError: It is no folder of a training run, has no usable checkpoint, or was
            trained in another precision than JAX computes in now.
    """
    return actor_of(*learned("load", folder))


def learned(who: str, folder: str | os.PathLike) -> tuple[Learning, PyTree]:
    """The training run of a folder, and what it has learned so far.

    Args:
        who: Who asks, for messages.
        folder: Of the run.

    Raises:
        ValueError: As `load`.
    """
    opened = RunFolder.open(folder)
    config = opened.config()
    learning = read_back(who, folder, config)
    here, there = _bits(), config["options"].get("precision", _bits())
    if here != there:
        raise ValueError(
            f"{folder} was trained in float{there}, but JAX computes in float{here}: "
            f'call jax.config.update("jax_enable_x64", {there == 64}) first.'
        )
    like = learning.training.begin(key=key_of(learning.seed))
    return learning, load_learner(opened.path, like).tree.learner


def _bits() -> int:
    return jnp.finfo(jnp.result_type(float)).bits


def actor_of(learning: Learning, learner: PyTree) -> Actor:
    """An agent that acts on what was learned.

    Args:
        learning: The training run.
        learner: What came of it.
    """
    training = learning.training
    environment = training.environment
    form = Form("an observation", _blank(environment.spec))
    if isinstance(environment, GymnasiumEnvironment):
        return Actor(
            training.agent,
            learner,
            [form],
            read=environment.read,
            write=environment.write,
            seed=learning.seed,
        )
    return Actor(training.agent, learner, [form], seed=learning.seed)


def _blank(spec: EnvironmentSpec) -> PyTree[np.ndarray]:
    """An observation of zeros."""
    zeros = jax.tree.map(
        lambda space: np.zeros(space.shape),
        spec.observation,
        is_leaf=lambda node: isinstance(node, Box | Discrete),
    )
    return read(spec, zeros)
