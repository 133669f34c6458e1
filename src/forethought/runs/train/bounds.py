"""What a learner's return lies between: random actions, and the truth in its place.

A learned model can make a planner fail, and so can a planner that is too weak for the
task, whatever the model. To tell one from the other, the agent's own planner acts with
the task's exact dynamics, in the same environment: no model that it learns should be
expected to do better. The floor is what random actions earn.

Both are measured here, each time; nothing is quoted.
"""

import dataclasses
import math
import time
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Metrics, Mode
from forethought.agents.dyna import Dyna
from forethought.agents.parts.planning import Given, ModelBased
from forethought.agents.sweeping import Sweeping
from forethought.core.spaces import Space
from forethought.core.types import Action
from forethought.data.replay import ReplayState
from forethought.environments.base import AbstractEnvironment, EnvironmentSpec
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.environments.tables.tabular import TabularEnvironment
from forethought.planners.base import AbstractPlanner
from forethought.planners.tables.value_iteration import value_iteration
from forethought.problem import Problem
from forethought.runs.store.folder import RunFolder
from forethought.tasks.base import Task
from forethought.training.evaluate import evaluate, evaluate_host
from forethought.training.play import PIECE, play, truth

FILE = "bounds.json"
RANDOM, EXACT, SECONDS = 20, 5, 30.0
"""Episodes of each, and how long the second may take beside its compilation."""
STREAM = 0xB0D5


class Random(AbstractAgent[None, None]):
    """Draws every action from a space.

    Args:
        action: The space.
    """

    action: Space

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> None:
        """Nothing is known."""

    def reset(self, learner: None, *, key: PRNGKeyArray) -> None:
        """Nothing is carried."""

    def act(
        self,
        learner: None,
        carry: None,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, None]:
        """Any action."""
        return self.action.sample(key=key), None

    def examined(self, learner: None) -> None:
        """There is no model."""

    def watch(self, carry: None) -> Metrics:
        """Nothing is thought."""
        return {}

    def recall(self, memory: ReplayState, new: int) -> None:
        """Nothing is remembered."""

    def update(
        self, learner: None, batch: PyTree, *, key: PRNGKeyArray
    ) -> tuple[None, Metrics]:
        """Nothing is learned."""
        return None, {}


def write_bounds(
    folder: RunFolder,
    name: str,
    task: Task | None,
    agent: AbstractAgent,
    seed: int,
    *,
    episodes: int = EXACT,
    seconds: float = SECONDS,
) -> dict[str, Any]:
    """Measure both bounds of a run and keep them, unless they are there already.

    They cost 20 random episodes, and a few planned ones: fewer than asked for where
    these would take too long, none where one alone would.

    Args:
        folder: Where `bounds.json` lies.
        name: Of the task or of the Gymnasium environment.
        task: The task, or None for a Gymnasium environment, whose dynamics nobody
            has written down.
        agent: Who was trained.
        seed: Of the run; bounds draw from a stream of their own.
        episodes: How many planned ones, at most.
        seconds: Wall time that these may take.

    Returns:
        For `random` and `exact` their `returns`, `mean`, `std` (over episodes) and
        `seconds`, or under `note` why there is no exact bound, or none at all.
    """
    if (folder.path / FILE).exists():
        return folder.read_json(FILE)
    random_key, exact_key = jax.random.split(
        jax.random.fold_in(jax.random.key(seed), STREAM)
    )
    began = time.perf_counter()
    if task is None:
        with GymnasiumEnvironment(name) as environment:
            if environment.spec.episode_length is None:
                endless = f"Episodes of {name} have no length: some may never end."
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
        returns = _random(task.environment, random_key)
    found: dict[str, Any]
    found = {"random": summary(np.asarray(returns), time.perf_counter() - began)}
    match agent:
        case ModelBased(planner=planner) if task is not None:
            found |= exact_bound(
                task,
                planner,
                agent.replan_every,
                episodes=episodes,
                seconds=seconds,
                key=exact_key,
            )
        case Dyna() | Sweeping() if task is not None:
            found |= solved_bound(task, agent, episodes=episodes, key=exact_key)
        case _:
            found["note"] = f"Nobody has written down the dynamics of {name}."
    folder.write_json(FILE, found)
    return found


@eqx.filter_jit
def _random(environment: AbstractEnvironment, key: PRNGKeyArray) -> Array:
    agent = Random(environment.spec.action)
    return evaluate(agent, environment, None, episodes=RANDOM, key=key)


def exact_bound(
    task: Task,
    planner: AbstractPlanner,
    replan_every: int = 1,
    *,
    episodes: int = EXACT,
    seconds: float = SECONDS,
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """What a planner earns on a task if its model is the truth.

    Args:
        task: The environment to act in, and its dynamics.
        planner: Who plans; where the dynamics are deterministic one particle is as
            good as many.
        replan_every: Steps from one plan to the next.
        episodes: At most.
        seconds: Wall time after which no further episode begins.
        key: Consumed.

    Returns:
        Under `exact` a `summary`; or under `note` a sentence that says why there is
        none.
    """
    problem = task.problem
    if deterministic(problem, key=key):
        fields = {field.name for field in dataclasses.fields(planner)}
        planner = dataclasses.replace(
            planner, **({"particles": 1} if "particles" in fields else {})
        )
    agent = ModelBased(Given(problem.model), problem.objective, planner, replan_every)
    environment = task.environment
    pieces = -(-(environment.spec.episode_length or task.steps) // PIECE)
    returns: list[float] = []
    spent = 0.0
    try:
        for each in jax.random.split(key, episodes):
            total, began, laps = 0.0, time.perf_counter(), []
            for _, piece in play(agent, environment, problem, truth, key=each):
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
    return {"exact": summary(np.asarray(returns), spent)}


def solved_bound(
    task: Task, agent: Dyna | Sweeping, *, episodes: int, key: PRNGKeyArray
) -> dict[str, Any]:
    """What an agent with a table of values earns if these are the true ones.

    Args:
        task: What is acted in.
        agent: Who acts, by its own discount.
        episodes: How many.
        key: Consumed.

    Returns:
        As `exact_bound` does.
    """
    world = task.environment
    if not isinstance(world, TabularEnvironment) or len(world.changes):
        return {"note": f"The world of {task.name} changes, and no table solves it."}
    began = time.perf_counter()
    table = jax.tree.map(lambda leaf: leaf[0], world.tables)
    learner = agent.init(world.spec, key=key)
    values = value_iteration(table, agent.gamma).Q
    learner = eqx.tree_at(lambda learner: learner.values, learner, values)
    returns = _evaluated(agent, world, learner, episodes=episodes, key=key)
    spent = time.perf_counter() - began
    return {"exact": summary(np.asarray(returns), spent) | {"label": "table solved"}}


_evaluated = eqx.filter_jit(evaluate)


def deterministic(problem: Problem, *, key: PRNGKeyArray) -> bool:
    """Whether a step of the model comes out the same whatever is drawn."""
    first, second = jax.random.split(key)
    belief = problem.model.init(key=first)
    action = problem.action.sample(key=first)
    return bool(
        eqx.tree_equal(
            problem.model.predict(belief, action, key=first),
            problem.model.predict(belief, action, key=second),
        )
    )


def summary(returns: np.ndarray, seconds: float) -> dict[str, Any]:
    """Returns of episodes, their mean and standard deviation, and what they took."""
    several = len(returns) > 1
    return {
        "returns": returns,
        "mean": float(np.mean(returns)),
        "std": float(np.std(returns, ddof=1)) if several else math.nan,
        "seconds": seconds,
    }
