r"""A deterministic encoder of single steps: the tractable case.

If the last pictures tell the state without doubt, $s_t = g(o_{t-1}, o_t)$, nothing is
left to infer, and the evidence is a sum over the steps that were seen:

$$\max_{\phi, \psi} \sum_t \log p_\phi(g_\psi(o_{t+1}) \mid g_\psi(o_t), a_t)
  + \log p_\phi(o_t \mid g_\psi(o_t)) + \log p_\phi(r_t \mid g_\psi(o_t), a_t)$$

Pictures and rewards are explained by states that the dynamics foretell from the first
one of a window, so that what is learned holds for as long as one plans ahead.

**Notation.** $g_\psi$ encoder, $\phi$ all other networks; $s, o, a, r$ state, picture,
action, reward.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Scalar

from forethought.core.given.settings import AbstractSettings, Count, Nonnegative
from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.core.types import Action
from forethought.models.latent.base import (
    AbstractLatent,
    Earned,
    Terms,
    Window,
    pixels,
    some_of,
)
from forethought.models.latent.networks import dense, levelled


class SingleStepSettings(AbstractSettings):
    """Sizes of a `SingleStep`, and what its terms weigh.

    Args:
        size: Numbers of a latent state.
        width: Units of each hidden layer.
        embedding: Numbers that a picture becomes before two of them are a state.
        consistency: What it weighs that foretold states are those which are seen.
        reward: What it weighs that rewards are told.
        picture: What it weighs that pictures are drawn.
        drawn: Pictures of each window that are drawn, for all of them cost more.
    """

    size: Count = eqx.field(static=True, default=16)
    width: Count = eqx.field(static=True, default=128)
    embedding: Count = eqx.field(static=True, default=32)
    consistency: Nonnegative = eqx.field(static=True, default=0.1)
    reward: Nonnegative = eqx.field(static=True, default=10.0)
    picture: Nonnegative = eqx.field(static=True, default=1.0)
    drawn: Count = eqx.field(static=True, default=4)


class Glimpse(eqx.Module):
    """What is believed: a state, the picture before it, and what was earned."""

    latent: Float[Array, " latent"]
    embedding: Float[Array, " embedding"]
    reward: Scalar
    first: Bool[Array, ""]
    """Whether nothing was seen yet."""


class SingleStep(AbstractLatent[Glimpse]):
    r"""A state of the last two pictures, and what follows it.

    Args:
        shape: Of a picture: rows, columns, channels.
        action: What may be done.
        settings: Sizes and weights.
        key: Draws the weights of the networks.

    References:
        Levine, CS 285, lecture on latent state models, "a special case: the
        deterministic encoder"; Watter et al., Embed to control, 2015,
        arXiv:1506.07365, for the two pictures.

    Note:
        The states are levelled to mean zero and variance one, which keeps them from
        shrinking together; the squares of errors are weighed by the settings, which is
        a choice of Gaussian noises that are fixed.
    """

    action: Box
    earned: Earned
    look: eqx.nn.MLP
    pair: eqx.nn.MLP
    dynamics: eqx.nn.MLP
    draw: eqx.nn.MLP
    value: eqx.nn.MLP
    settings: SingleStepSettings = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, int, int],
        action: Box,
        settings: SingleStepSettings | None = None,
        *,
        key: PRNGKeyArray,
    ):
        it = SingleStepSettings() if settings is None else settings
        count, keys = shape[0] * shape[1] * shape[2], jax.random.split(key, 5)
        acted = it.size + action.shape[0]
        self.action, self.settings = action, it
        self.earned = Earned(jnp.zeros(()), jnp.ones(()))
        self.look = dense(count, it.embedding, it.width, 1, key=keys[0])
        self.pair = dense(2 * it.embedding, it.size, it.width, 1, key=keys[1])
        self.dynamics = dense(acted, it.size, it.width, 2, last=0.1, key=keys[2])
        self.draw = dense(it.size, count, it.width, 2, last=0.5, key=keys[3])
        self.value = dense(acted, 1, it.width, 2, last=0.1, key=keys[4])

    def init(self, *, key: PRNGKeyArray) -> Glimpse:
        """Nothing was seen."""
        it = self.settings
        zero = jnp.zeros(())
        return Glimpse(
            jnp.zeros(it.size), jnp.zeros(it.embedding), zero, jnp.asarray(True)
        )

    def predict(self, belief: Glimpse, action: Action, *, key: PRNGKeyArray) -> Glimpse:
        """The state that the dynamics foretell, and what is earned on the way."""
        acted = self._acted(belief.latent, self._plain(action))
        return Glimpse(
            belief.latent + self.dynamics(acted),
            belief.embedding,
            self.earned.back(self.value(acted)[0]),
            belief.first,
        )

    def observe(self, belief: Glimpse, obs: Array, *, key: PRNGKeyArray) -> Glimpse:
        """The state of the picture before and this one, whatever was foretold."""
        now = self.look(pixels(obs))
        before = jnp.where(belief.first, now, belief.embedding)
        state = self._state(before, now)
        return Glimpse(state, now, belief.reward, jnp.zeros_like(belief.first))

    def readout(self, belief: Glimpse) -> Readout:
        """The latent state, and the reward on the way to it."""
        return Readout(belief.latent, reward=belief.reward)

    def decode(self, belief: Glimpse) -> Float[Array, " pixel"]:
        """The picture of the state."""
        return self.draw(belief.latent)

    def loss(self, window: Window, *, key: PRNGKeyArray) -> tuple[Scalar, Terms]:
        """What the first state of a window foretells of all that follows.

        The first two pictures make that state, so that a window has at least two steps.
        """
        it = self.settings
        length = window.reward.shape[0]
        actions = jax.vmap(self._plain)(window.action[1:])
        first = jnp.zeros((1,), jnp.int32)
        times = some_of(length - 1, it.drawn - 1, key=key) + 1
        times = jnp.concatenate([first, times.astype(jnp.int32)])
        seen, after = (pixels(each[times]) for each in (window.obs, window.next_obs))
        before, now = jax.vmap(self.look)(seen), jax.vmap(self.look)(after)
        states = jax.vmap(self._state)(before, now)

        def onward(state: Array, action: Array) -> tuple[Array, tuple[Array, Array]]:
            acted = self._acted(state, action)
            state = state + self.dynamics(acted)
            return state, (state, self.value(acted)[0])

        _, (foretold, earned) = jax.lax.scan(onward, states[0], actions)
        foretold = jnp.concatenate([states[:1], foretold])[times]
        drawn = jnp.sum((jax.vmap(self.draw)(foretold) - after) ** 2, axis=1)
        apart = jnp.sum((foretold - states)[1:] ** 2, axis=1)
        terms = {
            "pictures": it.picture * jnp.mean(drawn),
            "consistency": it.consistency * jnp.mean(apart),
            "rewards": it.reward
            * jnp.mean((earned - self.earned(window.reward[1:])) ** 2),
        }
        told = {"spread": jnp.mean(jnp.std(states, axis=0))}
        return sum(terms.values(), jnp.zeros(())), terms | told

    def _state(self, before: Array, now: Array) -> Float[Array, " latent"]:
        return levelled(self.pair(jnp.concatenate([before, now])))

    def _acted(self, state: Array, action: Array) -> Array:
        return jnp.concatenate([state, action])

    def _plain(self, action: Action) -> Array:
        # No gradient: the limits of actions are no weights.
        plain = jax.lax.stop_gradient(self.action.in_half_widths(action))
        return plain.astype(float)
