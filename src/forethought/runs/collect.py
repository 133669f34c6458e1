"""Roll-outs of any environment as data: random actions, or what was learned.

import forethought as ft

data = ft.collect("pendulum", steps=5000, out="pendulum.npz")
"""

import dataclasses
import math
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, AbstractFixed
from forethought.agents.random import Random
from forethought.core.given.code import naming_the_line
from forethought.core.given.settings import (
    Count,
    Seed,
    Share,
    Times,
    key_of,
    require,
)
from forethought.core.spaces import Discrete, Space
from forethought.core.types import Action, Mode
from forethought.data.logged import Logged
from forethought.data.parts import power_of_two
from forethought.data.replay import Replay
from forethought.data.sources.memory import of_memory
from forethought.data.sources.reading import of_table
from forethought.data.sources.writing import encoder
from forethought.environments.base import EnvironmentSpec
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.runs.cost import require_memory
from forethought.runs.logged import Labels, labels
from forethought.runs.store.files import write_atomically
from forethought.runs.train.acting import learned
from forethought.runs.train.defaults import made, require_known
from forethought.tasks import TASKS
from forethought.tasks.base import Task
from forethought.training import stop
from forethought.training.host_loop import HostTraining
from forethought.training.loop import Trace, Training, TrainState

RANDOM = "random"
PIECE, LOOK = 1000, 0.5
"""Steps between two looks, at most; and seconds, about."""


class Perturbed(AbstractFixed[PyTree, PyTree]):
    """An agent that does its best, learns nothing, and is disturbed on the way.

    Args:
        agent: Who acts.
        learner: What it has learned.
        action: What may be done.
        noise: Standard deviation of what is added to an action, in half widths of its
            box; or how often a choice is drawn at random instead.
    """

    agent: AbstractAgent
    learner: PyTree
    action: Space
    noise: Share = 0.0

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> PyTree:
        """What was learned before."""
        return self.learner

    def reset(self, learner: PyTree, *, key: PRNGKeyArray) -> PyTree:
        """As the agent itself begins."""
        return self.agent.reset(learner, key=key)

    def act(
        self,
        learner: PyTree,
        carry: PyTree,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, PyTree, None]:
        """The agent's best action, and noise."""
        act_key, draw_key, when_key = jax.random.split(key, 3)
        action, carry, _ = self.agent.act(
            learner, carry, obs, key=act_key, mode="exploit"
        )
        if not self.noise:
            return action, carry, None
        if isinstance(self.action, Discrete):
            other = self.action.sample(key=draw_key).astype(action.dtype)
            at_random = jax.random.bernoulli(when_key, self.noise)
            return jnp.where(at_random, other, action), carry, None
        return self.action.shaken(action, self.noise, key=draw_key), carry, None


@dataclasses.dataclass(frozen=True)
class Collecting:
    """Roll-outs that are ready to begin.

    Args:
        name: Of what is acted in.
        training: The loop that acts.
        steps: Of each environment.
        seed: Of everything random.
        labels: Of the numbers of observations and actions.
        path: Where data are written; None for nowhere.
    """

    name: str
    training: Training | HostTraining
    steps: int
    seed: int
    labels: Labels
    path: pathlib.Path | None

    @property
    def rows(self) -> int:
        """How many transitions there will be."""
        return self.steps * self.training.count


class Collected(NamedTuple):
    """What came of it."""

    data: Logged
    returns: np.ndarray
    """Of each episode that came to its end."""


def collect(
    task: str | Task,
    policy: str | os.PathLike = RANDOM,
    *,
    steps: int = 1000,
    out: str | os.PathLike | None = None,
    overwrite: bool = False,
    seed: int = 0,
    count: int = 1,
    noise: float = 0.0,
    env: Mapping[str, Any] | None = None,
) -> Logged:
    """Act in an environment, and keep what was seen.

    Args:
        task: A task; or the name of one, or of a Gymnasium environment.
        policy: `"random"`, or the folder of a training run, whose agent does its best.
        steps: How many, over all environments; rounded up to as many of each.
        out: The file to write: CSV, Parquet or NPZ, by its suffix; none if not given.
        overwrite: Whether a file that is there is replaced.
        seed: Of everything random.
        count: Environments that are acted in side by side.
        noise: Of a trained policy: the standard deviation of what is added to actions,
            in half widths of their box; or the share of choices drawn at random.
        env: Arguments of `gymnasium.make`, for a Gymnasium environment.

    Returns:
        The transitions, the same that reading the file gives.

    Raises:
        ValueError: Something that was given is wrong; or a file is there already.
        TypeError: The environment has spaces that nothing here can read.
        FloatingPointError: A reward or an observation is not finite.
        OSError: The file cannot be written.
    """
    ready = prepare(
        task,
        policy,
        steps=steps,
        out=out,
        overwrite=overwrite,
        seed=seed,
        count=count,
        noise=noise,
        env=env,
    )
    return execute(ready).data


@naming_the_line()
def prepare(
    task: str | Task,
    policy: str | os.PathLike = RANDOM,
    *,
    steps: int,
    out: str | os.PathLike | None,
    overwrite: bool = False,
    seed: int = 0,
    count: int = 1,
    noise: float = 0.0,
    env: Mapping[str, Any] | None = None,
) -> Collecting:
    """See that all fits together before anything is done; arguments are `collect`'s.

    Raises:
        ValueError, TypeError: As `collect`.
    """
    require("collect", Count, steps=steps)
    require("collect", Times, count=count)
    require("collect", Seed, seed=seed)
    require("collect", Share, noise=noise)
    path = None if out is None else _free(pathlib.Path(out), overwrite)
    name, own = (task.name, task) if isinstance(task, Task) else (task, None)
    if own is None:
        require_known(name)
        own = TASKS[name]() if name in TASKS else None
    if own is not None and env:
        raise ValueError(
            "Settings of an environment go with one of Gymnasium, got "
            f"{next(iter(env))} for the task {name}."
        )
    each = math.ceil(steps / count)
    if own is not None:
        environment: Any = own.environment
    else:
        environment = made(lambda: GymnasiumEnvironment(name, count, options=env))
    spec, names = environment.spec, labels(own, environment)
    row = 8.0 * (3 * len(names.obs) + len(names.action) + 8)
    require_memory(f"A memory of {each * count:,} steps", 2 * row * each * count)
    agent = _agent(policy, spec, noise)
    replay = Replay(power_of_two(each), count, spare=power_of_two(each) - 1)
    if own is not None:
        training: Any = Training(agent, own.environment, replay)
    else:
        training = HostTraining(agent, environment, replay)
    return Collecting(name, training, each, seed, names, path)


def execute(
    ready: Collecting, told: Callable[[int], None] = lambda done: None
) -> Collected:
    """Act, and write what was seen.

    Args:
        ready: What `prepare` returned.
        told: Called with the number of steps that are done, over all environments.

    Returns:
        The transitions, and the return of each episode that came to its end.

    Raises:
        FloatingPointError, OSError: As `collect`.
        KeyboardInterrupt: It was asked to stop; nothing is written.
    """
    with naming_the_line():
        state, returns = _acted(ready, told)
    table = of_memory(
        f"What was collected in {ready.name}",
        state.flow.replay,
        ready.labels.obs,
        ready.labels.action,
        dt=ready.labels.dt,
    )
    data = dataclasses.replace(of_table(table), notes=())
    if ready.path is not None:
        seconds, _ = table.times("time")
        write_atomically(ready.path, encoder(ready.path)(data, seconds))
    return Collected(data, returns)


def _acted(
    ready: Collecting, told: Callable[[int], None]
) -> tuple[TrainState, np.ndarray]:
    """The state after all steps, in pieces of about `LOOK` seconds, and returns."""
    training, done, piece, returns = ready.training, 0, 1, []
    random = isinstance(training.agent, Random)
    state = training.begin(key=key_of(ready.seed))
    while done < ready.steps:
        stop.look()
        began, limit = time.perf_counter(), min(piece, ready.steps - done)
        state, trace = _collect(training, state, random, limit)
        trace = trace.taken()
        wrong = np.argwhere(~np.asarray(trace.finite))
        if wrong.size:
            row, copy = wrong[0].tolist()
            raise FloatingPointError(
                f"{ready.name} gave a reward or an observation that is not finite, in "
                f"environment {copy} at step {done + row + 1}."
            )
        took = time.perf_counter() - began
        if done:  # the first piece was compiled, too
            piece = max(1, min(PIECE, 2 * piece, int(piece * LOOK / max(took, 1e-9))))
        done += limit
        told(done * training.count)
        over = np.asarray(trace.episode_returns)
        returns.append(over[~np.isnan(over)])
    return state, np.concatenate(returns)


def _collect(
    training: Training | HostTraining, state: TrainState, random: bool, limit: int
) -> tuple[TrainState, Trace]:
    if isinstance(training, HostTraining):
        return training.collect(state, limit, random=random)
    return _compiled(training, state, random, jnp.asarray(limit, jnp.int32))


@eqx.filter_jit
def _compiled(
    training: Training, state: TrainState, random: bool, limit: Array
) -> tuple[TrainState, Trace]:
    return training.collect(state, PIECE, random=random, limit=limit)


def _agent(
    policy: str | os.PathLike, spec: EnvironmentSpec, noise: float
) -> AbstractAgent:
    """Who acts.

    Raises:
        ValueError: There is no such policy, or it was trained for other spaces.
    """
    if policy == RANDOM:
        if noise:
            raise ValueError(
                "noise disturbs a trained policy, but actions are random; got "
                f"noise={noise}."
            )
        return Random(spec.action)
    if not pathlib.Path(policy).is_dir():
        raise ValueError(
            "A policy needs to be 'random' or the folder of a training run, got "
            f"{os.fspath(policy)!r}."
        )
    learning, learner = learned("collect", policy)
    own = learning.training.environment.spec
    for role in ("observation", "action"):
        there, here = (_shapes(getattr(each, role)) for each in (own, spec))
        if there != here:
            raise ValueError(
                f"{policy} was trained for the {role} space {there}, but acts here in "
                f"{here}."
            )
    return Perturbed(learning.training.agent, learner, spec.action, noise)


def _shapes(spaces: PyTree) -> str:
    """What of spaces has to agree, in words."""

    def one(space: Space) -> str:
        if isinstance(space, Discrete):
            return f"Discrete({space.n})"
        return f"Box{list(space.shape)}"

    words = jax.tree.map(one, spaces, is_leaf=lambda node: isinstance(node, Space))
    return str(words).replace("'", "")


def _free(path: pathlib.Path, overwrite: bool) -> pathlib.Path:
    """A path that a file can be written to.

    Raises:
        ValueError: It is taken, has no usable suffix, or its folder cannot be made.
    """
    encoder(path)
    if path.is_dir():
        raise ValueError(f"Data are written to a file, but {path} is a folder.")
    if path.exists() and not overwrite:
        raise ValueError(
            f"{path} is there already; --overwrite (overwrite=True) replaces it."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"The folder {path.parent} cannot be made: {error.strerror or error}."
        ) from error
    return path
