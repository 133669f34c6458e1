"""The protocol of models: a Bayes filter over a belief.

What differs between methods is what is carried through time while thinking. A
simulator carries a state, an ensemble a particle and its member, a Kalman filter a
mean and a covariance, an image model a latent. Each is a *belief*, and a model says
how a belief begins (`init`), what an action does to it (`predict`), what an
observation does to it (`observe`), and what of it an objective may look at
(`readout`). A model that learns is fitted to data (`fit`), and says what it would see
(`expect`) and how little it knows (`doubt`).
"""

import abc
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

from forethought.core.readout import Readout
from forethought.core.types import Action

Belief = TypeVar("Belief")


class AbstractModel(eqx.Module, Generic[Belief]):
    """A Bayes filter over one belief; batches are the caller's `jax.vmap`."""

    @abc.abstractmethod
    def init(self, *, key: PRNGKeyArray) -> Belief:
        """The prior: the belief before anything was seen."""

    @abc.abstractmethod
    def predict(self, belief: Belief, action: Action, *, key: PRNGKeyArray) -> Belief:
        """The belief one step later, under `action`."""

    @abc.abstractmethod
    def observe(
        self, belief: Belief, obs: PyTree[Array], *, key: PRNGKeyArray
    ) -> Belief:
        """The belief once `obs` was seen."""

    @abc.abstractmethod
    def readout(self, belief: Belief) -> Readout:
        """What objectives and policies may look at."""


class AbstractCloud(eqx.Module):
    """How a belief becomes particles, and how all of them take a step.

    A model predicts one particle; where particles belong together (they share out the
    members of an ensemble, or are refitted by a Gaussian) that is said here.
    """

    @abc.abstractmethod
    def spread(
        self, model: AbstractModel, belief: PyTree, particles: int, *, key: PRNGKeyArray
    ) -> PyTree:
        """The particles of one belief: its leaves with a leading axis `[particle]`."""

    @abc.abstractmethod
    def predict(
        self,
        model: AbstractModel,
        cloud: PyTree,
        action: Action,
        *,
        keys: Key[Array, " particle"],
        own: bool = False,
    ) -> PyTree:
        """All particles one step later.

        Args:
            model: What would happen.
            cloud: Particles, as `spread` made them.
            action: The same for all of them, or one of each particle's own.
            keys: One per particle; what particles share is drawn from the first.
            own: Whether each has its own: the action has a leading axis `[particle]`.
        """

    @abc.abstractmethod
    def enough(self, model: AbstractModel, particles: int) -> int:
        """The fewest particles that can be spread, of so many or more."""


class Independent(AbstractCloud):
    """Particles that begin alike and have nothing to do with each other."""

    def spread(
        self, model: AbstractModel, belief: PyTree, particles: int, *, key: PRNGKeyArray
    ) -> PyTree:
        """Copies of the belief."""
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (particles, *leaf.shape)), belief
        )

    def predict(
        self,
        model: AbstractModel,
        cloud: PyTree,
        action: Action,
        *,
        keys: Key[Array, " particle"],
        own: bool = False,
    ) -> PyTree:
        """Each as the model predicts it."""
        return jax.vmap(
            lambda belief, action, key: model.predict(belief, action, key=key),
            (0, 0 if own else None, 0),
        )(cloud, action, keys)

    def enough(self, model: AbstractModel, particles: int) -> int:
        """Any number can be."""
        return particles


class AbstractLearned(AbstractModel[Belief]):
    """A model that learns: it holds all that is needed to fit it.

    One that has seen nothing is fitted by the same call as one that is fitted anew.
    """

    cloud: eqx.AbstractVar[AbstractCloud]
    """How particles of its beliefs belong together."""

    @abc.abstractmethod
    def fit(
        self, data: PyTree, *, key: PRNGKeyArray
    ) -> tuple["AbstractLearned[Belief]", dict[str, Array]]:
        """The model once `data` was seen, and metrics of the fit.

        Args:
            data: Rows and which of them are valid, as the model wants them. How many
                are valid may change from fit to fit, and compiles nothing.
            key: Consumed.
        """

    @abc.abstractmethod
    def expect(
        self, belief: Belief
    ) -> tuple[Float[Array, " observation"], Float[Array, " observation"]]:
        """What it would see in this belief: mean and variance of each number."""

    @abc.abstractmethod
    def doubt(
        self, belief: Belief, action: Action
    ) -> tuple[Float[Array, " output"], Float[Array, " output"]]:
        """How uncertain it is of what comes next: aleatoric and epistemic variance.

        The first is noise and stays; the second is what data would teach. Outputs are
        what the model predicts, each in standard deviations of the data.
        """
