"""Starts that episodes come from: which they are, and which one an episode is from."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar


def distances(
    starts: Float[Array, "start observation"], obs: Float[Array, " observation"]
) -> Float[Array, " start"]:
    """Squares, in units of how far starts lie apart in each number."""
    std = jnp.std(starts, axis=0)
    scale = jnp.where(std > 0, std, jnp.ones_like(std))
    return jnp.sum(((starts - obs[None].astype(scale.dtype)) / scale[None]) ** 2, 1)


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
