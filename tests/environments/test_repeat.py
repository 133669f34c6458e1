import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.environments.analytic import DoubleIntegrator
from forethought.environments.repeat import Repeat, Repeated
from forethought.environments.simulated import Simulated
from forethought.objectives.base import AbstractObjective, constant
from forethought.objectives.learned import Learned

KEY = jax.random.key(0)


class Line(AbstractObjective):
    """The position is earned, and crossing one ends the episode."""

    def reward(self, x, action, next_x):
        return next_x[0] + action[0]

    def discount(self, x, action, next_x):
        return jnp.where(next_x[0] > 1, 0.0, 1.0)

    def value(self, x):
        return constant(x, 0)


def by_hand(environment, state, action, times):
    """Step one after another, until the episode ends."""
    total = 0.0
    for _ in range(times):
        state, after = environment.step(state, action, key=KEY)
        total += float(after.reward)
        if after.terminated or after.truncated:
            break
    return state, after, total


@pytest.mark.parametrize(
    ("length", "start", "ends"),
    [(40, 0.0, ""), (40, 0.995, "terminated"), (3, 0.0, "truncated")],
)
def test_a_decision_is_so_many_steps_by_hand_and_none_after_the_end(
    length, start, ends, precision
):
    inner = Simulated(DoubleIntegrator(), Line(), length)
    state, _ = inner.reset(key=KEY)
    state = eqx.tree_at(lambda s: s.system, state, jnp.array([start, 0.5]))
    action = jnp.array([0.3])
    after, seen = eqx.filter_jit(Repeat(inner, 5).step)(state, action, key=KEY)
    hand_state, hand, total = by_hand(inner, state, action, 5)
    np.testing.assert_allclose(after.system, hand_state.system, rtol=1e-6)
    assert after.time == hand_state.time
    assert (after.time < 5) == bool(ends)
    np.testing.assert_allclose(seen.obs, hand.obs, rtol=1e-6)
    np.testing.assert_allclose(seen.reward, total, rtol=1e-6)
    assert seen.terminated == (ends == "terminated")
    assert seen.truncated == (ends == "truncated")
    assert seen.reward.dtype == state.system.dtype


@pytest.mark.parametrize(
    ("length", "times", "decisions"), [(40, 8, 5), (41, 8, 6), (3, 1, 3)]
)
def test_an_episode_has_as_many_steps_as_decisions(length, times, decisions):
    repeated = Repeat(Simulated(DoubleIntegrator(), Line(), length), times)
    assert repeated.spec.episode_length == decisions
    assert repeated.spec.action.shape == (1,)
    state, first = repeated.reset(key=KEY)
    assert first.reward == 0

    def step(state, _):
        state, after = repeated.step(state, jnp.array([-1.0]), key=KEY)
        return state, after.truncated

    _, truncated = jax.lax.scan(step, state, None, length=decisions)
    assert truncated.tolist() == [False] * (decisions - 1) + [True]


def test_repeated_environments_are_vmapped():
    repeated = Repeat(Simulated(DoubleIntegrator(), Line(), 40), 4)
    keys = jax.random.split(KEY, 3)
    states, _ = jax.vmap(lambda key: repeated.reset(key=key))(keys)
    actions = jnp.array([[0.0], [1.0], [90.0]])
    _, after = jax.vmap(lambda s, a: repeated.step(s, a, key=KEY))(states, actions)
    one = [
        repeated.step(jax.tree.map(lambda x, i=i: x[i], states), a, key=KEY)[1]
        for i, a in enumerate(actions)
    ]
    np.testing.assert_allclose(after.reward, [each.reward for each in one], rtol=1e-6)
    assert after.terminated.tolist() == [bool(each.terminated) for each in one]


def test_no_repeat_at_all_is_refused():
    with pytest.raises(ValueError, match="times >= 1, got 0"):
        Repeat(Simulated(DoubleIntegrator(), Line(), 40), 0)


def test_a_system_whose_actions_repeat_earns_what_the_environment_does():
    inner, objective = DoubleIntegrator(), Line()
    plain = Simulated(inner, objective, 12)
    around = Repeat(plain, 4)
    within = Simulated(Repeated(inner, objective, 4), Learned(), 3)
    state, _ = around.reset(key=KEY)
    other, first = within.reset(key=KEY)
    assert jnp.array_equal(first.obs, inner.observe(state.system))
    for push in (0.5, 2.0, 9.0):
        state, one = around.step(state, jnp.array([push]), key=KEY)
        other, two = within.step(other, jnp.array([push]), key=KEY)
        np.testing.assert_allclose(two.reward, one.reward, rtol=1e-6)
        np.testing.assert_allclose(two.obs, one.obs, rtol=1e-6)
        assert two.terminated == one.terminated and two.truncated == one.truncated
    assert two.terminated  # within the last four, where a sum of all would go on
    with pytest.raises(ValueError, match="Repeated needs times >= 1, got 0"):
        Repeated(inner, objective, 0)
