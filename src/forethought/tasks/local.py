"""Tasks from one start, in which a controller around one trajectory is enough, or not.

An episode is a roll-out of the controller, and all of the state is observed.
"""

import math

import numpy as np

from forethought.core.spaces import Box, free_box
from forethought.environments.analytic import Pendulum, PointMass
from forethought.models.known import Known
from forethought.objectives.task import Regulate
from forethought.problem import Problem
from forethought.tasks.base import Task, whole, whole_episode


def reach() -> Task:
    r"""Bring a mass to a place 16 m away in five seconds, with any force.

    The cost is half the squared distance at each of 100 steps of 0.05 s, and a
    twentieth of a thousandth of the force squared: 12,500 for a mass that stays.

    References:
        The 2-D point mass of the code of Finn, Zhang, Fu, Tan, McCarthy, Scharff,
        Stadie and Levine, Guided policy search code implementation, 2016: start, goal,
        weights and length are its. There Box2D moves the mass, whose velocity the
        action sets.
    """
    system = PointMass(
        friction=0.0,
        goal=(5.0, 20.0),
        initial=(0.0, 5.0, 0.0, 0.0),
        action=free_box(2),
    )
    objective = Regulate(
        goal=[5.0, 20.0, 0.0, 0.0],
        state_weights=[1.0, 1.0, 0.0, 0.0],
        action_weights=[5e-5, 5e-5],
        final_weights=[0.0] * 4,
    )
    return Task(
        name="reach",
        summary="bring a mass to a far place",
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=100,
        restore=whole,
        settings={
            **whole_episode(100, 5.0, hold=10, scale=400.0, noise=1.0),
            "local": {"spread": 5**0.5},
        },
        replan_every=100,
        start=((0.0, 5.0, 0.0, 0.0), (0.0,) * 4),
    )


def _swing(
    name: str,
    summary: str,
    torque: float,
    initial: tuple[float, float] | None = (math.pi, 0.0),
) -> Task:
    """A rod to be stood up from where it hangs, its angle counted through turns."""
    system = Pendulum(
        dt=0.1,
        initial=initial,
        action=Box(np.array([-torque]), np.array([torque])),
        unwrapped=True,
    )
    objective = Regulate(
        goal=[0.0, 0.0],
        state_weights=[2.0, 0.2],
        action_weights=[0.002],
        final_weights=[0.0, 0.0],
    )
    return Task(
        name=name,
        summary=summary,
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=50,
        restore=whole,
        settings={
            **whole_episode(50, 1.0, hold=5, scale=50.0, noise=0.3),
            "local": {"spread": 0.4, "adaptive": False},
        },
        replan_every=50,
        start=None if initial is None else (initial, (0.0, 0.0)),
    )


def lift() -> Task:
    r"""Stand a rod up with a motor that can hold it at any angle, nearly.

    The cost of each of 50 steps of 0.1 s is $\theta^2 + 0.1 \dot\theta^2 + 0.001 u^2$
    with the angle unwrapped, so that there is one way up: 493 for a rod that hangs,
    49.94 at the optimum that iLQR finds.
    """
    return _swing("lift", "stand a rod up, strong motor", 5.0)


def lift_anywhere() -> Task:
    """The same from any angle and up to 1 rad/s, for a policy of many starts."""
    return _swing("lift-anywhere", "stand a rod up from any angle", 5.0, None)


def pump() -> Task:
    """The same with a motor so weak that the rod has to be swung up.

    A controller around a trajectory cannot find that: near hanging nothing that it
    tries is the better for swinging back first.
    """
    return _swing("pump", "swing a rod up by pumping, weak motor", 2.0)


TASKS = {"reach": reach, "lift": lift, "lift-anywhere": lift_anywhere, "pump": pump}
"""A task's name to the function that builds it."""
