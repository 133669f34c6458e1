"""Planning in the latent state of a model that is learned from pictures."""

import dataclasses
import math
from typing import Annotated, Generic, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from forethought.agents.base import AbstractAgent, Brief, Duty, Metrics
from forethought.agents.planning.acting import PlanningCarry, told
from forethought.agents.planning.mpc import Planning
from forethought.core.given.settings import Nonnegative, Range, Whole, check_ranges
from forethought.core.spaces import Box, require_box
from forethought.core.types import Action, Mode
from forethought.data.memory import Memory
from forethought.environments.base import EnvironmentSpec
from forethought.models.latent.single_step import SingleStep, SingleStepSettings
from forethought.models.latent.studied import Studied, StudySettings
from forethought.objectives.learned import Learned
from forethought.planners import CEM, AbstractPlanner
from forethought.planners.mpc import MPC
from forethought.problem import Problem

P = TypeVar("P", bound=AbstractPlanner)
"""The planner's settings."""


@dataclasses.dataclass(frozen=True)
class LatentMPC(Generic[P]):
    """See, think in a latent state, act; learn the model from what was seen.

    Args:
        model: Sizes of the latent model and what its terms weigh.
        study: How it learns, after each episode.
        planner: Who plans in latent states.
        noise: Standard deviation of the noise on actions while exploring, in half
            widths of the action box.
        start: Steps with random actions, before anything is learned.
        hold: For how many steps such an action is held at most, in the mean: each
            episode has a pace of its own, from two steps on. What changes at every
            step hardly moves a machine.

    References:
        Hafner et al., Learning latent dynamics for planning from pixels, 2019,
        arXiv:1811.04551, algorithm 1; Levine, CS 285, "model-based RL with images".
    """

    model: SingleStepSettings = SingleStepSettings()  # noqa: RUF009  (a frozen setting)
    study: StudySettings = StudySettings()  # noqa: RUF009  (a frozen setting)
    planner: P = CEM(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        14, population=128, elites=12, iterations=4, noise_beta=1.0
    )
    noise: Nonnegative = 0.3
    start: Whole = 800
    hold: Annotated[int, Range(at_least=2)] = 12

    def __post_init__(self):
        """Check what can be checked alone."""
        check_ranges(self)

    def make(self, brief: Brief) -> "LatentPlanning":
        """The agent; what a task tells of observations is no help with pictures."""
        gamma = 1.0 if brief.gamma is None else brief.gamma
        return LatentPlanning(
            self.model,
            self.study,
            self.planner,
            Learned(gamma),
            self.noise,
            self.start,
            self.hold,
        )


class LatentCarry(eqx.Module):
    """What an episode carries: what is planned, and what chance does before that."""

    planning: PlanningCarry
    held: Action
    """The random action that is held."""
    pace: Scalar
    """How likely it changes at a step."""


class LatentPlanning(AbstractAgent[Problem, LatentCarry]):
    """Acts by chance, learns a latent model from that, and plans in it from then on.

    Args:
        model: Sizes of the latent model.
        study: How it learns.
        planner: Who plans.
        objective: What is wanted, of what the model reads out.
        noise: On actions while exploring, in half widths of the action box.
        start: Steps with random actions.
        hold: For how many steps one is held at most, in the mean.
    """

    model: SingleStepSettings
    study: StudySettings
    planner: AbstractPlanner
    objective: Learned
    noise: Nonnegative = eqx.field(static=True)
    start: Whole = eqx.field(static=True)
    hold: Annotated[int, Range(at_least=2)] = eqx.field(static=True)

    @property
    def duties(self) -> tuple[Duty, ...]:
        """To learn the model after each episode, once chance has acted for long."""
        rows = self.study.length
        return (Duty("model", begin=self.start, on_policy=True, rows=rows),)

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Problem:
        """The problem as it looks before anything was seen.

        Raises:
            TypeError: Observations are no pictures, or actions are discrete.
            ValueError: Episodes are shorter than a window.
        """
        seen, box = spec.observation, require_box(spec.action, "LatentMPC")
        shape = getattr(seen, "shape", ())
        if not isinstance(seen, Box) or len(shape) != 3:
            shown = f"of shape {shape}" if isinstance(seen, Box) else f"{seen}"
            raise TypeError(
                "A latent model is learned from pictures of shape [row, column, "
                f"channel], but observations are {shown} here."
            )
        length = spec.episode_length
        if length is not None and length < self.study.length:
            raise ValueError(
                f"LatentMPC learns from windows of {self.study.length} steps, but "
                f"episodes have {length}; set study.length to at most {length}."
            )
        model = Studied(SingleStep(shape, box, self.model, key=key), self.study)
        return Problem(model, self.objective, box)

    def reset(self, learner: Problem, *, key: PRNGKeyArray) -> LatentCarry:
        """Believe nothing, and draw a pace."""
        plan_key, pace_key, key = jax.random.split(key, 3)
        action = learner.action.sample(key=key)
        steps = jax.random.uniform(pace_key, (), action.dtype, 2, self.hold)
        planning = self._planning(learner).reset(learner, key=plan_key)
        return LatentCarry(planning, action, 1 / steps)

    def act(
        self,
        learner: Problem,
        carry: LatentCarry,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, LatentCarry, None]:
        """Look, plan, and shake the plan to explore; or hold a random action."""
        draw_key, change_key, key = jax.random.split(key, 3)
        fresh = learner.action.sample(key=draw_key)
        changes = jax.random.uniform(change_key, (), carry.pace.dtype) < carry.pace
        held = jnp.where(changes, fresh, carry.held)

        def plan() -> tuple[Action, PlanningCarry]:
            planning = self._planning(learner)
            action, after, _ = planning.act(
                learner, carry.planning, obs, key=key, mode=mode
            )
            return action, after

        learned = cast(Studied, learner.model).updates > 0
        action, planning = jax.lax.cond(learned, plan, lambda: (held, carry.planning))
        return action, LatentCarry(planning, held, carry.pace), None

    def informed(
        self, problem: Problem, *, seconds: float = math.inf, key: PRNGKeyArray
    ) -> tuple[Planning, Problem]:
        """Its planner in the true dynamics, which sees the state itself."""
        return Planning(problem, MPC(self.planner)), problem

    def examined(self, learner: Problem) -> None:
        """Nothing that forecasts numbers; its pictures are looked at apart."""

    def watch(self, carry: LatentCarry) -> Metrics:
        """What planning came to."""
        return told(carry.planning.thought)

    @eqx.filter_jit
    def update(
        self, learner: Problem, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Problem, Metrics]:
        """Go on learning the model."""
        model, told = cast(Studied, learner.model).fit(memory, key=key)
        return eqx.tree_at(lambda problem: problem.model, learner, model), told

    def _planning(self, learner: Problem) -> Planning:
        return Planning(learner, MPC(self.planner), self.noise)
