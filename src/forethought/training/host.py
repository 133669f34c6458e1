"""What crosses between the host and compiled code when environments live there."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Metrics
from forethought.core.spaces import Box, Discrete, Space
from forethought.core.types import Action, Mode
from forethought.environments.base import EnvironmentSpec


@eqx.filter_jit
def act(
    agent: AbstractAgent,
    learner: PyTree,
    carries: PyTree,
    obs: PyTree,
    begun: Bool[Array | np.ndarray, " env"],
    key: PRNGKeyArray,
    mode: Mode = "explore",
) -> tuple[Action, PyTree, PyTree, Metrics, PRNGKeyArray]:
    """Act in every copy; where an episode has just begun, with a fresh carry.

    Returns:
        Actions, carries, what is to be kept of the actions, what the agent tells of
        them, and a key to go on with.
    """
    carry_key, act_key, key = jax.random.split(key, 3)

    def once(carry, fresh, obs, begun, key):
        carry = jax.tree.map(lambda new, old: jnp.where(begun, new, old), fresh, carry)
        action, carry, kept = agent.act(learner, carry, obs, key=key, mode=mode)
        return action, carry, kept, agent.watch(carry)

    count = begun.shape[0]
    fresh = fresh_carries(agent, learner, count, carry_key)
    keys = jax.random.split(act_key, count)
    return *jax.vmap(once)(carries, fresh, obs, begun, keys), key


@eqx.filter_jit
def fresh_carries(
    agent: AbstractAgent, learner: PyTree, count: int, key: PRNGKeyArray
) -> PyTree:
    """What each copy begins an episode with."""
    return jax.vmap(lambda key: agent.reset(learner, key=key))(
        jax.random.split(key, count)
    )


@eqx.filter_jit
def sample(space: Space, count: int, key: PRNGKeyArray) -> tuple[Action, PRNGKeyArray]:
    """A random action for every copy, and a key to go on with."""
    sample_key, key = jax.random.split(key)
    return space.sample((count,), key=sample_key), key


def stacked(rows: list[tuple]) -> tuple:
    """Rows of arrays `[env, ...]` as arrays `[time, env, ...]`."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def seed_of(key: PRNGKeyArray) -> int:
    """A seed for environments, small enough that no copy's runs over."""
    return int(jax.random.randint(key, (), 0, 2**30))


def read(spec: EnvironmentSpec, obs: PyTree) -> PyTree:
    """Observations in the precision that JAX computes in."""
    real, whole = jnp.result_type(float), jnp.result_type(int)
    return jax.tree.map(
        lambda space, leaf: np.asarray(leaf, real if isinstance(space, Box) else whole),
        spec.observation,
        obs,
        is_leaf=lambda node: isinstance(node, Box | Discrete),
    )
