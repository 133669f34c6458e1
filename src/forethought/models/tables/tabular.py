r"""Finite worlds as models: a table that is known, and one that is counted together.

`Tabular` draws from a table. `TabularCounts` learns one: it remembers for each state
and action which outcomes were met and how often, $n_k$, and leaves the weight $\alpha$
to what was never met. That is the posterior of a Dirichlet process,

$$(p_1, …, p_K, p_\text{unknown}) \sim \text{Dirichlet}(n_1, …, n_K, \alpha),$$

whose mean the model predicts by, and of which it draws whole tables for agents that
explore by what they do not know.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar

from forethought.core.given.settings import Count, Finite, Nonnegative, Share, require
from forethought.core.readout import Readout
from forethought.core.table import Outcome, Table, pick
from forethought.core.types import Action
from forethought.models.base import AbstractModel


class Tabular(AbstractModel[Readout]):
    """A table as a model; its belief is a state and how it was come by.

    Args:
        table: What follows from each state and action.
    """

    table: Table

    def init(self, *, key: PRNGKeyArray) -> Readout:
        """A state in which episodes begin."""
        return standing(self.table.begin(key=key), self.table.reward.dtype)

    def predict(self, belief: Readout, action: Action, *, key: PRNGKeyArray) -> Readout:
        """An outcome, drawn by its probability."""
        return arriving(self.table.draw(belief.x, action, key=key))

    def observe(
        self, belief: Readout, obs: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Readout:
        """The state that was seen."""
        return standing(obs, self.table.reward.dtype)

    def readout(self, belief: Readout) -> Readout:
        """State, reward and whether it goes on."""
        return belief


class TabularCounts(AbstractModel[Readout]):
    r"""A table that is learned by counting.

    The probability of an outcome that was met $n_k$ times among $n$ is
    $n_k / (n + \alpha)$. With the rest, $\alpha / (n + \alpha)$, something unknown
    happens: one stays where one is and earns `unvisited_reward`. Where nothing was met
    that is certain, so that an unvisited pair never borrows from others, and a high
    reward makes agents curious.

    Args:
        states: How many states there are.
        actions: How many actions there are in each state.
        outcomes: $K$, how many different outcomes of one pair are remembered; where
            there are more, the rarest gives way (`lost` counts how often).
        prior: $\alpha$, the weight of what was never met, in visits.
        unvisited_reward: What the unknown earns.
        memory: Share of a pair's counts that is kept at its next visit: 1 remembers
            all of them, 0 the last outcome alone, as in a world without chance that
            may change.
        dtype: Of counts and rewards; JAX's default if not given.

    Raises:
        ValueError: A count is below one, or a number is out of its range.

    References:
        Sutton, Integrated architectures for learning, planning, and reacting based on
        approximating dynamic programming, 1990, section 3 (a table as world model).
        Ferguson, A Bayesian analysis of some nonparametric problems, 1973, theorem 1
        (the posterior). Strens, A Bayesian framework for reinforcement learning, 2000
        (acting by tables drawn from it).

    Note:
        The reward of an outcome is its mean over visits, weighted like the counts.
    """

    next_state: Int[Array, "state action outcome"]
    count: Float[Array, "state action outcome"]
    reward: Float[Array, "state action outcome"]
    terminated: Bool[Array, "state action outcome"]
    lost: Int[Array, ""]
    """How often an outcome was forgotten for lack of room."""
    prior: float = eqx.field(static=True)
    unvisited_reward: float = eqx.field(static=True)
    memory: float = eqx.field(static=True)

    def __init__(
        self,
        states: int,
        actions: int,
        outcomes: int = 8,
        *,
        prior: float = 0.0,
        unvisited_reward: float = 0.0,
        memory: float = 1.0,
        dtype: DTypeLike | None = None,
    ):
        who = "TabularCounts"
        require(who, Count, states=states, actions=actions, outcomes=outcomes)
        require(who, Nonnegative, prior=prior)
        require(who, Share, memory=memory)
        require(who, Finite, unvisited_reward=unvisited_reward)
        shape = (states, actions, outcomes)
        self.next_state = jnp.zeros(shape, jnp.int32)
        self.count, self.reward = jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)
        self.terminated = jnp.zeros(shape, bool)
        self.lost = jnp.zeros((), jnp.int32)
        self.prior, self.unvisited_reward = prior, unvisited_reward
        self.memory = memory

    @property
    def visits(self) -> Float[Array, "state action"]:
        """How often each pair was met, as far as is remembered; 0 where never."""
        return jnp.sum(self.count, -1)

    def learn(
        self,
        obs: Int[Array, ""],
        action: Action,
        reward: Scalar,
        next_obs: Int[Array, ""],
        terminated: Bool[Array, ""],
    ) -> "TabularCounts":
        """The model once a transition was seen."""
        at = (obs, action)
        count = self.count[at] * self.memory
        known = count > 0
        same = (self.next_state[at] == next_obs) & (self.terminated[at] == terminated)
        # The outcome's own place, else a free one, else that of the rarest.
        seen = jnp.any(known & same)
        place = jnp.where(seen, jnp.argmax(known & same), jnp.argmin(count))
        before = jnp.where(seen, count[place], 0)
        mean = jnp.where(seen, self.reward[at][place], 0)
        mean = mean + (reward.astype(mean.dtype) - mean) / (before + 1)
        lost = self.lost + (~seen & (count[place] > 0)).astype(jnp.int32)
        return eqx.tree_at(
            lambda model: (
                model.next_state,
                model.count,
                model.reward,
                model.terminated,
                model.lost,
            ),
            self,
            (
                self.next_state.at[(*at, place)].set(next_obs.astype(jnp.int32)),
                self.count.at[at].set(count.at[place].set(before + 1)),
                self.reward.at[(*at, place)].set(mean),
                self.terminated.at[(*at, place)].set(terminated),
                lost,
            ),
        )

    def draw(
        self, state: Int[Array, ""], action: Action, *, key: PRNGKeyArray
    ) -> Outcome:
        """What may follow, as often as it was met; the unknown where nothing was."""
        at = (state, action)
        count = self.count[at]
        unknown = jnp.asarray(self.prior, count.dtype)[None]
        unknown = jnp.where(jnp.any(count > 0), unknown, 1)
        k = pick(jnp.concatenate([count, unknown]), key=key)
        met = k < count.shape[0]
        here = (*at, jnp.minimum(k, count.shape[0] - 1))
        return Outcome(
            jnp.where(met, self.next_state[here], state.astype(jnp.int32)),
            jnp.where(met, self.reward[here], self.unvisited_reward),
            met & self.terminated[here],
        )

    def mean(self, start: Int[Array, ""] | int = 0) -> Table:
        """The table to expect; its last outcome is the unknown.

        Args:
            start: Where its episodes begin.
        """
        unknown = jnp.asarray(self.prior, self.count.dtype)
        visits = self.visits[:, :, None]
        weight = jnp.where(visits > 0, unknown, 1)
        shares = jnp.concatenate([self.count, weight], -1) / (visits + weight)
        return self._table(shares, start)

    def sample(self, start: Int[Array, ""] | int = 0, *, key: PRNGKeyArray) -> Table:
        """A table drawn from the posterior; its last outcome is the unknown.

        Without a prior weight this is the Bayesian bootstrap of what was met (Rubin,
        1981).

        Args:
            start: Where its episodes begin.
            key: Consumed.
        """
        unknown = jnp.asarray(self.prior, self.count.dtype)
        weight = jnp.where(self.visits > 0, unknown, 1)[:, :, None]
        weights = jnp.concatenate([self.count, weight], -1)
        # Shares of gamma draws are Dirichlet; in logarithms small weights survive.
        logs = jax.random.loggamma(key, jnp.where(weights > 0, weights, 1))
        logs = jnp.where(weights > 0, logs, -jnp.inf)
        return self._table(jax.nn.softmax(logs, axis=-1), start)

    def _table(
        self,
        shares: Float[Array, "state action more"],
        start: Int[Array, ""] | int,
    ) -> Table:
        states, actions, _ = self.count.shape
        stay = jnp.arange(states, dtype=jnp.int32)[:, None, None]
        stay = jnp.broadcast_to(stay, (states, actions, 1))
        earned = jnp.full(stay.shape, self.unvisited_reward, self.reward.dtype)
        return Table(
            jnp.concatenate([self.next_state, stay], -1),
            shares,
            jnp.concatenate([self.reward, earned], -1),
            jnp.concatenate([self.terminated, jnp.zeros(stay.shape, bool)], -1),
            (jnp.arange(states) == start).astype(shares.dtype),
        )

    def init(self, *, key: PRNGKeyArray) -> Readout:
        """The first state: where episodes begin is not learned."""
        return standing(jnp.zeros((), jnp.int32), self.reward.dtype)

    def predict(self, belief: Readout, action: Action, *, key: PRNGKeyArray) -> Readout:
        """An outcome, drawn as often as it was met."""
        return arriving(self.draw(belief.x, action, key=key))

    def observe(
        self, belief: Readout, obs: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Readout:
        """The state that was seen."""
        return standing(obs, self.reward.dtype)

    def readout(self, belief: Readout) -> Readout:
        """State, reward and whether it goes on."""
        return belief


def standing(state: Int[Array, ""], dtype: DTypeLike) -> Readout:
    """The belief that one stands in a state, where nothing led here."""
    zero = jnp.zeros((), dtype)
    return Readout(state.astype(jnp.int32), zero, zero + 1)


def arriving(outcome: Outcome) -> Readout:
    """The belief that one came to a state by an outcome."""
    return Readout(outcome.state, outcome.reward, outcome.goes_on)
