"""The tasks on systems whose equations of motion are written down."""

from collections.abc import Callable, Mapping

from forethought.environments.analytic import DoubleIntegrator, Pendulum
from forethought.models.known import Known
from forethought.models.linear import Linear
from forethought.objectives.quadratic import Quadratic
from forethought.objectives.task import PendulumReward
from forethought.problem import Problem
from forethought.tasks.base import Task


def double_integrator() -> Task:
    r"""Bring a mass to rest at the origin: linear-quadratic, with a known optimum.

    The cost is $\tfrac12 (\lVert x \rVert^2 + u^2)$ a step, and the cost to go beyond
    the horizon is $\tfrac12 x^\top P x$ with $P$ the solution of the discrete algebraic
    Riccati equation, so every horizon has the same optimal actions and the optimal
    return from $[1, 0]$ is $-\tfrac12 P_{11}$, whatever the length of the episode.
    """
    system = DoubleIntegrator()
    h = system.dt
    model = Linear([[1.0, h, 0.5 * h**2], [0.0, 1.0, h]])
    riccati = [
        [17.83493132218895, 10.012492197250385],
        [10.012492197250385, 17.85658646032883],
    ]
    identity = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    objective = Quadratic(identity, C_final=riccati)
    return Task(
        name="double-integrator",
        summary="bring a mass to rest at the origin (linear-quadratic)",
        system=system,
        problem=Problem(model, objective, system.action),
        steps=60,
        settings={
            "random-shooting": {"horizon": 15, "hold": 3},
            "cem": {"horizon": 20, "initial_std": 1.0, "iterations": 6},
            "ilqr": {"horizon": 20},
            "lqr": {"horizon": 20},
        },
        optimum=-8.917465661094475,
    )


def pendulum() -> Task:
    """Swing Gymnasium's Pendulum-v1 up and keep it there, from any angle."""
    system = Pendulum()
    return Task(
        name="pendulum",
        summary="swing a rod up with a motor too weak to lift it (Pendulum-v1)",
        system=system,
        problem=Problem(Known(system), PendulumReward(), system.action),
        steps=200,
        settings={
            "random-shooting": {"horizon": 30, "hold": 5},
            "cem": {"horizon": 30},
            "ilqr": {"horizon": 40},
            "lqr": {"horizon": 40},
        },
    )


TASKS: Mapping[str, Callable[[], Task]] = {
    "double-integrator": double_integrator,
    "pendulum": pendulum,
}
"""A task's name to the function that builds it."""
