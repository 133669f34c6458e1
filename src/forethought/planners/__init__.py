"""Planners: what should I do, given a model?"""

from forethought.planners.around.augmented_lagrangian import AugmentedLagrangian
from forethought.planners.around.implicit import Implicit
from forethought.planners.around.polished import Polished
from forethought.planners.base import AbstractPlanner
from forethought.planners.linear.lqr import LQR
from forethought.planners.mpc import MPC
from forethought.planners.registry import PLANNERS
from forethought.planners.sampling.categorical import CategoricalCEM
from forethought.planners.sampling.cem import CEM
from forethought.planners.sampling.mppi import MPPI
from forethought.planners.sampling.shooting import RandomShooting
from forethought.planners.smooth.gradient import GradientAscent
from forethought.planners.smooth.ilqg import ILQG
from forethought.planners.smooth.ilqr import ILQR
from forethought.planners.tree.anytime import plan_within
from forethought.planners.tree.mcts import MCTS
from forethought.planners.tree.policies import DefaultPolicy, TreePolicy, Widening

__all__ = [
    "CEM",
    "ILQG",
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
