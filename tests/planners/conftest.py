"""Small worlds whose trees can be written out, for tests of tree search."""

import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.readout import AbstractJudge
from forethought.core.spaces import Discrete
from forethought.core.table import Table
from forethought.models.tables.tabular import Tabular
from forethought.problem import Problem


class Discounted(AbstractJudge):
    """What a table predicts, discounted, and a value for each state."""

    gamma: float
    values: jax.Array

    def judge(self, before, action, after):
        return after.reward, after.discount * self.gamma

    def beyond(self, seen):
        return self.values[seen.x]


def random_table(seed, states=6, actions=3, outcomes=1, ends=0.0):
    """Rewards in [0, 1], any next state, all outcomes different."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(states)[:outcomes] for _ in range(states * actions)]
    shape = (states, actions, outcomes)
    weights = rng.uniform(0.2, 1, shape)
    return Table(
        np.reshape(rows, shape),
        weights / weights.sum(-1, keepdims=True),
        rng.uniform(size=shape),
        rng.uniform(size=shape) < ends,
    )


def problem_of(table, gamma=0.9, values=None, legal=None):
    """A table as a problem; nothing is known of what lies beyond, unless given."""
    dtype = table.reward.dtype
    values = np.zeros(table.states) if values is None else values
    objective = Discounted(gamma, jnp.asarray(values, dtype))
    return Problem(Tabular(table), objective, Discrete(table.actions), legal=legal)


def at(problem, state):
    """Standing in a state."""
    key = jax.random.key(0)
    belief = problem.model.init(key=key)
    return problem.model.observe(belief, jnp.asarray(state, jnp.int32), key=key)


def expectimax(table, state, steps, gamma=0.9):
    """Values of all actions with so many steps to go, by writing out the whole tree."""
    if steps == 0:
        return np.zeros(table.actions)
    next_state, probability, reward, terminated = (
        np.asarray(getattr(table, name))[state]
        for name in ("next_state", "probability", "reward", "terminated")
    )
    found = np.zeros(table.actions)
    for a, k in itertools.product(*map(range, next_state.shape)):
        later = 0.0
        if not terminated[a, k] and probability[a, k] > 0:
            later = expectimax(table, next_state[a, k], steps - 1, gamma).max()
        found[a] += probability[a, k] * (reward[a, k] + gamma * later)
    return found


@pytest.fixture(scope="session")
def worlds():
    """All of the above."""
    return types.SimpleNamespace(
        at=at,
        expectimax=expectimax,
        problem_of=problem_of,
        random_table=random_table,
    )
