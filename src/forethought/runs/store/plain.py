"""Values as JSON and archives of arrays know them: numbers, strings, flat names."""

import dataclasses
import enum
import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import jax
import numpy as np


def plain(value: Any) -> Any:
    """A value as JSON knows it: numbers, strings, lists, objects, null.

    Dataclasses (settings, planners) become objects, arrays lists, functions and
    classes their names, NaN null.

    Raises:
        TypeError: The value has no form in JSON.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return plain(np.asarray(value).tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if callable(value):
        return f"{value.__module__}:{value.__qualname__}"
    raise TypeError(
        "A run folder needs values that JSON can hold, got one of type "
        f"{type(value).__name__}."
    )


def config_with(
    kind: str,
    task: str,
    maker: str,
    settings: Any,
    options: Any,
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """What the `config.json` of a run says.

    Args:
        kind: Of run: the command that makes such runs.
        task: The name of what was acted in.
        maker: The name of the planner, or of the agent.
        settings: Its own.
        options: All else that decides what the run does.
        command: That which began it, where there was one.
    """
    config = {
        "forethought": kind,
        "task": task,
        "planner": maker,
        "settings": settings,
        "options": options,
        "versions": {name: version(name) for name in ("forethought", "jax", "mujoco")},
    }
    return config if command is None else config | {"command": list(command)}


def as_json(value: Mapping[str, Any]) -> str:
    """Plain values as the text of a JSON file."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def flatten(tree: Any, prefix: str) -> dict[str, np.ndarray]:
    """The leaves of a pytree under flat names, such as `stats/cost`.

    Args:
        tree: Any pytree of arrays.
        prefix: What every name begins with; the name itself for a bare array.
    """
    return {name: np.asarray(leaf) for name, leaf in named(tree, prefix).items()}


def named(tree: Any, prefix: str) -> dict[str, Any]:
    """The leaves of a pytree as they are, under the names that `flatten` gives."""
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        found[f"{prefix}/{name}" if name else prefix] = leaf
    return found
