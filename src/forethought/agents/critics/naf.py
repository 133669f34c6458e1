r"""Normalised advantage functions: critics whose best action is known.

$$Q(o, a) = V(o) - \tfrac12 \big\lVert L(o)^\top (a - m(o)) \big\rVert^2$$

with $L$ lower triangular and its diagonal positive. The maximum over actions is $V(o)$,
at $a = m(o)$: a network more, an actor, is not needed.

**Notation.** $V, m, L$ what one network answers; $a$ an action in half widths of its
limits; $m$ lies within these.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Scalar

from forethought.agents.base import Brief, Metrics
from forethought.agents.critics.base import (
    AbstractActorCritic,
    Aims,
    Limits,
    Noisy,
    Obs,
    Unit,
    descend,
    followed,
    fresh_memory,
    misfit,
    network,
    saturated,
    sizes,
)
from forethought.agents.critics.off_policy import OffPolicy
from forethought.core.given.settings import Count, Nonnegative
from forethought.core.types import Action, Mode
from forethought.environments.base import EnvironmentSpec
from forethought.models.learned.mlp import MLP

STEEP = (-5.0, 3.0)
"""Between which the logarithm of the diagonal of L is held."""


class Bowl(eqx.Module):
    """One critic: a network that answers with V, m and L."""

    network: MLP

    def parts(self, obs: Obs) -> tuple[Scalar, Unit, Float[Array, "action action"]]:
        """$V, m, L$ of an observation."""
        y = self.network(obs)[0]
        n = _dimension(y.shape[0])
        rows, columns = jnp.tril_indices(n)
        L = jnp.zeros((n, n), y.dtype).at[rows, columns].set(y[1 + n :])
        diagonal = jnp.exp(jnp.clip(jnp.diagonal(L), *STEEP))
        L = jnp.where(jnp.eye(n, dtype=bool), jnp.diag(diagonal), L)
        return y[0], jnp.tanh(y[1 : 1 + n]), L

    def __call__(self, obs: Obs, unit: Unit) -> Scalar:
        """$Q$ of an observation and an action."""
        V, m, L = self.parts(obs)
        return V - 0.5 * jnp.sum(((unit - m) @ L) ** 2)


Bowls = tuple[Bowl, ...]


class Best(eqx.Module):
    """Does what critics think best: the mean of what each does."""

    critics: Bowls

    def __call__(self, obs: Obs) -> Unit:
        """The action."""
        return jnp.mean(jnp.stack([each.parts(obs)[1] for each in self.critics]), 0)


class Bowled(eqx.Module):
    """What NAF knows."""

    critics: Bowls
    slow: Bowls
    memory: PyTree
    limits: Limits
    updates: Int[Array, ""]


class NAF(AbstractActorCritic[Bowled]):
    """Q-learning with normalised advantage functions.

    Args:
        noise: Standard deviation of exploration, in half widths of the limits. On the
            pendulum 0.2 finds too little.
        updates: As for every actor–critic, but five by default.

    References:
        Gu, Lillicrap, Sutskever and Levine, Continuous deep Q-learning with model-based
        acceleration, 2016, arXiv:1603.00748, equations 2 and 4, algorithm 1.

    Note:
        Two critics whose mean counts stand in the place of one, noise is white, and
        there is no batch normalisation.
    """

    noise: Nonnegative = eqx.field(static=True, default=0.5)
    updates: Count = eqx.field(static=True, default=5)

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Bowled:
        """Networks that have seen nothing.

        Raises:
            TypeError: Observations are no vectors, or actions know no limits.
        """
        inputs, limits = sizes("NAF", spec)
        n = len(limits.centre)
        outputs = 1 + n + n * (n + 1) // 2
        critics = tuple(
            Bowl(network(self, inputs, outputs, key=each))
            for each in jax.random.split(key, self.critics)
        )
        slow, memory = jax.tree.map(jnp.copy, critics), fresh_memory(self, critics)
        return Bowled(critics, slow, memory, limits, jnp.zeros((), jnp.int32))

    def policy(self, known: Bowled) -> Noisy:
        """The best action, with noise on it where it explores."""
        return Noisy(Best(known.critics), known.limits, self.noise)

    def follower(self, known: Bowled) -> tuple[Noisy, Mode]:
        """The best action by the slow copies."""
        return Noisy(Best(known.slow), known.limits, self.noise), "exploit"

    def bootstrap(
        self, known: Bowled, obs: Obs, *, key: PRNGKeyArray
    ) -> Float[Array, " critic"]:
        r"""$\max_a Q_i'(o, a) = V_i'(o)$."""
        return jnp.stack([each.parts(obs)[0] for each in known.slow])

    def pool(self, values: Float[Array, " critic"]) -> Scalar:
        """Their mean."""
        return jnp.mean(values)

    def judge(self, known: Bowled, obs: Obs, action: Action) -> Float[Array, " critic"]:
        """What each critic expects of an action."""
        return _judged(known.critics, obs, known.limits.unit(action))

    def bonus(self, known: Bowled, obs: Obs, *, key: PRNGKeyArray) -> Scalar:
        """Nothing: rewards alone count."""
        return jnp.zeros((), obs.dtype)

    def improve(
        self, known: Bowled, aims: Aims, *, key: PRNGKeyArray
    ) -> tuple[Bowled, Metrics]:
        """A step of the critics, which are actors as well."""

        def loss(critics: Bowls) -> tuple[Scalar, Metrics]:
            return misfit(lambda o, u: _judged(critics, o, known.limits.unit(u)), aims)

        critics, memory, told = descend(
            self, "critic", loss, known.critics, known.memory
        )
        told |= {"saturated": saturated(jax.vmap(Best(critics))(aims.starts))}
        updates = known.updates + 1
        slow = followed(self, known.slow, critics, updates)
        return Bowled(critics, slow, memory, known.limits, updates), told

    def make(self, brief: Brief) -> OffPolicy:
        """The agent that learns so, from what it did itself."""
        return OffPolicy(self)


def _dimension(outputs: int) -> int:
    """Of an action, where a network has so many outputs: 1 + n + n (n + 1) / 2."""
    return round(((8 * outputs + 1) ** 0.5 - 3) / 2)


def _judged(critics: Bowls, obs: Obs, unit: Unit) -> Float[Array, " critic"]:
    """What each critic says of an observation and an action in half widths."""
    return jnp.stack([critic(obs, unit.astype(obs.dtype)) for critic in critics])
