"""One step of an episode: what everything that acts in a pure environment is made of.

Training collects such steps in many environments at once, evaluation adds up their
rewards, a film keeps their states, and control does all of that with an agent that
plans in what it knows.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Metrics
from forethought.core.types import Action, Mode
from forethought.data.transitions import Transition
from forethought.environments.base import AbstractEnvironment


class Scene(eqx.Module):
    """Where an episode stands."""

    environment: PyTree
    """The environment's state."""
    obs: PyTree
    """What is seen of it."""
    carry: PyTree
    """What the agent carries."""
    alive: Bool[Array, "*lane"]
    """Whether the episode goes on."""


def begin(
    agent: AbstractAgent,
    environment: AbstractEnvironment,
    learner: PyTree,
    *,
    key: PRNGKeyArray,
) -> Scene:
    """An episode that begins now."""
    reset_key, carry_key = jax.random.split(key)
    state, first = environment.reset(key=reset_key)
    carry = agent.reset(learner, key=carry_key)
    return Scene(state, first.obs, carry, jnp.asarray(True))


def step(
    agent: AbstractAgent,
    environment: AbstractEnvironment,
    learner: PyTree,
    scene: Scene,
    *,
    mode: Mode = "exploit",
    keys: tuple[PRNGKeyArray, PRNGKeyArray],
) -> tuple[Scene, Transition, Metrics]:
    """Look, act, and see what comes of it.

    Args:
        agent: Who acts.
        environment: In pure JAX. It is not reset where the episode ends.
        learner: What the agent has learned.
        scene: Where the episode stands.
        mode: Whether the agent explores, or does its best.
        keys: Of the agent and of the environment; consumed.

    Returns:
        Where it stands now; the transition; and what the agent tells of it.
    """
    act_key, env_key = keys
    action, carry, kept = agent.act(
        learner, scene.carry, scene.obs, key=act_key, mode=mode
    )
    scene = dataclasses.replace(scene, carry=carry)
    return *advance(environment, scene, action, kept, key=env_key), agent.watch(carry)


def advance(
    environment: AbstractEnvironment,
    scene: Scene,
    action: Action,
    kept: PyTree,
    *,
    key: PRNGKeyArray,
) -> tuple[Scene, Transition]:
    """See what comes of an action, whoever chose it."""
    state, after = environment.step(scene.environment, action, key=key)
    seen = Transition(
        obs=scene.obs,
        action=action,
        reward=after.reward,
        next_obs=after.obs,
        terminated=after.terminated,
        truncated=after.truncated,
        kept=kept,
    )
    alive = scene.alive & ~after.terminated & ~after.truncated
    return Scene(state, after.obs, scene.carry, alive), seen


def two_keys(key: PRNGKeyArray) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """A key for the agent and one for the environment."""
    act_key, env_key = jax.random.split(key)
    return act_key, env_key
