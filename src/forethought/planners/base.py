"""The protocol of planners: `init`, `plan`, `shift`.

A planner is a set of settings. What it carries from one plan to the next (a mean, the
last actions, a regulariser) is its *plan state*: `init` makes the first one, `plan`
improves on it, and `shift` moves it one step on in time, so that the next plan starts
warm.
"""

import abc
import dataclasses
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.spaces import Box
from forethought.problem import Plan, Problem

PlanState = TypeVar("PlanState")


class AbstractPlanner(eqx.Module, Generic[PlanState]):
    """Finds good actions from a belief; one example at a time, batches by `vmap`."""

    horizon: eqx.AbstractVar[int]
    """Steps that it looks ahead."""

    @abc.abstractmethod
    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> PlanState:
        """The plan state before anything was planned.

        Args:
            problem: What will be planned for.
            belief: Where the first plan will start.
            actions: What to begin with, such as another planner's plan or what a
                policy does in imagination; shape `[horizon, action]`.
            key: Consumed.

        Raises:
            TypeError: The planner cannot work on this problem, or cannot begin with
                actions; the message says why.
            ValueError: The actions have another shape.
        """

    @abc.abstractmethod
    def plan(
        self, problem: Problem, belief: PyTree, state: PlanState, *, key: PRNGKeyArray
    ) -> tuple[Plan, PlanState]:
        """Plan from `belief`, starting from what `state` remembers."""

    @abc.abstractmethod
    def shift(self, problem: Problem, state: PlanState) -> PlanState:
        """The plan state one step later: drop the first action, extend the last."""


def looking_ahead(planner: AbstractPlanner, horizon: int) -> AbstractPlanner:
    """The same planner with another horizon, and so those that it is made of.

    Args:
        planner: Any.
        horizon: Steps to look ahead.
    """
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(planner):
        value = getattr(planner, field.name)
        if field.name == "horizon" and field.init:
            changes["horizon"] = horizon
        elif isinstance(value, AbstractPlanner):
            changes[field.name] = looking_ahead(value, horizon)
    return dataclasses.replace(planner, **changes)


def shift_actions(actions: Array, last: Array | None = None) -> Array:
    """Drop the first of a sequence, and append `last` (by default, repeat the end)."""
    tail = actions[-1:] if last is None else last[None]
    return jnp.concatenate([actions[1:], tail])


def first_actions(
    planner: str, box: Box, horizon: int, actions: Array | None, dtype: DTypeLike
) -> Float[Array, "horizon action"]:
    """The actions to begin with: those given, else the middle of the box.

    Raises:
        ValueError: They do not have the shape of a plan; naming both shapes.
    """
    shape = (horizon, *box.shape)
    if actions is None:
        actions = jnp.broadcast_to(box.centre_and_scale(dtype)[0], shape)
    require_shape(planner, actions, shape)
    return box.clip(actions.astype(dtype))


def require_shape(planner: str, actions: Array, shape: tuple[int, ...]) -> None:
    """Refuse actions that are no plan.

    Raises:
        ValueError: Naming the planner and both shapes.
    """
    if actions.shape != shape:
        raise ValueError(
            f"{planner} needs actions of shape {list(shape)} to begin with, got "
            f"{list(actions.shape)}."
        )


def require_positive(planner: str, **settings: int) -> None:
    """Refuse a count below one.

    Raises:
        ValueError: Naming the planner, the setting and the number given.
    """
    for name, number in settings.items():
        if number < 1:
            raise ValueError(f"{planner} needs {name} >= 1, got {number}.")


def require_one_of(planner: str, name: str, found: str, *choices: str) -> None:
    """Refuse a word that is none of the choices.

    Raises:
        ValueError: Naming the planner, the setting, the choices and the word given.
    """
    if found not in choices:
        words = ", ".join(repr(choice) for choice in choices[:-1])
        raise ValueError(
            f"{planner} needs {name} to be {words} or {choices[-1]!r}, got {found!r}."
        )
