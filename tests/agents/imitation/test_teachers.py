"""Several teachers: an episode is one's own, by where it begins."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from forethought.agents.imitation.dagger import Reactive
from forethought.agents.imitation.teachers import Informed, Several
from forethought.policies.affine import TimeVarying

KEY = jax.random.key(0)


def saying(number, horizon=1):
    """Always, or step by step, so much."""
    k = number * np.arange(1.0, horizon + 1)[:, None]
    shapes = (horizon, 1, 2), (horizon, 2), (horizon, 1, 1)
    K, x, still = (jnp.asarray(np.zeros(shape)) for shape in shapes)
    return TimeVarying(K, jnp.asarray(k), x, still)


def several(starts, horizon=1):
    known = tuple(saying(float(i), horizon) for i in range(3))
    return Several(tuple(map(Reactive, known)), starts), known


STARTS = jnp.asarray(np.array([[0.0, 0.0], [1.0, 100.0], [2.0, -100.0]]))


@eqx.filter_jit
def _said(agent, known, seen):
    def step(carry, obs):
        action, carry, _ = agent.act(known, carry, obs, key=KEY)
        return carry, action[0]

    return jax.lax.scan(step, agent.reset(known, key=KEY), seen)[1]


def said(agent, known, *seen):
    """Actions, one after the other."""
    return _said(agent, known, np.stack(seen)).tolist()


def test_an_episode_is_that_of_the_one_whose_start_lies_nearest():
    """In units of their own spread, or the last would be the first one's: 40 away of
    100 there, 60 from its own."""
    agent, known = several(STARTS)
    assert said(agent, known, [0.1, 5.0]) == [0.0]
    assert said(agent, known, [0.9, 80.0]) == [1.0]
    assert said(agent, known, [2.0, -40.0]) == [2.0]


def test_whose_episode_it_is_does_not_change_and_only_that_ones_memory_moves():
    agent, known = several(STARTS, horizon=3)
    assert said(agent, known, STARTS[1], STARTS[2], STARTS[0]) == [1.0, 2.0, 3.0]


def test_without_starts_each_of_them_has_its_share_of_episodes():
    """300 episodes, to four sigmas of a binomial."""
    agent, known = several(None)

    def once(key):
        carry = agent.reset(known, key=key)
        return agent.act(known, carry, STARTS[0], key=key)[0][0]

    found = jax.jit(jax.vmap(once))(jax.random.split(KEY, 300))
    found = np.asarray(found)
    sigma = (300 * (1 / 3) * (2 / 3)) ** 0.5
    for i in range(3):
        assert abs(np.sum(found == i) - 100) <= 4 * sigma


def test_who_is_informed_is_told_what_the_view_makes_of_an_observation():
    parts = np.ones((1, 1, 1)), np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1, 1))
    feedback = TimeVarying(*map(jnp.asarray, parts))
    agent = Informed(Reactive(feedback), lambda obs: jnp.arctan2(obs[1:], obs[:1]))
    turned = np.array([np.cos(0.3), np.sin(0.3)])
    np.testing.assert_allclose(said(agent, feedback, turned), [0.3], rtol=1e-6)
