"""Every model by name: what it is made of, what its beliefs are, what it serves.

This is the one table of models, which the command line lists. Models that wrap others
(`models/around`) are no entries of their own.
"""

import dataclasses
from collections.abc import Mapping

from forethought.models.base import AbstractModel
from forethought.models.known import Known
from forethought.models.learned.bayesian import BayesianNetwork
from forethought.models.learned.ensemble import Ensemble
from forethought.models.learned.recipes import (
    AbstractRecipe,
    BayesianRecipe,
    EnsembleRecipe,
)
from forethought.models.linear.dynamics import Linear
from forethought.models.linear.kalman import LinearGaussian
from forethought.models.tables.tabular import Tabular, TabularCounts


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model that has a name.

    Args:
        kind: Its class.
        made_of: What there must be before there is a model.
        belief: What its beliefs are.
        derivatives: Of what kind its derivatives are.
        serves: Where it is met: a command, agents that learn it, or Python alone.
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
        ("mbrl-v2",),
        EnsembleRecipe(members=1, probabilistic=False, propagation="E"),
    ),
    "ensemble": Entry(
        Ensemble,
        "transitions",
        "an observation, its member",
        "of one particle",
        ("pets",),
        EnsembleRecipe(),
    ),
    "bayesian": Entry(
        BayesianNetwork,
        "transitions",
        "an observation, the number of its weights",
        "of one particle",
        ("Python",),
        BayesianRecipe(),
    ),
    "tabular": Entry(Tabular, "a table", "a state's number", "none", ("plan",)),
    "counts": Entry(
        TabularCounts, "transitions", "a state's number", "none", ("dyna", "sweeping")
    ),
}
"""Every model under its name on the command line."""
