"""The public names, and where they are at home; `__init__.py` imports them late."""

from forethought import tasks
from forethought.agents.base import AbstractAgent, Duty
from forethought.agents.gradients.mbrl_v0 import ModelBasedV0
from forethought.agents.gradients.mbrl_v1 import ModelBasedV1
from forethought.agents.gradients.pilco import PILCO
from forethought.agents.imitation.mb_mf import MBMF
from forethought.agents.on_policy.ppo import PPO
from forethought.agents.planning.mbrl_v2 import ModelBasedV2
from forethought.agents.planning.pets import PETS
from forethought.agents.schedule import Schedule
from forethought.agents.tables.dyna import Dyna
from forethought.agents.tables.sweeping import Sweeping
from forethought.core.gaussian import Gaussian
from forethought.core.readout import Readout
from forethought.core.results import Result
from forethought.core.spaces import Box, Discrete
from forethought.data.logged import Logged
from forethought.environments.base import (
    AbstractEnvironment,
    AbstractSystem,
    Capsules,
    EnvironmentSpec,
    TimeStep,
)
from forethought.environments.functions import system
from forethought.environments.mujoco.system import MuJoCo
from forethought.environments.simulated import Simulated
from forethought.models.base import AbstractModel
from forethought.models.known import Known
from forethought.models.linear.dynamics import Linear
from forethought.models.linear.kalman import LinearGaussian
from forethought.objectives.base import AbstractObjective
from forethought.objectives.constrained import Constrained
from forethought.objectives.functions import objective
from forethought.objectives.quadratic import Quadratic
from forethought.planners import (
    CEM,
    ILQR,
    LQR,
    MCTS,
    MPC,
    MPPI,
    AbstractPlanner,
    AugmentedLagrangian,
    CategoricalCEM,
    GradientAscent,
    Implicit,
    Polished,
    RandomShooting,
    plan_within,
)
from forethought.problem import Feedback, Plan, Problem, evaluate, rollout
from forethought.reports import report
from forethought.runs.collect import collect
from forethought.runs.distill import distill
from forethought.runs.fit.believed import task_in_model, task_with_model
from forethought.runs.fit.kept import Fitted
from forethought.runs.fit.run import fit
from forethought.runs.loading import load
from forethought.runs.plan.compare import Score, compare
from forethought.runs.plan.control import Run, control
from forethought.runs.plan.controller import controller
from forethought.runs.plan.planning import make_planner, plan
from forethought.runs.train.trained import Trained, train
from forethought.tasks import Task
from forethought.tasks.own import task
from forethought.training.actor import Actor

__all__ = [
    "CEM",
    "ILQR",
    "LQR",
    "MBMF",
    "MCTS",
    "MPC",
    "MPPI",
    "PETS",
    "PILCO",
    "PPO",
    "AbstractAgent",
    "AbstractEnvironment",
    "AbstractModel",
    "AbstractObjective",
    "AbstractPlanner",
    "AbstractSystem",
    "Actor",
    "AugmentedLagrangian",
    "Box",
    "Capsules",
    "CategoricalCEM",
    "Constrained",
    "Discrete",
    "Duty",
    "Dyna",
    "EnvironmentSpec",
    "Feedback",
    "Fitted",
    "Gaussian",
    "GradientAscent",
    "Implicit",
    "Known",
    "Linear",
    "LinearGaussian",
    "Logged",
    "ModelBasedV0",
    "ModelBasedV1",
    "ModelBasedV2",
    "MuJoCo",
    "Plan",
    "Polished",
    "Problem",
    "Quadratic",
    "RandomShooting",
    "Readout",
    "Result",
    "Run",
    "Schedule",
    "Score",
    "Simulated",
    "Sweeping",
    "Task",
    "TimeStep",
    "Trained",
    "collect",
    "compare",
    "control",
    "controller",
    "distill",
    "evaluate",
    "fit",
    "load",
    "make_planner",
    "objective",
    "plan",
    "plan_within",
    "report",
    "rollout",
    "system",
    "task",
    "task_in_model",
    "task_with_model",
    "tasks",
    "train",
]
