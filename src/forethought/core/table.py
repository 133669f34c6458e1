r"""Finite worlds written out as a table: what follows from each state and action.

A table lists for each state and action at most $K$ outcomes, each with its
probability, its reward, and whether it ends the episode. Few outcomes follow from one
action even where there are many states, so that a table of $10^5$ states fits where a
matrix over pairs of states would not. Rows with fewer outcomes are filled up with
outcomes of probability zero.

| symbol | meaning | array |
|---|---|---|
| $p_k(s, a)$ | probability of the $k$-th outcome | `probability[s, a, k]` |
| $s'_k, r_k$ | where it leads, what it earns | `next_state`, `reward` |
| $e_k$ | 1 where it ends the episode | `terminated` |
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray, Scalar


class Outcome(eqx.Module):
    """What followed from an action."""

    state: Int[Array, ""]
    reward: Scalar
    terminated: Bool[Array, ""]

    @property
    def goes_on(self) -> Scalar:
        """One where the episode goes on, else zero."""
        return (~self.terminated).astype(self.reward.dtype)


class Dense(eqx.Module):
    r"""A table as matrices over pairs of states.

    $$V(s) = \max_a \Bigl[R(s, a) + \gamma \sum_{s'} P(s' \mid s, a) V(s')\Bigr]$$

    Args:
        P: Probability to come to $s'$ *and go on from there*: rows sum to one less
            the probability that the episode ends.
        R: Expected reward.
    """

    P: Float[Array, "state action state"]
    R: Float[Array, "state action"]


class Table(eqx.Module):
    """A finite Markov decision process, sparse in its outcomes.

    ```python
    >>> from forethought.core.table import Table
    >>> walk = Table([[[0], [1]], [[0], [1]]], [[[1], [1]]] * 2, [[[0], [1]]] * 2)
    >>> walk.states, walk.actions
    (2, 2)

    ```

    Args:
        next_state: Where each outcome leads.
        probability: How probable it is; each row sums to one.
        reward: What it earns.
        terminated: Whether it ends the episode; nowhere by default.
        start: Where episodes begin: a state, or a distribution over states.

    Raises:
        ValueError: Shapes differ, a state is out of range, a row of probabilities is
            no distribution, or a reward is not finite.
    """

    next_state: Int[Array, "state action outcome"]
    probability: Float[Array, "state action outcome"]
    reward: Float[Array, "state action outcome"]
    terminated: Bool[Array, "state action outcome"]
    start: Float[Array, " state"]

    def __init__(
        self,
        next_state: ArrayLike | list,
        probability: ArrayLike | list,
        reward: ArrayLike | list,
        terminated: ArrayLike | list | None = None,
        start: ArrayLike | list | int = 0,
    ):
        self.next_state = jnp.asarray(next_state, jnp.int32)
        given = jnp.asarray(probability)
        whole = not jnp.issubdtype(given.dtype, jnp.floating)
        self.probability = given.astype(float) if whole else given
        dtype = self.probability.dtype
        self.reward = jnp.asarray(reward).astype(dtype)
        self.terminated = (
            jnp.zeros(self.next_state.shape, bool)
            if terminated is None
            else jnp.asarray(terminated, bool)
        )
        shape = self.next_state.shape
        for name in ("probability", "reward", "terminated"):
            found = getattr(self, name).shape
            if len(shape) != 3 or 0 in shape or found != shape:
                raise ValueError(
                    "A Table needs next_state, probability, reward and terminated of "
                    "one shape [state, action, outcome], got next_state "
                    f"{list(shape)} and {name} {list(found)}."
                )
        if isinstance(start, (int, np.integer)):
            require_state("A Table", int(start), shape[0])
            start = np.arange(shape[0]) == start
        self.start = jnp.asarray(start).astype(dtype)
        if self.start.shape != shape[:1]:
            raise ValueError(
                f"A Table of {shape[0]} states needs start of shape {[shape[0]]}, got "
                f"{list(self.start.shape)}."
            )
        if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(self)):
            self._check()

    def _check(self) -> None:
        """Refuse numbers that are no Markov decision process."""
        states = np.asarray(self.next_state)
        probability = np.asarray(self.probability)
        wrong = (states < 0) | (states >= self.states)
        if wrong.any():
            s, a, k = np.argwhere(wrong)[0]
            raise ValueError(
                f"A Table of {self.states} states needs next_state in [0, "
                f"{self.states}), got {states[s, a, k]} after state {s} and action {a}."
            )
        rows, start = probability.sum(-1), np.asarray(self.start)
        tolerance = np.sqrt(np.finfo(probability.dtype).eps)
        wrong = ~((np.abs(rows - 1) < tolerance) & (probability >= 0).all(-1))
        if wrong.any():
            s, a = np.argwhere(wrong)[0]
            raise ValueError(
                "A Table needs probabilities that are not negative and sum to 1, got "
                f"{probability[s, a].tolist()} for state {s} and action {a}."
            )
        if not (abs(start.sum() - 1) < tolerance and (start >= 0).all()):
            raise ValueError(
                "A Table needs a start distribution that is not negative and sums to "
                f"1, got one with sum {start.sum():g} and least {start.min():g}."
            )
        finite = np.isfinite(np.asarray(self.reward))
        if not finite.all():
            s, a, k = np.argwhere(~finite)[0]
            raise ValueError(
                f"A Table needs finite rewards, got {self.reward[s, a, k]} for outcome "
                f"{k} of state {s} and action {a}."
            )

    @property
    def states(self) -> int:
        """How many states there are."""
        return self.next_state.shape[0]

    @property
    def actions(self) -> int:
        """How many actions there are in each state."""
        return self.next_state.shape[1]

    def begin(self, *, key: PRNGKeyArray) -> Int[Array, ""]:
        """A state in which an episode begins."""
        return pick(self.start, key=key)

    def draw(
        self, state: Int[Array, ""], action: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Outcome:
        """What follows from an action, by chance where there are several outcomes."""
        if self.next_state.shape[2] == 1:
            at = (state, action, 0)
        else:
            at = (state, action, pick(self.probability[state, action], key=key))
        return Outcome(self.next_state[at], self.reward[at], self.terminated[at])

    def dense(self) -> Dense:
        """The same as matrices; it takes `states` squared times `actions` numbers."""
        goes_on = jnp.where(self.terminated, 0, self.probability)
        s, a, _ = jnp.indices(self.next_state.shape)
        P = jnp.zeros((self.states, self.actions, self.states), goes_on.dtype)
        P = P.at[s, a, self.next_state].add(goes_on)
        return Dense(P, jnp.sum(self.probability * self.reward, -1))


def pick(weights: Float[Array, " choice"], *, key: PRNGKeyArray) -> Int[Array, ""]:
    """A choice with the probability of its weight; never one of weight zero.

    The weights need not sum to one, but some must be positive.
    """
    bounds = jnp.cumsum(weights)
    # Where sums are rounded, the last bound may belong to a choice of weight zero.
    total = jnp.max(jnp.where(weights > 0, bounds, 0))
    level = jax.random.uniform(key, (), weights.dtype) * total
    found = jnp.argmax((bounds > level) & (weights > 0))
    return found.astype(jnp.int32)


def from_dense(
    P: ArrayLike | list,
    R: ArrayLike | list,
    terminated: ArrayLike | list | None = None,
    start: ArrayLike | list | int = 0,
) -> Table:
    """A table of matrices over pairs of states, which holds what is not zero.

    Args:
        P: Probabilities $P(s' | s, a)$, each row a distribution, shape `[state,
            action, state]`.
        R: Rewards, shape `[state, action]` or `[state, action, state]`.
        terminated: Whether coming to a state ends the episode, shape `[state]`.
        start: Where episodes begin: a state, or a distribution over states.

    Raises:
        ValueError: As `Table` does, or the shapes do not belong together.
    """
    P, R = np.asarray(P), np.asarray(R)
    if P.ndim != 3 or P.shape[0] != P.shape[2] or R.shape not in (P.shape, P.shape[:2]):
        raise ValueError(
            "from_dense needs P of shape [state, action, state] and R of shape [state, "
            f"action] or that of P, got {list(P.shape)} and {list(R.shape)}."
        )
    R = np.broadcast_to(R if R.ndim == 3 else R[:, :, None], P.shape)
    ends = np.zeros(P.shape[0], bool) if terminated is None else np.asarray(terminated)
    most = max(1, int((P != 0).sum(-1).max()))
    # Outcomes that there are come first, in the order of their states.
    kept = np.argsort(P == 0, axis=-1, kind="stable")[..., :most]
    probability = np.take_along_axis(P, kept, -1)
    reward = np.where(probability == 0, 0, np.take_along_axis(R, kept, -1))
    return Table(kept, probability, reward, ends[kept], start)


def require_state(who: str, state: int, states: int) -> None:
    """Refuse a state that there is not; on the host only.

    Raises:
        ValueError: Naming who needs it, and the range.
    """
    if not 0 <= state < states:
        raise ValueError(f"{who} needs a state in [0, {states}), got {state}.")
