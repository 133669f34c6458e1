r"""Prioritised sweeping: think first about what has most to learn.

After each step the pair that was met enters a queue, by how far its value is off. The
first in the queue is updated; then all pairs that may lead to its state are looked at
anew, and enter the queue if they are now off by more than a threshold. So news travels
backwards from where it was met, and nothing is updated that would not change.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from forethought.agents.base import Duty, Metrics
from forethought.agents.tables.learner import (
    AbstractTabular,
    Valued,
    Values,
    finite,
    newest,
)
from forethought.core.given.settings import Count, Finite, Nonnegative, Part, Share
from forethought.data.memory import Memory
from forethought.environments.base import EnvironmentSpec
from forethought.models.tables.tabular import TabularCounts


class Swept(Valued):
    """What prioritised sweeping has learned."""

    model: TabularCounts
    urgent: Values
    """The queue: how far off a pair's value was found to be; 0 for one not in it."""


class Sweeping(AbstractTabular[Swept]):
    r"""Expected updates in the order of how much they change.

    $$Q(s, a) \mathrel{+}= \alpha \Bigl[\sum_k \frac{n_k}{n} \bigl(r_k
      + \gamma \max_{a'} Q(s'_k, a')\bigr) - Q(s, a)\Bigr]$$

    with $n_k$ counts of the outcomes of $(s, a)$; the term of an outcome that ended the
    episode is its reward alone.

    Args:
        planning_steps: Updates after each step, at most.
        step_size: How far a value moves at each update, $\alpha$ in (0, 1]; 1 replaces
            it, as nothing in the sum is drawn.
        gamma: What a reward one step later is worth, $\gamma$.
        epsilon: How often an action is drawn at random.
        threshold: How far off a value must be to enter the queue, $\theta$.
        memory: Share of a pair's counts that is kept at its next visit: 1 takes the
            mean over all of them, 0 the last one.
        outcomes: How many different outcomes of a pair are remembered.
        initial_value: $Q$ before anything was seen.

    Raises:
        ValueError: A number is out of its range.

    References:
        Sutton and Barto, Reinforcement learning: an introduction, 2nd edition, 2018,
        section 8.4 (prioritized sweeping) and section 8.5 (expected updates).
        Moore and Atkeson, Prioritized sweeping, 1993.

    Note:
        The book's algorithm is for worlds without chance, where an expected update is
        an update; for others it names counts and expected updates, as here. The queue
        is a table beside the values: its largest entry is the first, and what enters
        twice keeps the larger priority.
    """

    planning_steps: Count = eqx.field(static=True, default=10)
    step_size: Part = 1.0
    gamma: Share = 0.95
    epsilon: Share = 0.1
    threshold: Nonnegative = 1e-4
    memory: Share = 1.0
    outcomes: Count = eqx.field(static=True, default=8)
    initial_value: Finite = 0.0

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Swept:
        """Equal values everywhere, nothing counted, nothing urgent.

        Raises:
            TypeError: States or actions cannot be counted.
        """
        states, actions = finite("Sweeping", spec)
        values = jnp.full((states, actions), self.initial_value, float)
        model = TabularCounts(states, actions, self.outcomes, memory=self.memory)
        return Swept(values, model, jnp.zeros_like(values))

    @eqx.filter_jit
    def update(
        self, learner: Swept, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Swept, Metrics]:
        """Count each transition and sweep after it, in their order.

        `backups` is how many updates a step took, `queue` how many pairs were left
        waiting, `tried` the share of all pairs that were tried.
        """

        def once(learner, seen):
            model = learner.model.learn(
                seen.obs, seen.action, seen.reward, seen.next_obs, seen.terminated
            )
            met = jnp.zeros(learner.values.shape, bool)
            met = met.at[seen.obs, seen.action].set(True)
            errors = self._errors(learner.values, model)
            urgent = self._queued(learner.urgent, errors, met)
            return self._sweep(Swept(learner.values, model, urgent), errors)

        learner, backups = jax.lax.scan(once, learner, newest(memory))
        real = learner.values.dtype
        return learner, {
            "backups": jnp.mean(backups.astype(real)),
            "queue": jnp.sum((learner.urgent > 0).astype(real)),
            "tried": jnp.mean((learner.model.visits > 0).astype(real)),
        }

    def _errors(self, values: Values, model: TabularCounts) -> Values:
        """What an update with step size one would add to each value."""
        goes_on = (~model.terminated).astype(values.dtype)
        best = jnp.max(values, axis=1)[model.next_state]
        earned = model.reward.astype(values.dtype) + self.gamma * goes_on * best
        visits = model.visits.astype(values.dtype)
        total = jnp.sum(model.count.astype(values.dtype) * earned, axis=-1)
        known = visits > 0
        expected = total / jnp.where(known, visits, jnp.ones_like(visits))
        return jnp.where(known, expected - values, jnp.zeros_like(values))

    def _queued(
        self, urgent: Values, errors: Values, looked_at: Bool[Array, "state action"]
    ) -> Values:
        """The queue once some pairs were looked at."""
        size = jnp.abs(errors)
        enters = looked_at & (size > self.threshold)
        return jnp.where(enters, jnp.maximum(urgent, size), urgent)

    def _sweep(self, learner: Swept, errors: Values) -> tuple[Swept, Int[Array, ""]]:
        """Update until nothing is urgent or it was often enough; say how often."""
        model, actions = learner.model, learner.values.shape[1]

        def go_on(loop):
            _, urgent, _, count = loop
            return (count < self.planning_steps) & jnp.any(urgent > 0)

        def step(loop):
            values, urgent, errors, count = loop
            place = jnp.argmax(urgent).astype(jnp.int32)
            pair = (place // actions, place % actions)
            values = values.at[pair].add(self.step_size * errors[pair])
            errors = self._errors(values, model)
            leads = (model.next_state == pair[0]) & ~model.terminated
            before = jnp.any(leads & (model.count > 0), axis=-1)
            urgent = self._queued(urgent.at[pair].set(0), errors, before)
            return values, urgent, errors, count + 1

        none = jnp.zeros((), jnp.int32)
        values, urgent, _, count = jax.lax.while_loop(
            go_on, step, (learner.values, learner.urgent, errors, none)
        )
        return Swept(values, model, urgent), count
