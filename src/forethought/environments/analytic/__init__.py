"""Systems whose equations of motion are written down.

Each file holds one machine: its physical parameters as fields with units, its
equations with the reference they come from, and a drawing of its state. The state is
one vector, positions before velocities, and the arithmetic is plain enough that a
compiler turns a whole planning loop over it into one native function.

Only the pendulum limits its own actions, because Gymnasium's does; the others obey
whatever they are given, and their `action` box says what a planner may give. A clip
inside the physics would halve or erase derivatives exactly where an optimal plan of
limited actuators likes to be.
"""

from forethought.environments.analytic.acrobot import Acrobot
from forethought.environments.analytic.car import Car
from forethought.environments.analytic.cartpole import CartPole
from forethought.environments.analytic.double_integrator import DoubleIntegrator
from forethought.environments.analytic.linear import LinearSystem
from forethought.environments.analytic.pendulum import Pendulum
from forethought.environments.analytic.point_mass import PointMass
from forethought.environments.analytic.quadrotor import Quadrotor
from forethought.environments.analytic.rods import RodCartPole, RodPendulum
from forethought.environments.analytic.unicycle import Unicycle

__all__ = [
    "Acrobot",
    "Car",
    "CartPole",
    "DoubleIntegrator",
    "LinearSystem",
    "Pendulum",
    "PointMass",
    "Quadrotor",
    "RodCartPole",
    "RodPendulum",
    "Unicycle",
]
