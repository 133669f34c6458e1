"""Episodes of an agent in a pure environment, with all that happened in them kept.

Played in pieces of one compiled scan each, so that whoever watches can stop early: an
agent that plans with an exact simulator may need longer than anyone wants to wait.
"""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent
from forethought.environments.base import AbstractEnvironment
from forethought.training import stop
from forethought.training.episode import Scene, begin, step, two_keys

PIECE = 25
"""Steps of one piece."""


class Played(eqx.Module):
    """Steps of an episode; `states` are those that each step led to."""

    states: PyTree
    actions: Array
    rewards: Float[Array, "*time"]
    """Zero once the episode ended."""
    alive: Bool[Array, "*time"]
    """Whether the step was still part of the episode."""


def play(
    agent: AbstractAgent,
    environment: AbstractEnvironment,
    learner: PyTree,
    *,
    key: PRNGKeyArray,
) -> Iterator[tuple[PyTree, Played]]:
    """One episode in which an agent does its best.

    Args:
        agent: Who acts, without exploring.
        environment: In pure JAX; its episodes must have a length.
        learner: What the agent has learned.
        key: Consumed.

    Yields:
        The environment's state before a piece of `PIECE` steps, and the piece.

    Raises:
        ValueError: The environment's episodes have no length.
    """
    length = environment.spec.episode_length
    if length is None:
        raise ValueError("Playing needs episodes of some length, got none.")
    begin_key, key = jax.random.split(key)
    scene = _begin(agent, environment, learner, key=begin_key)
    keys = jax.random.split(key, -(-length // PIECE) * PIECE)
    for i in range(0, length, PIECE):
        stop.look()
        before = scene.environment
        scene, piece = _play(agent, environment, learner, scene, keys[i : i + PIECE])
        yield before, piece
        if not scene.alive:
            return


_begin = eqx.filter_jit(begin)


@eqx.filter_jit
def _play(
    agent: AbstractAgent,
    environment: AbstractEnvironment,
    learner: PyTree,
    scene: Scene,
    keys: Key[Array, " time"],
) -> tuple[Scene, Played]:
    def once(scene: Scene, key: PRNGKeyArray) -> tuple[Scene, Played]:
        after, seen, _ = step(agent, environment, learner, scene, keys=two_keys(key))
        reward = jnp.where(scene.alive, seen.reward, jnp.zeros_like(seen.reward))
        return after, Played(after.environment, seen.action, reward, scene.alive)

    return jax.lax.scan(once, scene, keys)
