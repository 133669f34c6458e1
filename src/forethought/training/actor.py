"""An agent at work outside of any loop of ours: an observation in, an action out.

    controller = forethought.controller("pendulum", "mppi")
    while True:
        motor.set(controller.act(sensor.read()))

What is planned, filtered and remembered is the agent's own, as in training and control;
here it is one compiled program that a person's loop calls, with NumPy on both sides.
"""

import collections
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from forethought.agents.base import AbstractAgent
from forethought.core.given.settings import key_of

REMEMBERED = 10_000
"""Of so many calls the time is kept."""


class Form(NamedTuple):
    """A form in which an observation may be given."""

    words: str
    """What it is, for errors."""
    like: PyTree[np.ndarray]
    """One of them, as NumPy arrays."""
    told: Callable[[PyTree], PyTree] | None = None
    """What the agent is told of it; None where that is the observation itself."""


class Actor:
    """An agent that acts, and remembers between two calls what it believes and plans.

    It does its best, and learns nothing. After `reset`, the same observations lead to
    the same actions.

    Args:
        agent: Who acts.
        learner: What it has learned, or always knew.
        forms: In which observations may be given, that of the agent's own last.
        read: What is done with an observation first, on the host.
        write: What is done with an action at the end.
        seed: Of the agent's draws.
    """

    def __init__(
        self,
        agent: AbstractAgent,
        learner: PyTree,
        forms: Sequence[Form],
        *,
        read: Callable[[Any], PyTree] = lambda obs: obs,
        write: Callable[[np.ndarray], Any] = lambda action: action[()],
        seed: int = 0,
    ):
        own = forms[-1].like
        self._forms = [
            each if each.told is None else each._replace(told=_jitted(each.told, own))
            for each in forms
        ]
        self._read, self._write = read, write
        reset_key, key = jax.random.split(key_of(seed))
        self._weights, rest = eqx.partition((agent, learner), eqx.is_array)

        def act(weights: PyTree, carry: PyTree, obs: PyTree, count: jax.Array):
            agent, learner = eqx.combine(weights, rest)
            act_key = jax.random.fold_in(key, count)
            action, carry, _ = agent.act(
                learner, carry, obs, key=act_key, mode="exploit"
            )
            return action, _like(carry, carry), count + 1

        carry = eqx.filter_jit(agent.reset)(learner, key=reset_key)
        self._first = _like(carry, carry), jnp.zeros((), jnp.int32)
        for form in self._forms:
            self._tell(form, form.like)  # compiled now, and not at work
        lowered = jax.jit(act).lower(self._weights, self._first[0], own, self._first[1])
        self._act = lowered.compile()
        self.reset()

    def reset(self) -> None:
        """Begin an episode: believe what is believed beforehand, remember no plan."""
        self._carry, self._count = self._first
        self._seconds = collections.deque(maxlen=REMEMBERED)

    def act(self, obs: Any) -> Any:
        """The action to take once `obs` was seen, as NumPy.

        Raises:
            ValueError: The observation has another shape, or is not finite.
        """
        began = time.perf_counter()
        told = self._tell(*self._formed(self._read(obs)))
        action, self._carry, self._count = self._act(
            self._weights, self._carry, told, self._count
        )
        action = self._write(np.asarray(action))
        self._seconds.append(time.perf_counter() - began)
        return action

    def __call__(self, obs: Any) -> Any:
        """The same as `act`, so that it can stand where a function is wanted."""
        return self.act(obs)

    @property
    def milliseconds(self) -> np.ndarray:
        """What each call of `act` took since `reset`, the last 10,000 of them."""
        return 1e3 * np.array(self._seconds)

    def _formed(self, obs: Any) -> tuple[Form, PyTree]:
        """The form that an observation has, and its arrays in the right precision."""
        given = jax.tree.map(
            np.asarray, obs, is_leaf=lambda node: isinstance(node, list)
        )
        for form in self._forms:
            if jax.tree.structure(given) == jax.tree.structure(form.like) and all(
                np.shape(a) == b.shape
                for a, b in zip(
                    jax.tree.leaves(given), jax.tree.leaves(form.like), strict=True
                )
            ):
                made = jax.tree.map(
                    lambda a, b: np.asarray(a, b.dtype), given, form.like
                )
                if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(made)):
                    raise ValueError(f"act needs finite numbers, got {obs}.")
                return form, made
        short = [form for form in self._forms if isinstance(form.like, np.ndarray)]
        wanted = " or ".join(
            f"{form.words} of shape {_shapes(form.like)}"
            for form in short or self._forms
        )
        raise ValueError(f"act needs {wanted}, got {_shapes(given)}.")

    def _tell(self, form: Form, obs: PyTree) -> PyTree:
        return obs if form.told is None else form.told(obs)


def _jitted(told: Callable[[PyTree], PyTree], own: PyTree) -> Callable:
    """Compiled, and what it tells as the agent knows it."""
    return jax.jit(lambda obs: _like(told(obs), own))


def _like(tree: PyTree, own: PyTree) -> PyTree:
    """Arrays of fixed types: one program takes what it returned."""
    return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), tree, own)


def _shapes(tree: PyTree) -> str:
    words = str(jax.tree.map(lambda leaf: list(np.shape(leaf)), tree))
    return " ".join(words.split())
