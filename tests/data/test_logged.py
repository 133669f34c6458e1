"""Logged transitions against lists of what was put in."""

import numpy as np
import pytest

from forethought.data.logged import Logged, last_rows


def logged(lengths):
    """Episodes of some lengths, whose rows are counted through."""
    episode = np.repeat(np.arange(len(lengths)), lengths)
    count = np.arange(len(episode), dtype=float)
    return Logged(
        obs=np.stack([count, -count], 1),
        action=10 + count[:, None],
        next_obs=np.stack([count + 1, -count - 1], 1),
        reward=count / 2,
        terminated=np.zeros(len(episode), bool),
        truncated=last_rows(episode),
        episode=episode,
        obs_names=("x", "y"),
        action_names=("u",),
    )


def test_some_episodes_are_numbered_anew_and_stay_in_order():
    some = logged([3, 1, 2]).of([2, 0])
    assert some.episode.tolist() == [0, 0, 0, 1, 1]
    assert some.obs[:, 0].tolist() == [0, 1, 2, 4, 5]
    assert some.reward.tolist() == [0, 0.5, 1, 2, 2.5]
    assert some.truncated.tolist() == [False, False, True, False, True]
    assert some.episodes == 2 and some.obs_names == ("x", "y")


def test_an_episode_that_is_cut_short_is_truncated_there():
    some = logged([3, 2]).take(np.array([True, True, False, False, True]))
    assert some.truncated.tolist() == [False, True, True]
    assert some.episode.tolist() == [0, 0, 1]


def test_a_hold_out_takes_whole_episodes_and_all_of_them_once():
    data = logged([3, 1, 2, 5, 4])
    learned, held = data.split(0.4, seed=3)
    assert (learned.episodes, held.episodes) == (3, 2)
    seen = np.concatenate([learned.obs[:, 0], held.obs[:, 0]])
    assert sorted(seen.tolist()) == list(range(15))
    for part in (learned, held):
        for number in range(part.episodes):
            rows = part.obs[part.episode == number, 0].astype(int)
            assert len(rows) == np.sum(data.episode == data.episode[rows[0]])
    again = data.split(0.4, seed=3)[1]
    assert np.array_equal(again.obs, held.obs)


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_a_hold_out_leaves_one_episode_on_either_side(share):
    parts = logged([2, 2]).split(share, seed=0)
    assert [part.episodes for part in parts] == [1, 1]


def test_one_episode_cannot_be_held_out_from_itself():
    with pytest.raises(ValueError, match="at least two of them, got 1"):
        logged([4]).split(0.5, seed=0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        logged([4, 4]).split(1.0, seed=0)
    with pytest.raises(ValueError, match="episodes from 0 to 0, got"):
        logged([4]).of([1])


def test_no_stretch_crosses_the_end_of_an_episode():
    data = logged([3, 1, 2])
    assert data.starts(1).tolist() == [0, 1, 2, 3, 4, 5]
    assert data.starts(2).tolist() == [0, 1, 4]
    assert data.starts(3).tolist() == [0]
    assert data.starts(4).tolist() == data.starts(9).tolist() == []
    with pytest.raises(ValueError, match="at least 1"):
        data.starts(0)
