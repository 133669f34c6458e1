r"""What latent models have in common: a state of their own, and pictures of it.

$$p(o_{1:T}, r_{1:T}, s_{1:T} \mid a_{1:T}) = \prod_t
  p(o_t \mid s_t)\, p(r_t \mid s_t, a_t)\, p(s_{t+1} \mid s_t, a_t)$$

Nobody knows the state $s_t$: it is whatever serves to draw the pictures $o_t$ and to
tell the rewards $r_t$. An encoder says which state a picture belongs to.
"""

import abc
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Scalar

from forethought.core.spaces import Box
from forethought.models.base import AbstractModel

Belief = TypeVar("Belief")
Terms = dict[str, Scalar]


@runtime_checkable
class Window(Protocol):
    """Steps of one episode; leaves have a leading axis `[time]`, perhaps a batch's."""

    obs: Any
    action: Array
    reward: Array
    next_obs: Any


@runtime_checkable
class Remembered(Protocol):
    """What was seen, as far as latent models ask."""

    def everything(self) -> tuple[Any, Bool[Array, " row"]]:
        """All steps, and which of them there are."""
        ...

    def window(self, count: int, length: int, *, key: PRNGKeyArray) -> Any:
        """So many stretches of some length, each within one episode."""
        ...


class Earned(eqx.Module):
    """How rewards are scaled: what networks answer has mean zero and variance one."""

    mean: Scalar
    std: Scalar

    def __call__(self, reward: Array) -> Array:
        """A reward as networks are taught it."""
        mean, std = jax.lax.stop_gradient((self.mean, self.std))
        return (reward - mean) / std

    def back(self, answer: Array) -> Array:
        """What was earned, of a network's answer."""
        mean, std = jax.lax.stop_gradient((self.mean, self.std))
        return mean + std * answer


class AbstractLatent(AbstractModel[Belief], Generic[Belief]):
    """A model whose belief is a latent state, learned from windows of pictures."""

    action: eqx.AbstractVar[Box]
    """Networks are shown actions in its half widths."""
    earned: eqx.AbstractVar[Earned]
    """How rewards are scaled."""

    @abc.abstractmethod
    def loss(self, window: Window, *, key: PRNGKeyArray) -> tuple[Scalar, Terms]:
        """How badly a window is explained, and each part of that by itself.

        Args:
            window: Steps within one episode, leaves of shape `[time, ...]`.
            key: Consumed.

        Returns:
            In nats a step, up to a constant; and its terms. `spread` is no term of it
            but how far latent states lie apart: it falls to zero where they collapse.
        """

    @abc.abstractmethod
    def decode(self, belief: Belief) -> Float[Array, " pixel"]:
        """The picture that a belief expects, its pixels in [0, 1], in one row."""


def pixels(picture: Array) -> Float[Array, "*batch pixel"]:
    """Pictures as rows of numbers in [0, 1].

    Args:
        picture: Shape `[*batch, row, column, channel]`; `uint8`, or numbers of its
            scale.
    """
    return picture.reshape(*picture.shape[:-3], -1).astype(float) / 255


def some_of(length: int, count: int, *, key: PRNGKeyArray) -> Array:
    """So many of the first `length` numbers, all different, or as many as there are."""
    return jax.random.permutation(key, length)[: min(length, count)]
