"""A model fitted to logged episodes, and judged on others that it has not seen."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from forethought.core.given.settings import key_of
from forethought.core.spaces import Box, Discrete, free_box
from forethought.core.words import unknown
from forethought.data.logged import Logged
from forethought.environments.base import EnvironmentSpec
from forethought.models.base import AbstractLearned
from forethought.models.learned.recipes import AbstractRecipe
from forethought.models.learned.rows import Rows
from forethought.models.registry import fitted_models, name_of, recipe_of
from forethought.runs.fit.held import Held
from forethought.runs.fit.judge import Judged, judge

SAMPLE = 1000
"""So many rows of the data are kept beside a model, at most."""


@dataclasses.dataclass(frozen=True)
class Data:
    """What is kept of the data that models were fitted to."""

    name: str
    obs_names: tuple[str, ...]
    action_names: tuple[str, ...]
    choices: int | None
    """How many actions there are, where they are discrete."""
    low: np.ndarray
    """The least and the most that was done, `[action]`; empty where it is discrete."""
    high: np.ndarray
    mean: np.ndarray
    """Of observations, `[observation]`."""
    deviation: np.ndarray
    obs: np.ndarray
    """Some rows, evenly among all that models were fitted to, `[row, observation]`."""
    action: np.ndarray
    rows: int
    """How many transitions models were fitted to."""
    episodes: int
    held_rows: int
    held_episodes: int
    notes: tuple[str, ...] = ()
    """What was assumed and dropped as the data were read."""

    @property
    def spec(self) -> EnvironmentSpec:
        """What there is to observe and to do, as models are begun with it."""
        actions = Box(self.low, self.high) if not self.choices else None
        return EnvironmentSpec(
            free_box(len(self.obs_names)), actions or Discrete(self.choices or 1), None
        )


@dataclasses.dataclass(frozen=True)
class Fit:
    """One model that was fitted, and how well it foresees what it has not seen."""

    name: str
    recipe: AbstractRecipe
    model: AbstractLearned
    judged: Judged
    seconds: float
    """What fitting it took, compiling included."""
    metrics: Mapping[str, float]
    """What the fit said of itself, mean over samples: its loss on hold-out rows."""


def recipes_of(
    models: str | AbstractRecipe | Sequence[str | AbstractRecipe],
    settings: Mapping[str, Any],
) -> dict[str, AbstractRecipe]:
    """Models to fit, by their names.

    Args:
        models: Names, or recipes.
        settings: Fields that replace those of a recipe, where there is one alone.

    Raises:
        ValueError: There is no such model, or it is not fitted to rows; it is named
            twice; there is no such setting, or several models that it could be of.
        TypeError: Something is neither a name nor a recipe.
    """
    several = [models] if isinstance(models, str | AbstractRecipe) else list(models)
    if not several:
        raise ValueError(f"fit needs a model, such as {', '.join(fitted_models())}.")
    found: dict[str, AbstractRecipe] = {}
    for each in several:
        if isinstance(each, AbstractRecipe):
            name, recipe = name_of(each), each
        elif isinstance(each, str):
            name, recipe = each, recipe_of(each)
        else:
            raise TypeError(
                "fit needs the name of a model or its recipe, such as 'ensemble' or "
                f"EnsembleRecipe(), got {each!r}."
            )
        if name in found:
            raise ValueError(f"fit needs each model once, got {name} twice.")
        found[name] = recipe
    if settings:
        if len(found) > 1:
            raise ValueError(
                "Settings of a model go with one model, but several are fitted: "
                f"{', '.join(found)}."
            )
        ((name, recipe),) = found.items()
        known = {field.name for field in dataclasses.fields(recipe) if field.init}
        if strange := [each for each in settings if each not in known]:
            raise unknown(f"setting of {name} or of fit", strange[0], known)
        found[name] = dataclasses.replace(recipe, **settings)
    return found


def data_of(name: str, fitting: Logged, held: Logged) -> Data:
    """What is kept of data.

    Args:
        name: What they are called.
        fitting: What models are fitted to.
        held: What they are judged on.
    """
    discrete = fitting.action.ndim == 1
    both = np.concatenate([fitting.action, held.action])
    low, high = both.min(axis=0), both.max(axis=0)
    some = np.arange(min(SAMPLE, fitting.rows)) * fitting.rows
    some = some // min(SAMPLE, fitting.rows)
    return Data(
        name,
        fitting.obs_names,
        fitting.action_names,
        int(both.max()) + 1 if discrete else None,
        np.zeros(0) if discrete else low,
        np.zeros(0) if discrete else high,
        fitting.obs.mean(axis=0),
        fitting.obs.std(axis=0),
        fitting.obs[some],
        fitting.action[some],
        fitting.rows,
        fitting.episodes,
        held.rows,
        held.episodes,
        fitting.notes,
    )


def rows_of(data: Logged) -> Rows:
    """Transitions as models are fitted to them, in JAX's precision."""
    real = jnp.zeros(()).dtype
    reward = np.zeros(data.rows) if data.reward is None else data.reward
    parts = (data.obs, data.action, reward, data.next_obs)
    obs, action, reward, after = (part.astype(real) for part in parts)
    return Rows.pad(obs, action, reward, after, data.terminated)


def fit_one(
    name: str,
    recipe: AbstractRecipe,
    data: Data,
    fitting: Logged,
    held: Held,
    *,
    seed: int,
    stage: Callable[[str], None] = lambda words: None,
) -> Fit:
    """Fit a model, and judge it.

    Args:
        name: Of the model.
        recipe: How it begins and is fitted.
        data: What is known of the data.
        fitting: What it is fitted to.
        held: What it is judged on.
        seed: Of all draws.
        stage: Is told what is done now.
    """
    begin_key, fit_key, judge_key = jax.random.split(key_of(seed), 3)
    stage(f"fitting {name}")
    began = time.monotonic()
    begun = recipe.begin(data.spec, key=begin_key)
    model, metrics = begun.fit(rows_of(fitting), key=fit_key)
    jax.block_until_ready((model, metrics))
    took = time.monotonic() - began
    stage(f"judging {name}")
    judged = judge(model, held, key=judge_key)
    told = {
        key: float(np.mean(np.asarray(value, float)))
        for key, value in metrics.items()
        if np.ndim(value) <= 1 and np.size(value)
    }
    return Fit(name, recipe, model, judged, took, told)


def ranked(fits: Sequence[Fit]) -> tuple[Fit, ...]:
    """Models by their likelihood, the best first; then by their errors of one step."""
    return tuple(
        sorted(fits, key=lambda fit: (-fit.judged.nats, fit.judged.errors[0].mean()))
    )
