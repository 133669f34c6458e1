import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.environments.analytic import Pendulum
from forethought.objectives.task import PendulumReward

KEY = jax.random.key(0)


@pytest.fixture
def gymnasium_pendulum():
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    yield env
    env.close()


def test_the_pendulum_equals_gymnasium_step_by_step(x64, gymnasium_pendulum):
    """Double-precision actions, some beyond the limits, from states of every speed."""
    env, system, objective = gymnasium_pendulum, Pendulum(), PendulumReward()
    generator = np.random.default_rng(0)
    count = 400
    states = generator.uniform([-10, -8], [10, 8], (count, 2))
    actions = generator.uniform(-3, 3, (count, 1))

    @jax.jit
    @jax.vmap
    def ours(state, action):
        after = system.step(state, action, key=KEY)
        return after, system.observe(after), objective.reward(state, action, after)

    after, obs, rewards = ours(jnp.asarray(states), jnp.asarray(actions))
    for i in range(count):
        env.state = states[i]
        gym_obs, gym_reward, terminated, truncated, _ = env.step(actions[i])
        np.testing.assert_allclose(after[i], env.state, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(obs[i], gym_obs, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(rewards[i], gym_reward, rtol=1e-12)
        assert not terminated and not truncated


def test_a_whole_pendulum_episode_equals_gymnasium(x64, gymnasium_pendulum):
    env, system, objective = gymnasium_pendulum, Pendulum(), PendulumReward()
    actions = np.random.default_rng(1).uniform(-2, 2, (200, 1))
    start = env.state.copy()

    def step(state, action):
        after = system.step(state, action, key=KEY)
        return after, (after, objective.reward(state, action, after))

    _, (states, rewards) = jax.lax.scan(step, jnp.asarray(start), jnp.asarray(actions))
    for i, action in enumerate(actions):
        _, reward, *_ = env.step(action)
        np.testing.assert_allclose(states[i], env.state, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(rewards[i], reward, rtol=1e-9, atol=1e-9)


def test_pendulum_starts_are_drawn_as_gymnasium_draws_them(precision):
    starts = jax.vmap(lambda key: Pendulum().start(key=key))(
        jax.random.split(KEY, 2000)
    )
    assert starts.dtype == (jnp.float64 if precision == 64 else jnp.float32)
    limits = np.array([np.pi, 1.0])
    assert (np.abs(starts) <= limits).all()
    # A uniform draw on [-a, a] has standard deviation a/√3; 2,000 draws, 5 sigmas.
    np.testing.assert_allclose(np.std(starts, 0), limits / np.sqrt(3), rtol=0.06)
    np.testing.assert_allclose(np.mean(starts, 0), 0, atol=0.08)


def test_a_pendulum_at_its_limits_still_feels_the_whole_motor(x64):
    system = Pendulum()
    slope = jax.jacobian(lambda u: system.step(jnp.array([0.3, 0.0]), u, key=KEY)[1])(
        jnp.array([2.0])
    )
    assert slope.item() == pytest.approx(3 * system.dt)
