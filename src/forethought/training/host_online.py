"""Learning while acting in Gymnasium: one compiled call after each step."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Metrics
from forethought.data.replay import Replay, ReplayState
from forethought.data.transitions import Transition
from forethought.training.loop import TrainState


class Online:
    """An agent that learns while it acts, and its memory on the way.

    Both are overwritten at each step; what they begin from is copied.

    Args:
        agent: Any agent.
        replay: Where transitions go.
        state: Where training stands.
        new: Transitions from one update to the next.
    """

    def __init__(
        self, agent: AbstractAgent, replay: Replay, state: TrainState, new: int
    ):
        self.agent, self.replay, self.new = agent, replay, new
        self.step = int(state.flow.step)
        self.learner, self.memory = jax.tree.map(
            lambda leaf: jnp.copy(leaf) if eqx.is_array(leaf) else leaf,
            (state.learner, state.flow.replay),
        )
        self.metrics: list[Metrics | None] = []

    def learn(self, row: tuple, key: PRNGKeyArray) -> tuple[PyTree, PRNGKeyArray]:
        """Remember one step of each copy, and learn if it is time to."""
        self.step += len(row[2])
        due = self.step % self.new == 0
        given = (self.agent, self.replay, row, key, self.new if due else None)
        (self.learner, key), self.memory, metrics = _remember_and_learn(
            given, self.learner, self.memory
        )
        self.metrics.append(metrics if due else None)
        return self.learner, key

    def told(self) -> Metrics:
        """Metrics of all steps, with nothing in those that did not learn."""
        found = next((each for each in self.metrics if each is not None), {})
        none = {name: np.full_like(value, np.nan) for name, value in found.items()}
        rows = [none if each is None else each for each in self.metrics]
        return {
            name: jnp.asarray(np.stack([row[name] for row in rows])) for name in found
        }


@eqx.filter_jit(donate="all-except-first")
def _remember_and_learn(
    given: tuple, learner: PyTree, memory: ReplayState
) -> tuple[tuple[PyTree, PRNGKeyArray], ReplayState, Metrics]:
    """Add one step to a memory; learn from so many new transitions, if from any."""
    agent, replay, row, key, new = given
    memory = replay.add(memory, Transition(*row))
    if new is None:
        return (learner, key), memory, {}
    key, update_key = jax.random.split(key)
    batch = agent.recall(memory, new)
    learner, metrics = agent.update(learner, batch, key=update_key)
    return (learner, key), memory, metrics
