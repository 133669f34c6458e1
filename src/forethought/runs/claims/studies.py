"""Put a figure to the test: many seeds of a small world in one call.

    config.json         what is reproduced, with which seeds
    reproduction.json   all numbers, small enough to be committed
    reproduction.png
    report.html

What differs from `forethought.runs.claims.reproduce`: a seed takes milliseconds, so
that all of an arm run side by side in one compiled call, nothing is kept of each alone,
and there is nothing to go on with: the same command does it again.

A study says how an arm's curve comes about: here by learning, as in figures of a book;
in `forethought.runs.claims.planning` by planning alone.
"""

import abc
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent
from forethought.core.given.settings import small_seed
from forethought.data.replay import Replay
from forethought.environments.base import AbstractEnvironment
from forethought.runs.claims.kept import RESULT, read_result
from forethought.runs.events import Stage, Watch, unwatched
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.plain import plain
from forethought.runs.store.provenance import commit, machine
from forethought.training.loop import Training

Measure = Literal["steps per episode", "cumulative reward"]
Means = Mapping[str, np.ndarray]
"""For the name of each arm the mean over seeds, by episode or by step."""
POINTS = 60
"""A curve by steps is kept at about so many of them."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """One curve of a figure.

    Args:
        agent: Who learns, as it acts.
        known: Points of the same curve as others measured it.
    """

    agent: AbstractAgent
    known: tuple[tuple[int, float], ...]


@dataclasses.dataclass(frozen=True)
class Promise:
    """What must hold for the means over seeds.

    Args:
        words: In plain words.
        value: A number made of the means.
        low: The least that it may be.
        high: The most.
    """

    words: str
    value: Callable[[Means], float]
    low: float = -np.inf
    high: float = np.inf

    def judge(self, means: Means) -> dict[str, Any]:
        """The verdict, as `reproduction.json` keeps it."""
        value = self.value(means)
        return {
            "promise": self.words,
            "value": value,
            "low": self.low,
            "high": self.high,
            "passed": bool(self.low <= value <= self.high),
        }


Curves = tuple[np.ndarray, dict[str, float]]
"""The measure, shape `[seed, point]`, and what compiling and running took."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractStudy(abc.ABC):
    """A figure, and how it is made again.

    Args:
        claim: One line.
        variant: Which world it is, and with which settings.
        source: Where the known curves come from; empty where there are none.
        measure: What is drawn.
        seeds: How many the figure has.
        promises: What must hold.
        seconds: Of all of it on one core of a Xeon, compiling included, as measured.
        marks: Places along the axis where something changes.
        arms: By name.
    """

    claim: str
    variant: str
    source: str = ""
    measure: str
    seeds: int
    promises: tuple[Promise, ...]
    seconds: float
    marks: tuple[int, ...] = ()
    arms: Mapping[str, Any]

    @property
    @abc.abstractmethod
    def axis(self) -> str:
        """What the curves are drawn over."""

    @property
    @abc.abstractmethod
    def at(self) -> np.ndarray:
        """Places along the axis whose values are kept, shape `[point]`."""

    @property
    @abc.abstractmethod
    def longest(self) -> int:
        """Steps of the environment of a seed, at most."""

    @abc.abstractmethod
    def curves(self, label: str, seeds: Sequence[int]) -> Curves:
        """One arm, at the places that are kept or at more."""

    @abc.abstractmethod
    def kept(self, values: np.ndarray) -> np.ndarray:
        """Of what `curves` measured (the last axis), the places that are kept."""

    @abc.abstractmethod
    def told(self, label: str) -> dict[str, Any]:
        """Settings of an arm, and what others measured of it under `known`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study(AbstractStudy):
    """A figure of a book: agents that learn.

    Args:
        world: What is acted in.
        measure: What is drawn: by the number of the episode, or by steps.
        arms: Its curves by name.
        length: How many episodes, or steps.
        steps: Steps in which a seed must come to its end.
    """

    world: Callable[[], AbstractEnvironment]
    measure: Measure
    arms: Mapping[str, Arm]
    length: int
    steps: int

    @property
    def axis(self) -> str:
        """Episodes or steps."""
        return "episode" if self.by_episode else "steps"

    @property
    def by_episode(self) -> bool:
        """Whether curves have a point for each episode."""
        return self.measure == "steps per episode"

    @property
    def at(self) -> np.ndarray:
        """Every episode, or steps with equal gaps."""
        at = np.arange(1, self.length + 1)
        return at if self.by_episode else self.kept(at)

    @property
    def longest(self) -> int:
        """Steps in which a seed must come to its end."""
        return self.steps

    def kept(self, values: np.ndarray) -> np.ndarray:
        """Every episode, or some `POINTS` of the steps."""
        each = 1 if self.by_episode else self.length // POINTS
        return values[..., each - 1 :: each]

    def curves(self, label: str, seeds: Sequence[int]) -> Curves:
        """One arm, at every episode or step.

        Raises:
            RuntimeError: A seed did not come to its end.
        """
        return curves(self, self.arms[label].agent, seeds)

    def told(self, label: str) -> dict[str, Any]:
        """The agent, and the points that are known."""
        arm = self.arms[label]
        name = type(arm.agent).__name__
        return {"agent": name, "settings": arm.agent, "known": arm.known}


def side_by_side(function: Callable[[Array], PyTree], inputs: Array) -> PyTree:
    """A function of one seed for all of them, in one compiled call.

    On a CPU they take turns: a loop over small tables is compiled to one native
    function as long as it is alone, and each seed ends when it is done.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.map(function, inputs)
    return jax.vmap(function)(inputs)


def timed(
    function: Callable[[Array], PyTree], seeds: Sequence[int]
) -> tuple[PyTree, dict[str, float]]:
    """A function of one seed for all of them; what compiling and running took."""
    began = time.perf_counter()
    inputs = jnp.asarray([small_seed(each) for each in seeds], jnp.uint32)
    call = jax.jit(lambda seeds: side_by_side(function, seeds)).lower(inputs).compile()
    compiled = time.perf_counter()
    found = jax.block_until_ready(call(inputs))
    run = time.perf_counter() - compiled
    return found, {"compile": compiled - began, "run": run}


def curves(study: Study, agent: AbstractAgent, seeds: Sequence[int]) -> Curves:
    """What an agent does in a study's world.

    Args:
        study: What is tried.
        agent: Who learns.
        seeds: Of everything random.

    Returns:
        The measure, shape `[seed, episode or step]`, and the seconds that compiling
        and running took.

    Raises:
        RuntimeError: A seed did not come to its end.
    """
    training = Training(agent, study.world(), Replay(1))
    by_episode = study.by_episode

    def seed(seed: Array) -> tuple[Array, Array]:
        key: PRNGKeyArray = jax.random.key(seed)
        state = training.begin(key=key)
        episodes = study.length if by_episode else None
        _, trace = training.collect(state, study.steps, episodes=episodes)
        return trace.rewards[:, 0], trace.ended[:, 0]

    (rewards, ended), seconds = timed(seed, seeds)
    if not by_episode:
        return np.cumsum(np.asarray(rewards, float), axis=1), seconds
    found = []
    for each, row in zip(seeds, np.asarray(ended), strict=True):
        ends = np.flatnonzero(row)[: study.length]
        if len(ends) < study.length:
            raise RuntimeError(
                f"Seed {each} needs {study.length} episodes, but only {len(ends)} "
                f"ended within {study.steps} steps."
            )
        found.append(np.diff(ends, prepend=-1))
    return np.array(found, float), seconds


def run_study(
    name: str,
    study: AbstractStudy,
    seeds: Sequence[int],
    folder: RunFolder,
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Make a figure again and judge it.

    Args:
        name: Of the study.
        study: What is tried.
        seeds: Of everything random; each arm has the same.
        folder: Where `reproduction.json` is written.
        watch: Called with the name of each arm before it begins.

    Returns:
        What `reproduction.json` holds.

    Raises:
        RuntimeError: A seed did not come to its end.
    """
    arms, means = {}, {}
    for label in study.arms:
        watch(Stage(label))
        found, seconds = study.curves(label, seeds)
        means[label] = np.mean(found, axis=0)
        arms[label] = study.told(label) | {
            "mean": _short(study.kept(means[label])),
            "std": _short(study.kept(np.std(found, axis=0))),
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
        }
    words = ["forethought", "reproduce", name]
    words += ["--seeds", str(len(seeds)), "--seed", str(seeds[0])]
    result = {
        "name": name,
        "claim": study.claim,
        "variant": study.variant,
        "source": study.source,
        "measure": study.measure,
        "axis": study.axis,
        "marks": study.marks,
        "command": " ".join(words),
        "commit": commit(),
        "machine": machine(),
        "seeds": list(seeds),
        "checks": [promise.judge(means) for promise in study.promises],
        "at": study.at,
        "arms": arms,
    }
    folder.write_json(RESULT, plain(result))
    return read_result(folder)


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
