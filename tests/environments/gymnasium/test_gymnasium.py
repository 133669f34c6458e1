import warnings

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from forethought.core.spaces import Box, Discrete
from forethought.environments.analytic import Pendulum
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.environments.gymnasium.export import ToGymnasium
from forethought.environments.simulated import Simulated
from forethought.objectives.task import PendulumReward
from forethought.tasks import TASKS


class Corridor(gymnasium.Env):
    """Walk right along 3 to 6; a dictionary, a tuple, and integers that start at 3."""

    observation_space = spaces.Dict(
        {
            "place": spaces.Discrete(4, start=3),
            "pair": spaces.Tuple([spaces.Box(-1, 9, (1,)), spaces.Discrete(2)]),
        }
    )
    action_space = spaces.Discrete(2, start=1)

    def __init__(self, broken_at=None, image=False):
        self.broken_at = broken_at
        if image:
            self.observation_space = spaces.Box(0, 255, (4, 4, 3), np.uint8)

    def _obs(self):
        time = np.array([self.time], np.float32)
        return {"place": self.place, "pair": (time, self.time % 2)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.time = 3, 0
        return self._obs(), {}

    def step(self, action):
        if action not in self.action_space:
            raise AssertionError(f"{action} is no action")
        self.place, self.time = self.place + (action == 2), self.time + 1
        reward = np.nan if self.time == self.broken_at else float(action)
        return self._obs(), reward, self.place == 6, False, {}


def missing_package():
    raise gymnasium.error.DependencyNotInstalled("box2d is not installed.")


@pytest.fixture(scope="module", autouse=True)
def registered():
    gymnasium.register("Corridor-v0", Corridor, disable_env_checker=True)
    gymnasium.register("MissingPackage-v0", missing_package)
    yield
    for id in ["Corridor-v0", "MissingPackage-v0"]:
        del gymnasium.registry[id]


def hand_stepped(name, seed, actions):
    """One environment, reset by hand: true successors and observations to go on."""
    env = gymnasium.make(name)
    obs, _ = env.reset(seed=seed)
    first, rows = obs, []
    for action in actions:
        after, reward, terminated, truncated, _ = env.step(action)
        obs = env.reset()[0] if terminated or truncated else after
        rows.append((after, reward, terminated, truncated and not terminated, obs))
    env.close()
    return first, [np.stack(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize(
    ("name", "steps", "parallel"),
    [
        ("CartPole-v1", 120, False),
        ("CartPole-v1", 40, True),
        ("Pendulum-v1", 210, False),
        ("InvertedPendulum-v5", 60, False),
    ],
)
def test_it_equals_single_environments_reset_by_hand(name, steps, parallel):
    """Bit for bit, across terminations and, for the pendulum, a truncation."""
    with GymnasiumEnvironment(name, count=3, parallel=parallel) as environment:
        space = gymnasium.make(name).action_space
        space.seed(0)
        actions = np.stack([[space.sample() for _ in range(3)] for _ in range(steps)])
        firsts = environment.reset(seed=7)
        outcomes = [environment.step(action) for action in actions]
    ends = 0
    for i in range(3):
        first, (after, reward, terminated, truncated, onward) = hand_stepped(
            name, 7 + i, actions[:, i]
        )
        np.testing.assert_array_equal(firsts[i], first)
        ours = [(s.obs, s.reward, s.terminated, s.truncated, o) for s, o in outcomes]
        columns = [np.stack([leaf[i] for leaf in c]) for c in zip(*ours, strict=True)]
        for column, expected in zip(
            columns, [after, reward, terminated, truncated, onward], strict=True
        ):
            np.testing.assert_array_equal(column, expected)
        ends += (terminated | truncated).sum()
    assert ends >= 3


def test_spaces_and_episode_length_are_translated():
    with GymnasiumEnvironment("CartPole-v1") as environment:
        assert environment.spec.action == Discrete(2)
        assert environment.spec.observation.shape == (4,)
        assert environment.spec.episode_length == 500
    with GymnasiumEnvironment("Pendulum-v1") as environment:
        assert isinstance(environment.spec.action, Box)
        assert environment.spec.action.high.tolist() == [2.0]
        assert environment.spec.observation.high.tolist() == [1.0, 1.0, 8.0]


def test_observations_may_be_dictionaries_and_tuples_and_integers_begin_at_zero():
    with GymnasiumEnvironment("Corridor-v0", count=2) as environment:
        assert environment.spec.observation["place"] == Discrete(4)
        first = environment.reset(seed=0)
        assert first["place"].tolist() == [0, 0]
        for _ in range(2):
            environment.step(np.array([1, 0]))
        after, onward = environment.step(np.array([1, 0]))
    assert after.obs["place"].tolist() == [3, 0]
    assert onward["place"].tolist() == [0, 0]
    assert after.obs["pair"][0].tolist() == [[3.0], [3.0]]
    assert onward["pair"][0].tolist() == [[0.0], [3.0]]
    assert after.obs["pair"][1].tolist() == [1, 1]
    assert after.terminated.tolist() == [True, False]
    assert after.reward.tolist() == [2.0, 1.0]


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="'CartPole-v1'"):
        GymnasiumEnvironment("CartPoel-v1")


def test_a_missing_package_is_named():
    with pytest.raises(ImportError, match=r"MissingPackage-v0 needs .* box2d"):
        GymnasiumEnvironment("MissingPackage-v0")


def test_a_space_that_cannot_be_read_is_refused_in_one_sentence():
    with pytest.raises(TypeError, match=r"observation space .*FlattenObservation"):
        GymnasiumEnvironment("Corridor-v0", options={"image": True})
    with GymnasiumEnvironment(
        "Corridor-v0",
        options={"image": True},
        wrappers=[gymnasium.wrappers.FlattenObservation],
    ) as environment:
        assert environment.spec.observation.shape == (48,)


def test_a_reward_that_is_not_finite_is_reported_with_step_and_copy():
    with GymnasiumEnvironment(
        "Corridor-v0", count=2, options={"broken_at": 3}
    ) as environment:
        environment.reset(seed=0)
        environment.step(np.array([0, 0]))
        environment.step(np.array([0, 0]))
        with pytest.raises(FloatingPointError, match=r"reward .* copy 0 at step 3"):
            environment.step(np.array([0, 0]))


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (np.zeros((2, 2)), r"shape \[3, 1\], got \[2, 2\]"),
        (np.full((3, 1), np.nan), "nan"),
    ],
)
def test_wrong_actions_are_refused(actions, words):
    with GymnasiumEnvironment("Pendulum-v1", count=3) as environment:
        environment.reset(seed=0)
        with pytest.raises(ValueError, match=words):
            environment.step(actions)


def test_no_copies_are_refused():
    with pytest.raises(ValueError, match="count >= 1, got 0"):
        GymnasiumEnvironment("Pendulum-v1", count=0)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_passes_the_checker_of_gymnasium(name):
    """Its only advice is that boxes be finite and actions within [-1, 1]."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        env = gymnasium.make(f"forethought/{name}-v0")
        check_env(env.unwrapped)
        env.close()
    advice = ("infinity. This is probably", "recommend using a symmetric and normal")
    assert [w for w in caught if not any(a in str(w.message) for a in advice)] == []


@pytest.fixture(scope="module")
def pendulum():
    return ToGymnasium(Simulated(Pendulum(), PendulumReward(), 200))


def test_the_same_seed_gives_the_same_episode_and_another_seed_another(pendulum):
    def episode(seed):
        first, _ = pendulum.reset(seed=seed)
        return np.stack([first, *[pendulum.step([0.5])[0] for _ in range(5)]])

    np.testing.assert_array_equal(episode(3), episode(3))
    assert not np.array_equal(episode(3), episode(4))


def test_our_pendulum_in_gymnasium_is_the_one_of_gymnasium(pendulum):
    """Single precision against double, over a quarter of a second."""
    theirs = gymnasium.make("Pendulum-v1").unwrapped
    theirs.reset(seed=0)
    obs, _ = pendulum.reset(seed=0)
    theirs.state = np.array([np.arctan2(obs[1], obs[0]), obs[2]], np.float64)
    for action in ([2.5], [-1.0], [0.3], [-9.0], [2.0]):
        ours, expected = pendulum.step(action), theirs.step(np.array(action))
        np.testing.assert_allclose(ours[0], expected[0], atol=1e-5)
        assert ours[1] == pytest.approx(expected[1], abs=1e-4)
        assert ours[0].dtype == pendulum.observation_space.dtype


def test_episodes_are_truncated_at_their_length_and_never_terminated(pendulum):
    pendulum.reset(seed=1)
    ends = [pendulum.step([0.0])[2:4] for _ in range(200)]
    assert ends[:-1] == [(False, False)] * 199
    assert ends[-1] == (False, True)


def test_stepping_before_a_reset_is_refused():
    fresh = ToGymnasium(Simulated(Pendulum(), PendulumReward(), 200))
    with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset"):
        fresh.step([0.0])


def test_a_render_mode_is_refused():
    with pytest.raises(ValueError, match="render_mode=None, got 'human'"):
        gymnasium.make("forethought/pendulum-v0", render_mode="human")


def test_our_environments_can_be_acted_in_through_gymnasium_in_copies():
    with GymnasiumEnvironment("forethought/pendulum-v0", count=2) as environment:
        first = environment.reset(seed=5)
        after, onward = environment.step(np.zeros((2, 1)))
    assert first.shape == onward.shape == (2, 3)
    assert not np.array_equal(first[0], first[1])
    assert jax.tree.structure(after.obs) == jax.tree.structure(onward)
