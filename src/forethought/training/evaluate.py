"""Evaluation episodes, apart from training ones: nothing is kept, nothing learned."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent
from forethought.core.given.settings import Count, require
from forethought.environments.base import AbstractEnvironment
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.training import stop
from forethought.training.episode import Scene, begin, step, two_keys
from forethought.training.host import act, fresh_carries, read, seed_of


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


def evaluate_success(
    agent: AbstractAgent,
    environment: AbstractEnvironment,
    learner: PyTree,
    success: Callable[[PyTree], Bool[Array, ""]],
    *,
    episodes: int,
    key: PRNGKeyArray,
) -> tuple[Float[Array, " episode"], Bool[Array, " episode"]]:
    """What `evaluate` returns, and which of these episodes were a success.

    Args:
        agent: Who acts, without exploring.
        environment: In pure JAX, its state one of a system; its episodes have a length.
        learner: What the agent has learned.
        success: Of the states of the system, leaves of shape `[time + 1, ...]`.
        episodes: How many, side by side.
        key: Consumed.

    Raises:
        ValueError: No episodes are asked for, or they have no length.
    """
    returns, states = _played(agent, environment, learner, episodes, key)
    return returns, jax.vmap(success)(states.system)


def _played(
    agent: AbstractAgent,
    environment: AbstractEnvironment,
    learner: PyTree,
    episodes: int,
    key: PRNGKeyArray,
) -> tuple[Array, PyTree]:
    """Returns of episodes, and the states of their environments."""
    length = _require("evaluate", episodes, environment.spec.episode_length)

    def episode(key: PRNGKeyArray) -> tuple[Array, PyTree]:
        begin_key, key = jax.random.split(key)
        scene = begin(agent, environment, learner, key=begin_key)

        def once(scene: Scene, key: PRNGKeyArray) -> tuple[Scene, tuple]:
            after, seen, _ = step(
                agent, environment, learner, scene, keys=two_keys(key)
            )
            nothing = jnp.zeros_like(seen.reward)
            earned = jnp.where(scene.alive, seen.reward, nothing)
            return after, (earned, after.environment)

        _, (earned, states) = jax.lax.scan(once, scene, jax.random.split(key, length))
        states = jax.tree.map(
            lambda first, rest: jnp.concatenate([first[None], rest]),
            scene.environment,
            states,
        )
        return jnp.sum(earned), states

    return jax.vmap(episode)(jax.random.split(key, episodes))


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
    spec, count = environment.spec, environment.count
    _require("evaluate_host", episodes, spec.episode_length)
    carry_key, seed_key, key = jax.random.split(key, 3)
    obs = read(spec, environment.reset(seed=seed_of(seed_key)))
    carries = fresh_carries(agent, learner, count, carry_key)
    begun = np.ones(count, bool)
    totals = np.zeros(count)
    # Episode i is the (i // count)-th one of copy i % count.
    found = np.full(episodes, np.nan)
    following = np.arange(count)
    while np.any(following < episodes):
        stop.look()
        actions, carries, _, _, key = act(
            agent, learner, carries, obs, begun, key, "exploit"
        )
        after, onward = environment.step(np.asarray(actions))
        totals = totals + np.asarray(after.reward)
        begun = np.asarray(after.terminated | after.truncated)
        counted = begun & (following < episodes)
        found[following[counted]] = totals[counted]
        following = np.where(begun, following + count, following)
        totals = np.where(begun, 0.0, totals)
        obs = read(spec, onward)
    return jnp.asarray(found)


def _require(name: str, episodes: int, length: int | None) -> int:
    """The length of episodes, once there are some and they have one."""
    require(name, Count, episodes=episodes)
    if length is None:
        raise ValueError(f"{name} needs episodes of some length, got none.")
    return length
