"""What a model reads out of its belief, and who judges it.

Planners carry beliefs, of which there are many kinds; policies and objectives look at
one: a `Readout`. It holds what is seen of the world (`x`: a state, an observation, a
distribution, a latent) and, from models that say so, the reward that was earned on the
way there, whether the episode goes on, and the time.
"""

import abc
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int, Scalar

from forethought.core.given.code import kind_of, line_of
from forethought.core.types import Action, Stamped

X = TypeVar("X")


class Readout(eqx.Module, Generic[X]):
    """What may be looked at of a belief.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.core.readout import Readout
    >>> seen = Readout(jnp.zeros(2))
    >>> Readout.of(seen) is seen, Readout.of(seen.x).reward is None
    (True, True)

    ```
    """

    x: X
    """State, observation, distribution or latent."""
    reward: Scalar | None = None
    """Predicted on the way here; zero where nothing led here, None if it never is."""
    discount: Scalar | None = None
    """The probability that the episode goes on from here; None if it is not said."""
    time: Int[Array, ""] | None = None
    """Steps since the start, from models that count them."""
    doubt: Scalar | None = None
    """Epistemic doubt of the step on the way here; None if it is not said."""

    @staticmethod
    def of(state: Any, time: Int[Array, ""] | None = None) -> "Readout":
        """A state as a readout, which one that says how it was come by already is.

        Args:
            state: Of a system; `Stamped` where it says the time, too.
            time: Steps since the start, where the state does not say them.
        """
        if isinstance(state, Stamped):
            return Readout.of(state.value, state.time)
        if not isinstance(state, Readout):
            return Readout(state, time=time)
        if time is None:
            return state
        return Readout(state.x, state.reward, state.discount, time, state.doubt)


class AbstractJudge(eqx.Module):
    """Says what a transition is worth, of all that was read out."""

    @abc.abstractmethod
    def judge(
        self, before: Readout, action: Action, after: Readout
    ) -> tuple[Scalar, Scalar]:
        """The reward of a transition, and the discount after it, in [0, 1].

        The discount is exactly zero where the episode ends.
        """

    @abc.abstractmethod
    def beyond(self, seen: Readout) -> Scalar:
        """The return to expect from there on, beyond the horizon."""


def one_number(what: str, given: Any, judge: AbstractJudge) -> Scalar:
    """What a judge gave, if that is one real number.

    Args:
        what: "reward", "discount" or "value".
        given: It, of one transition or state.
        judge: Who gave it.

    Raises:
        ValueError: Naming the line where it is written, and what was given.
    """
    dtype, shape = getattr(given, "dtype", None), getattr(given, "shape", None)
    if isinstance(given, float) or (
        shape == () and dtype is not None and jnp.issubdtype(dtype, jnp.floating)
    ):
        return jnp.asarray(given)
    inner: Any = judge
    while isinstance(getattr(inner, "objective", None), AbstractJudge):
        inner = inner.objective
    method = "beyond" if what == "value" else "judge"
    line = line_of(getattr(type(inner), what, getattr(type(inner), method)))
    raise ValueError(
        f"A {what} should be one real number, but that of {line} is {kind_of(given)}."
    )
