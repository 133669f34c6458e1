"""What it is worth to look again: an open-loop plan against replanning.

Where the world is random, the best sequence of actions is worth less than the best
policy: whoever decides later knows more. `worth_of_looking` measures both sides for one
planner, which makes one plan and follows it with closed eyes, or plans again at every
step from the state that was met.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, PyTree

from forethought.agents.planning.mpc import Planning
from forethought.core.given.settings import Count, key_of, require
from forethought.core.tracing import depends_on_last
from forethought.planners import MPC, AbstractPlanner
from forethought.runs.plan.control import controller_for
from forethought.runs.plan.planning import start_state
from forethought.tasks.base import Task
from forethought.training.control import begin, closed_loop

FUTURES = 32
"""How many are drawn to see whether a system is random."""


@dataclasses.dataclass(frozen=True)
class Worth:
    """Returns of one planner from one start state, each entry another future."""

    open_loop: np.ndarray
    """Of a plan that is followed to the end, shape `[episode]`."""
    closed_loop: np.ndarray
    """Of planning again at every step, shape `[episode]`."""


@eqx.filter_jit
def _returns(
    task_parts: PyTree, state: PyTree, keys: Key[Array, "episode time"]
) -> Float[Array, " episode"]:
    agent, plant = task_parts

    def value(keys: Key[Array, " time"]) -> Array:
        loop = begin(agent, plant, state, key=keys[0])
        return closed_loop(agent, plant, loop, keys=keys[1:])[1].value

    return jax.lax.map(value, keys)


@eqx.filter_jit
def _differ(
    task_parts: PyTree, state: PyTree, steps: int, *, key: PRNGKeyArray
) -> Bool[Array, ""]:
    """Whether futures under the same actions part."""
    problem, system = task_parts
    actions = problem.action.sample((steps,), key=key)

    def future(key: PRNGKeyArray) -> PyTree:
        def step(state, inputs):
            action, key = inputs
            after = system.step(state, action, key=key)
            return after, after

        return jax.lax.scan(step, state, (actions, jax.random.split(key, steps)))[1]

    futures = jax.lax.map(future, jax.random.split(key, FUTURES))
    parted = [jnp.any(leaf != leaf[:1]) for leaf in jax.tree.leaves(futures)]
    return jnp.any(jnp.stack(parted))


def is_random(task: Task, state: PyTree, steps: int, *, key: PRNGKeyArray) -> bool:
    """Whether the same actions from the same state can lead to different states.

    A system that never touches its key is not; of any other, some futures are drawn.
    """
    action = task.problem.action.sample(key=key)

    def step(key: PRNGKeyArray) -> PyTree:
        return task.system.step(state, action, key=key)

    if not depends_on_last(step, key):
        return False
    return bool(_differ((task.problem, task.system), state, steps, key=key))


def worth_of_looking(
    task: Task,
    planner: AbstractPlanner,
    *,
    steps: int | None = None,
    seed: int = 0,
    episodes: int = 100,
) -> Worth | None:
    """What a planner's open-loop plans are worth on a random task, and its replanning.

    Args:
        task: What to control.
        planner: Any planner; for the open-loop plan its horizon becomes `steps`.
        steps: Length of an episode; by default the task's.
        seed: Of the start state, the noise, and the planner's draws.
        episodes: Futures of each side; both meet the same ones.

    Returns:
        The returns, or None where the task is not random, so that there is nothing to
        be learned by looking again.

    Raises:
        ValueError: A number is wrong.
        TypeError: The planner cannot work on this task.
    """
    require("worth_of_looking", Count, episodes=episodes)
    eyes_closed, length = controller_for(task, planner, steps, open_loop=True)
    eyes_open = MPC(planner, 1)
    start_key, differ_key, key = jax.random.split(key_of(seed), 3)
    state = start_state(task, None, key=start_key)
    if not is_random(task, state, length, key=differ_key):
        return None
    keys = jax.random.split(key, (episodes, length + 1))
    closed, opened = (
        np.asarray(_returns((Planning(task.problem, each), task.plant), state, keys))
        for each in (eyes_closed, eyes_open)
    )
    return Worth(closed, opened)
