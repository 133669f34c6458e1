"""Bounds of a run, and the video of what was learned."""

import gymnasium
import jax
import numpy as np
import pytest

from forethought import tasks
from forethought.agents.planning.model_based import deterministic
from forethought.agents.planning.mpc import Planning
from forethought.agents.random import Random
from forethought.core.spaces import Discrete
from forethought.models.learned.ensemble import Ensemble
from forethought.models.learned.transforms import Transform
from forethought.planners.mpc import MPC
from forethought.problem import Problem
from forethought.reports.film import policy
from forethought.reports.pages.learning import body
from forethought.runs.plan.planning import make_planner
from forethought.runs.store.folder import RunFolder
from forethought.runs.train import bounds
from forethought.runs.train.bounds import (
    exact_bound,
    write_bounds,
)
from forethought.runs.train.settings import Learning
from forethought.training.play import PIECE, play

KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def task():
    return tasks.load("double-integrator")


def informed(task):
    planner = make_planner(task, "lqr", horizon=task.steps)
    return Planning(task.problem, MPC(planner, task.steps))


def test_an_exact_model_with_lqr_earns_the_optimum(task):
    found = exact_bound(task, informed(task), episodes=2, key=KEY)["exact"]
    np.testing.assert_allclose(found["returns"], task.optimum, rtol=0.01)


def test_a_bound_that_would_take_too_long_is_left_out_and_that_is_said(task):
    found = exact_bound(task, informed(task), seconds=0.0, key=KEY)
    assert "exact" not in found and "longer than the 0 s" in found["note"]


def test_random_actions_are_measured_once_and_kept(task, tmp_path):
    folder = RunFolder.create(tmp_path, {})
    agent = Random(task.system.action)
    run = Learning(task.name, agent, 100, seed=1)
    found = write_bounds(folder, run)
    assert found["random"]["mean"] < 2 * task.optimum < 0
    assert len(found["random"]["returns"]) == bounds.RANDOM
    assert "Random cannot use the dynamics" in found["note"]
    stored = folder.read_json(bounds.FILE)
    assert write_bounds(folder, run.reseeded(2)) == stored


def test_episodes_that_may_never_end_are_not_waited_for(tmp_path):
    folder = RunFolder.create(tmp_path, {})
    found = write_bounds(folder, Learning("CliffWalking-v1", Random(Discrete(4)), 9))
    assert list(found) == ["note"] and "have no length" in found["note"]
    assert folder.read_json(bounds.FILE) == found


def test_a_model_with_noise_is_not_taken_for_deterministic(task):
    assert deterministic(task.problem, key=KEY)
    learned = Ensemble(Transform(2, 1), size=2, width=4, depth=1, key=KEY)
    problem = Problem(learned, task.problem.objective, task.system.action)
    assert not deterministic(problem, key=KEY)


def test_the_video_of_a_policy_is_made_again_from_the_folder_alone(task, tmp_path):
    agent = Random(task.system.action)
    pieces = list(play(agent, task.environment, None, key=KEY))
    assert len(pieces) == -(-task.steps // PIECE)
    shot = policy.footage(task, [s for s, _ in pieces], [p for _, p in pieces])
    assert len(shot.states) == len(shot.actions) + 1 == task.steps + 1
    start = np.asarray(pieces[0][0].system)
    np.testing.assert_array_equal(shot.states[0], start)
    folder = RunFolder.create(tmp_path, {})
    shot.save(folder)
    again = policy.Footage.load(folder)
    np.testing.assert_array_equal(again.sketch["start"], shot.sketch["start"])
    row = {"interval": 1, "step": 60, "kind": "random", "seconds": 1.0, "episodes": 1}
    folder.append(row | {"returns": [-1.0], "ends": [60]})
    body(folder, {})
    assert (tmp_path / "video.mp4").stat().st_size > 1000
    folder.save_arrays(policy.FILE, {"other": np.zeros(1)})
    with pytest.raises(ValueError, match="needs the array 'dt'"):
        policy.Footage.load(folder)


class Drawn(gymnasium.Env):
    """Draws a shade that tells the time."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, render_mode=None, broken=False):
        self.render_mode, self.broken, self.time = render_mode, broken, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.zeros(2, np.float32), 1.0, False, False, {}

    def render(self):
        if self.broken:
            raise RuntimeError("there is no display")
        return np.full((65, 81, 3), 20 * self.time, np.uint8)


@pytest.mark.parametrize("broken", [False, True])
def test_a_gymnasium_environment_is_filmed_where_it_can_be_drawn(broken, tmp_path):
    name = f"Drawn{broken}-v0"
    gymnasium.register(name, Drawn, max_episode_steps=6, kwargs={"broken": broken})
    space = tasks.load("double-integrator").system.action
    folder = RunFolder.create(tmp_path, {})
    try:
        said = policy.film_host(folder, Learning(name, Random(space), 9), None, KEY)
    finally:
        gymnasium.registry.pop(name)
    assert (tmp_path / "video.mp4").exists() is not broken
    if broken:
        assert said == (
            "There is no video, because DrawnTrue-v0 cannot be drawn here: there is "
            "no display"
        )
