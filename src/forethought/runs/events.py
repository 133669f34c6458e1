"""What happens while something runs, told to whoever watches.

Everything that takes long has one argument, `watch`, and calls it with events: the
terminal, files, trackers and viewers are functions of an event, which take what they
know of and let the rest pass.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from forethought.training.control import Episode

Row = dict[str, Any]
"""A line of metrics, as it is kept on the disk."""


@dataclasses.dataclass(frozen=True)
class Acted:
    """A piece of an episode under control, and the wall seconds of each step."""

    episode: Episode
    seconds: np.ndarray


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of metrics of a training run; its seed and arm where there are many."""

    row: Mapping[str, Any]
    seed: int | None = None
    arm: str = ""


@dataclasses.dataclass(frozen=True)
class Scored:
    """A planner is done with a task, from `compare`."""

    score: Any


@dataclasses.dataclass(frozen=True)
class Stage:
    """Something of that name begins."""

    name: str


@dataclasses.dataclass(frozen=True)
class Notice:
    """A sentence that the user should read."""

    text: str


Event = Acted | Line | Scored | Stage | Notice
Watch = Callable[[Event], None]


def unwatched(event: Event) -> None:
    """Nobody looks."""


def both(*watches: Watch) -> Watch:
    """Several who watch, as one."""

    def watch(event: Event) -> None:
        for each in watches:
            each(event)

    return watch
