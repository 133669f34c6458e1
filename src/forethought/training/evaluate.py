"""Evaluation episodes, apart from training ones: nothing is kept, nothing learned."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent
from forethought.environments.base import AbstractEnvironment


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
        ValueError: The environment's episodes have no length.
    """
    length = environment.spec.episode_length
    if length is None:
        raise ValueError("Evaluation needs episodes of some length, got none.")

    def episode(key: PRNGKeyArray) -> Array:
        reset_key, carry_key, key = jax.random.split(key, 3)
        state, first = environment.reset(key=reset_key)
        carry = agent.reset(learner, key=carry_key)

        def step(loop, key):
            state, obs, carry, alive, total = loop
            act_key, env_key = jax.random.split(key)
            action, carry = agent.act(learner, carry, obs, key=act_key, mode="exploit")
            state, after = environment.step(state, action, key=env_key)
            total = total + jnp.where(alive, after.reward, jnp.zeros_like(total))
            alive = alive & ~after.terminated & ~after.truncated
            return (state, after.obs, carry, alive, total), None

        start = (state, first.obs, carry, jnp.asarray(True), first.reward)
        (_, _, _, _, total), _ = jax.lax.scan(
            step, start, jax.random.split(key, length)
        )
        return total

    return jax.vmap(episode)(jax.random.split(key, episodes))
