"""A task of the user's own: an MJCF file, and an objective that Python can import."""

import contextlib
import importlib
import inspect
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

from forethought.core.given.code import own_line
from forethought.core.readout import AbstractJudge
from forethought.core.words import unknown
from forethought.environments.mujoco.system import MuJoCo
from forethought.models.known import Known
from forethought.problem import Problem
from forethought.tasks.base import Task

CONTROL_STEP = 0.02
"""Seconds between actions that a frame skip is chosen for."""
SAID = 300
"""Letters of an error that are repeated."""


def user_task(
    path: str | os.PathLike,
    objective: str | AbstractJudge,
    *,
    frame_skip: int | None = None,
    seconds: float = 5.0,
    look_ahead: float = 0.8,
) -> Task:
    """A task made of a robot and a wish.

    The robot starts in its first keyframe where it has one, else in `qpos0`.

    Args:
        path: Of an MJCF file.
        objective: An objective, or `"module:name"` of one: an objective, a class of
            objectives, or a function that returns one. Class and function are called
            without arguments, or with the system where they need one. The module is
            looked for where Python looks, in the current folder, and beside the file.
        frame_skip: Physics steps in each step; by default as many as come closest to
            a step of 0.02 s.
        seconds: Length of an episode.
        look_ahead: Seconds that planners look ahead.

    Returns:
        The task, named after the file.

    Raises:
        FileNotFoundError: There is no such MJCF file.
        ValueError: The MJCF is invalid, or the objective is not to be found or raises.
        TypeError: What was found is not an objective.
    """
    system = MuJoCo(path)
    model = system.mj_model
    skip = frame_skip or max(1, round(CONTROL_STEP / model.opt.timestep))
    system = MuJoCo(model, skip, keyframe=0 if model.nkey else None)
    if isinstance(objective, str):
        objective = find_objective(objective, system, beside=pathlib.Path(path).parent)
    horizon = max(1, round(look_ahead / system.dt))
    return Task(
        name=pathlib.Path(path).stem,
        summary=f"{pathlib.Path(path).name}, as {type(objective).__name__} wants it",
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=max(1, round(seconds / system.dt)),
        settings={
            "random-shooting": {"horizon": horizon, "population": 256, "hold": 3},
            "cem": {
                "horizon": horizon,
                "population": 64,
                "elites": 8,
                "iterations": 3,
            },
            "ilqr": {"horizon": horizon, "iterations": 5},
        },
    )


def find_objective(
    name: str, system: MuJoCo | None = None, *, beside: pathlib.Path
) -> AbstractJudge:
    """Import an objective by `"module:name"`, and make it.

    Args:
        name: Of a module and of what is in it.
        system: What a class or a function that needs one argument is given.
        beside: The folder where the module is looked for besides.

    Raises:
        ValueError: It is not to be found, or raises.
        TypeError: What was found is not an objective.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ValueError(
            "An objective is named MODULE:NAME, like my_module:MyObjective, got "
            f"{name!r}."
        )
    folders = [pathlib.Path.cwd(), beside.resolve()]
    module = _import(module_name, folders)
    if not hasattr(module, attribute):
        public = [each for each in vars(module) if not each.startswith("_")]
        raise unknown(f"objective in {module_name}", attribute, public)
    found = getattr(module, attribute)
    made = _make(found, name, system, folders) if callable(found) else found
    if not isinstance(made, AbstractJudge):
        raise TypeError(
            f"{name} should be an AbstractObjective of forethought.objectives.base "
            f"(reward, discount, value), got {type(made).__name__}."
        )
    return made


def _import(name: str, folders: list[pathlib.Path]) -> Any:
    """A module from where Python looks, or from one of the folders."""
    before = list(sys.path)
    sys.path += [str(folder) for folder in folders]
    try:
        with _theirs(f"The objective's module {name!r} does not import", folders):
            return importlib.import_module(name)
    finally:
        sys.path[:] = before


def _make(
    found: Any, name: str, system: MuJoCo | None, folders: list[pathlib.Path]
) -> Any:
    """Call a class or a function, with the system if it needs one argument."""
    needed = [
        each.name
        for each in inspect.signature(found).parameters.values()
        if each.default is each.empty
        and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if len(needed) > (system is not None):
        allowed = "" if system is None else ", or the system alone"
        raise TypeError(
            f"{name} should need no argument{allowed}, but it needs "
            f"{', '.join(needed)}."
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise TypeError(f"{name} is an objective without {missing}: write that first.")
    with _theirs(f"The objective {name} cannot be made", folders):
        return found(system) if needed else found()


@contextlib.contextmanager
def _theirs(what: str, folders: list[pathlib.Path]) -> Iterator[None]:
    """Say in one sentence what code of somebody else's did, and where.

    Raises:
        ValueError: It raised something, or meant to end the program.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        looked = " and ".join(dict.fromkeys(str(folder) for folder in folders))
        raise ValueError(
            f"{what} ({error}{_place(error)}); looked where Python looks, and "
            f"in {looked}."
        ) from error
    except SystemExit as stop:
        raise ValueError(f"{what}: it ends the program{_place(stop)}.") from stop
    except Exception as error:  # whatever somebody's code does when it is run
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{what}: {said[:SAID]}{_place(error)}.") from error


def _place(error: BaseException) -> str:
    """The last of their own lines that an error passed, if it passed any."""
    if isinstance(error, SyntaxError) and error.filename:
        return f", in {error.filename}, line {error.lineno}"
    found = own_line(error)
    return "" if found is None else f", in {found[0]}, line {found[1]}"
