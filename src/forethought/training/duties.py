"""How often a duty is due, and how it is done."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Duty, Metrics
from forethought.core.types import blank
from forethought.data.memory import Memory
from forethought.data.replay import Replay

Mark = tuple[Int[Array, ""] | int, Int[Array, ""] | int]
"""Steps and episodes so far."""


def times_due(duty: Duty, before: Mark, now: Mark) -> Int[Array, ""]:
    """How many updates a duty needs for what was done between two marks."""
    last, (steps, episodes) = duty.every.due(steps=before[0], episodes=before[1]), now
    number = (duty.every.due(steps=steps, episodes=episodes) - last) * duty.times
    over = steps < duty.begin
    if duty.until is not None:
        over = over | (steps > duty.until)
    return jnp.where(over, jnp.zeros_like(number), number)


def each_step(duty: Duty, count: int) -> int | None:
    """How many updates a step of so many environments brings; None if that varies."""
    each = duty.every.each(count)
    always = duty.begin == 0 and duty.until is None
    return each * duty.times if always and each is not None else None


def steps_between(duty: Duty, count: int) -> int:
    """Steps of each environment from one update to the next, rounded up."""
    if duty.every.unit != "steps":
        return 1
    return math.ceil(duty.every.every / count)


def perform(
    agent: AbstractAgent,
    learner: PyTree,
    memory: Memory,
    duty: Duty,
    key: PRNGKeyArray,
) -> tuple[PyTree, Metrics, PRNGKeyArray]:
    """Do a duty once; the learner, what was told of it, and a key to go on with."""
    key, update_key = jax.random.split(key)
    learner, metrics = agent.update(learner, memory, duty=duty, key=update_key)
    return learner, metrics, key


class Tally(eqx.Module):
    """Sums of metrics over updates, as far as they are finite."""

    sums: Metrics
    counts: Metrics

    @staticmethod
    def empty(like: dict[str, jax.ShapeDtypeStruct]) -> "Tally":
        """Nothing counted yet of metrics of these shapes."""
        zeros = blank(like)
        return Tally(zeros, zeros)

    def add(self, metrics: Metrics) -> "Tally":
        """One update more."""
        fine = {name: jnp.isfinite(value) for name, value in metrics.items()}
        sums = {
            name: total + jnp.where(fine[name], metrics[name], jnp.zeros_like(total))
            for name, total in self.sums.items()
        }
        counts = {
            name: count + fine[name].astype(count.dtype)
            for name, count in self.counts.items()
        }
        return Tally(sums, counts)

    @property
    def means(self) -> Metrics:
        """Means over updates; NaN where there was none."""
        return {name: self.sums[name] / self.counts[name] for name in self.sums}


def require_room(replay: Replay, duties: tuple[Duty, ...]) -> None:
    """Refuse a memory too small for a duty.

    It has to hold what is learned from at once, and what came since a duty inside was
    done last.

    Raises:
        ValueError: Saying how much room is needed.
    """
    for duty in duties:
        if replay.capacity * replay.lanes < duty.rows:
            raise ValueError(
                f"Training needs a replay of at least {duty.rows} steps, as many as "
                f"{duty.name} are learned from at once, got room for "
                f"{replay.capacity * replay.lanes}."
            )
        needed = steps_between(duty, replay.lanes)
        if duty.inside and replay.capacity < needed:
            raise ValueError(
                f"Training needs a replay of at least {needed} steps, those between "
                f"two updates of {duty.name}, got a capacity of {replay.capacity}."
            )
