"""Categorical CEM against exhaustive enumeration and by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import AbstractSeen

from forethought.core.results import Result
from forethought.core.spaces import Box, Discrete
from forethought.objectives.base import AbstractObjective, constant
from forethought.planners import CategoricalCEM
from forethought.problem import Problem, rollout

KEY = jax.random.key(0)


class Machine(AbstractSeen):
    """Counts, and remembers the last action."""

    def init(self, *, key):
        return jnp.zeros(2)

    def predict(self, belief, action, *, key):
        action = action.astype(belief.dtype)
        return jnp.stack([belief[0] + action - 1, action])


class Table(AbstractObjective):
    """A reward for each pair of actions in a row, and a price on the count."""

    wall: float = float("inf")

    def reward(self, x, action, next_x):
        table = jnp.array([[0.1, -0.4, 0.9], [0.6, -0.2, 0.0], [-0.5, 0.8, 0.2]])
        reward = table.astype(x.dtype)[x[1].astype(int), action] - 0.1 * next_x[0] ** 2
        return jnp.where(next_x[0] > self.wall, jnp.nan, reward)

    def discount(self, x, action, next_x):
        return constant(x, 0.95)

    def value(self, x):
        return x[0]


PROBLEM = Problem(Machine(), Table(), Discrete(3))


@eqx.filter_jit
def plan(planner, problem, actions=None, key=KEY):
    origin = jnp.zeros(2)
    state = planner.init(problem, origin, actions, key=key)
    return planner.plan(problem, origin, state, key=key)


def returns(sequences):
    return jax.vmap(lambda each: rollout(PROBLEM, jnp.zeros(2), each, key=KEY).value)(
        sequences
    )


@pytest.mark.parametrize("hold", [1, 2])
def test_it_finds_what_enumeration_finds(hold):
    every = jnp.stack(jnp.meshgrid(*[jnp.arange(3)] * 8), axis=-1).reshape(-1, 8)
    if hold == 2:
        every = every[(every[:, ::2] == every[:, 1::2]).all(axis=1)]
    best = every[jnp.argmax(returns(every))]
    planner = CategoricalCEM(8, 150, 20, 10, momentum=0.5, hold=hold)
    keys = jax.random.split(KEY, 10)
    search = jax.jit(jax.vmap(lambda key: plan(planner, PROBLEM, key=key)[0]))
    found = search(keys)
    hits = (found.actions == best[None]).all(axis=1)
    # 6,561 sequences, 1,500 draws: blind search would find it in a fifth of the plans,
    # and in six of ten with a probability below 1 %.
    assert np.sum(hits) >= 6
    np.testing.assert_allclose(found.value, returns(found.actions), rtol=1e-5)


def test_probabilities_are_the_elites_shares_smoothed(precision):
    planner = CategoricalCEM(4, 30, 10, 1, momentum=0.2)
    found, state = plan(planner, PROBLEM)
    elites = np.asarray(found.stats.candidates)[0]
    shares = (elites[:, :, None] == np.arange(3)).mean(axis=0)
    np.testing.assert_allclose(state.probabilities, 0.2 / 3 + 0.8 * shares, rtol=1e-5)
    np.testing.assert_allclose(np.sum(state.probabilities, axis=1), 1, rtol=1e-5)


def test_what_is_given_to_begin_with_competes():
    best = jnp.array([2, 1, 0, 2, 1, 0])
    planner = CategoricalCEM(6, 2, 2, 1, keep_fraction=0.5)
    found, _ = plan(planner, PROBLEM, best)
    assert found.value >= returns(best[None])[0] - 1e-6


def test_a_shifted_distribution_is_that_of_one_step_later():
    planner = CategoricalCEM(4, 20, 5)
    _, state = plan(planner, PROBLEM)
    shifted = planner.shift(PROBLEM, state)
    expected = jnp.concatenate([state.probabilities[1:], state.probabilities[-1:]])
    np.testing.assert_array_equal(shifted.probabilities, expected)
    np.testing.assert_array_equal(shifted.kept[:, :-1], state.kept[:, 1:])


def test_sequences_that_return_nan_are_counted_and_never_chosen():
    found, _ = plan(CategoricalCEM(5), Problem(Machine(), Table(0.5), Discrete(3)))
    assert np.sum(found.stats.non_finite) > 0
    assert bool(found.result == Result.successful)


def test_continuous_actions_are_refused_by_name():
    problem = Problem(Machine(), Table(), Box([-1.0], [1.0]))
    with pytest.raises(TypeError, match="CategoricalCEM plans over discrete actions"):
        CategoricalCEM(3).init(problem, jnp.zeros(2), key=KEY)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"elites": 200}, "elites <= population, which is 128, got 200"),
        ({"keep_fraction": 2.0}, r"\[0, 1\], got 2\.0"),
        ({"hold": 0}, "hold >= 1, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        CategoricalCEM(5, **settings)
