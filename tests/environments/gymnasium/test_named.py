"""Environments by name: a module's own are found, and what is wrong is one sentence."""

import sys

import gymnasium
import pytest

from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.environments.gymnasium.named import full_name, registered

POINT = """
import gymnasium
import numpy as np


class Point(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9, 9, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, speed=1.0, weights=()):
        if speed < 0:
            raise RuntimeError("speed is negative")
        self.speed = speed

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = np.zeros(1, np.float32)
        return self.x.copy(), {}

    def step(self, action):
        self.x = (self.x + self.speed * action).astype(np.float32)
        return self.x.copy(), 0.0, False, False, {}


gymnasium.register("Point-v0", Point, max_episode_steps=5)
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder to stand in; what is imported and registered there is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules, known = set(sys.modules), set(gymnasium.registry)
    yield tmp_path
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    for name in set(gymnasium.registry) - known:
        del gymnasium.registry[name]


def write(folder, name, text):
    path = folder / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_a_module_in_the_current_folder_registers_its_environments(elsewhere):
    write(elsewhere, "point_module", POINT)
    with GymnasiumEnvironment("point_module:Point-v0", options={"speed": 3}) as point:
        point.reset(seed=0)
        after, _ = point.step([[0.5]])
    assert after.obs.tolist() == [[1.5]]
    assert point.spec.episode_length == 5


def test_a_package_that_names_its_environments_by_strings_is_found(elsewhere):
    write(elsewhere / "points", "inside", POINT)
    entry = "gymnasium.register('Far-v0', 'points.inside:Point')"
    write(elsewhere / "points", "__init__", f"import gymnasium\n{entry}\n")
    with GymnasiumEnvironment("points:Far-v0", options={"max_episode_steps": 7}) as far:
        assert far.spec.episode_length == 7
    assert full_name("Far-v0") == "points.inside:Far-v0"
    assert full_name("points:Far-v0") == "points:Far-v0"


def test_another_program_finds_gymnasiums_own_by_their_ids():
    assert full_name("Pendulum-v1") == "Pendulum-v1"
    assert full_name("forethought/pendulum-v0") == "forethought/pendulum-v0"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import numpy\n\n1 / 0\n", r"ZeroDivisionError: .* \(bad_module.py, line 3\)"),
        ("import sys\nsys.exit(3)\n", r"calls sys.exit\(3\) \(bad_module.py, line 2\)"),
        ("import sys\nsys.exit()\n", r"it calls sys.exit\(\)"),
        ("import nowhere_at_all\n", r"does not import: .*No module named 'nowhere"),
        ("def f(:\n    pass\n", r"SyntaxError: .* \(bad_module.py, line 1\)"),
    ],
)
def test_a_module_that_does_not_import_is_told_with_its_line(text, words, elsewhere):
    write(elsewhere, "bad_module", text)
    with pytest.raises(ValueError, match=words) as caught:
        registered("bad_module:Any-v0")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing_module", "os.missing_module", ""])
def test_a_module_that_is_not_there_is_told_with_where_it_was_looked_for(
    name, elsewhere
):
    with pytest.raises(ValueError, match="There is no module") as caught:
        registered(f"{name}:Any-v0")
    assert str(elsewhere) in str(caught.value)


def test_an_environment_that_a_module_lacks_is_answered_with_the_nearest(elsewhere):
    write(elsewhere, "near_module", POINT)
    with pytest.raises(ValueError, match=r"near_module .*did you mean 'Point-v0'"):
        registered("near_module:Piont-v0")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sped": 2}, "setting of own_module:Point-v0 named 'sped'; .*'speed'"),
        ({"speed": -1}, r"cannot be made with speed=-1: .*\(own_module.py, line 12\)"),
        ({"speed": "fast"}, "cannot be made with speed='fast': TypeError"),
        ({"num_envs": 2}, "has no setting 'num_envs'"),
        ({"max_episode_steps": 0}, "max_episode_steps .* at least 1, got 0"),
        ({"max_episode_steps": True}, "got True"),
    ],
)
def test_settings_that_an_environment_cannot_have_are_told(options, words, elsewhere):
    write(elsewhere, "own_module", POINT)
    with pytest.raises(ValueError, match=words) as caught:
        GymnasiumEnvironment("own_module:Point-v0", options=options)
    assert "\n" not in str(caught.value) and "kwargs" not in str(caught.value)
