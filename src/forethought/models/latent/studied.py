"""A latent model that learns: it holds all that is needed to go on learning."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from forethought.core.given.settings import AbstractSettings, Count, Positive, Share
from forethought.core.optimise import take_step
from forethought.core.readout import Readout
from forethought.core.types import Action
from forethought.models.base import AbstractModel
from forethought.models.latent.base import (
    AbstractLatent,
    Earned,
    Remembered,
    Terms,
    Window,
)


class StudySettings(AbstractSettings):
    """How latent models learn.

    Args:
        first: Updates when something was seen for the first time.
        updates: Updates each time after that.
        windows: Of each update.
        length: Steps of a window.
        learning_rate: Of Adam.
        clip: The largest norm of a gradient.
        inertia: Of the average over updates of the weights, which is what plans.
    """

    first: Count = eqx.field(static=True, default=3000)
    updates: Count = eqx.field(static=True, default=1000)
    windows: Count = eqx.field(static=True, default=32)
    length: Count = eqx.field(static=True, default=16)
    learning_rate: Positive = eqx.field(static=True, default=1e-3)
    clip: Positive = eqx.field(static=True, default=10.0)
    inertia: Share = eqx.field(static=True, default=0.998)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam, after clipping."""
        return optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.adam(self.learning_rate, eps=1e-6),
        )


class Studied(AbstractModel[PyTree]):
    """A latent model, as the average of what it was, and how it goes on learning.

    Args:
        network: The model as it begins.
        settings: How it learns.
    """

    average: AbstractLatent
    """What believes and foretells."""
    network: AbstractLatent
    """What learns."""
    optimiser: PyTree
    updates: Int[Array, ""]
    """How many there were."""
    settings: StudySettings = eqx.field(static=True)

    def __init__(self, network: AbstractLatent, settings: StudySettings | None = None):
        self.settings = StudySettings() if settings is None else settings
        self.average = self.network = network
        self.optimiser = self.settings.optimiser.init(eqx.filter(network, _learned))
        self.updates = jnp.zeros((), jnp.int32)

    def init(self, *, key: PRNGKeyArray) -> PyTree:
        """As the model does."""
        return self.average.init(key=key)

    def predict(self, belief: PyTree, action: Action, *, key: PRNGKeyArray) -> PyTree:
        """As the model does."""
        return self.average.predict(belief, action, key=key)

    def observe(self, belief: PyTree, obs: Array, *, key: PRNGKeyArray) -> PyTree:
        """As the model does."""
        return self.average.observe(belief, obs, key=key)

    def readout(self, belief: PyTree) -> Readout:
        """As the model does."""
        return self.average.readout(belief)

    def fit(self, memory: Remembered, *, key: PRNGKeyArray) -> tuple["Studied", Terms]:
        """Learn from windows of what was seen, on from where it is.

        How many updates there are may change from call to call, and compiles nothing.

        Args:
            memory: Holds at least one window.
            key: Consumed.

        Returns:
            The model; and the terms of its loss, averaged over the last hundred or so
            updates.
        """
        it, begun = self.settings, self.updates > 0
        seen, valid = memory.everything()
        weight = valid.astype(seen.reward.dtype)
        mean = jnp.average(seen.reward, weights=weight)
        spread = jnp.sqrt(jnp.average((seen.reward - mean) ** 2, weights=weight))
        fresh = Earned(mean, jnp.maximum(spread, 1e-3))

        def scaled(model: AbstractLatent) -> AbstractLatent:
            earned = jax.tree.map(
                lambda old, new: jnp.where(begun, old, new).astype(old.dtype),
                model.earned,
                fresh,
            )
            return eqx.tree_at(lambda model: model.earned, model, earned)

        network, average = scaled(self.network), scaled(self.average)
        moving, fixed = eqx.partition(network, _learned)
        slow, still = eqx.partition(average, _learned)

        def loss(moving: PyTree, key: PRNGKeyArray) -> tuple[Array, Terms]:
            draw_key, key = jax.random.split(key)
            windows = memory.window(it.windows, it.length, key=draw_key)
            model = eqx.combine(moving, fixed)

            def one(window: Window, key: PRNGKeyArray) -> tuple[Array, Terms]:
                return model.loss(window, key=key)

            losses, terms = jax.vmap(one)(windows, jax.random.split(key, it.windows))
            return jnp.mean(losses), jax.tree.map(jnp.mean, terms)

        def update(i: Array, carry: PyTree) -> PyTree:
            moving, slow, optimiser, told = carry
            (total, terms), slope = jax.value_and_grad(loss, has_aux=True)(
                moving, jax.random.fold_in(key, i)
            )
            moving, optimiser = take_step(it.optimiser, moving, optimiser, slope)
            slow = jax.tree.map(
                lambda old, new: it.inertia * old + (1 - it.inertia) * new, slow, moving
            )
            share = jnp.maximum(0.01, 1 / (jnp.asarray(i, float) + 1))
            told = jax.tree.map(
                lambda old, new: old + share * (new - old),
                told,
                terms | {"loss": total},
            )
            return moving, slow, optimiser, told

        shapes = jax.eval_shape(loss, moving, key)
        told = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
            shapes[1] | {"loss": shapes[0]},
        )
        count = jnp.where(begun, it.updates, it.first)
        moving, slow, optimiser, told = jax.lax.fori_loop(
            0, count, update, (moving, slow, self.optimiser, told)
        )
        after = eqx.tree_at(
            lambda model: (
                model.network,
                model.average,
                model.optimiser,
                model.updates,
            ),
            self,
            (
                eqx.combine(moving, fixed),
                eqx.combine(slow, still),
                optimiser,
                self.updates + count,
            ),
        )
        return after, told


def _learned(leaf: object) -> bool:
    """Whether a leaf is a weight that learns."""
    return eqx.is_inexact_array(leaf)
