"""What a learner's return lies between: random actions, and the truth in its place.

A learned model can make a planner fail, and so can a planner that is too weak for the
task, whatever the model. To tell one from the other, the agent's own planner acts with
the task's exact dynamics, in the same environment: no model that it learns should be
expected to do better. The floor is what random actions earn.

Both are measured here, each time; nothing is quoted.
"""

import math
import time
from typing import Any, NotRequired, TypedDict

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from forethought.agents.base import AbstractAgent
from forethought.agents.random import Random
from forethought.core.given.settings import key_of
from forethought.environments.base import AbstractEnvironment
from forethought.environments.plant import Told
from forethought.environments.tables.tabular import TabularEnvironment
from forethought.problem import Problem
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.schema import Real
from forethought.runs.train.settings import Learning
from forethought.tasks.base import Task
from forethought.training.evaluate import evaluate, evaluate_host
from forethought.training.play import PIECE, play

FILE = "bounds.json"
RANDOM, EXACT, SECONDS = 20, 5, 30.0
"""Episodes of each, and how long the second may take beside its compilation."""
STREAM = 0xB0D5


class Bound(TypedDict):
    """Returns of episodes, and what they took."""

    returns: list[Real]
    mean: Real
    std: Real
    seconds: Real
    label: NotRequired[str]


class Bounds(TypedDict):
    """What `bounds.json` holds."""

    random: NotRequired[Bound]
    exact: NotRequired[Bound]
    note: NotRequired[str]


def write_bounds(
    folder: RunFolder,
    run: Learning,
    *,
    episodes: int = EXACT,
    seconds: float = SECONDS,
) -> dict[str, Any]:
    """Measure both bounds of a run and keep them, unless they are there already.

    They cost 20 random episodes, and a few planned ones: fewer than asked for where
    these would take too long, none where one alone would.

    Args:
        folder: Where `bounds.json` lies.
        run: What was trained; bounds draw from a stream of their own.
        episodes: How many planned ones, at most.
        seconds: Wall time that these may take.

    Returns:
        For `random` and `exact` their `returns`, `mean`, `std` (over episodes) and
        `seconds`, or under `note` why there is no exact bound, or none at all.
    """
    if folder.has(FILE):
        return folder.read_json(FILE, Bounds)
    random_key, exact_key = jax.random.split(
        jax.random.fold_in(key_of(run.seed), STREAM)
    )
    began = time.perf_counter()
    if run.task is None:
        with run.copies() as environment:
            if environment.spec.episode_length is None:
                endless = f"Episodes of {run.name} have no length: some may never end."
                folder.write_json(FILE, {"note": endless})
                return {"note": endless}
            returns = evaluate_host(
                Random(environment.spec.action),
                environment,
                None,
                episodes=RANDOM,
                key=random_key,
            )
    else:
        returns = _random(run.task.environment, random_key)
    found: dict[str, Any]
    found = {"random": summary(np.asarray(returns), time.perf_counter() - began)}
    if run.known is None:
        found["note"] = f"Nobody has written down the dynamics of {run.name}."
    else:
        found |= exact_bound(
            run.known, run.agent, episodes=episodes, seconds=seconds, key=exact_key
        )
    folder.write_json(FILE, found)
    return found


@eqx.filter_jit
def _random(environment: AbstractEnvironment, key: PRNGKeyArray) -> Array:
    agent = Random(environment.spec.action)
    return evaluate(agent, environment, None, episodes=RANDOM, key=key)


def exact_bound(
    task: Task,
    agent: AbstractAgent,
    *,
    episodes: int = EXACT,
    seconds: float = SECONDS,
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """What an agent earns on a task if it knows the truth.

    Args:
        task: The environment to act in, and its dynamics.
        agent: Who would learn them. One that plans is told the state, one that looks
            its actions up is shown what it is always shown.
        episodes: At most.
        seconds: Wall time after which no further episode begins, and that one who
            practises in the exact dynamics may take.
        key: Consumed.

    Returns:
        Under `exact` a `summary`; or under `note` a sentence that says why there is
        none.
    """
    world = task.environment
    if isinstance(world, TabularEnvironment) and len(world.changes):
        return {"note": f"The world of {task.name} changes, and no table solves it."}
    know_key, key = jax.random.split(key)
    learns = type(agent)
    try:
        known = agent.informed(task.problem, seconds=seconds, key=know_key)
    except TimeoutError as error:
        return {"note": str(error)}
    if known is None:
        return {"note": f"{learns.__name__} cannot use the dynamics of {task.name}."}
    agent, learner = known
    plans = isinstance(learner, Problem)
    environment = Told(world) if plans else world
    pieces = -(-(environment.spec.episode_length or task.steps) // PIECE)
    returns: list[float] = []
    spent = 0.0
    try:
        for each in jax.random.split(key, episodes):
            total, began, laps = 0.0, time.perf_counter(), []
            for _, piece in play(agent, environment, learner, key=each):
                total += float(np.sum(piece.rewards))
                laps.append(time.perf_counter() - began - sum(laps))
                # The first lap compiles.
                if len(laps) == 2 and not returns and laps[1] * pieces > seconds:
                    return {
                        "note": "An episode planned with the exact dynamics would take "
                        f"{laps[1] * pieces:.0f} s, longer than the {seconds:.0f} s "
                        "that are spent on it."
                    }
            returns.append(total)
            spent += sum(laps) if len(returns) > 1 else sum(laps[1:])
            if spent * (1 + 1 / len(returns)) > seconds:
                break
    except TypeError as error:  # the planner cannot work on these dynamics
        return {"note": str(error)}
    table = isinstance(world, TabularEnvironment)
    if not plans:
        label = "table solved" if table else "same agent, exact model"
    elif isinstance(agent, learns):
        label = "same planner, exact model"
    else:  # who learns acts by a policy
        label = "planned, exact model"
    return {"exact": summary(np.asarray(returns), spent) | {"label": label}}


def summary(returns: np.ndarray, seconds: float) -> dict[str, Any]:
    """Returns of episodes, their mean and standard deviation, and what they took."""
    several = len(returns) > 1
    return {
        "returns": returns,
        "mean": float(np.mean(returns)),
        "std": float(np.std(returns, ddof=1)) if several else math.nan,
        "seconds": seconds,
    }
