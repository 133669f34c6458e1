"""`forethought collect`: what it says, writes and refuses."""

import gymnasium
import numpy as np
import pytest

from forethought.cli import main
from forethought.data.sources.reading import read
from forethought.training.stop import INTERRUPTED


class Failing(gymnasium.Env):
    """Gives a reward that is no number, at its third step."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        reward = float("nan") if self.steps == 3 else 0.0
        return np.zeros(1, np.float32), reward, False, False, {}


@pytest.fixture(autouse=True, scope="module")
def at_home(tmp_path_factory, stay_at):
    """An empty working folder and cache, and JAX's settings as they were."""
    gymnasium.register("Failing-v0", Failing)
    with stay_at(tmp_path_factory.mktemp("home")):
        yield
    del gymnasium.registry["Failing-v0"]


def run(*words):
    with pytest.raises(SystemExit) as stopped:
        main(["collect", *words])
    return stopped.value.code


def test_data_are_written_and_what_is_in_them_is_told(capsys):
    words = "double-integrator --steps 130 --seed 3 --out a/data.csv".split()
    assert run(*words) == 0
    out = capsys.readouterr().out
    data = read("a/data.csv")
    assert data.rows == 130
    assert f"rows      130, of {data.episodes} episodes" in out
    assert "seen      position (m), velocity (m/s)" in out
    assert "of 2 episodes that ended" in out and "a/data.csv" in out
    assert run(*words) == 2
    assert "--overwrite (overwrite=True) replaces it" in capsys.readouterr().err
    assert run(*words, "--overwrite") == 0


@pytest.mark.parametrize(
    "words, told",
    [
        ("", "collect needs TASK_OR_GYM_ID first"),
        ("pendulum", "collect needs a file to write: --out FILE."),
        ("pendulum --out a.xlsx", "ends in .csv, .parquet, .npz, got 'a.xlsx'"),
        ("pendulm --out a.npz", "did you mean 'pendulum'?"),
        ("robot.xml --out a.npz", "needs an objective: forethought plan robot.xml"),
        ("pendulum --out a.npz --objective a:b", "goes with an MJCF file"),
        ("pendulum --out a.npz --steps 0", "collect needs steps >= 1, got 0"),
        ("pendulum --out a.npz --noise -1", "collect needs noise in [0, 1], got -1"),
        ("pendulum --out a.npz --polcy random", "did you mean '--policy'"),
        ("pendulum --out a.npz --policy nowhere", "the folder of a training run, got"),
        ("pendulum --out a.npz --policy .", "needs config.json"),
        ("pendulum --out a.npz --env.g 1", "go with one of Gymnasium, got g"),
        ("Pendulum-v1 --out a.npz --env.gg 1", "gg"),
    ],
)
def test_what_cannot_be_collected_is_refused_in_one_line(words, told, capsys):
    assert run(*words.split()) == 2
    out, err = capsys.readouterr()
    assert told in err and err.count("\n") == 1 and err.startswith("forethought: ")
    assert not out


def test_an_environment_that_fails_leaves_no_file(capsys, tmp_path):
    assert run("Failing-v0", "--out", str(tmp_path / "a.csv")) == 1
    err = capsys.readouterr().err
    assert "not finite" in err and "Nothing was written." in err
    assert list(tmp_path.iterdir()) == []


def test_who_interrupts_is_told_that_nothing_was_written(capsys, monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("forethought.runs.collect.execute", interrupted)
    code = run("double-integrator", "--out", str(tmp_path / "a.csv"))
    assert code == INTERRUPTED and list(tmp_path.iterdir()) == []
    assert "interrupted; nothing was written" in capsys.readouterr().out
