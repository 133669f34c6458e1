"""A memory as a table, against lists of what each lane saw."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.data.replay import Replay
from forethought.data.sources.memory import of_memory, unlike
from forethought.data.sources.reading import of_table
from forethought.data.transitions import Transition

STEPS, LANES = 7, 2
ENDS = np.array([[0, 0, 1, 0, 0, 0, 0], [0, 2, 0, 0, 0, 1, 0]]).T


def seen(lane, episode, step):
    return 100 * lane + 10 * episode + step


def block():
    """What happened, `[step, lane]`, and the rows by lane as a notebook has them."""
    obs, after, notes = np.zeros((STEPS, LANES)), np.zeros((STEPS, LANES)), []
    for lane in range(LANES):
        episode = step = 0
        for t in range(STEPS):
            obs[t, lane] = seen(lane, episode, step)
            after[t, lane] = seen(lane, episode, step + 1)
            notes.append((t, (lane, episode), obs[t, lane], after[t, lane], step))
            episode, step = (episode + 1, 0) if ENDS[t, lane] else (episode, step + 1)
    return obs, after, notes


@pytest.fixture(scope="module")
def memory():
    """Fills a memory of some capacity."""

    def fill(capacity):
        obs, after, _ = block()
        both = [{"b": x, "a": np.stack([x, -x], 2)} for x in (obs, after)]
        parts = both[0], obs[..., None] / 2, obs / 4, both[1], ENDS == 1, ENDS == 2
        rows = Transition(*jax.tree.map(jnp.asarray, parts))
        replay = Replay(capacity, LANES)
        state = replay.init(jax.tree.map(lambda leaf: leaf[0, 0], rows))
        add = eqx.filter_jit(replay.add)
        for t in range(STEPS):
            state = add(state, jax.tree.map(lambda leaf, t=t: leaf[t], rows))
        return state

    return fill


@pytest.mark.parametrize("capacity", [STEPS, 4])
def test_every_row_comes_out_with_its_episode_and_what_was_seen_next(memory, capacity):
    table = of_memory("it", memory(capacity), ["x", "x", "z"], ["u"], dt=0.5)
    data = of_table(table)
    kept = [note for note in block()[2] if note[0] >= STEPS - capacity]
    now = np.array([note[2] for note in kept])
    assert np.array_equal(data.obs, np.stack([now, -now, now], 1))
    after = np.array([note[3] for note in kept])
    assert np.array_equal(data.next_obs, np.stack([after, -after, after], 1))
    assert np.array_equal(data.action[:, 0], now / 2)
    assert np.array_equal(data.reward, now / 4)
    labels = [note[1] for note in kept]
    numbers = [sorted(set(labels)).index(label) for label in labels]
    assert data.episode.tolist() == numbers
    ends = np.array([ENDS[t, label[0]] for t, label, *_ in kept])
    assert data.terminated.tolist() == (ends == 1).tolist()
    assert data.obs_names == ("x", "x 2", "z") and data.action_names == ("u",)
    time, _ = table.times("time")
    if capacity == STEPS:
        assert time.tolist() == [note[4] / 2 for note in kept]


def test_a_memory_of_nothing_is_refused(memory):
    no = jnp.asarray(False)
    one = Transition(jnp.ones(2), jnp.ones(1), jnp.ones(()), jnp.ones(2), no, no)
    with pytest.raises(ValueError, match="it remembers nothing yet"):
        of_memory("it", Replay(4).init(one), ["x", "y"], ["u"])


def test_names_that_come_again_are_told_apart():
    assert unlike(["a", "a", "b", "a", "a 2"]) == ["a", "a 2", "b", "a 3", "a 2 2"]
