r"""Dyna: model-free learning from what happened, and from what a model says might.

One table of values serves acting, learning and planning. After every step

    direct   Q(S, A) moves towards what was earned and what now seems possible
    model    the outcome is counted
    plan     n times: a pair that was visited before, an outcome as the model has it,
             and the same update again

so that a reward that was met once spreads without being met again. Dyna-Q is n updates
at pairs drawn uniformly; Dyna-Q+ adds a bonus to what was not tried for long, which
finds out that a world has changed; `Sweeping` updates first what has most to learn.

Notation: $Q$ values, $\alpha$ step size, $\gamma$ discount, $\kappa$ bonus, $\tau(s,a)$
steps since a pair was last tried, $n$ planning steps.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, Scalar

from forethought.agents.base import Duty, Metrics
from forethought.agents.tables.learner import (
    AbstractTabular,
    Valued,
    Values,
    finite,
    newest,
)
from forethought.core.given.settings import (
    Count,
    Finite,
    Nonnegative,
    Part,
    Share,
    Whole,
)
from forethought.data.memory import Memory
from forethought.data.transitions import Transition
from forethought.environments.base import EnvironmentSpec
from forethought.models.tables.tabular import TabularCounts


class Knowledge(Valued):
    """What Dyna has learned."""

    model: TabularCounts
    pairs: Int[Array, " slot"]
    """Pairs that planning may draw, as `state * actions + action`, the newest last."""
    known: Int[Array, ""]
    """How many of them there are."""
    clock: Int[Array, ""]
    """Steps so far."""
    tried: Int[Array, "state action"]
    """The clock when each pair was last tried."""


class Dyna(AbstractTabular[Knowledge]):
    r"""Q-learning from experience and from a counted model: Dyna-Q and Dyna-Q+.

    $$Q(s, a) \mathrel{+}= \alpha \Bigl[r + \kappa \sqrt{\tau(s, a)}
      + \gamma \max_{a'} Q(s', a') - Q(s, a)\Bigr]$$

    The bonus counts while planning only. The future counts unless $s'$ ended the
    episode for good; where an episode was merely cut off, it does.

    ```python
    >>> from forethought.agents.tables.dyna import Dyna
    >>> Dyna(planning_steps=50).planning_steps
    50

    ```

    Args:
        planning_steps: Updates from the model after each step, $n$; 0 is Q-learning.
        step_size: How far a value moves at each update, $\alpha$ in (0, 1].
        gamma: What a reward one step later is worth, $\gamma$.
        epsilon: How often an action is drawn at random.
        bonus: Reward for the root of a step that a pair waited, $\kappa$, which makes
            it Dyna-Q+ if above 0. That also considers actions that were never tried,
            as staying where one is.
        memory: Share of a pair's counts that is kept at its next visit: 1 draws each
            outcome as often as it was met, 0 repeats the last one.
        outcomes: How many different outcomes of a pair are remembered.
        initial_value: $Q$ before anything was seen.

    Raises:
        ValueError: A number is out of its range.

    References:
        Sutton and Barto, Reinforcement learning: an introduction, 2nd edition, 2018,
        section 8.2 (Tabular Dyna-Q) and section 8.3 (Dyna-Q+).

    Note:
        The book draws a state, then one of its actions that were tried; here pairs are
        drawn uniformly, so that no pair waits longer for having many siblings. The
        book's model remembers the last outcome, which is `memory=0`: right where
        nothing is left to chance, and quick to see that a wall has moved. An average
        over all visits (`memory=1`) is right where chance rules and nothing changes.
    """

    planning_steps: Whole = eqx.field(static=True, default=10)
    step_size: Part = 0.1
    gamma: Share = 0.95
    epsilon: Share = 0.1
    bonus: Nonnegative = 0.0
    memory: Share = 1.0
    outcomes: Count = eqx.field(static=True, default=8)
    initial_value: Finite = 0.0

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Knowledge:
        """Equal values everywhere, and nothing counted.

        Raises:
            TypeError: States or actions cannot be counted.
        """
        states, actions = finite("Dyna", spec)
        model = TabularCounts(states, actions, self.outcomes, memory=self.memory)
        none = jnp.zeros((), jnp.int32)
        return Knowledge(
            values=jnp.full((states, actions), self.initial_value, float),
            model=model,
            # A state's pairs may be written together, the last of them beyond the end.
            pairs=jnp.zeros((states + 1) * actions, jnp.int32),
            known=none,
            clock=none,
            tried=jnp.zeros((states, actions), jnp.int32),
        )

    @eqx.filter_jit
    def update(
        self, learner: Knowledge, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Knowledge, Metrics]:
        """Learn from each transition and plan after it, in their order.

        `td_error` is how far values were off at what happened, `tried` the share of
        all pairs that were tried.
        """

        def once(learner, inputs):
            seen, key = inputs
            error, values = self._move(
                learner.values,
                (seen.obs, seen.action),
                seen.reward,
                seen.next_obs,
                seen.terminated,
            )
            learner = eqx.tree_at(lambda learner: learner.values, learner, values)
            learner = self._plan(self._remember(learner, seen), key)
            return learner, jnp.abs(error)

        batch = newest(memory)
        keys = jax.random.split(key, batch.reward.shape[0])
        learner, errors = jax.lax.scan(once, learner, (batch, keys))
        tried = jnp.mean((learner.model.visits > 0).astype(errors.dtype))
        return learner, {"td_error": jnp.mean(errors), "tried": tried}

    def _move(
        self,
        values: Values,
        pair: tuple[Int[Array, ""], Int[Array, ""]],
        reward: Scalar,
        after: Int[Array, ""],
        terminated: Bool[Array, ""],
    ) -> tuple[Scalar, Values]:
        """One update: the error that there was, and the values without some of it."""
        reward = reward.astype(values.dtype)
        future = jnp.where(terminated, jnp.zeros_like(reward), jnp.max(values[after]))
        error = reward + self.gamma * future - values[pair]
        return error, values.at[pair].add(self.step_size * error)

    def _remember(self, learner: Knowledge, seen: Transition) -> Knowledge:
        """Count an outcome, and note the pair if it is new to planning."""
        state, action = seen.obs, seen.action
        visits = jnp.sum(learner.model.count[state], -1) > 0
        actions = visits.shape[0]
        first = state * actions
        if self.bonus > 0:
            new, count = ~jnp.any(visits), actions
            entry = first + jnp.arange(actions, dtype=jnp.int32)
        else:
            new, count = ~visits[action], 1
            entry = (first + action)[None]
        clock = learner.clock + 1
        return Knowledge(
            values=learner.values,
            model=learner.model.learn(
                state, action, seen.reward, seen.next_obs, seen.terminated
            ),
            # What is not new is written over by what will be.
            pairs=jax.lax.dynamic_update_slice(learner.pairs, entry, (learner.known,)),
            known=learner.known + jnp.where(new, count, 0),
            clock=clock,
            tried=learner.tried.at[state, action].set(clock),
        )

    def _plan(self, learner: Knowledge, key: PRNGKeyArray) -> Knowledge:
        """Update at pairs that are known, from what the model says of them."""
        if self.planning_steps == 0:
            return learner
        pair_key, key = jax.random.split(key)
        slots = jax.random.randint(
            pair_key, (self.planning_steps,), 0, learner.known, jnp.int32
        )
        pairs = learner.pairs[slots]
        actions = learner.values.shape[1]
        state, action = pairs // actions, pairs % actions
        drawn = jax.vmap(
            lambda state, action, key: learner.model.draw(state, action, key=key)
        )(state, action, jax.random.split(key, self.planning_steps))
        reward = drawn.reward
        if self.bonus > 0:
            waited = learner.clock - learner.tried[state, action]
            reward = reward + self.bonus * jnp.sqrt(waited.astype(reward.dtype))

        def move(values, imagined):
            *pair, reward, after, terminated = imagined
            return self._move(values, tuple(pair), reward, after, terminated)[1], None

        imagined = (state, action, reward, drawn.state, drawn.terminated)
        values, _ = jax.lax.scan(move, learner.values, imagined)
        return eqx.tree_at(lambda learner: learner.values, learner, values)
