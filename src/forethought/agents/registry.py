"""Every agent that learns, by its name."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

from forethought.agents.base import AbstractAgent, Brief
from forethought.agents.critics.ddpg import DDPG
from forethought.agents.critics.mba import MBA
from forethought.agents.critics.mbpo import MBPO
from forethought.agents.critics.mve import MVE
from forethought.agents.critics.naf import NAF
from forethought.agents.critics.sac import SAC
from forethought.agents.critics.steve import STEVE
from forethought.agents.gradients.mbrl_v0 import ModelBasedV0
from forethought.agents.gradients.mbrl_v1 import ModelBasedV1
from forethought.agents.gradients.pilco import PILCO
from forethought.agents.imitation.distill import Distill
from forethought.agents.imitation.mb_mf import MBMF
from forethought.agents.latent.latent_mpc import LatentMPC
from forethought.agents.local.gps import GPS
from forethought.agents.local.local import LocalControl
from forethought.agents.on_policy.ppo import PPO
from forethought.agents.planning.mbrl_v2 import ModelBasedV2
from forethought.agents.planning.pets import PETS
from forethought.agents.tables.dyna import Dyna
from forethought.agents.tables.sweeping import Sweeping
from forethought.core.spaces import Discrete, Space
from forethought.core.words import unknown
from forethought.models.learned.recipes import AbstractRecipe
from forethought.planners import AbstractPlanner, CategoricalCEM


@runtime_checkable
class Settings(Protocol):
    """What an agent is made of."""

    def make(self, brief: Brief) -> AbstractAgent: ...  # noqa: D102


AGENTS: dict[str, type[Settings]] = {
    "pets": PETS,
    "mbrl-v0": ModelBasedV0,
    "mbrl-v1": ModelBasedV1,
    "mbrl-v2": ModelBasedV2,
    "mb-mf": MBMF,
    "dyna": Dyna,
    "sweeping": Sweeping,
    "ppo": PPO,
    "pilco": PILCO,
    "local": LocalControl,
    "sac": SAC,
    "ddpg": DDPG,
    "naf": NAF,
    "mba": MBA,
    "mbpo": MBPO,
    "mve": MVE,
    "steve": STEVE,
    "gps": GPS,
    "latent-mpc": LatentMPC,
}
"""Under its name on the command line, the settings of each, with their defaults."""
STUDENTS: dict[str, type[Settings]] = {"distill": Distill}
"""Those who learn from teachers: runs of theirs are begun by a command of that name."""
NOTHING = Brief()
CHOOSING = CategoricalCEM(100, population=64, elites=8, iterations=3, hold=2)
"""Who plans where actions are discrete, for agents that plan."""


def default_settings(
    name: str, brief: Brief = NOTHING, action: Space | None = None, **fields: Any
) -> Any:
    """The settings that an agent begins from.

    Args:
        name: A name in `AGENTS`.
        brief: What a task tells; a setting called `gamma` is the task's own.
        action: What may be chosen at each step; where that is discrete, the agent plans
            by `CHOOSING`, with as many particles as it would otherwise.
        **fields: Settings that replace defaults.

    Raises:
        ValueError: There is no agent of that name; the nearest is named.
    """
    if name not in AGENTS:
        raise unknown("agent", name, AGENTS)
    settings: Any = AGENTS[name]()
    known = {field.name for field in dataclasses.fields(settings)}
    if "gamma" in known and brief.gamma is not None:
        fields = {"gamma": brief.gamma} | fields
    if isinstance(action, Discrete) and (planner := planner_of(settings)) is not None:
        particles = getattr(planner, "particles", 1)
        choosing = dataclasses.replace(CHOOSING, particles=particles)
        fields = {"planner": choosing} | fields
    return dataclasses.replace(settings, **fields)


def name_of(settings: Settings) -> str:
    """The name of an agent, by its settings."""
    names = {kind: name for name, kind in (AGENTS | STUDENTS).items()}
    return names.get(type(settings), "an agent")


def planner_of(settings: Settings) -> AbstractPlanner | None:
    """Who plans for an agent of these settings, where anyone does."""
    return getattr(settings, "planner", None)


def recipe_in(settings: Settings) -> AbstractRecipe | None:
    """How the model begins that an agent of these settings learns, if it learns one."""
    found = getattr(settings, "model", None)
    return found if isinstance(found, AbstractRecipe) else None


def conditions_of(settings: Settings) -> int | None:
    """In how many places episodes are to begin in turn; None for as they do."""
    return getattr(settings, "conditions", None)
