"""Planners: what should I do, given a model?"""

from forethought.planners.anytime import plan_within
from forethought.planners.base import AbstractPlanner
from forethought.planners.categorical import CategoricalCEM
from forethought.planners.cem import CEM
from forethought.planners.constrained import AugmentedLagrangian
from forethought.planners.gradient import GradientAscent
from forethought.planners.ilqr import ILQR
from forethought.planners.implicit import Implicit
from forethought.planners.lqr import LQR
from forethought.planners.mcts import MCTS
from forethought.planners.mpc import MPC
from forethought.planners.mppi import MPPI
from forethought.planners.polished import Polished
from forethought.planners.shooting import RandomShooting
from forethought.planners.tree_policies import DefaultPolicy, TreePolicy, Widening

PLANNERS: dict[str, type[AbstractPlanner]] = {
    "random-shooting": RandomShooting,
    "cem": CEM,
    "categorical-cem": CategoricalCEM,
    "mppi": MPPI,
    "gradient": GradientAscent,
    "lqr": LQR,
    "ilqr": ILQR,
    "mcts": MCTS,
}
"""Every planner under its name on the command line."""

__all__ = [
    "CEM",
    "ILQR",
    "LQR",
    "MCTS",
    "MPC",
    "MPPI",
    "PLANNERS",
    "AbstractPlanner",
    "AugmentedLagrangian",
    "CategoricalCEM",
    "DefaultPolicy",
    "GradientAscent",
    "Implicit",
    "Polished",
    "RandomShooting",
    "TreePolicy",
    "Widening",
    "plan_within",
]
