"""What a run has left, whatever kind of run it was."""

import os

from forethought.runs.fit.kept import KIND, Fitted, load_fitted
from forethought.runs.store.folder import RunFolder
from forethought.runs.train import acting
from forethought.training.actor import Actor


def load(folder: str | os.PathLike) -> Actor | Fitted:
    """What was learned in a run: an agent ready to act, or models that were fitted.

    ```python
    >>> import forethought as ft
    >>> agent = ft.load("runs/Pendulum-v1-pets")  # doctest: +SKIP
    >>> action = agent.act(obs)  # doctest: +SKIP
    >>> model = ft.load("runs/swings-ensemble").model  # doctest: +SKIP

    ```

    Args:
        folder: Of the run, by `forethought train` or `fit`, or the functions of these
            names; of a training run the newest of its checkpoints counts.

    Raises:
        ValueError: It is no folder of such a run, or nothing in it can be used; an
            agent was trained in another precision than JAX computes in now.
    """
    if RunFolder.open(folder).config().get("forethought") == KIND:
        return load_fitted(folder)
    return acting.load(folder)
