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

from forethought.core.given.settings import AbstractSettings
from forethought.core.spaces import Box
from forethought.problem import Plan, Problem

PlanState = TypeVar("PlanState")


class Unsaid(int):
    """A horizon that nobody chose, in place of which a task knows a better one."""


UNSAID = Unsaid(50)
"""How far a planner looks ahead that was told neither a horizon nor a task."""


class AbstractPlanner(AbstractSettings, Generic[PlanState]):
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
    """The actions to begin with: those given, else where the box rests, or its middle.

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
