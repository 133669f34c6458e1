"""Gymnasium's environments by name, those of a person's own included.

`Id-v0` is one that is registered already, `module:Id-v0` one that is registered when
its module is imported: Gymnasium's own form. Whatever goes wrong on the way is one
sentence, which names the place in the person's file where there is one.
"""

import importlib
import inspect
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from forethought.core.given.code import own_line
from forethought.core.words import unknown

OURS = ("num_envs", "vectorization_mode", "vector_kwargs", "wrappers", "id")
"""Arguments of `gymnasium.make_vec` that say how an environment is run, not which."""
UNNAMED = ("gymnasium", "forethought", "__main__")
"""Packages whose environments are known without a module, or cannot be found by one."""


def registered(name: str) -> EnvSpec:
    """What is registered under a name.

    Args:
        name: An id, or `module:id`. The module is looked for where Python looks, and
            in the current folder, where Python goes on to look: an environment may
            import what it is made of when it is made.

    Raises:
        ValueError: The module does not import, or there is no such environment; the
            nearest is named.
    """
    module, colon, id = name.rpartition(":")
    if colon:
        _import(module, name)
    if id not in gymnasium.registry:
        where = f"environment of {module}" if module else "environment"
        raise unknown(where, id, gymnasium.registry)
    return gymnasium.registry[id]


def full_name(name: str) -> str:
    """The name by which another program finds the same environment.

    An id is preceded by the module that defines it, where that is a person's own and
    can be imported.

    Args:
        name: An id that is registered, or `module:id`.
    """
    if ":" in name:
        return name
    entry = gymnasium.registry[name].entry_point
    if isinstance(entry, str):
        module = entry.partition(":")[0]
    else:
        module = getattr(entry, "__module__", None) or "__main__"
    return name if module.split(".")[0] in UNNAMED else f"{module}:{name}"


def length_of(spec: EnvSpec, options: Mapping[str, Any]) -> int | None:
    """Steps after which an episode is cut off, as `gymnasium.make` would have it.

    Args:
        spec: What is registered.
        options: What is said besides; `max_episode_steps` replaces the spec's.
    """
    given = options.get("max_episode_steps")
    length = spec.max_episode_steps if given is None else given
    return None if length == -1 else length


def require_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse settings that are no environment's.

    Args:
        name: Of the environment.
        options: Its settings.

    Raises:
        ValueError: One of them belongs to how environments are run side by side, or
            the length of an episode is none.
    """
    if taken := [key for key in options if key in OURS]:
        raise ValueError(
            f"{name} has no setting {taken[0]!r}: it says how copies are run, which is "
            "decided here."
        )
    length = options.get("max_episode_steps", -1)
    whole = isinstance(length, int) and not isinstance(length, bool)
    if length is not None and not (whole and (length == -1 or length >= 1)):
        raise ValueError(
            f"{name} needs max_episode_steps that are a whole number of at least 1, "
            f"got {length!r}."
        )


def unmade(name: str, options: Mapping[str, Any], error: Exception) -> ValueError:
    """The error for an environment that could not be made with some settings.

    Args:
        name: Of the environment.
        options: Its settings.
        error: What its constructor raised.

    Returns:
        One sentence: a setting that it does not have with the nearest that it has, or
        what its constructor said.
    """
    strange = re.search(r"unexpected keyword argument '([^']*)'", str(error))
    if isinstance(error, TypeError) and strange and strange[1] in options:
        return unknown(f"setting of {name}", strange[1], _settings(name))
    given = ", ".join(f"{key}={value!r}" for key, value in options.items())
    return ValueError(
        f"{name} cannot be made{' with ' if given else ''}{given}: {told(error)}."
    )


def told(error: BaseException) -> str:
    """What an error in somebody else's code says, and where in it.

    Args:
        error: As it was raised.
    """
    if isinstance(error, SystemExit):
        said = f"it calls sys.exit({'' if error.code is None else repr(error.code)})"
    else:
        lines = str(error).strip().splitlines()
        said = ": ".join([type(error).__name__, *lines[:1]])
    # Gymnasium says what it was doing when a constructor raised.
    said = said.partition(" was raised from the environment creator")[0].rstrip(".")
    place = _place(error)
    return said if place is None else f"{said} ({place[0]}, line {place[1]})"


def _place(error: BaseException) -> tuple[str, int | None] | None:
    """File and line in code that is neither Python's, nor a package's, nor ours."""
    if isinstance(error, SyntaxError) and error.filename:
        return os.path.basename(error.filename), error.lineno
    first: BaseException = error
    while first.__cause__ is not None:
        first = first.__cause__
    found = own_line(first)
    return None if found is None else (os.path.basename(found[0]), found[1])


def _import(module: str, name: str) -> None:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever a module does when it is run
        lacks = (isinstance(error, ModuleNotFoundError) and error.name) or ""
        if f"{module}.".startswith(f"{lacks}.") or not module:
            raise ValueError(
                f"There is no module {module!r} for {name!r} to come from; looked "
                f"where Python looks, and in {here}."
            ) from error
        raise ValueError(
            f"The module {module!r} of {name!r} does not import: {told(error)}."
        ) from error


def _settings(name: str) -> list[str]:
    """Names of the settings that a constructor takes."""
    entry: Any = registered(name).entry_point
    creator = load_env_creator(entry) if isinstance(entry, str) else entry
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(creator).parameters.values()
    return [each.name for each in parameters if each.kind not in kinds]
