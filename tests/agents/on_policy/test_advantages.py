"""Generalised advantages against a plain loop, and against what they estimate."""

import jax.numpy as jnp
import numpy as np

from forethought.agents.on_policy.advantages import advantages

GAMMA, LAM, LENGTH = 0.9, 0.7, 12


def lane(seed=0):
    """Steps of one lane with an end of each kind."""
    rng = np.random.default_rng(seed)
    reward, value, after = rng.normal(size=(3, LENGTH)).astype(np.float32)
    terminated, ended = np.zeros((2, LENGTH), bool)
    terminated[3] = ended[3] = ended[7] = True
    # Within an episode what was seen afterwards is what is seen next.
    after[:-1] = np.where(ended[:-1], after[:-1], value[1:])
    return reward, value, after, terminated, ended


def found(rows, gamma=GAMMA, lam=LAM):
    return np.asarray(advantages(*map(jnp.asarray, rows), gamma=gamma, lam=lam))


def by_definition(rows):
    """Every later error of the same episode, summed by its weight."""
    reward, value, after, terminated, ended = rows
    errors = reward + GAMMA * np.where(terminated, 0, after) - value
    sums = []
    for t in range(LENGTH):
        total, weight = 0.0, 1.0
        for k in range(t, LENGTH):
            total += weight * errors[k]
            weight *= GAMMA * LAM
            if ended[k]:
                break
        sums.append(total)
    return np.array(sums)


def returns(rows):
    """Discounted rewards to the end of each episode, and what may lie beyond it."""
    reward, _, after, terminated, ended = rows
    later, sums = float(after[-1]), np.zeros(LENGTH)
    for t in reversed(range(LENGTH)):
        if ended[t]:
            later = 0.0 if terminated[t] else float(after[t])
        later = sums[t] = reward[t] + GAMMA * later
    return sums


def test_they_are_sums_of_later_errors_within_the_episode():
    rows = lane()
    np.testing.assert_allclose(found(rows), by_definition(rows), rtol=1e-5, atol=1e-6)


def test_with_lambda_one_they_are_the_return_less_the_value():
    rows = lane(1)
    expected = returns(rows) - rows[1]
    np.testing.assert_allclose(found(rows, lam=1.0), expected, rtol=1e-5, atol=1e-5)


def test_with_lambda_zero_they_are_the_error_of_one_step():
    reward, value, after, terminated, _ = rows = lane(2)
    expected = reward + GAMMA * np.where(terminated, 0, after) - value
    np.testing.assert_allclose(found(rows, lam=0.0), expected, rtol=1e-5, atol=1e-6)


def test_an_episode_that_was_cut_off_counts_what_lies_beyond_it():
    reward, value, after, _, ended = rows = lane(3)
    kept = found(rows, lam=1.0)
    # The mistake that this test is for: a limit of time taken for an end.
    mistaken = found((reward, value, after, ended, ended), lam=1.0)
    expected = returns(rows) - value
    np.testing.assert_allclose(kept, expected, rtol=1e-5, atol=1e-5)
    beyond = GAMMA ** np.arange(4, 0, -1) * after[7]
    np.testing.assert_allclose((kept - mistaken)[4:8], beyond, rtol=1e-4, atol=1e-5)
    assert np.abs(mistaken - expected).max() > 0.1


def test_errors_of_one_episode_do_not_reach_into_the_one_before():
    rows = lane(4)
    other = tuple(np.array(each) for each in rows)
    other[0][8:] += 5.0
    np.testing.assert_array_equal(found(rows)[:8], found(other)[:8])
    assert (found(rows)[8:] != found(other)[8:]).all()
