"""Evaluation episodes, apart from training ones: nothing is kept, nothing learned."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Metrics
from forethought.core.given.settings import Count, require
from forethought.core.spaces import Box, Discrete
from forethought.data.transitions import Transition
from forethought.environments.base import AbstractEnvironment, EnvironmentSpec
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.training import stop
from forethought.training.episode import Scene, begin, step, two_keys
from forethought.training.host import act, fresh_carries, read, seed_of, stacked

LOOKING_BACK = 0x10B
"""Sets the random stream of hindsight apart from that of the episodes."""


class Evaluated(NamedTuple):
    """What there is to tell of some episodes; leaves `[episode]`."""

    returns: Float[Array, " episode"]
    success: Bool[Array, " episode"] | None
    """Which of them were one; None where nobody can tell."""
    told: Metrics
    """By the agent, in hindsight."""


def evaluate(
    agent: AbstractAgent,
    environment: AbstractEnvironment,
    learner: PyTree,
    *,
    episodes: int,
    key: PRNGKeyArray,
) -> Float[Array, " episode"]:
    """Returns of episodes in which the agent does its best.

    Args:
        agent: Who acts, without exploring.
        environment: In pure JAX; its episodes must have a length.
        learner: What the agent has learned.
        episodes: How many, side by side.
        key: Consumed.

    Returns:
        The undiscounted return of each episode.

    Raises:
        ValueError: No episodes are asked for, or they have no length.
    """
    return _played(agent, environment, learner, episodes, key)[0]


def evaluate_told(
    agent: AbstractAgent,
    environment: AbstractEnvironment,
    learner: PyTree,
    success: Callable[[PyTree], Bool[Array, ""]] | None = None,
    *,
    episodes: int,
    key: PRNGKeyArray,
) -> Evaluated:
    """What `evaluate` returns, and all else that there is to tell of these episodes.

    Args:
        agent: Who acts, without exploring.
        environment: In pure JAX; its episodes have a length.
        learner: What the agent has learned.
        success: Whether an episode was one, of the states of the system, leaves of
            shape `[time + 1, ...]`, where the environment's state is one of a system.
        episodes: How many, side by side.
        key: Consumed.

    Raises:
        ValueError: No episodes are asked for, or they have no length.
    """
    returns, states, seen, alive = _played(agent, environment, learner, episodes, key)
    reached = None if success is None else jax.vmap(success)(states.system)
    told = _in_hindsight(agent, learner, seen, alive, key)
    return Evaluated(returns, reached, told)


def _played(
    agent: AbstractAgent,
    environment: AbstractEnvironment,
    learner: PyTree,
    episodes: int,
    key: PRNGKeyArray,
) -> tuple[Array, PyTree, Transition, Array]:
    """Returns of episodes, the states of their environments, and all their steps."""
    length = _require("evaluate", episodes, environment.spec.episode_length)

    def episode(key: PRNGKeyArray) -> tuple[Array, PyTree, Transition, Array]:
        begin_key, key = jax.random.split(key)
        scene = begin(agent, environment, learner, key=begin_key)

        def once(scene: Scene, key: PRNGKeyArray) -> tuple[Scene, tuple]:
            after, seen, _ = step(
                agent, environment, learner, scene, keys=two_keys(key)
            )
            seen = dataclasses.replace(seen, kept=None)
            return after, (after.environment, seen, scene.alive)

        _, (states, seen, alive) = jax.lax.scan(
            once, scene, jax.random.split(key, length)
        )
        states = jax.tree.map(
            lambda first, rest: jnp.concatenate([first[None], rest]),
            scene.environment,
            states,
        )
        nothing = jnp.zeros_like(seen.reward)
        return jnp.sum(jnp.where(alive, seen.reward, nothing)), states, seen, alive

    return jax.vmap(episode)(jax.random.split(key, episodes))


def _in_hindsight(
    agent: AbstractAgent,
    learner: PyTree,
    seen: Transition,
    alive: Bool[Array, "episode time"],
    key: PRNGKeyArray,
) -> Metrics:
    """What each of some episodes says of what was expected, leaves `[episode]`."""
    keys = jax.random.split(jax.random.fold_in(key, LOOKING_BACK), alive.shape[0])
    return jax.vmap(
        lambda seen, alive, key: agent.hindsight(learner, seen, alive, key=key)
    )(seen, alive, keys)


_compiled_hindsight = eqx.filter_jit(_in_hindsight)


def evaluate_host(
    agent: AbstractAgent,
    environment: GymnasiumEnvironment,
    learner: PyTree,
    *,
    episodes: int,
    key: PRNGKeyArray,
) -> Float[Array, " episode"]:
    """Returns of episodes in which the agent does its best, in Gymnasium.

    Each copy plays a number of episodes that is fixed beforehand, as those that end
    first in a race between copies would be the short ones.

    Args:
        agent: Who acts, without exploring.
        environment: On the host, and not the one that is trained in: it is reset here
            and left in the middle of an episode. Its episodes must have a length.
        learner: What the agent has learned.
        episodes: How many, shared out among the copies.
        key: Consumed.

    Returns:
        The undiscounted return of each episode.

    Raises:
        ValueError: No episodes are asked for, or they have no length.
        FloatingPointError: A reward or an observation is not finite.
    """
    return _played_host(agent, environment, learner, episodes, False, key)[0]


def evaluate_host_told(
    agent: AbstractAgent,
    environment: GymnasiumEnvironment,
    learner: PyTree,
    *,
    episodes: int,
    key: PRNGKeyArray,
) -> Evaluated:
    """What `evaluate_host` returns, and all else that there is to tell of it.

    Args:
        agent: As for `evaluate_host`.
        environment: As for `evaluate_host`.
        learner: What the agent has learned.
        episodes: How many, shared out among the copies.
        key: Consumed.

    Raises:
        ValueError: No episodes are asked for, or they have no length.
        FloatingPointError: A reward or an observation is not finite.
    """
    tells = _tells(agent, learner, environment.spec)
    returns, played = _played_host(agent, environment, learner, episodes, tells, key)
    if not tells:
        return Evaluated(returns, None, {})
    length = _require("evaluate_host", episodes, environment.spec.episode_length)
    alive = np.stack([np.arange(length) < len(rows) for rows in played])
    padded = stacked([_padded(rows, length) for rows in played])
    seen = Transition(*jax.tree.map(jnp.asarray, padded))
    told = _compiled_hindsight(agent, learner, seen, jnp.asarray(alive), key)
    return Evaluated(returns, None, told)


def _tells(agent: AbstractAgent, learner: PyTree, spec: EnvironmentSpec) -> bool:
    """Whether an agent has anything to tell in hindsight."""

    def hindsight(key: PRNGKeyArray) -> Metrics:
        obs = jax.tree.map(
            lambda space: space.sample((1,), key=key),
            spec.observation,
            is_leaf=lambda node: isinstance(node, Box | Discrete),
        )
        action, no = spec.action.sample((1,), key=key), jnp.zeros(1, bool)
        seen = Transition(obs, action, jnp.zeros(1), obs, no, no)
        return agent.hindsight(learner, seen, ~no, key=key)

    return bool(eqx.filter_eval_shape(hindsight, jax.random.key(0)))


def _played_host(
    agent: AbstractAgent,
    environment: GymnasiumEnvironment,
    learner: PyTree,
    episodes: int,
    kept: bool,
    key: PRNGKeyArray,
) -> tuple[Array, list[list[tuple]]]:
    """Returns of episodes, and the steps of each if they are to be kept."""
    spec, count = environment.spec, environment.count
    _require("evaluate_host", episodes, spec.episode_length)
    carry_key, seed_key, key = jax.random.split(key, 3)
    obs = read(spec, environment.reset(seed=seed_of(seed_key)))
    carries = fresh_carries(agent, learner, count, carry_key)
    begun = np.ones(count, bool)
    totals, real = np.zeros(count), jnp.result_type(float)
    found = np.full(episodes, np.nan)
    rows: list[list[tuple]] = [[] for _ in range(episodes)]
    # Episode i is the (i // count)-th one of copy i % count.
    following = np.arange(count)
    while np.any(following < episodes):
        stop.look()
        actions, carries, _, _, key = act(
            agent, learner, carries, obs, begun, key, "exploit"
        )
        actions = np.asarray(actions)
        after, onward = environment.step(actions)
        totals = totals + np.asarray(after.reward)
        if kept:
            reward, successor = np.asarray(after.reward, real), read(spec, after.obs)
            step = (obs, actions, reward, successor, after.terminated, after.truncated)
            for copy in np.flatnonzero(following < episodes):
                row = jax.tree.map(lambda leaf, copy=copy: leaf[copy], step)
                rows[following[copy]].append(row)
        begun = np.asarray(after.terminated | after.truncated)
        counted = begun & (following < episodes)
        found[following[counted]] = totals[counted]
        following = np.where(begun, following + count, following)
        totals = np.where(begun, 0.0, totals)
        obs = read(spec, onward)
    return jnp.asarray(found), rows


def _padded(rows: list[tuple], length: int) -> tuple:
    """Steps of an episode, and the last of them again until there are so many."""
    return stacked([*rows, *[rows[-1]] * (length - len(rows))])


def _require(name: str, episodes: int, length: int | None) -> int:
    """The length of episodes, once there are some and they have one."""
    require(name, Count, episodes=episodes)
    if length is None:
        raise ValueError(f"{name} needs episodes of some length, got none.")
    return length
