"""Fitted models on the disk: a run folder that they come back from.

config.json           settings, what the data were called, all that `load` needs
metrics.jsonl         one line for each model, once it is fitted and judged
data.npz              some rows of the data, and what is foreseen without thought
judged/NAME.npz       what a model foresaw of held-out episodes
models/NAME/checkpoints/0/
                      the model itself, as plain arrays
"""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, NotRequired, TypedDict

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from forethought.core.given.settings import key_of
from forethought.environments.base import EnvironmentSpec
from forethought.models.base import AbstractLearned
from forethought.models.learned.recipes import AbstractRecipe
from forethought.models.registry import recipe_of
from forethought.runs.fit.fitting import Data, Fit, ranked
from forethought.runs.fit.held import Held
from forethought.runs.fit.judge import BANDS, FAR, GRID, LEVELS, Judged
from forethought.runs.fit.scores import overall
from forethought.runs.store import checkpoint
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.plain import config_with
from forethought.runs.store.schema import Real, require
from forethought.runs.train.config import like_data

KIND = "fit"
DATA = "data.npz"
DATA_FORM = {
    **dict.fromkeys(("mean", "deviation", "scale"), "f observation"),
    "moves": "b observation",
    **dict.fromkeys(("low", "high"), "0f action"),
    "obs": "f row observation",
    "action": "fiu row",
    **dict.fromkeys(("constant", "linear"), "f step observation"),
    "count": "iu step",
    "starts": "f start observation",
    "truth": "f start step observation",
    "known": "b start step",
    "places": "f place observation",
}
JUDGED_FORM = {
    "crps": "f observation",
    "errors": "f step observation",
    "calibration": f"f {len(GRID)} observation",
    "coverage": f"f {len(LEVELS)} step observation",
    "fan": f"f start {len(BANDS)} step observation",
    **dict.fromkeys(("aleatoric", "epistemic"), "f place observation"),
    "far": f"f 2 {len(FAR)}",
}


class Options(TypedDict):
    """What is read back of `options`."""

    seed: Integral
    precision: int


class Known(TypedDict):
    """What is read back of `data`."""

    obs_names: list[str]
    action_names: list[str]
    choices: int | None
    rows: int
    episodes: int
    held_rows: int
    held_episodes: int
    notes: list[str]
    nats: dict[str, Real]


class Config(TypedDict):
    """What is read back of `config.json`."""

    task: str
    settings: dict[str, dict[str, Any]]
    options: Options
    data: Known
    command: NotRequired[str | list[str]]


class Line(TypedDict):
    """What is read back of a line of metrics."""

    model: str
    seconds: float
    nats: Real
    metrics: dict[str, Real]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Models that were fitted to data, the best first, and their folder."""

    fits: tuple[Fit, ...]
    data: Data
    held: Held
    folder: RunFolder

    @property
    def model(self) -> AbstractLearned:
        """The best one."""
        return self.fits[0].model

    @property
    def name(self) -> str:
        """That of the best one."""
        return self.fits[0].name

    @property
    def spec(self) -> EnvironmentSpec:
        """What there is to observe and to do."""
        return self.data.spec

    @property
    def names(self) -> tuple[str, ...]:
        """Of what is observed."""
        return self.data.obs_names

    @functools.cached_property
    def table(self) -> str:
        """What came out, in lines of at most 80 letters."""
        from forethought.runs.fit.told import table

        return table(self.fits, self.names, self.held)

    @property
    def verdict(self) -> list[str]:
        """Whether the models know how far off they are, a sentence each."""
        from forethought.runs.fit.told import verdict

        return [verdict(fit) for fit in self.fits]


def config_of(
    data: Data,
    held: Held,
    recipes: Mapping[str, AbstractRecipe],
    options: Mapping[str, Any],
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Everything that the `config.json` of such a run says.

    Args:
        data: What is known of the data.
        held: What is foreseen of it without thought.
        recipes: By name.
        options: All else that decides what is done.
        command: That which began it, where there was one.
    """
    bits = jnp.finfo(jnp.result_type(float)).bits
    config = config_with(
        KIND,
        data.name,
        ", ".join(recipes),
        dict(recipes),
        dict(options) | {"precision": bits},
        command,
    )
    kept = {key: getattr(data, key) for key in Known.__required_keys__ - {"nats"}}
    return config | {"data": kept | {"nats": held.nats}}


def save_data(folder: RunFolder, data: Data, held: Held) -> None:
    """Keep what all models of a run share."""
    arrays = {
        key: getattr(data, key)
        for key in ("mean", "deviation", "low", "high", "obs", "action")
    }
    arrays |= {
        key: getattr(held, key)
        for key in ("scale", "moves", "constant", "linear", "count", "places")
    }
    arrays |= {
        key: getattr(held, key)[: held.fans] for key in ("starts", "truth", "known")
    }
    folder.save_arrays(DATA, arrays)


def save_fit(folder: RunFolder, fit: Fit, scale: np.ndarray) -> None:
    """Keep a model and what it foresaw; its line of metrics comes last."""
    checkpoint.save(folder.path / "models" / fit.name, 0, fit.model, {}, keep=1)
    arrays = {key: getattr(fit.judged, key) for key in JUDGED_FORM}
    folder.save_arrays(f"judged/{fit.name}.npz", arrays)
    folder.append(line_of(fit, scale))


def line_of(fit: Fit, scale: np.ndarray) -> dict[str, Any]:
    """A model in a few numbers, for `metrics.jsonl`: those of one step.

    Args:
        fit: The model.
        scale: Standard deviations of the data, in which errors are told.
    """
    judged = fit.judged
    line = {
        "model": fit.name,
        "seconds": fit.seconds,
        "nats": judged.nats,
        "error": float(overall(judged.errors[0], scale)),
        "crps": float(np.mean(judged.crps / scale)),
        "epistemic_share": judged.epistemic_share,
        "metrics": fit.metrics,
    }
    for level, covered in zip(LEVELS, judged.coverage[:, 0], strict=True):
        line[f"coverage_{100 * level:.0f}"] = float(np.nanmean(covered))
    return line


@dataclasses.dataclass(frozen=True)
class Read:
    """A folder of such a run, without its models."""

    config: dict[str, Any]
    lines: list[dict[str, Any]]
    arrays: dict[str, np.ndarray]
    judged: dict[str, dict[str, np.ndarray]]


def read(folder: RunFolder) -> Read:
    """All that a report is made of.

    Raises:
        ValueError: It is no folder of such a run, or its files are damaged.
    """
    config = folder.config()
    if config.get("forethought") != KIND:
        raise ValueError(f"{folder.path} holds no models that were fitted to data.")
    require(config, Config, str(folder.path / "config.json"))
    arrays = folder.arrays(DATA, DATA_FORM | {"action": _action_form(config)})
    size = len(config["data"]["obs_names"])
    if arrays["mean"].shape != (size,):
        raise ValueError(
            f"{folder.path / DATA} needs {size} dimensions of the observation, as "
            f"config.json names them, got {arrays['mean'].shape[0]}."
        )
    lines = folder.metrics(Line)
    judged = {}
    for line in lines:
        name = line["model"]
        if name not in config["settings"]:
            raise ValueError(f"{folder.path} lacks the settings of {name!r}.")
        found = folder.arrays(f"judged/{name}.npz", JUDGED_FORM)
        for key in ("errors", "fan", "epistemic"):
            like = arrays["truth" if key == "fan" else "linear"]
            like = arrays["places"] if key == "epistemic" else like
            if (found[key].shape[0], found[key].shape[-1]) != (like.shape[0], size):
                raise ValueError(
                    f"{folder.path}/judged/{name}.npz does not fit {DATA}: {key}."
                )
        judged[name] = found
    return Read(config, lines, arrays, judged)


def flat(config: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """A config as reports list it, and who made it: settings of one model are flags."""
    shown = {key: each for key, each in config.items() if key != "data"}
    if len(config["settings"]) > 1:
        del shown["planner"]
        return shown, None
    return shown | {"settings": next(iter(config["settings"].values()))}, "model"


def _action_form(config: Mapping[str, Any]) -> str:
    return "fiu row action" if config["data"]["choices"] is None else "fiu row"


def load_fitted(folder: str | os.PathLike) -> Fitted:
    """Models that were fitted to data, from their folder.

    They are computed with in the precision that JAX has now.

    Args:
        folder: Of `forethought fit` or `forethought.fit`.

    Raises:
        ValueError: It is no folder of such a run, none of its models was finished, or
            its files are damaged.
    """
    opened = RunFolder.open(folder)
    found = read(opened)
    if not found.lines:
        raise ValueError(f"{folder} holds no model whose fit came to its end.")
    data, held = _data(found), _held(found)
    fits = []
    with jax.enable_x64(found.config["options"]["precision"] == 64):
        for line in found.lines:
            name = line["model"]
            recipe = like_data(recipe_of(name), found.config["settings"][name], "model")
            model = checkpoint.load(
                opened.path / "models" / name, _blank(recipe, data.spec)
            ).tree
            judged = _judged(found.judged[name], line)
            told = {key: number(each) for key, each in line["metrics"].items()}
            fits.append(Fit(name, recipe, model, judged, line["seconds"], told))
    fits = [dataclasses.replace(fit, model=_as_here(fit.model)) for fit in fits]
    return Fitted(ranked(fits), data, held, opened)


def _blank(recipe: AbstractRecipe, spec: EnvironmentSpec) -> Any:
    """A model's structure and shapes; no array is made, whatever sizes settings say."""
    return eqx.filter_eval_shape(lambda: recipe.begin(spec, key=key_of(0)))


def _as_here(model: Any) -> Any:
    """A model in the precision that JAX computes in now."""
    real = jnp.zeros(()).dtype

    def cast(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.asarray(np.asarray(leaf), real)
        return leaf

    return jax.tree.map(cast, model)


def _data(found: Read) -> Data:
    known, arrays = found.config["data"], found.arrays
    return Data(
        found.config["task"],
        tuple(known["obs_names"]),
        tuple(known["action_names"]),
        known["choices"],
        **{
            key: arrays[key]
            for key in ("low", "high", "mean", "deviation", "obs", "action")
        },
        **{
            key: known[key]
            for key in ("rows", "episodes", "held_rows", "held_episodes")
        },
        notes=tuple(known["notes"]),
    )


def _held(found: Read) -> Held:
    """What is kept of held-out episodes: no rows of one step."""
    arrays = found.arrays
    none = np.zeros((0, arrays["truth"].shape[2]))
    return Held(
        **dict.fromkeys(("obs", "action", "next_obs", "actions", "deeds"), none),
        fans=len(arrays["starts"]),
        count=arrays["count"],
        **{
            key: arrays[key]
            for key in (
                *("starts", "truth", "known", "scale", "moves"),
                *("places", "constant", "linear"),
            )
        },
        nats={key: number(each) for key, each in found.config["data"]["nats"].items()},
    )


def _judged(arrays: Mapping[str, np.ndarray], line: Mapping[str, Any]) -> Judged:
    return Judged(
        **{key: arrays[key] for key in JUDGED_FORM}, nats=number(line["nats"])
    )


def number(value: Any) -> float:
    """A number as JSON has it: null is NaN, infinities are words."""
    return float("nan") if value is None else float(value)
