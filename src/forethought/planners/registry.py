"""Every planner by name: its settings, what it is made of, what it can do.

This is the one table of planners: the command line lists it, plans with it and reads
names from it. The library itself takes objects.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from forethought.core.spaces import Box, Space
from forethought.core.words import unknown
from forethought.planners.around.augmented_lagrangian import AugmentedLagrangian
from forethought.planners.around.polished import Polished
from forethought.planners.base import AbstractPlanner, looking_ahead
from forethought.planners.linear.lqr import LQR
from forethought.planners.sampling.categorical import CategoricalCEM
from forethought.planners.sampling.cem import CEM
from forethought.planners.sampling.mppi import MPPI
from forethought.planners.sampling.shooting import RandomShooting
from forethought.planners.smooth.gradient import GradientAscent
from forethought.planners.smooth.ilqg import ILQG
from forethought.planners.smooth.ilqr import ILQR
from forethought.planners.tree.mcts import MCTS

Actions = Literal["box", "discrete", "both"]


@dataclasses.dataclass(frozen=True)
class Abilities:
    """What a planner can do, and what it asks for.

    Args:
        actions: Over which actions it plans: those of a box, choices, or both, given
            settings that fit.
        derivatives: Whether it asks model and objective for derivatives.
        gains: Whether its plans are controllers, with gains to follow them by.
    """

    actions: Actions
    derivatives: bool = False
    gains: bool = False


@dataclasses.dataclass(frozen=True)
class Entry:
    """A planner that has a name.

    Args:
        settings: The class whose fields can be set.
        can: What it can do.
        parts: Of a planner that is made of others, its fields and the names of the
            planners that they are, where nothing else is said.
    """

    settings: type[AbstractPlanner]
    can: Abilities
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict)


SMOOTH = Abilities("box", derivatives=True, gains=True)
PLANNERS: Mapping[str, Entry] = {
    "random-shooting": Entry(RandomShooting, Abilities("both")),
    "cem": Entry(CEM, Abilities("box")),
    "categorical-cem": Entry(CategoricalCEM, Abilities("discrete")),
    "mppi": Entry(MPPI, Abilities("box")),
    "gradient": Entry(GradientAscent, Abilities("box", derivatives=True)),
    "lqr": Entry(LQR, Abilities("box", gains=True)),
    "ilqr": Entry(ILQR, SMOOTH),
    "ilqg": Entry(ILQG, SMOOTH),
    "mcts": Entry(MCTS, Abilities("both")),
    "augmented-lagrangian": Entry(AugmentedLagrangian, SMOOTH, {"inner": "ilqr"}),
    "polished": Entry(Polished, SMOOTH, {"first": "cem", "second": "ilqr"}),
}
"""Every planner under its name on the command line."""


def entry_of(name: str) -> Entry:
    """What is known of a planner.

    Args:
        name: As on the command line.

    Raises:
        ValueError: There is no planner of that name; the nearest is named.
    """
    if name not in PLANNERS:
        raise unknown("planner", name, PLANNERS)
    return PLANNERS[name]


def assemble(
    name: str, settings: Callable[[str], Mapping[str, Any]]
) -> AbstractPlanner:
    """A planner by name; one that is made of others looks ahead as the first of them.

    Args:
        name: One of `PLANNERS`.
        settings: From the name of a planner to its fields.

    Raises:
        ValueError: There is no planner of that name, or a setting is wrong.
    """
    entry, own = entry_of(name), dict(settings(name))
    if entry.parts:
        own.pop("horizon", None)
        made = {field: assemble(each, settings) for field, each in entry.parts.items()}
        horizon = next(iter(made.values())).horizon
        own = {
            field: looking_ahead(planner, horizon) for field, planner in made.items()
        } | own
    return entry.settings(**own)


def usual_planners(action: Space) -> tuple[str, str, str]:
    """Three planners that suit a space of actions, the one to begin with first."""
    if isinstance(action, Box):
        return "cem", "ilqr", "random-shooting"
    return "mcts", "categorical-cem", "random-shooting"


def name_of(planner: AbstractPlanner) -> str:
    """A planner's name on the command line, or its class where it has none."""
    names = {entry.settings: name for name, entry in PLANNERS.items()}
    return names.get(type(planner), type(planner).__name__)
