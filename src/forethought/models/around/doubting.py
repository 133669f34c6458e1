"""A learned model that says at each step how little it knew of it.

What a planner finds best in a learned model is often where the model is wrong: of all
sequences of actions it picks those whose errors flatter it. The model itself knows
better. Its epistemic doubt, read out beside what it predicts, is something an objective
may put a price on (`forethought.objectives.cautious`).
"""

from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PRNGKeyArray, PyTree, Scalar

from forethought.core.readout import Readout
from forethought.core.types import Action
from forethought.models.base import AbstractCloud, AbstractLearned, AbstractModel


class Doubted(eqx.Module):
    """What is believed, and how much the step that led there was doubted."""

    value: PyTree
    doubt: Scalar


class Doubting(AbstractModel[Doubted]):
    r"""Another model, whose readouts say its epistemic doubt.

    $$d(b, u) = \sqrt{\tfrac1n \sum_i \operatorname{epistemic}_i(b, u)}$$

    over the model's $n$ outputs, each in standard deviations of the data. Nothing is
    doubted of what was seen.

    Args:
        model: It says what it doubts.
    """

    model: AbstractLearned

    def init(self, *, key: PRNGKeyArray) -> Doubted:
        """As the model does."""
        return _sure(self.model.init(key=key))

    def predict(self, belief: Doubted, action: Action, *, key: PRNGKeyArray) -> Doubted:
        """As the model does; its doubt of this step is remembered."""
        after = self.model.predict(belief.value, action, key=key)
        return Doubted(after, self.doubt(belief.value, action))

    def observe(self, belief: Doubted, obs: PyTree, *, key: PRNGKeyArray) -> Doubted:
        """As the model does."""
        return _sure(self.model.observe(belief.value, obs, key=key))

    def readout(self, belief: Doubted) -> Readout:
        """What the model reads out, and the doubt."""
        seen = self.model.readout(belief.value)
        return Readout(seen.x, seen.reward, seen.discount, seen.time, belief.doubt)

    def doubt(self, belief: PyTree, action: Action) -> Scalar:
        """How little the model knows of one step."""
        return jnp.sqrt(jnp.mean(self.model.doubt(belief, action)[1]) + TINY)


TINY = 1e-12
"""The least variance under a root, which would have no derivative at zero."""


class DoubtingCloud(AbstractCloud):
    """Particles that remember how much their last step was doubted.

    Args:
        cloud: How the model's own particles belong together.
    """

    cloud: AbstractCloud

    def spread(
        self, model: AbstractModel, belief: PyTree, particles: int, *, key: PRNGKeyArray
    ) -> PyTree:
        """As the cloud inside does."""
        inner = cast(Doubting, model).model
        spread = self.cloud.spread(inner, belief.value, particles, key=key)
        return jax.vmap(lambda value: Doubted(value, belief.doubt))(spread)

    def predict(
        self,
        model: AbstractModel,
        cloud: PyTree,
        action: Action,
        *,
        keys: Key[Array, " particle"],
        own: bool = False,
    ) -> PyTree:
        """As the cloud inside does."""
        doubting = cast(Doubting, model)
        after = self.cloud.predict(
            doubting.model, cloud.value, action, keys=keys, own=own
        )
        doubts = jax.vmap(doubting.doubt, (0, 0 if own else None))(cloud.value, action)
        return jax.vmap(Doubted)(after, doubts)

    def enough(self, model: AbstractModel, particles: int) -> int:
        """As many as the cloud inside needs."""
        return self.cloud.enough(cast(Doubting, model).model, particles)


def _sure(value: Any) -> Doubted:
    """Something that nobody doubts."""
    dtype = jnp.result_type(
        *(leaf for leaf in jax.tree.leaves(value) if eqx.is_inexact_array(leaf))
    )
    return Doubted(value, jnp.zeros((), dtype))
