"""Any model with a clock in its belief, for objectives that depend on the time."""

from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PRNGKeyArray, PyTree

from forethought.core.readout import Readout
from forethought.core.types import Action, Stamped
from forethought.models.base import AbstractCloud, AbstractModel


class Clocked(AbstractModel[Stamped]):
    """A model whose belief also knows the time step."""

    model: AbstractModel

    def init(self, *, key: PRNGKeyArray) -> Stamped:
        """The model's own, at step zero."""
        return Stamped(self.model.init(key=key), jnp.asarray(0))

    def predict(self, belief: Stamped, action: Action, *, key: PRNGKeyArray) -> Stamped:
        """One step later, by the clock too."""
        after = self.model.predict(belief.value, action, key=key)
        return Stamped(after, belief.time + 1)

    def observe(self, belief: Stamped, obs: PyTree, *, key: PRNGKeyArray) -> Stamped:
        """As the model does; the clock stands."""
        return Stamped(self.model.observe(belief.value, obs, key=key), belief.time)

    def readout(self, belief: Stamped) -> Readout:
        """What the model reads out, and the time."""
        return Readout.of(self.model.readout(belief.value), belief.time)


class ClockedCloud(AbstractCloud):
    """Particles that also know the time step."""

    cloud: AbstractCloud

    def spread(
        self, model: AbstractModel, belief: PyTree, particles: int, *, key: PRNGKeyArray
    ) -> PyTree:
        """As the cloud inside does."""
        inner = cast(Clocked, model).model
        spread = self.cloud.spread(inner, belief.value, particles, key=key)
        return jax.vmap(lambda value: Stamped(value, belief.time))(spread)

    def predict(
        self,
        model: AbstractModel,
        cloud: PyTree,
        action: Action,
        *,
        keys: Key[Array, " particle"],
        own: bool = False,
    ) -> PyTree:
        """As the cloud inside does, one step later."""
        inner = cast(Clocked, model).model
        after = self.cloud.predict(inner, cloud.value, action, keys=keys, own=own)
        return jax.vmap(lambda value, time: Stamped(value, time + 1))(after, cloud.time)

    def enough(self, model: AbstractModel, particles: int) -> int:
        """As many as the cloud inside needs."""
        return self.cloud.enough(cast(Clocked, model).model, particles)
