"""Training from the host, against single Gymnasium environments stepped by hand."""

import itertools
import re

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.agents.base import AbstractAgent, Duty
from forethought.agents.planning.model_based import ModelBased
from forethought.data.replay import Replay
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import EnsembleRecipe
from forethought.objectives.learned import Learned
from forethought.planners import CEM
from forethought.training.evaluate import evaluate_host
from forethought.training.host_loop import HostTraining

LEARN = Duty("all")


class Leaning(AbstractAgent):
    """Pushes the cart to where the pole leans; carries its steps in the episode.

    Its learner counts updates. It errs on every third step of an episode, and while
    exploring on two of three.
    """

    def init(self, spec, *, key):
        return jnp.zeros((), jnp.int32)

    def reset(self, learner, *, key):
        return jnp.zeros((), jnp.int32)

    def act(self, learner, carry, obs, *, key, mode="explore"):
        leans = obs[2] + obs[3] > 0
        errs = carry % 3 >= (1 if mode == "explore" else 2)
        return (leans ^ errs).astype(jnp.result_type(int)), carry + 1, None

    @property
    def duties(self):
        return (LEARN,)

    def update(self, learner, memory, *, duty, key):
        return learner + 1, {"rows": jnp.sum(memory.everything()[1])}

    def examined(self, learner):
        return None

    def watch(self, carry):
        return {"acted": carry}


class Breaking(gymnasium.Env):
    """Its reward is no number at step 3 of an episode with an even seed."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (4,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.breaks, self.time = seed is not None and seed % 2 == 0, 0
        return np.zeros(4, np.float32), {}

    def step(self, action):
        self.time += 1
        reward = np.nan if self.breaks and self.time == 3 else 1.0
        return np.zeros(4, np.float32), reward, self.time == 5, False, {}


@pytest.fixture(scope="module")
def breaking():
    gymnasium.register("Breaking-v0", lambda **_: Breaking(), disable_env_checker=True)
    yield "Breaking-v0"
    del gymnasium.registry["Breaking-v0"]


def cartpoles(count=2):
    return GymnasiumEnvironment("CartPole-v1", count)


def training_in(environment, capacity=256):
    replay = Replay(capacity, environment.count)
    return HostTraining(Leaning(), environment, replay)


def rows_of(training, state):
    """What is kept, as NumPy arrays `[time, env, ...]`."""
    seen, valid = training.replay.ordered(state.flow.replay)
    size = int(jnp.sum(valid))
    return jax.tree.map(
        lambda leaf: np.asarray(leaf)[:size].reshape(
            -1, training.count, *leaf.shape[1:]
        ),
        seen,
    )


def assert_same(one, other):
    """The same pytree, bit for bit, keys included."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        keys = jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
        plain = jax.random.key_data if keys else np.asarray
        np.testing.assert_array_equal(plain(a), plain(b))


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_what_is_kept_are_the_transitions_of_environments_stepped_by_hand(name):
    """Across terminations of the one and a truncation of the other."""
    with GymnasiumEnvironment(name, 2) as environment:
        training = training_in(environment)
        state = training.begin(key=jax.random.key(0))
        seed = int(state.flow.environments.seed)
        state, trace = training.collect(state, 205, random=True)
        rows = rows_of(training, state)
    assert int(state.flow.step) == 410
    ends = 0
    for i in range(2):
        env = gymnasium.make(name)
        obs, _ = env.reset(seed=seed + i)
        total = 0.0
        for t, action in enumerate(rows.action[:, i]):
            np.testing.assert_array_equal(rows.obs[t, i], obs)
            obs, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            np.testing.assert_array_equal(rows.next_obs[t, i], obs)
            np.testing.assert_array_equal(rows.reward[t, i], np.float32(reward))
            assert rows.terminated[t, i] == terminated
            assert rows.truncated[t, i] == (truncated and not terminated)
            assert trace.ended[t, i] == (terminated or truncated)
            if terminated or truncated:
                np.testing.assert_allclose(trace.episode_returns[t, i], total, 1e-5)
                obs, total, ends = env.reset()[0], 0.0, ends + 1
            else:
                assert np.isnan(trace.episode_returns[t, i])
        np.testing.assert_array_equal(state.flow.obs[i], obs)
        np.testing.assert_allclose(state.flow.returns[i], total, 1e-5)
        env.close()
    assert ends >= 2


def test_a_carry_is_fresh_in_each_episode_and_kept_within_it():
    """Also where the episode that it belonged to ended in random steps."""
    phases = ((5, False), (60, True), (40, False), (40, False))
    with cartpoles() as environment:
        training = training_in(environment)
        state, ends = training.begin(key=jax.random.key(0)), []
        for steps, random in phases:
            state, trace = training.collect(state, steps, random=random)
            ends.append(np.asarray(trace.ended))
        rows = rows_of(training, state)
    acted = np.concatenate([np.full(steps, not random) for steps, random in phases])
    ended = np.concatenate(ends)
    assert all(phase.any(axis=0).all() for phase in (ended[5:64], ended[65:]))
    for i in range(2):
        carry = 0
        for t, acts in enumerate(acted):
            leans = rows.obs[t, i, 2] + rows.obs[t, i, 3] > 0
            assert not acts or rows.action[t, i] == leans ^ (carry % 3 >= 1)
            carry = 0 if ended[t, i] else carry + int(acts)


def test_the_same_key_gives_the_same_run_and_another_one_another():
    def run(seed):
        with cartpoles() as environment:
            training = training_in(environment)
            state = training.begin(key=jax.random.key(seed))
            state, random = training.collect(state, 30, random=True)
            state, _ = training.perform(state, training.duties[0])
            return *training.collect(state, 30), random

    assert_same(run(1), run(1))
    assert not np.array_equal(run(1)[0].flow.obs, run(2)[0].flow.obs)


@pytest.mark.parametrize("steps", [7, 40])
def test_a_run_that_was_resumed_elsewhere_continues_as_the_uninterrupted_one(steps):
    """Also in the middle of episodes, and after some that ended."""

    def go_on(training, state):
        state, _ = training.perform(state, training.duties[0])
        return training.collect(state, 40)

    with cartpoles() as environment:
        training = training_in(environment)
        middle = training.begin(key=jax.random.key(4))
        middle, _ = training.collect(middle, steps, random=True)
        middle, trace = training.collect(middle, steps)
        assert not trace.ended[-1].all()
        uninterrupted = go_on(training, middle)
    with cartpoles() as environment:
        training = training_in(environment)
        training.begin(key=jax.random.key(9))
        resumed, notices = training.resume(middle)
        assert notices == ()
        assert_same(go_on(training, resumed), uninterrupted)


class Drifting(Breaking):
    """Begins wherever it likes, whatever its seed."""

    drift = itertools.count()

    def reset(self, *, seed=None, options=None):
        _, info = super().reset(seed=1)
        return np.full(4, 0.001 * next(self.drift), np.float32), info


@pytest.mark.parametrize(
    ("name", "capacity", "words"),
    [
        ("Drifting-v0", 256, r"the same seed .* led elsewhere than before, at step 0"),
        ("CartPole-v1", 4, "the 20 steps .* only the newest 8 are kept"),
    ],
)
def test_what_cannot_be_brought_back_goes_on_with_fresh_episodes(name, capacity, words):
    gymnasium.register("Drifting-v0", lambda **_: Drifting(), disable_env_checker=True)
    with GymnasiumEnvironment(name, 2) as environment:
        training = training_in(environment, capacity)
        state = training.begin(key=jax.random.key(0))
        state, _ = training.collect(state, 10)
        state, notices = training.resume(state)
        assert len(notices) == 1
        assert re.match(rf"{name} goes on with fresh episodes, as .*{words}", *notices)
        assert int(state.flow.environments.steps) == 0
        state, _ = training.collect(state, 2)
    assert int(state.flow.step) == 24
    del gymnasium.registry["Drifting-v0"]


def test_collecting_in_pieces_equals_collecting_at_once():
    def run(*pieces):
        with cartpoles() as environment:
            training = training_in(environment)
            state = training.begin(key=jax.random.key(3))
            for steps in pieces:
                state, _ = training.collect(state, steps)
            return state

    assert_same(run(60), run(25, 35))


def test_a_state_that_the_environments_have_left_is_refused():
    with cartpoles() as environment:
        training = training_in(environment)
        start = training.begin(key=jax.random.key(0))
        training.collect(start, 5)
        with pytest.raises(ValueError, match=r"one of step 0 .* resume"):
            training.collect(start, 5)
        training.collect(training.resume(start)[0], 5)


def test_collecting_stops_once_so_many_episodes_have_ended():
    with cartpoles() as environment:
        training = training_in(environment)
        state = training.begin(key=jax.random.key(0))
        state, trace = training.collect(state, 500, random=True, episodes=3)
        ended = np.asarray(trace.ended)
        assert ended[:-1].sum() < 3 <= ended.sum() and ended[-1].any()
        assert int(trace.steps) == len(ended) == int(state.flow.replay.size) // 2
        assert trace.watched == {}
        state, trace = training.collect(state, 500, limit=4)
        assert trace.ended.shape == (4, 2)
        # What the agent tells is of the action just taken: the first one here.
        np.testing.assert_array_equal(trace.watched["acted"][0], [1, 1])


def test_a_number_that_is_not_finite_leaves_the_state_before_it_usable(breaking):
    with GymnasiumEnvironment(breaking, 1) as environment:
        training = training_in(environment)
        key = next(
            key
            for key in map(jax.random.key, range(20))
            if training.begin(key=key).flow.environments.seed % 2 == 0
        )
        state = training.begin(key=key)
        state, _ = training.collect(state, 2)
        with pytest.raises(FloatingPointError, match=r"reward .* copy 0 at step 3"):
            training.collect(state, 2)
        assert rows_of(training, state).reward.shape == (2, 1)
        assert int(training.perform(state, training.duties[0])[1]["rows"]) == 2
        with pytest.raises(ValueError, match=r"resume\(state\)"):
            training.collect(state, 2)
        again, notices = training.resume(state)
        assert notices == ()
        with pytest.raises(FloatingPointError, match=r"reward .* copy 0 at step 3"):
            training.collect(again, 2)
        restarted = next(
            restarted
            for restarted in (
                training.restart(state, key=jax.random.key(seed)) for seed in range(20)
            )
            if restarted.flow.environments.seed % 2 == 1
        )
        state, trace = training.collect(restarted, 5)
        assert trace.episode_returns[-1].tolist() == [5.0]
        assert int(state.flow.step) == 7


def test_collecting_a_second_time_compiles_nothing(compilations):
    with cartpoles() as environment:
        training = training_in(environment)
        state = training.begin(key=jax.random.key(0))
        state, _ = training.collect(state, 64)
        before = compilations.count
        state, trace = training.collect(state, 64)
        state, _ = training.resume(state)
        assert np.asarray(trace.ended).any()
        assert compilations.count == before


def test_it_computes_in_the_precision_that_jax_is_set_to(precision):
    with cartpoles() as environment:
        training = training_in(environment)
        state = training.begin(key=jax.random.key(0))
        state, trace = training.collect(state, 5)
    real = np.dtype(f"float{precision}")
    memory = state.flow.replay
    for leaf in (
        memory.observations,
        memory.rows.reward,
        state.flow.obs,
        trace.episode_returns,
    ):
        assert leaf.dtype == real


def test_a_restart_leaves_what_was_seen_before_it_as_it_was():
    with cartpoles() as environment:
        training = training_in(environment)
        state, _ = training.collect(training.begin(key=jax.random.key(0)), 5)
        before = rows_of(training, state)
        state, _ = training.collect(training.restart(state), 5)
        after = rows_of(training, state)
    assert_same(jax.tree.map(lambda leaf: leaf[:5], after), before)
    assert not np.any(after.next_obs[4] == after.obs[5])


def test_a_memory_that_is_smaller_than_a_collection_keeps_the_newest():
    with cartpoles() as environment:
        training = training_in(environment, capacity=5)
        state, trace = training.collect(training.begin(key=jax.random.key(0)), 20)
        rows = rows_of(training, state)
    ended = rows.terminated | rows.truncated
    np.testing.assert_array_equal(ended, trace.ended[-5:])
    onward = np.where(ended[-1][:, None], rows.next_obs[-1], state.flow.obs)
    np.testing.assert_array_equal(onward, rows.next_obs[-1])


@pytest.mark.parametrize(("episodes", "count"), [(1, 2), (5, 2), (4, 1)])
def test_evaluation_plays_exactly_the_episodes_that_each_copy_is_given(episodes, count):
    """They equal episodes that are played by hand, long ones as well as short ones."""
    agent, key = Leaning(), jax.random.key(5)
    with cartpoles(count) as environment:
        found = evaluate_host(agent, environment, None, episodes=episodes, key=key)
        again = evaluate_host(agent, environment, None, episodes=episodes, key=key)
    np.testing.assert_array_equal(found, again)
    seed = int(jax.random.randint(jax.random.split(key, 3)[1], (), 0, 2**30))
    expected = np.zeros(episodes)
    for i in range(count):
        env = gymnasium.make("CartPole-v1")
        obs, _ = env.reset(seed=seed + i)
        for episode in range(i, episodes, count):
            step, over = 0, False
            while not over:
                action = int((obs[2] + obs[3] > 0) ^ (step % 3 == 2))
                obs, reward, terminated, truncated, _ = env.step(action)
                expected[episode] += float(reward)
                step, over = step + 1, terminated or truncated
            obs, _ = env.reset()
        env.close()
    np.testing.assert_array_equal(found, expected)


def test_no_steps_and_no_episodes_are_refused():
    with cartpoles() as environment:
        training = training_in(environment)
        state = training.begin(key=jax.random.key(0))
        with pytest.raises(ValueError, match="steps >= 1, got 0"):
            training.collect(state, 0)
        with pytest.raises(ValueError, match="episodes >= 1, got 0"):
            evaluate_host(
                Leaning(), environment, None, episodes=0, key=jax.random.key(0)
            )


@pytest.mark.long
def test_pets_learns_from_a_random_episode_and_plans_in_the_next():
    agent = ModelBased(
        EnsembleRecipe(
            members=2,
            width=16,
            depth=1,
            reward=True,
            circles=((0, 1),),
            fitting=FitSettings(epochs=3),
        ),
        Learned(),
        CEM(5, population=16, elites=4, iterations=1, particles=2),
    )
    with GymnasiumEnvironment("Pendulum-v1") as environment:
        training = HostTraining(agent, environment, Replay(512))
        state = training.begin(key=jax.random.key(0))
        state, random = training.collect(state, 200, random=True)
        state, metrics = training.perform(state, training.duties[0])
        state, planned = training.collect(state, 200)
        told = planned.watched
    assert all(np.all(np.isfinite(value)) for value in metrics.values())
    for trace in (random, planned):
        assert np.flatnonzero(trace.ended).tolist() == [199]
        assert -1800 < float(trace.episode_returns[-1, 0]) < 0
    assert int(state.flow.replay.size) == 400
    assert np.all(np.isfinite(told["plan_value"]))
    assert not np.any(told["plan_failed"]) and not np.any(told["non_finite"])
