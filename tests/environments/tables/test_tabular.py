"""Tables and grids to act in, beside Gymnasium's own."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.spaces import Discrete
from forethought.core.table import Table
from forethought.environments.tables import grids
from forethought.environments.tables.tabular import (
    Map,
    TabularEnvironment,
    TabularSystem,
)

KEY = jax.random.key(0)


def chain(reward=1.0):
    """Three states in a row; one action, which ends at the last."""
    next_state = np.array([[[1]], [[2]], [[2]]])
    ends = next_state == 2
    return Table(next_state, np.ones((3, 1, 1)), np.full((3, 1, 1), reward), ends)


def walk(environment, steps):
    """Act once a step, restarting where an episode ends."""

    def step(state, key):
        state, told = environment.step(state, jnp.asarray(0), key=key)
        again, _ = environment.restart(state, key=key)
        ended = told.terminated | told.truncated
        onward = jax.tree.map(lambda a, b: jnp.where(ended, a, b), again, state)
        return onward, (told, onward)

    first, told = environment.reset(key=KEY)
    assert float(told.reward) == 0 and not told.terminated and not told.truncated
    return jax.jit(lambda: jax.lax.scan(step, first, jax.random.split(KEY, steps)))()


def test_an_environment_tells_states_rewards_and_ends():
    environment = TabularEnvironment(chain(2.0), 5)
    assert environment.spec.observation == Discrete(3)
    assert environment.spec.action == Discrete(1)
    assert environment.spec.episode_length == 5
    _, (told, _) = walk(environment, 4)
    assert told.obs.tolist() == [1, 2, 1, 2]
    assert told.terminated.tolist() == [False, True, False, True]
    assert not told.truncated.any()
    assert told.reward.tolist() == [2.0] * 4


def test_an_episode_is_truncated_at_its_length_unless_it_ended():
    _, (told, _) = walk(TabularEnvironment(chain(), 1), 3)
    assert told.truncated.tolist() == [True, True, True]
    _, (told, _) = walk(TabularEnvironment(chain(), 2), 4)
    assert told.truncated.tolist() == [False] * 4
    assert told.terminated.tolist() == [False, True, False, True]


def test_a_table_changes_at_its_time_over_all_episodes():
    """The clock goes on where episodes end; `reset` sets it back."""
    later = [(3, chain(10.0)), (5, chain(100.0))]
    environment = TabularEnvironment(chain(1.0), later=later)
    last, (told, onward) = walk(environment, 7)
    assert told.reward.tolist() == [1, 1, 1, 10, 10, 100, 100]
    assert onward.time.tolist() == [1, 0, 1, 0, 1, 0, 1]
    assert last.clock == 7
    assert environment.reset(key=KEY)[0].clock == 0


def test_many_environments_run_at_once():
    environment = TabularEnvironment(grids.stochastic_grid().table, 10)

    @jax.jit
    @jax.vmap
    def two(key):
        state, _ = environment.reset(key=key)
        state, _ = environment.step(state, jnp.asarray(1), key=key)
        return environment.step(state, jnp.asarray(2), key=key)[1].obs

    assert len(np.unique(two(jax.random.split(KEY, 200)))) >= 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"episode_length": 0}, "episode_length >= 1, got 0"),
        ({"later": [(5, chain()), (5, chain())]}, r"later times, got \[5, 5\]"),
        ({"later": [(0, chain())]}, r"later times, got \[0\]"),
        ({"later": [(1, grids.dyna_maze().table)]}, "of one shape"),
    ],
)
def test_environments_refuse_what_cannot_be(arguments, words):
    with pytest.raises(ValueError, match=words):
        TabularEnvironment(chain(), **arguments)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("FrozenLake-v1", {"map_name": "4x4"}),
        ("FrozenLake-v1", {"map_name": "8x8", "is_slippery": False}),
        ("CliffWalking-v1", {}),
        ("Taxi-v4", {}),
    ],
)
def test_gymnasiums_tables_are_read_as_they_are(name, settings):
    system = grids.from_gymnasium(name, **settings)
    env = gymnasium.make(name, **settings).unwrapped
    dense = jax.tree.map(np.asarray, system.table.dense())
    for s, actions in env.P.items():
        for a, outcomes in actions.items():
            row = np.zeros(system.table.states)
            for p, after, _, ended in outcomes:
                row[after] += 0.0 if ended else p
            np.testing.assert_allclose(dense.P[s, a], row, atol=1e-6)
            mean = sum(p * reward for p, _, reward, _ in outcomes)
            np.testing.assert_allclose(dense.R[s, a], mean, atol=1e-5)
    np.testing.assert_allclose(system.table.start, env.initial_state_distrib)
    env.close()


def test_an_environment_without_a_table_is_refused():
    with pytest.raises(ValueError, match="with a table P"):
        grids.from_gymnasium("Pendulum-v1")
    with pytest.raises(ValueError, match="did you mean 'FrozenLake-v1'"):
        grids.from_gymnasium("FrozenLake-v2")


class Bare(gymnasium.Env):
    """Two states and a table; where episodes begin is only to be seen."""

    observation_space = gymnasium.spaces.Discrete(2)
    action_space = gymnasium.spaces.Discrete(1)

    def __init__(self, P=None, odd=False):
        walk = [(0.5, 0, 0.0, False), (0.5, 1, 1.0, True)]
        self.P = [[walk], {0: [(1.0, 1, 0.0, True)]}] if P is None else P
        if odd:
            self.observation_space = gymnasium.spaces.Box(0, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if isinstance(self.observation_space, gymnasium.spaces.Box):
            return np.zeros(1), {}
        return int(self.np_random.random() < 0.3), {}


@pytest.fixture
def bare():
    gymnasium.register("Bare-v0", Bare, disable_env_checker=True)
    yield "Bare-v0"
    del gymnasium.registry["Bare-v0"]


def test_where_nobody_says_where_episodes_begin_a_thousand_are_looked_at(bare):
    table = grids.from_gymnasium(bare).table
    # Five sigma of a share of 1,000.
    assert float(table.start[1]) == pytest.approx(0.3, abs=5 * (0.21 / 1000) ** 0.5)
    assert table.reward.tolist() == [[[0, 1]], [[0, 0]]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"P": {1: {0: []}}}, "table P of Bare-v0 is broken: .* KeyError: 0"),
        ({"P": [[[(1.0, 0, 0.0)]]]}, "table P of Bare-v0 is broken"),
        ({"P": []}, "table P of Bare-v0 is broken"),
        ({"odd": True}, "Bare-v0 tells neither initial_state_distrib nor"),
    ],
)
def test_a_table_that_is_broken_is_refused(bare, settings, words):
    with pytest.raises(ValueError, match=words):
        grids.from_gymnasium(bare, **settings)


def test_arrows_point_where_actions_go():
    """Where chance is none and nothing is in the way, on every map there is."""
    worlds = [
        grids.dyna_maze(),
        grids.from_gymnasium("FrozenLake-v1", is_slippery=False),
        grids.from_gymnasium("CliffWalking-v1"),
        grids.from_gymnasium("Taxi-v4"),
    ]
    for system in worlds:
        place = system.map.place
        to = place[np.asarray(system.table.next_state[:, :, 0])]
        moved = to - place[:, None]
        one = np.abs(moved).sum(-1) == 1
        one &= (system.map.letters[tuple(place.astype(int).T)] != "H")[:, None]
        aims = np.broadcast_to(system.map.arrows, moved.shape)
        np.testing.assert_array_equal(moved[one], aims[one])
        assert one[:, :4].mean() > 0.25


def test_the_dyna_maze_is_that_of_the_book():
    """Start and goal 14 steps apart, seven walls, and one reward."""
    table = grids.dyna_maze().table
    letters = np.array([list(row) for row in grids.DYNA_MAZE]).ravel()
    assert (letters == "#").sum() == 7 and np.flatnonzero(letters == "S") == [18]
    to = np.asarray(table.next_state[:, :, 0])
    reached, steps = {18}, 0
    while 8 not in reached:
        reached |= {int(s) for before in reached for s in to[before]}
        steps += 1
    assert steps == 14
    assert not {int(s) for s in np.flatnonzero(letters == "#")} & reached
    assert float(table.reward.sum()) == float(table.reward[17, 0, 0]) == 1.0


@pytest.mark.parametrize(
    ("pair", "steps"),
    [(grids.blocking_maze, (10, 16)), (grids.shortcut_maze, (16, 10))],
)
def test_the_changing_mazes_are_those_of_the_book(pair, steps):
    found = []
    for system in pair():
        to, reached, count = np.asarray(system.table.next_state[:, :, 0]), {48}, 0
        while 8 not in reached:
            reached |= {int(s) for before in reached for s in to[before]}
            count += 1
        found.append(count)
    assert tuple(found) == steps


def test_moves_go_astray_to_both_sides():
    system = grids.grid(["...", "S.G", "..."], slip=0.3)
    assert system.table.next_state[4, 0].tolist() == [1, 3, 5]
    np.testing.assert_allclose(system.table.probability[4, 0], [0.7, 0.15, 0.15])
    assert system.table.terminated[4, 0].tolist() == [False, False, True]
    assert system.table.reward[4, 0].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("rows", "slip", "words"),
    [
        (["S.", "..."], 0.0, r"one length, got lengths \[2, 3\]"),
        ([], 0.0, "one length"),
        (["SxG"], 0.0, "got x"),
        (["..G"], 0.0, "needs a start"),
        (["S.G"], 1.5, r"slip in \[0, 1\], got 1.5"),
    ],
)
def test_a_map_that_cannot_be_read_is_refused(rows, slip, words):
    with pytest.raises(ValueError, match=words):
        grids.grid(rows, slip=slip)


def test_a_system_says_how_a_state_was_come_by():
    system = TabularSystem(chain(3.0))
    state = system.start(key=KEY)
    assert (state.x, state.reward, state.discount) == (0, 0, 1)
    state = system.step(state, jnp.asarray(0), key=KEY)
    assert (system.observe(state), state.reward, state.discount) == (1, 3, 1)
    state = system.step(state, jnp.asarray(0), key=KEY)
    assert (state.x, state.discount) == (2, 0)


def test_a_system_refuses_a_map_of_other_states():
    somewhere = Map((".",), np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="needs 3 places, 1 arrows"):
        TabularSystem(chain(), somewhere)


@pytest.mark.parametrize("state", [-1, 3])
def test_a_system_refuses_a_state_that_there_is_not(state):
    with pytest.raises(ValueError, match=rf"in \[0, 3\), got {state}"):
        TabularSystem(chain()).at(state)


def test_a_sketch_shows_where_one_stands():
    system = grids.dyna_maze()
    sketch = system.sketch(system.at(12))
    np.testing.assert_allclose(sketch.start[-1], [3.0, -1.0])
    assert sketch.kind[-1] == 0 and (sketch.kind == 2).sum() == 1
    # Walls are as long as on the map: three, three and one.
    lengths = np.abs(sketch.end - sketch.start).sum(-1)[sketch.radius > 0.44]
    assert sorted(lengths.tolist()) == [0.0, 2.0, 2.0]
