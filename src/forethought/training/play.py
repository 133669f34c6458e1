"""Episodes of an agent in a pure environment, with all that happened in them kept.

Played in pieces of one compiled scan each, so that whoever watches can stop early: an
agent that plans with an exact simulator may need longer than anyone wants to wait.
"""

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent
from forethought.environments.base import AbstractEnvironment
from forethought.environments.simulated import Timed

PIECE = 25
"""Steps of one piece."""

Tell = Callable[[PyTree, PyTree], PyTree]
"""What an agent is told, of the environment's state and of what it observes."""


def observation(state: PyTree, obs: PyTree) -> PyTree:
    """What an agent is told that has to learn."""
    return obs


def truth(state: Timed, obs: PyTree) -> PyTree:
    """What a planner is told that knows the dynamics: the system's state."""
    return state.system


class Scene(eqx.Module):
    """Where an episode stands."""

    environment: PyTree
    obs: PyTree
    carry: PyTree
    alive: Bool[Array, ""]


class Played(eqx.Module):
    """Steps of an episode; `states` are those that each step led to."""

    states: PyTree
    actions: Array
    rewards: Float[Array, " time"]
    """Zero once the episode ended."""
    alive: Bool[Array, " time"]
    """Whether the step was still part of the episode."""


def play(
    agent: AbstractAgent,
    environment: AbstractEnvironment,
    learner: PyTree,
    tell: Tell = observation,
    *,
    key: PRNGKeyArray,
) -> Iterator[tuple[PyTree, Played]]:
    """One episode in which an agent does its best.

    Args:
        agent: Who acts, without exploring.
        environment: In pure JAX; its episodes must have a length.
        learner: What the agent has learned.
        tell: What the agent is told of it; a function of a module, or each call
            compiles anew.
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
    scene = _begin(agent, environment, learner, begin_key)
    keys = jax.random.split(key, -(-length // PIECE) * PIECE)
    for i in range(0, length, PIECE):
        before = scene.environment
        scene, piece = _play(
            agent, environment, learner, tell, scene, keys[i : i + PIECE]
        )
        yield before, piece
        if not scene.alive:
            return


@eqx.filter_jit
def _begin(
    agent: AbstractAgent,
    environment: AbstractEnvironment,
    learner: PyTree,
    key: PRNGKeyArray,
) -> Scene:
    reset_key, carry_key = jax.random.split(key)
    state, first = environment.reset(key=reset_key)
    carry = agent.reset(learner, key=carry_key)
    return Scene(state, first.obs, carry, jnp.asarray(True))


@eqx.filter_jit
def _play(
    agent: AbstractAgent,
    environment: AbstractEnvironment,
    learner: PyTree,
    tell: Any,
    scene: Scene,
    keys: Key[Array, " time"],
) -> tuple[Scene, Played]:
    def step(scene: Scene, key: PRNGKeyArray) -> tuple[Scene, tuple]:
        act_key, step_key = jax.random.split(key)
        seen = tell(scene.environment, scene.obs)
        action, carry = agent.act(
            learner, scene.carry, seen, key=act_key, mode="exploit"
        )
        state, after = environment.step(scene.environment, action, key=step_key)
        reward = jnp.where(scene.alive, after.reward, jnp.zeros_like(after.reward))
        alive = scene.alive & ~after.terminated & ~after.truncated
        happened = (state, action, reward, scene.alive)
        return Scene(state, after.obs, carry, alive), happened

    scene, happened = jax.lax.scan(step, scene, keys)
    return scene, Played(*happened)
