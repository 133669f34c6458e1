"""What a training run begins from where nothing else is said."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import gymnasium

from forethought.agents.registry import NOTHING, default_settings
from forethought.core.spaces import Discrete
from forethought.core.words import unknown
from forethought.environments.base import EnvironmentSpec
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.environments.gymnasium.named import registered
from forethought.tasks import TASKS, Task

Made = TypeVar("Made")
TWINS = {"Pendulum-v1": "pendulum"}
"""Tasks that are Gymnasium's environments, equation by equation."""


def settings_for(
    name: str,
    agent: str | None,
    *,
    task: Task | None = None,
    env: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Any:
    """The settings that an agent begins from on a task or in an environment.

    Args:
        name: Of a task, whose own settings for the agent replace defaults, or of a
            Gymnasium environment, which knows of none.
        agent: The agent's name; if None, that of one which suits what is seen.
        task: A task in the place of the one of that name.
        env: Settings of a Gymnasium environment.
        **fields: Settings that replace all of these.

    Raises:
        ValueError: There is nothing of that name, or no such agent; the nearest is
            named.
        TypeError: The environment has spaces that nothing here can read.
    """
    if agent is not None:
        default_settings(agent)  # one that is none is told before a world is made
    if task is None:
        require_known(name)
        task = TASKS[name]() if name in TASKS else None
    if task is not None:
        spec = task.environment.spec
        agent = agent or usual(spec)
        own = {**task.settings.get(agent, {}), **fields}
        return default_settings(agent, task.brief, spec.action, **own)
    with made(lambda: GymnasiumEnvironment(name, options=env)) as environment:
        spec = environment.spec
    return default_settings(agent or usual(spec), NOTHING, spec.action, **fields)


def usual(spec: EnvironmentSpec) -> str:
    """The agent that learns where no other is asked for: one that can."""
    counted = isinstance(spec.observation, Discrete) and isinstance(
        spec.action, Discrete
    )
    return "dyna" if counted else "pets"


def require_known(name: str) -> None:
    """Refuse what is the name of neither a task nor an environment.

    Raises:
        ValueError: With the nearest name, or with what was wrong with a module.
    """
    if name.endswith((".xml", ".mjcf")):
        raise ValueError(
            f"Training needs a task or a Gymnasium environment, got the model {name}: "
            f"forethought plan {name} --objective MODULE:NAME acts on it."
        )
    if ":" in name:
        registered(name)
    elif name not in TASKS and name not in gymnasium.registry:
        raise unknown(
            "task or Gymnasium environment", name, [*TASKS, *gymnasium.registry]
        )


def made(make: Callable[[], Made]) -> Made:
    """What a call makes; a package that it lacks is bad input."""
    try:
        return make()
    except ImportError as error:
        raise ValueError(str(error)) from error
