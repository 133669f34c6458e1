"""Learning while acting in Gymnasium: duties inside, done after each step."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Duty, Metrics
from forethought.data.replay import Replay
from forethought.data.rings import ReplayState
from forethought.data.transitions import Transition
from forethought.training.duties import Mark, perform, times_due
from forethought.training.loop import TrainState, memory_of


class Online:
    """An agent that learns while it acts, and its memory on the way.

    Both are overwritten at each step; what they begin from is copied.

    Args:
        agent: Any agent.
        replay: Where transitions go.
        state: Where training stands.
        duties: Those that are done inside.
    """

    def __init__(
        self,
        agent: AbstractAgent,
        replay: Replay,
        state: TrainState,
        duties: tuple[Duty, ...],
    ):
        self.agent, self.replay, self.duties = agent, replay, duties
        self.mark: Mark = int(state.flow.step), int(state.flow.episodes)
        self.learner, self.memory = jax.tree.map(
            lambda leaf: jnp.copy(leaf) if eqx.is_array(leaf) else leaf,
            (state.learner, state.flow.replay),
        )
        self.sums: dict[str, list[float]] = {}

    def learn(
        self, row: tuple, ended: int, key: PRNGKeyArray
    ) -> tuple[PyTree, PRNGKeyArray]:
        """Remember one step of each copy, and do what it made due.

        Args:
            row: The parts of a `Transition`, leaves `[env, ...]`.
            ended: How many episodes ended with it.
            key: Consumed.
        """
        before, self.mark = (
            self.mark,
            (self.mark[0] + self.replay.lanes, self.mark[1] + ended),
        )
        due = [(duty, int(times_due(duty, before, self.mark))) for duty in self.duties]
        rounds = tuple((duty, number) for duty, number in due if number)
        given = (self.agent, self.replay, row, key, rounds)
        (self.learner, key), self.memory, told = _remember_and_learn(
            given, self.learner, self.memory
        )
        for metrics in told:
            for name, value in metrics.items():
                self.sums.setdefault(name, []).extend(np.asarray(value).tolist())
        return self.learner, key

    def told(self) -> Metrics:
        """Means of metrics over all updates; of none, no names."""
        return {
            name: jnp.asarray(np.nanmean(values) if values else np.nan)
            for name, values in self.sums.items()
        }


@eqx.filter_jit(donate="all-except-first")
def _remember_and_learn(
    given: tuple, learner: PyTree, memory: ReplayState
) -> tuple[tuple[PyTree, PRNGKeyArray], ReplayState, list[Metrics]]:
    """Add one step to a memory, and do duties one after another."""
    agent, replay, row, key, rounds = given
    memory, told = replay.add(memory, Transition(*row)), []
    for duty, number in rounds:
        seen = memory_of(replay, memory, duty)
        learner, fixed = eqx.partition(learner, eqx.is_array)

        def once(moving, _, duty=duty, seen=seen, fixed=fixed):
            learner, key = moving
            learner, metrics, key = perform(
                agent, eqx.combine(learner, fixed), seen, duty, key
            )
            return (eqx.partition(learner, eqx.is_array)[0], key), metrics

        (learner, key), metrics = jax.lax.scan(once, (learner, key), length=number)
        learner = eqx.combine(learner, fixed)
        told.append(metrics)
    return (learner, key), memory, told
