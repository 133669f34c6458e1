"""Studies of targets: tables of values of a chain, learned with a model of it.

**The chain.** States 0 to N, each followed by the next, the last by the end. Each step
costs 1, the last one earns N: the value of state s is s. At each update every table
draws a state of its own and sets its value to the target; all targets look at the mean
of the tables, or at all of them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Scalar

from forethought.agents.critics.expansion import agreed
from forethought.runs.claims.studies import AbstractStudy, Curves, timed

LEAST = 1e-8
"""What STEVE adds to variances."""


@dataclasses.dataclass(frozen=True)
class Tables:
    """One way to learn the values of a chain.

    Args:
        target: Whether the next state is believed (`one step`), the last of an imagined
            future (`mve`), or each by how well samples agree on it (`steve`).
        noise: The chance that the model goes to any state instead.
        tables: How many are learned.
        samples: Of the model.
        horizon: Imagined steps after the real one.
        known: Points of the same curve as others measured it.
    """

    target: Literal["one step", "mve", "steve"]
    noise: float = 0.0
    tables: int = 8
    samples: int = 8
    horizon: int = 5
    known: tuple[tuple[int, float], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValueStudy(AbstractStudy):
    """The squared error of values, by updates.

    Args:
        measure: What is drawn.
        last: N, the number of the last state.
        updates: How many there are.
        every: Updates from one point of a curve to the next.
        arms: Ways to learn, by name.
    """

    measure: str = "squared error of values"
    last: int
    updates: int
    every: int
    arms: Mapping[str, Tables]

    @property
    def axis(self) -> str:
        """Updates."""
        return "updates"

    @property
    def at(self) -> np.ndarray:
        """Every so many updates."""
        return np.arange(self.every, self.updates + 1, self.every)

    @property
    def longest(self) -> int:
        """As many as there are updates."""
        return self.updates

    def kept(self, values: np.ndarray) -> np.ndarray:
        """All of them."""
        return values

    def curves(self, label: str, seeds: Sequence[int]) -> Curves:
        """One way to learn."""

        def seed(seed: Array) -> Array:
            return errors(self, self.arms[label], key=jax.random.key(seed))

        found, seconds = timed(seed, seeds)
        return np.asarray(found, float), seconds

    def told(self, label: str) -> dict[str, Any]:
        """Its settings, and the points that are known."""
        settings = dataclasses.asdict(self.arms[label])
        known = settings.pop("known")
        return {"settings": settings, "known": known}


def errors(
    study: ValueStudy, arm: Tables, *, key: PRNGKeyArray
) -> Float[Array, " point"]:
    """The squared error of the mean table, every so many updates."""
    states = study.last + 1
    begin_key, key = jax.random.split(key)
    whole = jax.random.randint(begin_key, (arm.tables, states), 0, states)
    end = jnp.zeros((arm.tables, 1))
    tables = jnp.concatenate([whole.astype(end.dtype), end], axis=1)
    truth = jnp.arange(states, dtype=end.dtype)

    def one(tables: Array, at: tuple[Array, PRNGKeyArray]) -> tuple[Array, None]:
        index, key = at
        state_key, key = jax.random.split(key)
        state = jax.random.randint(state_key, (), 0, states)
        value = target(arm, tables, state, key=key)
        return tables.at[index, state].set(value), None

    def update(tables: Array, key: PRNGKeyArray) -> tuple[Array, None]:
        keys = jax.random.split(key, arm.tables)
        return jax.lax.scan(one, tables, (jnp.arange(arm.tables), keys))

    def point(tables: Array, key: PRNGKeyArray) -> tuple[Array, Scalar]:
        tables, _ = jax.lax.scan(update, tables, jax.random.split(key, study.every))
        mean = jnp.mean(tables, axis=0)[:-1]
        return tables, jnp.mean((mean - truth) ** 2)

    keys = jax.random.split(key, study.updates // study.every)
    return jax.lax.scan(point, tables, keys)[1]


def target(
    arm: Tables,
    tables: Float[Array, "table state"],
    state: Int[Array, ""],
    *,
    key: PRNGKeyArray,
) -> Scalar:
    """What a state's value is set to; the last column of tables is the end."""
    end = tables.shape[1] - 1

    def reward(state: Array) -> Scalar:
        earned = jnp.where(state == end - 1, end - 1.0, -1.0)
        return jnp.where(state == end, 0.0, earned)

    def imagined(key: PRNGKeyArray) -> Float[Array, "here table"]:
        """One sample: what was earned until each state, and is expected there."""

        def step(at: tuple[Array, Array], key: PRNGKeyArray) -> tuple[Any, Array]:
            state, earned = at
            lost_key, where_key = jax.random.split(key)
            lost = jax.random.uniform(lost_key) < arm.noise
            anywhere = jax.random.randint(where_key, (), 0, end)
            after = jnp.where(lost, anywhere, state + 1)
            after = jnp.where(state == end, state, after)
            earned = earned + reward(state)
            return (after, earned), earned + tables[:, after]

        after, earned = state + 1, reward(state)
        keys = jax.random.split(key, arm.horizon)
        later = jax.lax.scan(step, (after, earned), keys, unroll=True)[1]
        return jnp.concatenate([(earned + tables[:, after])[None], later])

    total = jax.vmap(imagined)(jax.random.split(key, arm.samples))
    if arm.target == "steve":
        return agreed(total, LEAST)[0]
    return jnp.mean(total[:, 0 if arm.target == "one step" else -1])
