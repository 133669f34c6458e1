"""Dyna: updates by hand, a plain script beside it, and tables that are solved."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought import tasks
from forethought.agents.tables.dyna import Dyna
from forethought.agents.tables.sweeping import Sweeping
from forethought.core.spaces import Discrete
from forethought.core.table import Outcome
from forethought.data.memory import Memory
from forethought.data.replay import Replay
from forethought.data.transitions import Transition
from forethought.environments.base import EnvironmentSpec
from forethought.environments.tables.grids import dyna_maze, from_gymnasium, grid
from forethought.environments.tables.tabular import TabularEnvironment
from forethought.models.tables.tabular import TabularCounts
from forethought.planners.tables.value_iteration import value_iteration
from forethought.training.loop import Training

SPEC = EnvironmentSpec(Discrete(3), Discrete(2), None)
ROOM = ("S.#", "..G")
"""Three ways to go wrong and one wall."""


def seen(obs, action, reward, after, terminated=False, truncated=False):
    """A batch of one transition."""
    return Transition(
        jnp.array([obs]),
        jnp.array([action]),
        jnp.array([float(reward)]),
        jnp.array([after]),
        jnp.array([terminated]),
        jnp.array([truncated]),
    )


def taught(agent, *rows):
    learner = agent.init(SPEC, key=jax.random.key(0))
    replay, (duty,) = Replay(1), agent.duties
    for i, row in enumerate(rows):
        one = jax.tree.map(lambda leaf: leaf[0], row)
        memory = Memory(replay, replay.add(replay.init(one), row))
        learner, _ = agent.update(learner, memory, duty=duty, key=jax.random.key(i))
    return learner


def lived(agent, table, steps, seed=0, prepare=lambda learner: learner):
    """What an agent has learned after so many steps in a table, and what it told."""
    training = Training(agent, TabularEnvironment(table), Replay(1))

    @jax.jit
    def run(key):
        state = training.begin(key=key)
        state = dataclasses.replace(state, learner=prepare(state.learner))
        state, trace = training.collect(state, steps)
        return state.learner, trace.learned

    return run(jax.random.key(seed))


def policy_value(table, values, gamma):
    """What acting by a table of values is worth from the start, solved exactly."""
    s = np.arange(table.states)
    dense = table.dense()
    best = np.argmax(np.asarray(values), axis=1)
    P, R = np.asarray(dense.P)[s, best], np.asarray(dense.R)[s, best]
    V = np.linalg.solve(np.eye(len(s)) - gamma * P, R)
    return float(np.asarray(table.start) @ V)


def test_direct_updates_are_those_that_one_makes_by_hand():
    agent = Dyna(planning_steps=0, step_size=0.5, gamma=0.9)
    learner = taught(agent, seen(1, 0, 4.0, 2, terminated=True))
    np.testing.assert_allclose(learner.values, [[0, 0], [2, 0], [0, 0]])
    learner = taught(
        agent,
        seen(1, 0, 4.0, 2, terminated=True),
        seen(0, 1, 1.0, 1),  # 0.5 (1 + 0.9 · 2) = 1.4
        seen(2, 0, 0.0, 0, truncated=True),  # 0.5 · 0.9 · 1.4: a cut is no end
        seen(0, 0, 8.0, 0, terminated=True),  # 0.5 · 8: after an end nothing counts
    )
    np.testing.assert_allclose(learner.values, [[4, 1.4], [2, 0], [0.63, 0]], rtol=1e-6)


def test_planning_repeats_what_was_met_until_values_are_consistent():
    agent = Dyna(planning_steps=200, step_size=0.5, gamma=0.9)
    rows = (seen(0, 0, 0.0, 1), seen(1, 0, 1.0, 2, terminated=True))
    learner = taught(agent, *rows)
    np.testing.assert_allclose(learner.values, [[0.9, 0], [1, 0], [0, 0]], rtol=1e-4)


def test_the_bonus_grows_with_the_root_of_the_time_that_a_pair_waited():
    curious = Dyna(planning_steps=300, step_size=1.0, gamma=0.0, bonus=0.1)
    learner = taught(curious, *[seen(0, 0, 0.0, 0)] * 9)
    # Action 1 was never tried, and is known because its state is.
    np.testing.assert_allclose(learner.values, [[0, 0.3], [0, 0], [0, 0]], rtol=1e-6)


def by_script(table, steps, gamma, alpha, epsilon, episodes, rng):
    """Dyna-Q in plain Python: how many steps some episodes take in all."""
    to, reward = np.asarray(table.next_state)[..., 0], np.asarray(table.reward)[..., 0]
    over, start = np.asarray(table.terminated)[..., 0], int(np.argmax(table.start))
    Q, model, taken = np.zeros(to.shape), {}, 0

    def move(s, a, r, after, ends):
        Q[s, a] += alpha * (r + gamma * (0 if ends else Q[after].max()) - Q[s, a])

    for _ in range(episodes):
        s, ends = start, False
        while not ends:
            best = rng.choice(np.flatnonzero(Q[s] == Q[s].max()))
            a = rng.integers(4) if rng.random() < epsilon else best
            after, ends = to[s, a], over[s, a]
            move(s, a, reward[s, a], after, ends)
            model[s, a] = reward[s, a], after, ends
            known = list(model)
            for i in rng.integers(len(known), size=steps):
                move(*known[i], *model[known[i]])
            s, taken = after, taken + 1
    return taken


def test_it_takes_as_long_as_a_plain_script_does():
    table, episodes = grid(ROOM).table, 4
    agent = Dyna(planning_steps=3, step_size=0.5)
    training = Training(agent, TabularEnvironment(table), Replay(1))

    def run(key):
        state = training.begin(key=key)
        return training.collect(state, 2000, episodes=episodes)[1].steps

    keys = jax.random.split(jax.random.key(0), 4000)
    ours = np.asarray(jax.jit(lambda keys: jax.lax.map(run, keys))(keys))
    rng = np.random.default_rng(0)
    script = [
        by_script(table, 3, agent.gamma, 0.5, 0.1, episodes, rng) for _ in range(400)
    ]
    error = np.sqrt(ours.var() / len(ours) + np.var(script) / len(script))
    assert abs(ours.mean() - np.mean(script)) < 4 * error
    assert np.all(ours >= episodes * 3)


@pytest.mark.parametrize(
    "agent",
    [
        Dyna(planning_steps=50, step_size=1.0, epsilon=0.3),
        Sweeping(planning_steps=50, epsilon=0.3, threshold=0.0),
    ],
    ids=["dyna", "sweeping"],
)
def test_without_chance_values_become_those_of_the_solved_table(agent):
    table = dyna_maze().table
    learner, told = lived(agent, table, 6000)
    solved = value_iteration(table, agent.gamma).Q
    tried = np.asarray(learner.model.visits) > 0
    assert np.mean(tried) > 0.8
    np.testing.assert_allclose(
        np.asarray(learner.values)[tried], np.asarray(solved)[tried], atol=1e-5
    )
    if isinstance(agent, Sweeping):
        # Dyna-Q makes 50 updates a step, whether or not they change anything.
        assert np.sum(told["backups"]) < 50 * 6000 / 10


class Favourite(TabularCounts):
    """A model that expects what was most frequent: how Dyna must not plan."""

    def draw(self, state, action, *, key):
        at = (state, action, jnp.argmax(self.count[state, action]))
        return Outcome(self.next_state[at], self.reward[at], self.terminated[at])


@pytest.mark.long
def test_on_ice_it_comes_near_the_optimum_and_the_most_frequent_outcome_does_not():
    table, gamma = from_gymnasium("FrozenLake-v1").table, 0.99
    best = policy_value(table, value_iteration(table, gamma).Q, gamma)
    agent = Dyna(
        planning_steps=20, step_size=0.05, gamma=gamma, epsilon=0.3, outcomes=4
    )
    steps = 12_000
    learner, _ = lived(agent, table, steps)
    assert policy_value(table, learner.values, gamma) > 0.93 * best
    sweeping = Sweeping(planning_steps=10, gamma=gamma, epsilon=0.3, outcomes=4)
    learner, _ = lived(sweeping, table, steps)
    assert policy_value(table, learner.values, gamma) > 0.93 * best

    def misled(learner):
        model = Favourite(table.states, table.actions, 4)
        return dataclasses.replace(learner, model=model)

    learner, _ = lived(agent, table, steps, prepare=misled)
    assert policy_value(table, learner.values, gamma) < 0.7 * best


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Dyna(planning_steps=-1), "planning_steps >= 0, got -1"),
        (lambda: Dyna(step_size=0.0), r"step_size in \(0, 1\], got 0"),
        (lambda: Dyna(gamma=1.1), r"gamma in \[0, 1\], got 1.1"),
        (lambda: Dyna(bonus=-1.0), "bonus >= 0, got -1"),
        (lambda: Sweeping(planning_steps=0), "planning_steps >= 1, got 0"),
        (lambda: Sweeping(epsilon=2.0), r"epsilon in \[0, 1\], got 2"),
        (lambda: Sweeping(threshold=-1.0), "threshold >= 0, got -1"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()


@pytest.mark.parametrize("agent", [Dyna(), Sweeping()], ids=["dyna", "sweeping"])
def test_what_cannot_be_counted_is_refused_by_name(agent):
    spec = tasks.load("double-integrator").environment.spec
    with pytest.raises(TypeError, match="observations are Box and actions Box"):
        agent.init(spec, key=jax.random.key(0))


def test_equals_are_chosen_among_by_lot_and_the_best_alone_always():
    agent = Dyna(epsilon=0.0)
    learner = agent.init(SPEC, key=jax.random.key(0))
    learner = eqx.tree_at(
        lambda learner: learner.values,
        learner,
        jnp.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]),
    )
    carry = agent.reset(learner, key=jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 400)
    act = jax.vmap(
        lambda obs, key: agent.act(learner, carry, obs, key=key)[0], (None, 0)
    )
    share = np.mean(act(jnp.asarray(0), keys))
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(400)
    assert np.all(act(jnp.asarray(1), keys) == 1)
