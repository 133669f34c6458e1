"""Every model by name: what it is made of, what its beliefs are, what it serves.

This is the one table of models, which the command line lists. Models that wrap others
(`models/around`) are no entries of their own, but one: `distorted` is wrong on purpose.
"""

import dataclasses
from collections.abc import Mapping

from forethought.core.words import unknown
from forethought.models.around.distorted import Distorted, DistortedRecipe
from forethought.models.base import AbstractModel
from forethought.models.gp.matched import MomentMatching
from forethought.models.gp.recipe import GaussianProcessRecipe, MomentMatchingRecipe
from forethought.models.gp.sampled import GaussianProcess
from forethought.models.known import Known
from forethought.models.learned.bayesian import BayesianNetwork
from forethought.models.learned.ensemble import Ensemble
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import (
    AbstractRecipe,
    BayesianRecipe,
    EnsembleRecipe,
)
from forethought.models.linear.dynamics import Linear
from forethought.models.linear.kalman import LinearGaussian
from forethought.models.linear.local import Local
from forethought.models.linear.pieces import LocalLinearRecipe, Pieces
from forethought.models.linear.regression import LinearGaussianRecipe, LinearRegression
from forethought.models.tables.tabular import Tabular, TabularCounts


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model that has a name.

    Args:
        kind: Its class.
        made_of: What there must be before there is a model.
        belief: What its beliefs are.
        derivatives: Of what kind its derivatives are.
        serves: Where it is met: commands, agents that learn it, or Python alone.
        recipe: How it begins, by default, where it is learned from rows.
    """

    kind: type[AbstractModel]
    made_of: str
    belief: str
    derivatives: str
    serves: tuple[str, ...]
    recipe: AbstractRecipe | None = None


MODELS: Mapping[str, Entry] = {
    "known": Entry(Known, "a system", "its state", "exact", ("plan",)),
    "mujoco": Entry(
        Known, "an MJCF file", "the engine's state", "central differences", ("plan",)
    ),
    "linear": Entry(Linear, "matrices", "a vector", "exact", ("plan",)),
    "kalman": Entry(
        LinearGaussian, "matrices", "mean and covariance", "exact", ("Python",)
    ),
    "network": Entry(
        Ensemble,
        "transitions",
        "an observation",
        "exact",
        ("fit", "mbrl-v0", "mbrl-v1", "mbrl-v2"),
        EnsembleRecipe(members=1, probabilistic=False, propagation="E"),
    ),
    "ensemble": Entry(
        Ensemble,
        "transitions",
        "an observation, its member",
        "of one particle",
        ("fit", "pets"),
        EnsembleRecipe(fitting=FitSettings(calibrate=True)),
    ),
    "distorted": Entry(
        Distorted,
        "transitions",
        "an observation, its member",
        "of one particle",
        ("fit",),
        DistortedRecipe(),
    ),
    "gp": Entry(
        GaussianProcess,
        "transitions",
        "an observation, its draw",
        "of one particle",
        ("fit",),
        GaussianProcessRecipe(),
    ),
    "gp-moments": Entry(
        MomentMatching,
        "transitions",
        "mean and covariance",
        "exact",
        ("fit",),
        MomentMatchingRecipe(),
    ),
    "linear-gaussian": Entry(
        LinearRegression,
        "transitions",
        "an observation, its draw",
        "of one particle",
        ("fit",),
        LinearGaussianRecipe(),
    ),
    "local-linear": Entry(
        Pieces,
        "transitions",
        "an observation, its draw",
        "of one particle",
        ("fit",),
        LocalLinearRecipe(),
    ),
    "local": Entry(
        Local,
        "repeated roll-outs",
        "mean and covariance, the time",
        "exact",
        ("Python",),
    ),
    "bayesian": Entry(
        BayesianNetwork,
        "transitions",
        "an observation, the number of its weights",
        "of one particle",
        ("fit",),
        BayesianRecipe(),
    ),
    "tabular": Entry(Tabular, "a table", "a state's number", "none", ("plan",)),
    "counts": Entry(
        TabularCounts, "transitions", "a state's number", "none", ("dyna", "sweeping")
    ),
}
"""Every model under its name on the command line."""


def fitted_models() -> list[str]:
    """The names of models that are fitted to rows."""
    return [name for name, entry in MODELS.items() if entry.recipe is not None]


def recipe_of(name: str) -> AbstractRecipe:
    """How a model begins by default.

    Raises:
        ValueError: There is no model of that name, or it is not fitted to rows.
    """
    if name not in MODELS:
        raise unknown("model", name, fitted_models())
    if (recipe := MODELS[name].recipe) is None:
        raise ValueError(
            f"Fitting needs a model that is fitted to rows, such as "
            f"{', '.join(fitted_models())}; {name} is made of {MODELS[name].made_of}."
        )
    return recipe


def name_of(recipe: AbstractRecipe) -> str:
    """The name of the model whose default settings are nearest.

    Raises:
        TypeError: No model begins by such a recipe.
    """
    near = {
        name: sum(
            getattr(recipe, field.name) != getattr(MODELS[name].recipe, field.name)
            for field in dataclasses.fields(recipe)
        )
        for name in fitted_models()
        if type(MODELS[name].recipe) is type(recipe)
    }
    if not near:
        raise TypeError(f"{type(recipe).__name__} is the recipe of no model here.")
    return min(near, key=lambda name: near[name])
