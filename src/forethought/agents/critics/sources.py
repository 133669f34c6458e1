"""Which steps critics learn from: real ones, imagined ones, and a mixture.

A source says how many rows of a batch are real, and gathers the others whenever the
model was fitted anew: short futures that branch off what was really seen, under the
policy as it is then. They are kept until the next fit, no longer.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from forethought.agents.base import Metrics
from forethought.agents.critics.targets import Judge, Steps
from forethought.core.given.settings import AbstractSettings, Count, Share, Whole
from forethought.data.memory import Memory
from forethought.policies.follow import Sampled
from forethought.problem import Problem, imagine


class Dreamt(eqx.Module):
    """Imagined steps, those that count first."""

    steps: Steps
    count: Int[Array, ""]
    """How many of them count."""

    def draw(self, count: int, *, key: PRNGKeyArray) -> Steps:
        """So many of them, drawn uniformly with replacement."""
        most = jnp.maximum(self.count, 1)
        index = jax.random.randint(key, (count,), 0, most)
        return jax.tree.map(lambda leaf: leaf[index], self.steps)


class AbstractSource(AbstractSettings):
    """Where the steps of a batch come from."""

    @abc.abstractmethod
    def real(self, batch: int) -> int:
        """How many of a batch are real."""

    @abc.abstractmethod
    def gather(
        self,
        judge: Judge,
        world: Problem,
        memory: Memory,
        fits: Int[Array, ""] | int,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Dreamt | None, Metrics]:
        """What is imagined after the model was fitted so often."""


class Replayed(AbstractSource):
    """Real steps alone."""

    def real(self, batch: int) -> int:
        """All of them."""
        return batch

    def gather(
        self,
        judge: Judge,
        world: Problem,
        memory: Memory,
        fits: Int[Array, ""] | int,
        *,
        key: PRNGKeyArray,
    ) -> tuple[None, Metrics]:
        """Nothing."""
        return None, {}


class Branched(AbstractSource):
    """Short futures that branch off replayed observations, and some real steps.

    Args:
        share: Of a batch, how much is real.
        starts: Observations that futures begin in, after each fit.
        length: Steps of a future, at first.
        longest: Steps of a future in the end.
        fits: Fits of the model from one to the other, evenly.

    Raises:
        ValueError: A number is out of its range, or the longest is shorter than the
            first.

    References:
        Janner et al., When to trust your model: model-based policy optimization, 2019,
        arXiv:1906.08253, algorithm 2.

    Note:
        Where ends are learned as probabilities, a future stops once its end is likelier
        than not.
    """

    share: Share = eqx.field(static=True, default=0.05)
    starts: Count = eqx.field(static=True, default=4000)
    length: Count = eqx.field(static=True, default=1)
    longest: Count = eqx.field(static=True, default=1)
    fits: Whole = eqx.field(static=True, default=0)

    def __check_init__(self):
        """Check that it grows."""
        if self.longest < self.length:
            raise ValueError(
                f"Branched needs longest >= length, got {self.longest} and "
                f"{self.length}."
            )

    def real(self, batch: int) -> int:
        """The share that is real, at least one row unless it is zero."""
        return 0 if self.share == 0 else max(1, round(self.share * batch))

    def gather(
        self,
        judge: Judge,
        world: Problem,
        memory: Memory,
        fits: Int[Array, ""] | int,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Dreamt, Metrics]:
        """Futures under the policy as it is, as rows; those that count first."""
        start_key, key = jax.random.split(key)
        seen = memory.sample(self.starts, key=start_key).obs
        steps, going = jax.vmap(
            lambda obs, key: branch(judge, world, obs, self.longest, key=key)
        )(seen, jax.random.split(key, self.starts))
        counts = going & (jnp.arange(self.longest) < self.reach(fits))[None]
        first = jnp.argsort(~counts.reshape(-1))
        flat = jax.tree.map(
            lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[first], steps
        )
        number = jnp.sum(counts, dtype=jnp.int32)
        told = {"imagined": number, "length": self.reach(fits)}
        return Dreamt(flat, number), told

    def reach(self, fits: Int[Array, ""] | int) -> Int[Array, ""]:
        """How long futures are after so many fits."""
        more = self.longest - self.length
        grown = more * jnp.minimum(fits, self.fits) // max(1, self.fits)
        return jnp.asarray(self.length + (grown if self.fits else more), jnp.int32)


def branch(
    judge: Judge, world: Problem, obs: PyTree, length: int, *, key: PRNGKeyArray
) -> tuple[Steps, Bool[Array, " step"]]:
    """One future from an observation, and which of its steps come before an end."""
    init_key, see_key, key = jax.random.split(key, 3)
    belief = world.model.init(key=init_key)
    belief = world.model.observe(belief, obs, key=see_key)
    follow = Sampled("explore")
    future = imagine(world, judge.policy, belief, length, follow=follow, key=key)
    before = jax.tree.map(lambda leaf: leaf[:-1], future.beliefs)
    after = jax.tree.map(lambda leaf: leaf[1:], future.beliefs)
    reward, discount = jax.vmap(world.judge)(before, future.actions, after)
    seen = jax.vmap(lambda belief: world.model.readout(belief).x)(future.beliefs)
    over = discount < 0.5 * judge.critic.gamma
    ended = jnp.cumsum(over.astype(jnp.int32)) - over.astype(jnp.int32)
    steps = Steps(seen[:-1], future.actions, reward, seen[1:], discount)
    return steps, ended == 0
