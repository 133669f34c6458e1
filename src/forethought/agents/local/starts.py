"""Starts that episodes come from: which they are, and which one an episode is from."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from forethought.agents.local.episodes import newest_episodes
from forethought.data.memory import Memory


def distances(
    starts: Float[Array, "start observation"], obs: Float[Array, " observation"]
) -> Float[Array, " start"]:
    """Squares, in units of how far starts lie apart in each number."""
    std = jnp.std(starts, axis=0)
    scale = jnp.where(std > 0, std, jnp.ones_like(std))
    return jnp.sum(((starts - obs[None].astype(scale.dtype)) / scale[None]) ** 2, 1)


@eqx.filter_jit
def newest(memory: Memory, count: int, steps: int) -> tuple[Array, Array, Array]:
    """Observations, actions and which are valid, of the newest episodes.

    It is a program of its own, small, because it is another one each time that the
    memory has grown.
    """
    seen = newest_episodes(memory, count, steps)
    return seen.obs[:count], seen.action[:count], seen.valid[:count]


def by_start(
    starts: Float[Array, "start observation"],
    obs: Float[Array, "rollout look observation"],
    action: Array,
    valid: Array,
    count: int,
    each: int,
) -> tuple[Array, Array, Array, Array]:
    """Episodes sorted by where they begin, leaves `[start, rollout, ...]`.

    Args:
        starts: Where they may; NaN where that is to be found.
        obs: Of all episodes.
        action: What was done.
        valid: Which steps were taken.
        count: How many starts.
        each: Episodes of each.

    Returns:
        The starts, and the rest in their order.
    """
    known = jnp.all(jnp.isfinite(starts))
    starts = jnp.where(known, starts, apart_most(obs[:, 0], count))
    whose = jnp.argmin(jax.vmap(lambda o: distances(starts, o))(obs[:, 0]), axis=1)
    order = jnp.argsort(whose, stable=True)
    obs, action, valid = (
        leaf[order].reshape(count, each, *leaf.shape[1:])
        for leaf in (obs, action, valid)
    )
    return starts, obs, action, valid


def apart_most(first: Float[Array, "rollout observation"], count: int) -> Array:
    """So many of the first observations, each far from those before it."""
    std = jnp.std(first, axis=0)
    points = first / jnp.where(std > 0, std, jnp.ones_like(std))[None]

    def add(near: Array, _: None) -> tuple[Array, Array]:
        at = jnp.argmax(near)
        return jnp.minimum(near, jnp.sum((points - points[at][None]) ** 2, 1)), at

    begun = jnp.sum((points - points[0][None]) ** 2, axis=1)
    _, others = jax.lax.scan(add, begun, None, count - 1)
    zero = jnp.zeros(1, others.dtype)
    return first[jnp.concatenate([zero, others])]


def nearest_two(starts: Float[Array, "start observation"]) -> Scalar:
    """The least distance between two starts; one where there is only one."""
    count = starts.shape[0]
    apart = jax.vmap(lambda obs: distances(starts, obs))(starts)
    apart = jnp.where(jnp.eye(count, dtype=bool), jnp.inf, apart)
    return jnp.where(count > 1, jnp.min(apart), jnp.ones((), starts.dtype))


def scales(obs: Array, valid: Array) -> tuple[Array, Array]:
    """Mean and scale of each number that was observed; one where it is constant."""
    rows, there = obs[:, :, :-1].reshape(-1, obs.shape[-1]), valid.reshape(-1)
    share = there.astype(obs.dtype) / jnp.maximum(jnp.sum(there), 1).astype(obs.dtype)
    mean = share @ rows
    std = jnp.sqrt(share @ (rows - mean[None]) ** 2)
    return mean, jnp.where(std > 1e-4 * (1 + jnp.abs(mean)), std, jnp.ones_like(std))
