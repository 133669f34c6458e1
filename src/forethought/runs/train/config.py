"""The settings of a training run as data: written to `config.json`, and read back.

What a folder holds is all that `resume` and `evaluate` go by, whoever began the run, at
the command line or from Python. A command that is kept beside it is for people.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, NotRequired, TypedDict

import jax
import jax.numpy as jnp

from forethought.agents.registry import (
    AGENTS,
    STUDENTS,
    name_of,
    planner_of,
    recipe_in,
)
from forethought.agents.schedule import Schedule
from forethought.models.learned.recipes import AbstractRecipe
from forethought.models.registry import name_of as name_of_model
from forethought.models.registry import recipe_of
from forethought.planners.registry import assemble, entry_of
from forethought.planners.registry import name_of as name_of_planner
from forethought.runs.store.plain import config_with, plain
from forethought.runs.store.schema import require
from forethought.runs.train.defaults import require_known, settings_for
from forethought.runs.train.settings import Learning

Changed = dict[str, tuple[Any, Any]]
APART = ("name", "settings", "own", "taught")
"""What of a run is no option of it."""
CLOCKS = ("learn", "interval", "evaluate")
"""Options that are schedules."""


class Clock(TypedDict):
    """A `Schedule`."""

    every: float
    unit: str


class Options(TypedDict):
    """What is read back of `options`."""

    steps: int
    seed: Integral
    random_steps: NotRequired[int | None]
    learn: NotRequired[Clock | list[Clock] | None]
    interval: NotRequired[Clock | None]
    evaluate: NotRequired[Clock | None]
    evaluate_episodes: NotRequired[int]
    count: NotRequired[int]
    planner: NotRequired[str | None]
    model: NotRequired[str | None]
    precision: NotRequired[int]
    env: NotRequired[dict[str, Any]]


def config_of(
    learning: Learning, command: Sequence[str] | None = None
) -> dict[str, Any]:
    """Everything that the `config.json` of a training run says.

    Args:
        learning: The run.
        command: That which began it, where there was one.
    """
    options = {
        field.name: getattr(learning, field.name)
        for field in dataclasses.fields(learning)
        if field.name not in APART
    }
    if (planner := planner_of(learning.settings)) is not None:
        options["planner"] = name_of_planner(planner)
    if (recipe := recipe_in(learning.settings)) is not None:
        options["model"] = name_of_model(recipe)
    learns = [duty.every for duty in learning.duties]
    options |= {
        "learn": learns[0] if len(learns) == 1 else learns,
        "interval": learning.interval if learning.outside else learning.clocks[0],
        "steps": learning.total_steps,
        "random_steps": learning.first_steps,
        "precision": jnp.finfo(jnp.result_type(float)).bits,
    }
    settings = learning.settings
    name = learning.full_name
    return config_with("train", name, name_of(settings), settings, options, command)


def learning_of(config: Mapping[str, Any]) -> Learning:
    """The training run that a `config.json` tells of.

    Args:
        config: What `config_of` wrote.

    Raises:
        ValueError: It tells of no training run, of an agent that has no name, or of
            settings that are not known here.
    """
    name, agent = config.get("task"), config.get("planner")
    options, settings = config.get("options"), config.get("settings")
    if not (isinstance(options, Mapping) and isinstance(settings, Mapping)) or (
        config.get("forethought", "train") != "train"
        or "total_steps" in options
        or "steps" not in options
        or "seed" not in options
    ):
        raise ValueError("its config.json is not that of a training run.")
    if not isinstance(name, str) or agent not in AGENTS | STUDENTS:
        raise ValueError(
            "its agent has no name at the command line; "
            "forethought.train(..., out=DIR, resume=True) goes on with it."
        )
    try:
        require_known(name)
    except ValueError as error:
        if ":" in name:
            raise ValueError(f"the environment is not found: {error}") from error
        raise ValueError(
            f"its task {name!r} has no name at the command line; "
            "forethought.train(task, ..., out=DIR, resume=True) goes on with it."
        ) from error
    require(options, Options, "the list of options")
    env = options.get("env", {})
    known = {field.name for field in dataclasses.fields(Learning)} - set(APART)
    given = {
        key: _schedule(each) if key in CLOCKS else each
        for key, each in options.items()
        if key in known
    }
    student = STUDENTS.get(agent)
    like = settings_for(name, agent, env=env) if student is None else student()
    if isinstance(planner := options.get("planner"), str):
        like = with_planner(like, planner)
    if isinstance(model := options.get("model"), str):
        like = with_model(like, model)
    return Learning(name, like_data(like, settings, "agent"), **given)


def read_back(
    who: str, folder: str | os.PathLike, config: Mapping[str, Any]
) -> Learning:
    """The training run of a folder, for somebody who needs one.

    Args:
        who: Who asks, for the message.
        folder: Where the run is kept.
        config: What its `config.json` says.

    Raises:
        ValueError: It is that of no training run, or of one that is not known here.
    """
    try:
        return learning_of(config)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{who} needs the folder of a training run, but of {folder} {error}"
        ) from error


def with_planner(settings: Any, name: str) -> Any:
    """The settings of an agent with another planner, which looks as far ahead."""
    if name_of_planner(settings.planner) == name:
        return settings

    def same(each: str) -> dict[str, Any]:
        known = {field.name for field in dataclasses.fields(entry_of(each).settings)}
        return {
            field: value
            for field, value in vars(settings.planner).items()
            if field in known & {"horizon", "particles"}
        }

    return dataclasses.replace(settings, planner=assemble(name, same))


def with_model(settings: Any, name: str) -> Any:
    """The settings of an agent that learns another model, of the same numbers.

    Its planner, if it has one, draws as many futures as samples of that can share
    evenly.
    """
    old, new = settings.model, recipe_of(name)
    if name_of_model(old) == name:
        return settings
    shared = {field.name for field in dataclasses.fields(AbstractRecipe)}
    same = {field: getattr(old, field) for field in shared}
    fields: dict[str, Any] = {"model": dataclasses.replace(new, **same)}
    planner = planner_of(settings)
    drawn = getattr(planner, "particles", None)
    if planner is not None and drawn is not None:
        particles = -(-drawn // new.size) * new.size
        fields["planner"] = dataclasses.replace(planner, particles=particles)
    return dataclasses.replace(settings, **fields)


def like_data(like: Any, data: Any, name: str) -> Any:
    """Settings with the values that data hold, of the kinds that are there now.

    Args:
        like: Settings, a dataclass or a plain value.
        data: The same as `plain` writes it.
        name: What it is called, for errors.

    Raises:
        ValueError: A setting is not known here, or is of another kind.
    """
    if plain(like) == data:
        return like
    if isinstance(data, Mapping) and dataclasses.is_dataclass(like):
        fields = {field.name: field for field in dataclasses.fields(like)}
        if strange := sorted(set(data) - set(fields)):
            raise ValueError(f"{name}.{strange[0]} is no setting here.")
        changes = {
            key: like_data(getattr(like, key), each, f"{name}.{key}")
            for key, each in data.items()
            if fields[key].init
        }
        return dataclasses.replace(like, **changes)  # pyright: ignore
    if isinstance(data, Mapping):
        raise ValueError(f"{name} cannot be read back from {data}.")
    if data in ("Infinity", "-Infinity") and not isinstance(like, str):
        return float(data)
    if not _alike(like, data):
        raise ValueError(f"{name} cannot be read back from {data!r}.")
    return _tuples(data)


def _alike(like: Any, data: Any) -> bool:
    """Whether a plain value can stand for another: it is of its kind, or none."""
    if like is None or data is None:
        return True
    kinds = (bool, int | float, str, list | tuple)
    return any(
        isinstance(like, each) and isinstance(data, each) for each in kinds
    ) and (isinstance(like, bool) == isinstance(data, bool))


def _tuples(data: Any) -> Any:
    return tuple(map(_tuples, data)) if isinstance(data, list) else data


def _schedule(data: Any) -> Any:
    """A value of an option; several schedules are the agent's own."""
    if isinstance(data, Mapping):
        return Schedule(**data)
    return None if isinstance(data, list) else data


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Changed:
    """Settings in which two configs differ, leaf by leaf: as there, and as here.

    Args:
        there: What a folder holds.
        here: What is asked for.
    """
    old, new = _leaves(there), _leaves(here)
    pairs = {name: (old.get(name), new.get(name)) for name in sorted(old | new)}
    return {name: (was, now) for name, (was, now) in pairs.items() if was != now}


def refusal(changed: Changed) -> str:
    """Why a run does not go on with other settings."""
    told = [f"{name}={old}, got {new}" for name, (old, new) in changed.items()]
    return f"resume goes on with {'; with '.join(told)}."


def _leaves(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting that decides what a run does, by its flag's name."""
    # The same environment may be called by its id alone, or with its module.
    known = {
        "task": str(config.get("task")).rpartition(":")[2],
        "agent": {"": config.get("planner")} | plain(config.get("settings", {})),
    } | plain(config.get("options", {}))
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        known, is_leaf=lambda node: isinstance(node, list)
    )
    return {
        jax.tree_util.keystr(path, simple=True, separator=".").rstrip("."): leaf
        for path, leaf in leaves
    }
