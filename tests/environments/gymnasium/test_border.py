"""The border to Gymnasium, beside environments of which each has one oddity."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from forethought.environments.gymnasium.adapter import GymnasiumEnvironment


class Odd(gymnasium.Env):
    """Walks by whole numbers, and does one thing unlike any other environment."""

    observation_space = spaces.Box(-20, 20, (1,), np.float32)
    action_space = spaces.Box(np.int8(-3), np.int8(3), (1,), np.int8)

    def __init__(self, oddity="", actions=None, asked=None):
        self.asked = asked if asked is not None else []
        self.oddity, self.obs = oddity, np.zeros(1, np.float32)
        if actions is not None:
            self.action_space = actions
        if oddity == "no space":
            self.observation_space = None

    def told(self):
        odd = {
            "wide": np.zeros(2),
            "in words": ["here"],
            "nested": {"x": self.obs},
            "missing": None,
        }
        return odd.get(self.oddity, self.obs)

    def reset(self, *, seed=None, options=None):
        self.obs[0], self.time = 0, 0
        odd = {"bare": self.obs, "no info": (self.obs, None)}
        return odd.get(self.oddity, (self.told(), {}))

    def step(self, action):
        self.asked.append(action.item())
        self.obs += action
        self.time += 1
        reward = {
            "array": np.ones((1, 1)),
            "none": None,
            "two": np.ones(2),
            "word": "good",
        }.get(self.oddity, 1)
        rest = False, self.time == 3, {}
        if self.oddity == "four":
            return self.told(), reward, *rest[1:]
        if self.oddity == "twice":
            rest = [True, False], False, {}
        return self.told(), reward, *rest


class Unseeded(Odd):
    def reset(self):
        return self.obs, {}


class Counted(Odd):
    """Says a number where one of four is meant."""

    observation_space = spaces.Discrete(4)

    def told(self):
        return {"beyond": 4, "half": 0.5}.get(self.oddity, 3)


@pytest.fixture(scope="module", autouse=True)
def registered():
    made = {"Odd-v0": Odd, "Unseeded-v0": Unseeded, "Counted-v0": Counted}
    made["NoEnv-v0"] = lambda: 3
    for name, entry in made.items():
        gymnasium.register(name, entry)
    yield
    for name in made:
        del gymnasium.registry[name]


def odd(oddity, name="Odd-v0"):
    """One step of an environment with an oddity."""
    options = {"oddity": oddity} if oddity else {}
    with GymnasiumEnvironment(name, options=options) as environment:
        environment.reset(seed=0)
        return environment.step(np.zeros((1, 1)))[0]


@pytest.mark.parametrize(
    ("oddity", "error", "words"),
    [
        ("bare", TypeError, r"reset should return \(obs, info\), got an array .*older"),
        ("no info", TypeError, r"dictionary as its info, got None"),
        (
            "four",
            TypeError,
            r"step should return \(obs, reward, .*got 4 val.*older",
        ),
        ("none", TypeError, "reward should be a number, got None"),
        ("two", TypeError, r"reward .* got an array of float64 and shape \[2\]"),
        ("word", TypeError, "reward should be a number, got 'good'"),
        ("twice", TypeError, "terminated should be a number, got a list of 2"),
        ("wide", ValueError, r"shape \[1\] of its space, got \[2\]"),
        ("in words", TypeError, "observation should be numbers, got a list of 1"),
        ("nested", ValueError, r"shape \[1\] of its space, got \[\]"),
        ("missing", ValueError, r"shape \[1\] of its space, got \[\]"),
        ("no space", TypeError, "its observation_space is None, not a space"),
    ],
)
def test_an_environment_that_is_broken_is_named_with_what_is_wrong(
    oddity, error, words
):
    with pytest.raises(error, match=f"environment Odd-v0 is broken: .*{words}"):
        odd(oddity)


def test_environments_that_cannot_be_reset_read_or_used_are_named_too():
    with pytest.raises(TypeError, match=r"Unseeded-v0 is broken: .* seed and options"):
        odd("", "Unseeded-v0")
    with pytest.raises(ValueError, match=r"Counted-v0 .* lie in \[0, 3\], got 4"):
        odd("beyond", "Counted-v0")
    with pytest.raises(ValueError, match=r"Counted-v0 .* whole numbers of int64, g"):
        odd("half", "Counted-v0")
    with pytest.raises(TypeError, match=r"NoEnv-v0 should be a gymnasium.Env, got bui"):
        odd("", "NoEnv-v0")
    assert odd("array").reward.tolist() == [1.0]


def test_actions_are_rounded_to_the_nearest_whole_number_within_limits():
    asked = []
    with GymnasiumEnvironment("Odd-v0", options={"asked": asked}) as environment:
        environment.reset(seed=0)
        for value in (2.9, 2.999999, -0.9, -2.6, 0.4, 3.4, -99.0):
            environment.step(np.full((1, 1), value))
    assert asked == [3, 3, -1, -3, 0, 3, -3]


def test_an_observation_that_is_changed_in_place_is_kept_as_it_was_seen():
    with GymnasiumEnvironment("Odd-v0", count=2) as environment:
        first = environment.reset(seed=0)
        seen = [environment.step(np.full((2, 1), 2.0)) for _ in range(3)]
    assert first.tolist() == [[0], [0]]
    assert [after.obs[0, 0] for after, _ in seen] == [2, 4, 6]
    assert [onward[0, 0] for _, onward in seen] == [2, 4, 0]


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.MultiDiscrete([3, 4]), r"TransformAction .* Discrete\(12\)"),
        (spaces.MultiBinary(3), r"TransformAction .* Discrete\(8\)"),
        (spaces.Box(-1, 1, (2, 2)), r"TransformAction takes it a vector"),
    ],
)
def test_the_hint_for_actions_is_one_for_actions(space, words):
    with pytest.raises(TypeError, match=words) as caught:
        GymnasiumEnvironment("Odd-v0", options={"actions": space})
    assert "FlattenObservation" not in str(caught.value)
