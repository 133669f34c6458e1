"""What a run of planning will need, found before any of it is compiled.

Settings that multiply to little are let pass at once. Of others one plan is traced, and
the program asked for its largest array and its operations (`runs.cost`).
"""

import dataclasses
import math
import warnings
from typing import Any

import jax

from forethought.core.types import ravel
from forethought.core.words import duration, scientific
from forethought.planners import MPC
from forethought.runs.cost import memory, needs_of, require_memory
from forethought.tasks.base import Task

HOUR = 3600.0
RATE = 1e9
"""FLOP/s of small arrays, roughly: many steps in a row, of a few numbers each."""
ROOM = 64.0
"""Bytes for each number that settings count, copies and small factors included."""


def foresee_run(task: Task, controller: MPC, steps: int) -> None:
    """Refuse a run that needs more memory than there is; warn of one that takes hours.

    Args:
        task: What is controlled.
        controller: Who plans, and how often.
        steps: Length of the episode.

    Raises:
        ValueError: There is too little memory, or arrays are too large to be indexed.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    start = jax.eval_shape(lambda key: ravel(task.system.start(key=key))[0], key)
    width = start.size + math.prod(task.problem.action.shape) + 4
    require_memory(
        f"An episode of {steps:,} steps", steps * width * start.dtype.itemsize
    )
    plans, size = -(-steps // controller.replan_every), extent(controller.planner)
    most = size * width * ROOM
    if most < memory() and most * plans < HOUR * RATE:
        return
    who, planner = type(controller.planner).__name__, controller.planner

    def once(key: jax.Array) -> Any:
        belief = task.problem.model.init(key=key)
        state = planner.init(task.problem, belief, key=key)
        return planner.plan(task.problem, belief, state, key=key)[0].actions

    found = needs_of(who, planner, once, key)
    require_memory(who, found.bytes, found.array)
    seconds = plans * found.flops / RATE
    if seconds > HOUR:
        many = f"{plans:,} plan{'' if plans == 1 else 's'}"
        warnings.warn(
            f"{many} of {scientific(found.flops)} FLOP will take about "
            f"{duration(seconds)}, at {scientific(RATE)} FLOP/s.",
            stacklevel=2,
        )


def extent(settings: Any) -> float:
    """The product of all whole numbers among settings; of their parts, the sum."""
    parts, product = 0.0, 1.0
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            parts += extent(value) - 1
        elif isinstance(value, int) and field.init:
            product *= max(value, 1)
    return product * max(parts, 1)
