"""Learning within the loop: act, learn, act, learn, in pure worlds and in Gymnasium."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.agents.base import AbstractAgent, Duty
from forethought.agents.schedule import Schedule
from forethought.data.replay import Replay
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.environments.tables.grids import grid
from forethought.environments.tables.tabular import TabularEnvironment
from forethought.training.host_loop import HostTraining
from forethought.training.loop import Training


class Bookkeeper(AbstractAgent):
    """Learns how often it learned and which states it was told of; acts by the first.

    Its action is the number of updates so far, modulo four: what it did tells what it
    knew when it did it.
    """

    def init(self, spec, *, key):
        return jnp.zeros((), jnp.int32), jnp.zeros(spec.observation.n, jnp.int32)

    def reset(self, learner, *, key):
        return None

    def act(self, learner, carry, obs, *, key, mode="explore"):
        return (learner[0] % 4).astype(jnp.result_type(int)), None, None

    def examined(self, learner):
        return None

    def watch(self, carry):
        return {}

    @property
    def duties(self):
        return (Duty("books", Schedule(1, "steps"), inside=True),)

    def update(self, learner, memory, *, duty, key):
        updates, told = learner
        told = told.at[memory.newest().obs].add(1)
        return (updates + 1, told), {"told": jnp.sum(told).astype(float)}


def books(count, every):
    """To write up what came every so many steps of each environment."""
    inside = every is not None
    return (Duty("books", Schedule(count * (every or 1), "steps"), inside=inside),)


def pure(count, every):
    world = TabularEnvironment(grid(["S...", "...G"]).table, episode_length=7)
    return Training(Bookkeeper(), world, Replay(32, count), books(count, every))


def host(count, every):
    world = GymnasiumEnvironment("CliffWalking-v1", count)
    return HostTraining(Bookkeeper(), world, Replay(32, count), books(count, every))


@pytest.fixture(scope="module", params=[pure, host])
def kind(request):
    return request.param


@pytest.mark.parametrize(("count", "every"), [(1, 1), (2, 3)])
def test_each_action_knows_all_that_was_due_before_it(kind, count, every):
    training, steps = kind(count, every), 12
    state, trace = training.collect(training.begin(key=jax.random.key(0)), steps)
    updates, told = state.learner
    assert int(updates) == steps // every
    rows, _ = training.replay.ordered(state.flow.replay)
    rows = jax.tree.map(np.asarray, rows)
    known = np.repeat(np.arange(steps) // every % 4, count)
    np.testing.assert_array_equal(rows.action[: steps * count], known)
    # It was told of every state in which it acted, once.
    counts = np.bincount(rows.obs[: steps * count], minlength=len(told))
    np.testing.assert_array_equal(told, counts)
    # Metrics are means over updates, of which there is no row for each step.
    told_of = count * every * np.arange(1, steps // every + 1)
    np.testing.assert_allclose(trace.learned["told"], np.mean(told_of), rtol=1e-6)


def test_pieces_equal_the_whole_also_between_two_updates(kind):
    training = kind(1, 3)
    start = training.begin(key=jax.random.key(4))
    whole, _ = training.collect(start, 10)
    # What was there before can still be gone on from: nothing was overwritten.
    start, _ = training.resume(start)
    part, _ = training.collect(start, 4)
    pieces, _ = training.collect(part, 6)
    for one, other in zip(numbers(whole), numbers(pieces), strict=True):
        np.testing.assert_array_equal(one, other)


def numbers(state):
    """The arrays of a state, keys as plain numbers."""
    return [
        jax.random.key_data(leaf)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else leaf
        for leaf in jax.tree.leaves(eqx.filter(state, eqx.is_array))
    ]


def test_random_steps_are_learned_from_too(kind):
    training = kind(1, 1)
    start = training.begin(key=jax.random.key(1))
    state, trace = training.collect(start, 5, random=True)
    assert int(state.learner[0]) == 5 and trace.watched == {}


def test_who_does_not_learn_on_the_way_learns_when_told(kind):
    training = kind(1, None)
    state, trace = training.collect(training.begin(key=jax.random.key(1)), 5)
    assert int(state.learner[0]) == 0 and trace.learned == {}
    state, _ = training.perform(state, training.duties[0])
    assert int(state.learner[0]) == 1


def test_updates_that_come_too_late_are_refused(kind):
    with pytest.raises(ValueError, match=r"at least 40 steps, .* of 32"):
        kind(2, 40)


def test_what_outlasts_episodes_goes_on_when_the_next_one_begins():
    training = pure(2, 1)
    state, trace = training.collect(training.begin(key=jax.random.key(0)), 20)
    assert np.sum(trace.ended) >= 4
    walk = state.flow.environments
    np.testing.assert_array_equal(walk.clock, [20, 20])
    assert np.all(np.asarray(walk.time) < 7)
