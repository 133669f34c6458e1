"""Training runs: they learn, they cannot be lost, and they go on where they were."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from forethought import tasks
from forethought.agents.model_based import Bootstrap
from forethought.models.fitting import FitSettings
from forethought.planners import CEM
from forethought.runs import checkpoint
from forethought.runs.folder import RunFolder
from forethought.runs.training import PETS, Learning, learn, score

TINY = PETS(
    model=Bootstrap(members=2, width=4, depth=1, fitting=FitSettings(epochs=2)),
    planner=CEM(3, population=6, elites=2, iterations=1, particles=2),
)


@pytest.fixture(scope="module")
def task():
    return tasks.load("double-integrator")


@pytest.fixture(scope="module")
def tiny(task):
    return Learning(task.name, TINY, 4 * task.steps, seed=1)


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A run that nobody interrupted."""
    folder = RunFolder.create(tmp_path_factory.mktemp("whole"), {})
    learn(tiny, folder)
    return folder


def told(folder):
    """The metrics, but for the wall clock."""
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in folder.metrics()
    ]


def test_pets_reaches_the_cost_of_lqr_on_a_linear_quadratic_task(task, tmp_path):
    settings = PETS(
        model=Bootstrap(members=2, width=32, fitting=FitSettings(300, patience=30)),
        planner=CEM(
            15,
            population=100,
            elites=10,
            iterations=6,
            particles=2,
            noise_beta=1.0,
            initial_std=1.0,
        ),
    )
    folder = RunFolder.create(tmp_path, {})
    learn(Learning(task.name, settings, 7 * task.steps, seed=2), folder)
    returns = [row["return"] for row in folder.metrics()]
    assert returns[0] < 5 * task.optimum  # random actions do not
    np.testing.assert_allclose(np.median(returns[-5:]), task.optimum, rtol=0.02)


def test_an_interrupted_run_goes_on_with_the_same_lines(tiny, whole, tmp_path):
    folder = RunFolder.create(tmp_path, {})

    def stop(row):
        if row["interval"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(tiny, folder, on_row=stop)
    assert len(folder.metrics()) == 2
    learn(tiny, folder, resume=True)
    assert told(folder) == told(whole)


def test_a_damaged_checkpoint_is_passed_over_and_that_is_said(tiny, whole, tmp_path):
    folder = RunFolder.create(tmp_path, {})
    learn(tiny, folder)
    newest = tmp_path / "checkpoints" / "4" / "leaves.npz"
    newest.write_bytes(newest.read_bytes()[:-100])
    _, notices = learn(tiny, folder, resume=True)
    assert len(notices) == 1 and "4" in notices[0]
    assert told(folder) == told(whole)


def test_evaluation_uses_what_was_learned_and_changes_nothing(tiny, whole):
    before = told(whole)
    returns, notices = score(tiny, whole, episodes=2, seed=9)
    again, _ = score(tiny, whole, episodes=2, seed=9)
    assert returns.shape == (2,) and notices == ()
    np.testing.assert_array_equal(returns, again)
    assert told(whole) == before
    assert checkpoint.load_host(whole.path)["episodes"] == 4


def test_too_few_steps_are_refused(task):
    with pytest.raises(ValueError, match="more steps than the 60 random ones"):
        Learning(task.name, TINY, 60, seed=0)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'Pendulum-v1'"):
        Learning("Pendulm-v1", TINY)


def test_a_gymnasium_run_goes_on_with_the_same_lines(tmp_path):
    run = Learning("Pendulum-v1", TINY, 800, seed=3)
    folder = RunFolder.create(tmp_path / "whole", {})
    learn(run, folder)
    other = RunFolder.create(tmp_path / "stopped", {})

    def stop(row):
        if row["interval"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(Learning("Pendulum-v1", TINY, 800, seed=3), other, on_row=stop)
    learn(Learning("Pendulum-v1", TINY, 800, seed=3), other, resume=True)
    assert told(other) == told(folder)


WORDS = [
    *("train", "double-integrator", "--steps", "240", "--seed", "1"),
    *("--agent.model.members", "2", "--agent.model.width", "4"),
    *("--agent.model.depth", "1", "--agent.model.fitting.epochs", "2"),
    *("--agent.planner.horizon", "3", "--agent.planner.population", "6"),
    *("--agent.planner.elites", "2", "--agent.planner.iterations", "1"),
    *("--agent.planner.particles", "2", "--agent.planner.noise-beta", "2.0"),
]
PROGRAM = [sys.executable, "-c", "from forethought.cli import main; main()"]


def test_a_killed_run_goes_on_with_the_same_lines(whole, tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    metrics = tmp_path / "run" / "metrics.jsonl"
    process = subprocess.Popen(
        [*PROGRAM, *WORDS, "--out", str(tmp_path / "run")],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not metrics.exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(
        [*PROGRAM, "resume", str(tmp_path / "run")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    if done.returncode == 2:  # killed before its first checkpoint was whole
        assert len(rows) <= 1 and "checkpoint" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert [row["episode"] for row in rows] == [1, 2, 3, 4]
    for row, expected in zip(rows, told(whole), strict=True):
        np.testing.assert_allclose(row["return"], expected["return"], rtol=1e-4)
