"""Acting by thinking ahead: planning and model-based reinforcement learning."""

from forethought import tasks
from forethought.agents.dyna import Dyna
from forethought.agents.mbrl_v2 import ModelBasedV2
from forethought.agents.pets import PETS
from forethought.agents.sweeping import Sweeping
from forethought.planners import (
    CEM,
    ILQR,
    LQR,
    MCTS,
    MPC,
    GradientAscent,
    Implicit,
    RandomShooting,
)
from forethought.problem import Feedback, Plan, Problem, evaluate, rollout
from forethought.reports import report
from forethought.runs.plan.compare import Score, compare
from forethought.runs.plan.control import Run, control
from forethought.runs.plan.planning import make_planner, plan
from forethought.runs.train.trained import Trained, train
from forethought.tasks import Task

__all__ = [
    "CEM",
    "ILQR",
    "LQR",
    "MCTS",
    "MPC",
    "PETS",
    "Dyna",
    "Feedback",
    "GradientAscent",
    "Implicit",
    "ModelBasedV2",
    "Plan",
    "Problem",
    "RandomShooting",
    "Run",
    "Score",
    "Sweeping",
    "Task",
    "Trained",
    "compare",
    "control",
    "evaluate",
    "make_planner",
    "plan",
    "report",
    "rollout",
    "tasks",
    "train",
]
