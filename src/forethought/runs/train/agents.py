"""Agents by name: their settings, and how an agent is made of them for a task."""

import dataclasses
from typing import Any, Generic, TypeVar

from forethought.agents.base import AbstractAgent
from forethought.agents.dyna import Dyna
from forethought.agents.parts.planning import ModelBased
from forethought.agents.sweeping import Sweeping
from forethought.core.words import unknown
from forethought.models.learned.recipes import EnsembleRecipe
from forethought.objectives.learned import Learned, Observed
from forethought.planners import CEM, AbstractPlanner, RandomShooting
from forethought.tasks import Task
from forethought.training.schedule import Schedule

P = TypeVar("P", bound=AbstractPlanner)


@dataclasses.dataclass(frozen=True)
class PETS(Generic[P]):
    """An ensemble of Gaussian networks, and CEM over its particles.

    Args:
        model: The ensemble and how it is fitted.
        planner: Who plans in it.
        known_reward: Whether the task's own reward and end are used where
            observations tell the state; otherwise the reward is learned, and the end
            as `model.termination` says.
    """

    model: EnsembleRecipe = EnsembleRecipe(  # noqa: RUF009  (a frozen setting)
        termination="learned"
    )
    planner: P = CEM(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        30, population=100, elites=10, particles=5, noise_beta=1.0
    )
    known_reward: bool = True


@dataclasses.dataclass(frozen=True)
class ModelBasedV2(Generic[P]):
    """One deterministic network, replanned at every step: model-based RL v2.

    Args:
        model: The network and how it is fitted.
        planner: Who plans in it.
        known_reward: As for PETS.
    """

    model: EnsembleRecipe = EnsembleRecipe(  # noqa: RUF009  (a frozen setting)
        members=1, probabilistic=False, propagation="E", termination="learned"
    )
    planner: P = RandomShooting(  # noqa: RUF009  # pyright: ignore[reportAssignmentType]
        20, population=1000, hold=3
    )
    known_reward: bool = True


AGENTS: dict[str, type] = {
    "pets": PETS,
    "mbrl-v2": ModelBasedV2,
    "dyna": Dyna,
    "sweeping": Sweeping,
}
"""Every agent that learns, under its name on the command line."""
ONLINE = (Dyna, Sweeping)
"""Settings of agents that learn while they act, from each step."""


def rhythm(settings: Any) -> Schedule:
    """When an agent learns unless told otherwise: after a step, or after an episode."""
    return Schedule(1, "steps" if isinstance(settings, ONLINE) else "episodes")


def settings_for(task: Task | None, agent_name: str) -> Any:
    """The settings that an agent begins from.

    Args:
        task: Whose `settings` under the agent's name replace defaults; None for a
            Gymnasium environment, which knows of none.
        agent_name: A name in `AGENTS`.

    Raises:
        ValueError: There is no agent of that name; the nearest is named.
    """
    if agent_name not in AGENTS:
        raise unknown("agent", agent_name, AGENTS)
    agent, fields = AGENTS[agent_name](), {}
    if task is not None:
        gamma = getattr(task.problem.objective, "gamma", None)
        if isinstance(agent, ONLINE) and gamma is not None:
            fields["gamma"] = gamma
        fields |= task.settings.get(agent_name, {})
    return dataclasses.replace(agent, **fields)


def make_agent(task: Task | None, settings: Any) -> AbstractAgent:
    """An agent from its settings, for a task or for a Gymnasium environment (None)."""
    if isinstance(settings, AbstractAgent):
        return settings
    restore = None if task is None else task.restore
    known = settings.known_reward and restore is not None
    circles, angles = ((), ()) if task is None else (task.circles, task.angles)
    recipe = dataclasses.replace(
        settings.model,
        circles=settings.model.circles or circles,
        angles=settings.model.angles or angles,
        reward=settings.model.reward or not known,
        termination="none" if known else settings.model.termination,
    )
    planner: AbstractPlanner = settings.planner
    if task is None or restore is None or not known:
        return ModelBased(recipe, Learned(), planner)
    return ModelBased(recipe, Observed(task.problem.objective, restore), planner)
