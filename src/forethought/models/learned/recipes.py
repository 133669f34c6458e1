"""From settings to models: what learns in an environment that was never acted in.

A recipe is what can be written down before the environment is known: sizes, and how to
fit. What it makes is a model that holds all of that and learns by itself.
"""

import abc
from typing import Literal

import equinox as eqx
from jaxtyping import PRNGKeyArray

from forethought.core.given.settings import (
    AbstractSettings,
    Count,
    Depth,
    Positive,
    Seed,
    Whole,
)
from forethought.core.spaces import Box, Discrete
from forethought.environments.base import EnvironmentSpec
from forethought.models.base import AbstractLearned
from forethought.models.learned.bayesian import BayesianNetwork, BoundSettings
from forethought.models.learned.ensemble import Ensemble, require_elites
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.mlp import Units
from forethought.models.learned.propagation import Rule
from forethought.models.learned.termination import Ends, Termination, closed_form
from forethought.models.learned.transforms import Transform


class AbstractRecipe(AbstractSettings):
    """Settings of a model that learns: what of them every class shares.

    Args:
        reward: Whether the reward is predicted as well.
        absolute: Dimensions of the observation that are predicted themselves.
        circles: Pairs of dimensions that hold cosine and sine of one angle.
        angles: Dimensions that hold a raw angle, in radians.
        termination: Where episodes end: nowhere, where it is learned that they do, or
            where the environment of that name is known to end them.
    """

    reward: bool = eqx.field(static=True, default=False)
    absolute: tuple[Whole, ...] = eqx.field(static=True, default=())
    circles: tuple[tuple[Whole, Whole], ...] = eqx.field(static=True, default=())
    angles: tuple[Whole, ...] = eqx.field(static=True, default=())
    termination: Termination = eqx.field(static=True, default="none")

    @abc.abstractmethod
    def begin(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> AbstractLearned:
        """The model before anything was seen."""

    @property
    def size(self) -> int:
        """How many samples of it there are, which particles have to share evenly."""
        return 1

    def transform(self, spec: EnvironmentSpec) -> Transform:
        """What the model sees and answers, before anything was seen.

        Raises:
            TypeError: Observations are no vectors of numbers.
        """
        if not isinstance(spec.observation, Box) or len(spec.observation.shape) != 1:
            raise TypeError(
                "A model learns from observations that are vectors of numbers, but "
                f"they are {spec.observation} here."
            )
        choices = spec.action.n if isinstance(spec.action, Discrete) else None
        return Transform(
            spec.observation.shape[0],
            spec.action.shape[0] if choices is None else choices,
            discrete=choices is not None,
            absolute=self.absolute,
            circles=self.circles,
            angles=self.angles,
            reward=self.reward,
        )

    def ends(self, spec: EnvironmentSpec) -> Ends | Literal["learned"] | None:
        """Where episodes end, as models take it.

        Raises:
            ValueError: The known end is that of an environment of other observations.
        """
        if self.termination == "none":
            return None
        if self.termination == "learned":
            return "learned"
        return closed_form(self.termination, spec.observation.shape[0])


class EnsembleRecipe(AbstractRecipe):
    """Settings of an `Ensemble`, besides those of every recipe.

    Args:
        members: How many networks; one is a plain network.
        elites: How many of them particles follow, those that did best on the rows that
            were held out; zero for all of them.
        width: Units of each hidden layer.
        depth: How many hidden layers.
        probabilistic: Whether networks predict their noise.
        propagation: How particles are carried through the ensemble.
        fitting: How networks are fitted.
        seed: Of the bootstrap: how often a row counts never changes as data grow.
    """

    members: Count = eqx.field(static=True, default=5)
    elites: Whole = eqx.field(static=True, default=0)
    width: Count = eqx.field(static=True, default=64)
    depth: Depth = eqx.field(static=True, default=2)
    probabilistic: bool = eqx.field(static=True, default=True)
    propagation: Rule = eqx.field(static=True, default="TSinf")
    fitting: FitSettings = eqx.field(static=True, default=FitSettings())
    seed: Seed = eqx.field(static=True, default=0)

    def __check_init__(self):
        """Check that there can be so many elites."""
        if self.elites:
            who = "EnsembleRecipe"
            require_elites(who, self.elites, self.members, self.fitting)

    @property
    def size(self) -> int:
        """How many networks particles follow."""
        return self.elites or self.members

    def begin(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Ensemble:
        """Networks that have seen nothing.

        Raises:
            TypeError: Observations are no vectors of numbers.
            ValueError: The known end is that of an environment of other observations.
        """
        return Ensemble(
            self.transform(spec),
            size=self.members,
            width=self.width,
            depth=self.depth,
            elites=self.elites or None,
            probabilistic=self.probabilistic,
            propagation=self.propagation,
            termination=self.ends(spec),
            fitting=self.fitting,
            seed=self.seed,
            key=key,
        )


class BayesianRecipe(AbstractRecipe):
    """Settings of a `BayesianNetwork`, besides those of every recipe.

    Args:
        samples: How many draws of the weights particles may follow.
        width: Units of each hidden layer.
        depth: How many hidden layers.
        units: What hidden units do: `tanh` tell a gap among the data, `silu` how far
            away it is, `mixed` are some of each.
        scale: A weight's prior has a standard deviation of this over the root of its
            layer's inputs.
        propagation: How particles are carried through the samples.
        fitting: How the posterior is fitted.
        seed: Of what samples are drawn with, the same whatever was learned.
    """

    samples: Count = eqx.field(static=True, default=10)
    width: Count = eqx.field(static=True, default=50)
    depth: Depth = eqx.field(static=True, default=1)
    units: Units = eqx.field(static=True, default="mixed")
    scale: Positive = eqx.field(static=True, default=2.0)
    propagation: Rule = eqx.field(static=True, default="TSinf")
    fitting: BoundSettings = eqx.field(static=True, default=BoundSettings())
    seed: Seed = eqx.field(static=True, default=0)

    @property
    def size(self) -> int:
        """How many draws."""
        return self.samples

    def begin(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> BayesianNetwork:
        """A network whose weights are near their first draw.

        Raises:
            TypeError: Observations are no vectors of numbers.
            ValueError: The known end is that of an environment of other observations.
        """
        return BayesianNetwork(
            self.transform(spec),
            size=self.samples,
            width=self.width,
            depth=self.depth,
            units=self.units,
            scale=self.scale,
            propagation=self.propagation,
            termination=self.ends(spec),
            fitting=self.fitting,
            seed=self.seed,
            key=key,
        )
