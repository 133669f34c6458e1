"""A system that is written as plain functions."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.given.code import naming_the_line
from forethought.core.spaces import Box, Discrete, Space
from forethought.core.types import Action, ravel
from forethought.environments.analytic.drawing import STILL, Stroke, disc, draw
from forethought.environments.base import AbstractSystem, Capsules
from forethought.environments.taking import Taking, arrays, shapes


class FunctionSystem(AbstractSystem[PyTree]):
    """Equations of motion as functions; `system` makes one."""

    moves: Taking
    begins: PyTree | Taking
    """The start state, or who draws it."""
    sees: Taking | None
    """Who says what is seen of a state; None where it is seen as it is."""
    draws: Taking | None
    action: Space
    states: int | None = eqx.field(static=True)
    """How many states there are, where a state is its number."""
    names: tuple[str, ...] = eqx.field(static=True)
    does: tuple[str, ...] = eqx.field(static=True)
    dt: float = eqx.field(static=True)

    @property
    def state_names(self) -> tuple[str, ...]:
        """As given, or numbered."""
        return self.names

    @property
    def action_names(self) -> tuple[str, ...]:
        """As given, or numbered."""
        return self.does

    def start(self, *, key: PRNGKeyArray) -> PyTree:
        """The start state, or a draw of it."""
        if isinstance(self.begins, Taking):
            return arrays("start", self.begins(key, key=key))
        return self.begins

    def step(self, state: PyTree, action: Action, *, key: PRNGKeyArray) -> PyTree:
        """What the function returns, in the state's precision."""
        after = arrays("step", self.moves(state, action, key=key))
        return jax.tree.map(lambda x, new: new.astype(x.dtype), state, after)

    def observe(self, state: PyTree) -> PyTree[Array]:
        """What is seen of the state."""
        return state if self.sees is None else arrays("observation", self.sees(state))

    def sketch(self, state: PyTree) -> Capsules:
        """As given; or a bead for each coordinate, on a wire of its own."""
        if self.draws is not None:
            return self.draws(state)
        return beads(_coordinates(state))


def beads(x: Float[Array, " coordinate"]) -> Capsules:
    """Numbers as beads on wires that reach from -1 to 1."""
    places = [(i - (x.shape[0] - 1) / 2) for i in range(x.shape[0])]
    wires = [Stroke((at, -1.0), (at, 1.0), 0.02, STILL) for at in places]
    return draw(*wires, *[disc((at, x[i]), 0.2) for i, at in enumerate(places)])


@naming_the_line()
def system(
    *,
    step: Callable[..., PyTree],
    start: PyTree | Callable[..., PyTree],
    action: Space | int | Sequence[Any],
    observation: Callable[..., PyTree] | None = None,
    sketch: Callable[..., Capsules] | None = None,
    states: int | None = None,
    names: Sequence[str] | None = None,
    action_names: Sequence[str] | None = None,
    dt: float = 0.1,
) -> FunctionSystem:
    """A system from functions of your own, in `jax.numpy`.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.environments.functions import system
    >>> def step(state, action):
    ...     position, speed = state
    ...     return [position + 0.1 * speed, speed + 0.1 * action[0]]
    >>> mass = system(step=step, start=[0.0, 1.0], action=(-1.0, 1.0))
    >>> key = jax.random.key(0)
    >>> after = mass.step(mass.start(key=key), jnp.ones(1), key=key)
    >>> [round(float(x), 3) for x in after]
    [0.1, 1.1]

    ```

    Args:
        step: `step(state, action)` returns the next state; with chance in it,
            `step(state, action, key)`. Actions are arrays of real numbers, or one whole
            number where they are choices.
        start: The state to begin in; or `start(key)`, which draws one. A state is an
            array, a list or a number, or any pytree of them.
        action: A `Box`, or its least and greatest actions as a pair `(low, high)`, each
            a number or a list; or a `Discrete`, or a whole number of choices.
        observation: `observation(state)`, what an agent that learns is told of the
            state; all of it by default.
        sketch: `sketch(state)`, the state as a drawing; a bead for each coordinate by
            default.
        states: Where a state is a whole number, how many there are: agents that learn
            in tables need it.
        names: Of the state's coordinates, with units, for reports.
        action_names: Of the action's.
        dt: Seconds that a step takes, in plots and films.

    Raises:
        ValueError: Functions do not fit together, or names do not fit them.
        TypeError: Something that was given is of the wrong kind.
    """
    if not 0 < dt < math.inf:
        raise ValueError(f"system needs a finite dt > 0, got {dt}.")
    if states is not None and states < 1:
        raise ValueError(f"system needs states >= 1, got {states}.")
    space = _space(action)
    begins = (
        Taking("start", start, ("key",)) if callable(start) else arrays("start", start)
    )
    made = FunctionSystem(
        moves=Taking("step", step, ("state", "action")),
        begins=begins,
        sees=observation and Taking("observation", observation, ("state",)),
        draws=sketch and Taking("sketch", sketch, ("state",)),
        action=space,
        states=states,
        names=(),
        does=(),
        dt=dt,
    )
    state = _check(made)
    size = eqx.filter_eval_shape(_coordinates, state).shape[0]
    wide = 1 if isinstance(space, Discrete) else int(np.prod(space.shape))
    labels = _labels("names", names, "x", size)
    does = _labels("action_names", action_names, "u", wide)
    return dataclasses.replace(made, names=labels, does=does)


def _space(action: Any) -> Space:
    """An action space from whatever says it shortly."""
    if isinstance(action, Box | Discrete):
        return action
    if isinstance(action, int | np.integer) and not isinstance(action, bool):
        return Discrete(int(action))
    if isinstance(action, Sequence) and not isinstance(action, str):
        try:
            low, high = np.broadcast_arrays(
                *(np.atleast_1d(np.asarray(each, float)) for each in action)
            )
        except (TypeError, ValueError):
            pass
        else:
            return Box(low, high)
    raise TypeError(
        "action should be a forethought.Box, a pair (low, high) of numbers or of lists "
        "that are equally long, a forethought.Discrete, or a whole number of choices, "
        f"got {action!r}."
    )


def _check(system: FunctionSystem) -> PyTree:
    """The start state on shapes alone, once functions are found to fit together."""
    key = jax.random.key(0)
    state = eqx.filter_eval_shape(lambda key: system.start(key=key), key)
    if not jax.tree.leaves(state):
        raise ValueError(f"start should give a state, got {state}.")
    action = eqx.filter_eval_shape(lambda key: system.action.sample(key=key), key)
    after = eqx.filter_eval_shape(
        lambda state, action, key: arrays("step", system.moves(state, action, key=key)),
        state,
        action,
        key,
    )
    if not _alike(state, after):
        raise ValueError(
            f"step should return a state like the one it was given, {shapes(state)}, "
            f"got {shapes(after)}."
        )
    leaves = jax.tree.leaves(state)
    for old, new in zip(leaves, jax.tree.leaves(after), strict=True):
        if _whole(old) and not _whole(new):
            raise ValueError(
                "start gives whole numbers where step returns real ones, "
                f"{shapes(state)} and {shapes(after)}: begin with 0.0 in place of 0."
            )
    if system.states is not None and not (
        len(leaves) == 1 and _whole(leaves[0]) and not leaves[0].ndim
    ):
        raise ValueError(
            "states says how many whole numbers a state can be, but start gives "
            f"{shapes(state)}."
        )
    eqx.filter_eval_shape(system.observe, state)
    drawing = eqx.filter_eval_shape(system.sketch, state)
    if not isinstance(drawing, Capsules):
        raise TypeError(f"sketch should return Capsules, got {type(drawing).__name__}.")
    return state


def _whole(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.integer)


def _alike(one: PyTree, other: PyTree) -> bool:
    """Whether two trees of arrays have one structure and the same shapes."""
    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    both = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(a.shape == b.shape for a, b in both)


def _coordinates(state: PyTree) -> Array:
    """The state's real numbers as a vector; its whole ones where it has no others."""
    vector, _ = ravel(state)
    return vector if vector.size else ravel_pytree(state)[0].astype(float)


def _labels(
    what: str, given: Sequence[str] | None, letter: str, count: int
) -> tuple[str, ...]:
    """The names that were given, or numbers."""
    if given is None:
        return tuple(f"{letter}{i + 1}" for i in range(count))
    if isinstance(given, str) or len(given) != count:
        raise ValueError(f"{what} should be {count} words, got {given!r}.")
    return tuple(given)
