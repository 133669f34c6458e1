"""What a student came to beside its teachers: return, and time of an action."""

import math
from typing import Any, TypedDict, cast

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from forethought.agents.base import AbstractAgent
from forethought.core.given.settings import key_of
from forethought.core.words import spread
from forethought.environments.base import AbstractEnvironment
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.schema import Real
from forethought.runs.train.intervals import compiled_evaluate
from forethought.runs.train.settings import Learning
from forethought.training.actor import Actor, Form
from forethought.training.evaluate import evaluate_host
from forethought.training.host import read

FILE = "taught.json"
STREAM = 0x7EAC
ACTIONS = 50
"""So many are timed, after the first few."""


class Side(TypedDict):
    """How one of the two did."""

    returns: list[Real]
    mean: Real
    std: Real
    milliseconds: Real


class Taught(TypedDict):
    """What `taught.json` holds."""

    teachers: list[str]
    teacher: Side
    student: Side


def write_taught(folder: RunFolder, run: Learning, learner: PyTree) -> Taught | None:
    """Let a student and its teachers play the same episodes, and time both.

    Args:
        folder: Where `taught.json` lies; what it holds already is returned.
        run: What was trained; nothing is done where nobody taught.
        learner: What was learned.
    """
    if run.taught is None:
        return None
    if folder.has(FILE):
        return cast(Taught, folder.read_json(FILE, Taught))
    found: Taught = {
        "teachers": list(run.settings.teachers),
        "teacher": _side(run, *run.taught),
        "student": _side(run, run.agent, learner),
    }
    folder.write_json(FILE, found)
    return found


def compared(folder: RunFolder) -> list[tuple[str, str]]:
    """Both in words, the teachers first; nothing where nobody taught.

    Raises:
        ValueError: `taught.json` is damaged.
    """
    if not folder.has(FILE):
        return []
    found = cast(Taught, folder.read_json(FILE, Taught))
    several = len(found["teachers"])
    names = ("teacher" if several == 1 else "teachers", "student")
    return [
        (
            name,
            f"{spread(_number(side['mean']), _number(side['std']))}, "
            f"{_number(side['milliseconds']):.3g} ms an action",
        )
        for name, side in zip(names, (found["teacher"], found["student"]), strict=True)
    ]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _side(run: Learning, agent: AbstractAgent, learner: PyTree) -> Side:
    key = jax.random.fold_in(key_of(run.seed), STREAM)
    environment, episodes = run.apart, max(2, run.evaluate_episodes)
    if isinstance(environment, AbstractEnvironment):
        returns = compiled_evaluate(
            agent, environment, learner, episodes=episodes, key=key
        )
        obs = eqx.filter_jit(environment.reset)(key=key)[1].obs
    else:
        returns = evaluate_host(agent, environment, learner, episodes=episodes, key=key)
        seen = read(environment.spec, environment.reset(seed=0))
        obs = jax.tree.map(lambda leaf: leaf[0], seen)
    values = np.asarray(returns, float)
    return {
        "returns": values.tolist(),
        "mean": float(np.mean(values)),
        "std": float(np.std(values, ddof=1)),
        "milliseconds": _milliseconds(agent, learner, obs),
    }


def _milliseconds(agent: AbstractAgent, learner: PyTree, obs: PyTree[Any]) -> float:
    """What an action takes from outside, on average over an episode's first ones."""
    seen = jax.tree.map(np.asarray, obs)
    actor = Actor(agent, learner, [Form("an observation", seen)])
    actor.act(seen)
    actor.reset()
    for _ in range(ACTIONS):
        actor.act(seen)
    return float(np.mean(actor.milliseconds))
