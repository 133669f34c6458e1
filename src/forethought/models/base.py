"""The protocol of models: a Bayes filter over a belief.

What differs between methods is what is carried through time while thinking. A
simulator carries a state, an ensemble a particle and its member, a Kalman filter a
mean and a covariance, an image model a latent. Each is a *belief*, and a model says
how a belief begins (`init`), what an action does to it (`predict`), what an
observation does to it (`observe`), and what of it an objective may look at
(`readout`).
"""

import abc
from typing import Generic, TypeVar

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

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
    def readout(self, belief: Belief) -> PyTree[Array]:
        """What an objective may look at."""
