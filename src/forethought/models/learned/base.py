"""Temporary."""

import abc

import equinox as eqx
from jaxtyping import PRNGKeyArray

from forethought.environments.base import EnvironmentSpec
from forethought.models.base import AbstractModel


class AbstractRecipe(eqx.Module):
    """How a model begins."""

    @abc.abstractmethod
    def begin(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> AbstractModel:
        """A model that has seen nothing."""
