"""An objective that is written as plain functions."""

from collections.abc import Callable
from numbers import Real
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Scalar

from forethought.core.types import Action, ravel
from forethought.environments.taking import Taking
from forethought.objectives.base import AbstractObjective

TRANSITION = ("state", "action", "next_state")


class FunctionObjective(AbstractObjective):
    """Rewards as functions; `objective` makes one."""

    earns: Taking
    lasts: Taking
    promises: Taking
    gamma: float | None = eqx.field(static=True)
    """The discount, where it is the same at every step."""

    def reward(self, x: PyTree[Array], action: Action, next_x: PyTree) -> Scalar:
        """What the function returns."""
        return _number("reward", self.earns(x, action, next_x), x)

    def discount(self, x: PyTree[Array], action: Action, next_x: PyTree) -> Scalar:
        """The number that was given, or what the function returns."""
        return _number("discount", self.lasts(x, action, next_x), x)

    def value(self, x: PyTree[Array]) -> Scalar:
        """The number that was given, or what the function returns."""
        return _number("value", self.promises(x), x)


def objective(
    *,
    reward: Callable[..., Any],
    discount: Callable[..., Any] | float = 1.0,
    value: Callable[..., Any] | float = 0.0,
) -> FunctionObjective:
    """An objective from functions of your own, in `jax.numpy`.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.objectives.functions import objective
    >>> near = objective(reward=lambda state, action: -(state[0] ** 2))
    >>> float(near.reward(jnp.array([3.0]), jnp.zeros(1), jnp.zeros(1)))
    -9.0

    ```

    Args:
        reward: `reward(state, action, next_state)`, a number to be as large as can be;
            it may take the first of these alone, so that `reward(state, action)` will
            do.
        discount: What all later rewards are worth, in [0, 1]: a number, or a function
            of the same arguments. Zero ends the episode.
        value: `value(state)`, the return to expect beyond the horizon; or a number.

    Raises:
        ValueError: A number lies outside its range.
        TypeError: Something is neither a function nor a number, or takes too much.
    """
    lasts = _taking("discount", discount, TRANSITION)
    gamma = None if callable(discount) else float(discount)
    if gamma is not None and not 0 < gamma <= 1:
        raise ValueError(f"objective needs a discount in (0, 1], got {discount}.")
    return FunctionObjective(
        earns=Taking("reward", reward, TRANSITION),
        lasts=lasts,
        promises=_taking("value", value, ("state",)),
        gamma=gamma,
    )


class _Same(eqx.Module):
    """A function that always returns the same number."""

    number: float = eqx.field(static=True)

    def __call__(self) -> float:
        return self.number


def _taking(
    name: str, given: Callable[..., Any] | float, arguments: tuple[str, ...]
) -> Taking:
    """A function, or a number as one."""
    if callable(given):
        return Taking(name, given, arguments)
    if not isinstance(given, Real):
        raise TypeError(f"{name} should be a function or a number, got {given!r}.")
    return Taking(name, _Same(float(given)), arguments)


def _number(name: str, found: Any, x: PyTree) -> Scalar:
    """A single number in the precision of what was read out.

    Raises:
        ValueError: It is none.
    """
    if found is None:
        raise ValueError(f"{name} should return a number, got None: return it.")
    number = jnp.asarray(found)
    if number.ndim:
        raise ValueError(
            f"{name} should return a single number, got an array of shape "
            f"{list(number.shape)}: take one of its numbers, or their sum."
        )
    return number.astype(ravel(x)[0].dtype)
