"""What a fitted model foresaw of a plan, beside what was met, and how far it could."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.given.settings import key_of
from forethought.models.base import AbstractLearned
from forethought.problem import Problem
from forethought.runs.fit.fitting import Data
from forethought.runs.plan.control import Run
from forethought.runs.store.folder import RunFolder
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
