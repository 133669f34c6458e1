"""Optimal costs that are known, with who found them: data, recomputed by a script.

`assets/optima.json` holds for each problem its cost, to how many digits two solvers
agree, and what each of them found; `assets/optima.npz` the optimal actions. Both are
written by `benchmarks/optima.py`.
"""

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Optimum:
    """The lowest cost that is known of a problem, planned whole from its start.

    Args:
        cost: Minus the return; in float64.
        digits: So many significant digits of it the solvers agree on.
        solvers: What each solver found.
        starts: From how many first guesses the best was searched.
        proven: Whether the problem is convex, so that there is no lower one.
        actions: Those that cost it, shape `[horizon, action]`.
    """

    cost: float
    digits: int
    solvers: Mapping[str, float]
    starts: int
    proven: bool
    actions: np.ndarray


def optimum(name: str) -> Optimum:
    """What is stored for a problem.

    Args:
        name: As in the gallery.

    Raises:
        KeyError: Nothing is.
    """
    actions = np.asarray(_actions()[name], np.float64)
    return Optimum(**_values()[name], actions=actions)


def best_return(name: str) -> float | None:
    """The return of the optimum; None where nothing is stored, or not yet."""
    stored = _values().get(name)
    return None if stored is None else -stored["cost"]


@functools.cache
def _values() -> dict[str, dict[str, Any]]:
    return json.loads(_asset("json").read_text())


@functools.cache
def _actions() -> dict[str, np.ndarray]:
    with _asset("npz").open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        return {name: archive[name] for name in archive.files}


def _asset(kind: str) -> Any:
    return importlib.resources.files("forethought") / "assets" / f"optima.{kind}"
