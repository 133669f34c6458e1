"""Planning with a model that was fitted to data: in a task's world, or in none.

Where there is a world it is acted in, and what the model had expected stands beside
what happened. Where the data were a file the model itself is the only world there is.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.given.settings import key_of
from forethought.core.linalg import as_float
from forethought.core.readout import AbstractJudge
from forethought.core.spaces import Discrete, Space
from forethought.models.base import AbstractLearned
from forethought.problem import Problem
from forethought.runs.fit.fitting import Data
from forethought.runs.fit.kept import Fitted, load_fitted
from forethought.runs.plan.control import Run
from forethought.runs.store.folder import RunFolder
from forethought.tasks.base import Task
from forethought.tasks.believed import Imagined, believing, imagined
from forethought.training.forecasts import forecast, quantiles

FILE = "foreseen.npz"
FORM = {
    "names": "U observation",
    "dt": "f",
    "bands": "f 5 time observation",
    "mean": "f time observation",
    "met": "f then observation",
    **dict.fromkeys(("aleatoric", "epistemic", "distance"), "f step"),
}
"""What `Foreseen` is on the disk."""
NEAR = 400
"""So many rows of the data are asked for their nearest neighbours."""


@dataclasses.dataclass(frozen=True)
class Foreseen:
    """What a fitted model foresaw of the first plan, and how far it could know it."""

    names: list[str]
    """Of what is observed."""
    dt: float
    bands: np.ndarray
    """`QUANTILES` of particles, `[quantile, horizon + 1, observation]`."""
    mean: np.ndarray
    """Of particles, `[horizon + 1, observation]`."""
    met: np.ndarray
    """What was observed in the episode, `[time + 1, observation]`."""
    aleatoric: np.ndarray
    """Noise of each planned step, in standard deviations of the data, `[horizon]`."""
    epistemic: np.ndarray
    """What of it data would teach, likewise."""
    distance: np.ndarray
    """From the nearest of the data, as a multiple of how far these are from each
    other, `[horizon]`."""

    @property
    def share(self) -> np.ndarray:
        """The epistemic part of the variance of each step; NaN where there is none."""
        total = self.aleatoric**2 + self.epistemic**2
        return np.where(
            total > 0, self.epistemic**2 / np.where(total > 0, total, 1), np.nan
        )

    def save(self, folder: RunFolder) -> None:
        """Write `foreseen.npz`."""
        arrays = {name: np.asarray(part) for name, part in vars(self).items()}
        folder.save_arrays(FILE, arrays)

    @classmethod
    def load(cls, folder: RunFolder) -> "Foreseen":
        """Read `foreseen.npz`.

        Raises:
            ValueError: It is missing, broken, or something else.
        """
        arrays: dict[str, Any] = folder.arrays(FILE, FORM)
        plain = {"names": arrays["names"].tolist(), "dt": float(arrays["dt"])}
        return cls(**arrays | plain)


def fitted_of(model: "Fitted | str | os.PathLike") -> Fitted:
    """Models that were fitted, or those of a run folder.

    Raises:
        ValueError: It is no folder of such a run.
        TypeError: It is neither.
    """
    if isinstance(model, str | os.PathLike):
        return load_fitted(model)
    if not isinstance(model, Fitted):
        raise TypeError(
            "Planning with a model needs the folder of a run of fit, or what "
            f"forethought.fit returned, got {type(model).__name__}."
        )
    return model


def task_with(
    task: Task, model: "Fitted | str | os.PathLike", caution: float = 0.0
) -> Task:
    """A task for a planner that believes a fitted model.

    Args:
        task: What is acted in.
        model: What `forethought.fit` returned, or its folder; the best model is used.
        caution: The price of a step that is doubted by one standard deviation of the
            data; negative for a bonus.

    Raises:
        ValueError: The model is of other observations or actions.
        TypeError: The task's observations do not tell its state.
    """
    fitted = fitted_of(model)
    made = believing(task, fitted.model, caution=caution)
    spec, own = task.environment.spec, fitted.spec
    if spec.observation.shape != own.observation.shape:
        raise ValueError(
            f"A model for {task.name} needs {spec.observation.shape[0]} observations, "
            f"but it was fitted to {own.observation.shape[0]} "
            f"({', '.join(fitted.names)})."
        )
    if _kind(spec.action) != _kind(own.action):
        raise ValueError(
            f"A model for {task.name} needs {_kind(spec.action)}, but it was fitted to "
            f"{_kind(own.action)}."
        )
    return made


def _kind(action: Space) -> str:
    if isinstance(action, Discrete):
        return f"{action.n} choices"
    return f"actions of {action.shape[0]} numbers"


def task_of(
    fitted: Fitted,
    objective: AbstractJudge,
    start: Sequence[float],
    *,
    steps: int,
    caution: float = 0.0,
) -> Task:
    """A task whose only world is a fitted model.

    Args:
        fitted: What was fitted; the best model is used.
        objective: What is wanted of observations.
        start: The observation to begin with.
        steps: How far to plan.
        caution: As for `task_with`.

    Raises:
        ValueError: The start has another number of entries.
    """
    names = fitted.names
    if len(start) != len(names):
        raise ValueError(
            f"A plan needs a start of {len(names)} numbers ({', '.join(names)}), got "
            f"{len(start)}."
        )
    data = fitted.data
    spread = np.where(data.deviation > 0, data.deviation, 1.0)
    first = as_float(np.asarray(start, float))
    system = Imagined(
        model=fitted.model,
        first=first,
        action=fitted.spec.action,
        names=(names, data.action_names),
        usual=(as_float(data.mean), as_float(spread)),
    )
    return imagined(data.name, system, objective, steps=steps, caution=caution)


def foresee(run: Run, data: Data) -> Foreseen:
    """What a fitted model foresaw of the first plan of a run.

    Args:
        run: On a task of `task_with` or `task_of`.
        data: What the model was fitted to.
    """
    problem, first, system = run.task.problem, run.first, run.task.system
    model = learned(problem)
    met = jax.vmap(system.observe)(run.episode.states)
    cloud = _cloud(model, met[0], first.actions, key=key_of(run.seed))
    mean = jnp.mean(cloud, axis=1)
    aleatoric, epistemic = _doubts(model, mean[:-1], first.actions)
    actions = np.asarray(first.actions)
    return Foreseen(
        list(data.obs_names),
        float(system.dt),
        np.asarray(quantiles(cloud)),
        np.asarray(mean),
        np.asarray(met),
        np.asarray(aleatoric),
        np.asarray(epistemic),
        distances(np.asarray(mean[:-1]), actions, data),
    )


def learned(problem: Problem) -> AbstractLearned:
    """The model that was fitted, whatever stands around it."""
    model: Any = problem.model
    while not isinstance(model, AbstractLearned):
        model = model.model
    return model


@eqx.filter_jit
def _cloud(
    model: AbstractLearned, obs: Array, actions: Array, *, key: PRNGKeyArray
) -> Float[Array, "time particle observation"]:
    return forecast(model, obs, actions, cloud=model.cloud, key=key)


@eqx.filter_jit
def _doubts(model: AbstractLearned, obs: Array, actions: Array) -> PyTree:
    """Both parts of what is not known of steps, over all outputs together."""
    key = key_of(0)
    prior = model.init(key=key)

    def doubt(obs: Array, action: Array) -> tuple[Array, Array]:
        belief = model.observe(prior, obs, key=key)
        parts = model.doubt(belief, action)
        return jnp.sqrt(jnp.mean(parts[0])), jnp.sqrt(jnp.mean(parts[1]))

    return jax.vmap(doubt)(obs, actions)


def distances(obs: np.ndarray, actions: np.ndarray, data: Data) -> np.ndarray:
    """How far steps are from the data, as a multiple of what is usual among these.

    Args:
        obs: Where steps begin, `[step, observation]`.
        actions: What is done there, `[step]` or `[step, action]`.
        data: Its kept rows are the ones that distances are measured from.
    """

    def numbers(action: np.ndarray) -> np.ndarray:
        if data.choices:
            return np.eye(data.choices)[np.asarray(action, int)]
        return action.reshape(len(action), -1)

    known = np.concatenate([data.obs, numbers(data.action)], axis=1)
    scale = known.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)

    def nearest(points: np.ndarray, skip: int) -> np.ndarray:
        gaps = (points[:, None] - known[None]) / scale
        return np.sort(np.sqrt(np.sum(gaps**2, axis=2)), axis=1)[:, skip]

    some = known[np.linspace(0, len(known) - 1, min(NEAR, len(known))).astype(int)]
    usual = float(np.median(nearest(some, 1))) if len(known) > 1 else 1.0
    here = np.concatenate([obs, numbers(actions)], axis=1)
    return nearest(here, 0) / max(usual, 1e-9)
