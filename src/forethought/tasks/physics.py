"""Tasks on MuJoCo physics: what is controlled, what is wanted, settings that work.

Machines are our own MJCF files, or those that the gymnasium package brings along.
"""

import importlib.resources
from collections.abc import Callable

from forethought.environments.mujoco import MuJoCo
from forethought.models.known import Known
from forethought.objectives.residual import L2, Quadratic, Residual, Term
from forethought.problem import Problem
from forethought.tasks.base import Task


def asset(name: str) -> str:
    """The path of one of our own MJCF files."""
    return str(importlib.resources.files("forethought") / "assets" / f"{name}.xml")


def gymnasium_asset(name: str) -> str:
    """The path of an MJCF file that the gymnasium package brings along."""
    folder = importlib.resources.files("gymnasium") / "envs" / "mujoco" / "assets"
    return str(folder / f"{name}.xml")


def cartpole() -> Task:
    """Swing a pole up by pushing its cart, and balance it in the middle."""
    system = MuJoCo(asset("cartpole"), 2, keyframe="hanging", start_noise=0.01)
    objective = Residual(
        system,
        [
            Term("sensor", "tip", 1.0, L2(0.2)),
            Term("sensor", "hinge velocity", 0.02, Quadratic()),
            Term("action", None, 0.02, Quadratic()),
        ],
    )
    return Task(
        name="mujoco-cartpole",
        summary="Swing up a pole on a cart and balance it (MuJoCo)",
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=250,
        settings={
            "random-shooting": {"horizon": 30, "population": 256, "hold": 4},
            "cem": {"horizon": 30, "population": 64, "elites": 8, "iterations": 3},
            "ilqr": {"horizon": 30},
        },
    )


TASKS: dict[str, Callable[[], Task]] = {"mujoco-cartpole": cartpole}
