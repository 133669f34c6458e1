"""The deterministic encoder of single steps, and how it learns from windows."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.spaces import Box
from forethought.data.memory import Memory
from forethought.data.replay import Replay
from forethought.data.transitions import Transition
from forethought.environments.analytic import Pendulum
from forethought.environments.camera import Lens, Seen
from forethought.models.latent.base import pixels
from forethought.models.latent.single_step import SingleStep, SingleStepSettings
from forethought.models.latent.studied import Studied, StudySettings

LENS = Lens(8, reach=1.3)
BOX = Box([-2.0], [2.0])
SMALL = SingleStepSettings(size=4, width=16, embedding=8, drawn=5)
KEY = jax.random.key(0)


def window(length, key):
    """A pendulum that swings freely, seen by a small camera."""
    seen = Seen(Pendulum(), LENS)
    actions = jax.random.uniform(key, (length, 1), minval=-2, maxval=2)
    start = jax.random.uniform(key, (2,), minval=-3, maxval=3)

    def step(state, action):
        after = seen.step(state, action, key=key)
        row = seen.observe(state), -jnp.sum(state**2), seen.observe(after)
        return after, row

    _, (obs, reward, next_obs) = jax.lax.scan(step, start, actions)
    ends = jnp.arange(length) == length - 1
    return Transition(obs, actions, reward, next_obs, ends & False, ends)


def memory_of(count, length):
    """Episodes one after another, each remembered whole."""
    replay = Replay(count * length, 1)
    episodes = jax.vmap(lambda key: window(length, key))(jax.random.split(KEY, count))
    rows = jax.tree.map(
        lambda leaf: leaf.reshape(count * length, 1, *leaf.shape[2:]), episodes
    )
    state = replay.init(jax.tree.map(lambda leaf: leaf[0, 0], rows))
    return Memory(replay, replay.extend(state, rows))


@pytest.fixture(scope="module")
def model():
    return SingleStep(LENS.shape, BOX, SMALL, key=KEY)


def by_hand(model, seen):
    """The loss of a window, step after step through the model's own protocol."""
    belief = model.init(key=KEY)
    belief = model.observe(belief, seen.obs[0], key=KEY)
    belief = model.observe(belief, seen.next_obs[0], key=KEY)
    told, length = belief, len(seen.reward)
    drawn, apart, earned = [], [], []
    for t in range(length):
        if t:
            told = model.predict(told, seen.action[t], key=KEY)
            earned.append(model.earned(told.reward) - model.earned(seen.reward[t]))
            belief = model.observe(belief, seen.next_obs[t], key=KEY)
            apart.append(jnp.sum((told.latent - belief.latent) ** 2))
        drawn.append(jnp.sum((model.decode(told) - pixels(seen.next_obs[t])) ** 2))
    it = model.settings
    return {
        "pictures": it.picture * np.mean(drawn),
        "consistency": it.consistency * np.mean(apart),
        "rewards": it.reward * np.mean(np.square(earned)),
    }


def test_the_loss_of_a_window_is_what_its_first_state_foretells_of_the_rest(model):
    scaled = dataclasses.replace(model.earned, mean=jnp.array(-3.0), std=jnp.array(2.0))
    model = eqx.tree_at(lambda model: model.earned, model, scaled)
    seen = window(5, jax.random.key(3))
    loss, terms = model.loss(seen, key=KEY)
    expected = by_hand(model, seen)
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-4)
    np.testing.assert_allclose(loss, sum(expected.values()), rtol=1e-4)
    # A loss that drew what is seen, in the place of what was foretold, would not pass.
    shifted = dataclasses.replace(seen, action=-seen.action)
    assert abs(model.loss(shifted, key=KEY)[1]["rewards"] - terms["rewards"]) > 1e-5


def test_what_is_believed_after_a_look_is_the_state_of_the_last_two_pictures(model):
    seen = window(3, jax.random.key(1))
    looked = model.init(key=KEY)
    for t in range(3):
        looked = model.predict(looked, seen.action[t], key=KEY)
        looked = model.observe(looked, seen.obs[t], key=KEY)
    fresh = model.init(key=KEY)
    for t in (1, 2):
        fresh = model.observe(fresh, seen.obs[t], key=KEY)
    np.testing.assert_allclose(looked.latent, fresh.latent, rtol=1e-5)
    np.testing.assert_allclose(jnp.mean(looked.latent), 0, atol=1e-5)


def test_limits_of_actions_and_the_scale_of_rewards_are_not_learned(model):
    seen = window(4, jax.random.key(2))
    slope = eqx.filter_grad(lambda model: model.loss(seen, key=KEY)[0])(model)
    for still in (slope.action, slope.earned):
        assert all(not leaf.any() for leaf in jax.tree.leaves(still))
    assert jnp.any(slope.look.layers[0].weight != 0)


def test_a_model_learns_from_windows_and_a_second_time_compiles_nothing(compilations):
    memory = memory_of(6, 12)
    study = StudySettings(first=300, updates=20, windows=8, length=6)
    begun = Studied(SingleStep(LENS.shape, BOX, SMALL, key=KEY), study)
    fit = eqx.filter_jit(lambda model, key: model.fit(memory, key=key))
    after, told = fit(begun, KEY)
    assert int(after.updates) == 300
    before = compilations.count
    later, again = fit(after, jax.random.key(1))
    assert compilations.count == before and int(later.updates) == 320
    assert again["loss"] < told["loss"]
    assert told["spread"] > 0.2
    # The scale of rewards is that of what was seen first, whatever came later.
    assert later.average.earned.std == pytest.approx(
        float(after.average.earned.std), rel=1e-5
    )


@pytest.mark.long
def test_without_pictures_and_rewards_states_collapse_and_the_run_says_so():
    memory = memory_of(6, 12)
    study = StudySettings(first=2000, windows=8, length=6)
    blind = dataclasses.replace(SMALL, picture=0.0, reward=0.0, consistency=1.0)
    fit = eqx.filter_jit(lambda model: model.fit(memory, key=KEY)[1]["spread"])
    seeing = fit(Studied(SingleStep(LENS.shape, BOX, SMALL, key=KEY), study))
    collapsed = fit(Studied(SingleStep(LENS.shape, BOX, blind, key=KEY), study))
    assert collapsed < 0.05 < 0.2 < seeing
