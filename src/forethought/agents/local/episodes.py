"""The newest episodes in a memory, as roll-outs that a local model is fitted to."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from forethought.agents.local.coordinates import Coordinates
from forethought.data.memory import Memory
from forethought.models.linear.rollouts import Rollouts


class Episodes(eqx.Module):
    """Rows of the newest episodes, cut to stretches of one length."""

    obs: Array
    """Shape `[rollout, time + 1, observation]`."""
    action: Array
    valid: Bool[Array, "rollout time"]
    count: Int[Array, ""]
    """How many have a step at least."""

    def rollouts(self, coordinates: Coordinates, origin: Array) -> Rollouts:
        """In coordinates that begin next to some."""
        x = jax.vmap(coordinates.along, (0, None))(self.obs, origin)
        return Rollouts(x, self.action, self.valid)


def newest_episodes(memory: Memory, count: int, steps: int) -> Episodes:
    """The newest whole episodes, padded with what was seen last.

    Each lane gives as many as any other, the least number that makes up `count`.

    Args:
        memory: Where the newest row of each lane ends an episode, or one is under way
            that is left out.
        count: How many.
        steps: The most steps of one; of a longer one the first.

    Raises:
        ValueError: The memory is too small to hold so many.
    """
    lanes = memory.replay.lanes
    each = math.ceil(count / lanes)
    wanted = each * steps
    if memory.replay.capacity < wanted:
        raise ValueError(
            f"A local controller learns from {count} episodes of {steps} steps at "
            f"once, got a replay of {memory.replay.capacity} steps; it needs room for "
            f"{wanted}."
        )
    state = memory.state
    rows = memory.replay.newest(state, wanted)
    number = state.steps - wanted + jnp.arange(wanted, dtype=jnp.int32)
    there = number >= state.oldest

    def by_lane(leaf: Array) -> Array:
        return jnp.swapaxes(leaf.reshape(wanted, lanes, *leaf.shape[1:]), 0, 1)

    def cut(obs, action, after, ended):
        # Episodes count from the newest: zero is the last that ended.
        later = jnp.cumsum(ended[::-1], dtype=jnp.int32)[::-1]
        episode = later - 1
        begins = jnp.concatenate([jnp.ones(1, bool), ended[:-1]])
        begins = begins | (number == state.oldest)
        index = jnp.arange(wanted, dtype=jnp.int32)
        start = jax.lax.cummax(jnp.where(begins, index, jnp.zeros_like(index)))
        time = index - start
        fine = there & (episode >= 0) & (episode < each) & (time < steps)
        # Whatever does not belong anywhere is put beyond the end, and dropped.
        place = jnp.where(fine, episode * steps + time, each * steps)

        def put(leaf):
            room = jnp.zeros((each * steps, *leaf.shape[1:]), leaf.dtype)
            return (
                room.at[place]
                .set(leaf, mode="drop")
                .reshape(each, steps, *leaf.shape[1:])
            )

        valid = put(fine)
        seen, done, came = put(obs), put(action), put(after)
        first = seen[:, :1]
        looks = jnp.concatenate([first, came], axis=1)
        last = jnp.sum(valid, axis=1, dtype=jnp.int32)
        at = jnp.minimum(jnp.arange(steps + 1, dtype=jnp.int32)[None], last[:, None])
        looks = jnp.take_along_axis(looks, at[:, :, None], axis=1)
        return looks, done, valid

    parts = (rows.obs, rows.action, rows.next_obs, rows.terminated | rows.truncated)
    cut_parts = jax.vmap(cut)(*map(by_lane, parts))
    obs, action, valid = (
        leaf.reshape(lanes * each, *leaf.shape[2:]) for leaf in cut_parts
    )
    return Episodes(obs, action, valid, jnp.sum(jnp.any(valid, axis=1)))
