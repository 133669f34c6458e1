"""The cost that saturates: its expectation against samples, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.gaussian import Gaussian
from forethought.core.readout import Readout
from forethought.models.gp.turns import with_turns
from forethought.objectives.expected import Expected, expected
from forethought.objectives.saturating import Saturating, widened
from forethought.objectives.task import Regulate

MEAN = np.array([0.3, 2.4])
COV = np.array([[0.09, 0.02], [0.02, 0.16]])
LOW_RANK = [[1.0, 0.5], [0.5, 0.25]]


def state():
    """In the precision that a test runs in."""
    return Gaussian(jnp.asarray(MEAN), jnp.asarray(COV))


def cost(goal, x):
    """The cost as its definition says, of rows of whatever is weighed."""
    gaps = (x - np.asarray(goal.goal)) @ np.asarray(goal.factor)
    return 1 - np.exp(-0.5 * np.sum(gaps**2, axis=1))


@pytest.mark.parametrize("C", [LOW_RANK, [[1.0, 0.2], [0.2, 2.0]]])
def test_the_expectation_is_that_of_samples(C, x64):
    goal = Saturating([0.1, 2.0], C, width=0.4)
    x = state()
    rows = cost(goal, np.random.default_rng(0).multivariate_normal(MEAN, COV, 400_000))
    luck = rows.std() / np.sqrt(len(rows))
    assert abs(float(goal.cost(x)) - rows.mean()) < 4 * luck


def test_with_angles_it_is_that_of_a_gaussian_of_the_same_moments(x64):
    tip = np.array([[1.0, 0.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.5]])
    goal = Saturating([0.0, np.pi, 0.0, -1.0], tip.T @ tip, width=0.25, angles=(1,))
    assert goal.factor.shape == (4, 2)
    x = state()
    wide = with_turns(x, (1,))
    rng = np.random.default_rng(0)
    rows = cost(goal, rng.multivariate_normal(wide.mean, wide.cov, 400_000))
    luck = rows.std() / np.sqrt(len(rows))
    assert abs(float(goal.cost(x)) - rows.mean()) < 4 * luck
    # Of a state that is known it is the distance of the tip that counts.
    away = np.hypot(0.3 + 0.5 * np.sin(2.4), 0.5 + 0.5 * np.cos(2.4))
    expected_cost = 1 - np.exp(-0.5 * (away / 0.25) ** 2)
    np.testing.assert_allclose(goal.cost(jnp.asarray(MEAN)), expected_cost, rtol=1e-12)
    known = Gaussian(x.mean, jnp.zeros((2, 2)))
    np.testing.assert_allclose(goal.cost(known), expected_cost, rtol=1e-12)


def test_it_rewards_where_a_step_leads_and_nothing_beyond():
    goal = Saturating([0.0], [[1.0]], width=2.0)
    here, there = Readout(jnp.array([9.0])), Readout(jnp.array([2.0]))
    reward, discount = goal.judge(here, jnp.zeros(1), there)
    np.testing.assert_allclose(reward, np.exp(-0.5) - 1, rtol=1e-6)
    assert float(discount) == 1 and float(goal.beyond(there)) == 0


def test_it_takes_expectations_itself_and_another_objective_is_helped():
    goal = Saturating([0.0], [[1.0]])
    assert expected(goal) is goal
    other = Regulate([0.0], [2.0], [1.0], [4.0])
    assert isinstance(expected(other), Expected)


def test_wider_by_a_factor_is_the_same_as_of_that_width():
    goal = Saturating([0.0, 0.0], LOW_RANK, width=0.5)
    wide = Saturating([0.0, 0.0], LOW_RANK, width=1.5)
    x = state()
    found = widened(Expected(goal), 3.0)
    np.testing.assert_allclose(found.objective.cost(x), wide.cost(x), rtol=1e-5)


def test_weights_and_widths_that_are_none_are_refused():
    with pytest.raises(ValueError, match="lowest eigenvalue"):
        Saturating([0.0, 0.0], [[1.0, 0.0], [0.0, -1.0]])
    with pytest.raises(ValueError, match="weigh something"):
        Saturating([0.0], [[0.0]])
    with pytest.raises(ValueError, match="needs width > 0"):
        Saturating([0.0], [[1.0]], width=0.0)
    with pytest.raises(ValueError, match=r"shape \[seen, seen\]"):
        Saturating([0.0, 0.0], [[1.0]])
    with pytest.raises(ValueError, match="finite"):
        Saturating([0.0], [[np.nan]])
