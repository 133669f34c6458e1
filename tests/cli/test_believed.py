"""From a data file to a plan, at the command line: in a task's world, and in none."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from forethought.cli import main

TINY = [
    *("--model.members", "2", "--model.width", "8", "--model.depth", "1"),
    *("--model.fitting.epochs", "5", "--model.fitting.updates", "10"),
]
SMALL = [
    *("--steps", "6", "--planner.horizon", "4", "--planner.population", "8"),
    *("--planner.elites", "2", "--planner.iterations", "1"),
]
WANTED = """
import forethought as ft

upright = ft.objective(reward=lambda obs, action: obs[0])
"""


@pytest.fixture(autouse=True, scope="module")
def at_home(tmp_path_factory, stay_at):
    """A working folder with a model of a pendulum in it, and with a wish."""
    home = tmp_path_factory.mktemp("home")
    (home / "wanted.py").write_text(WANTED)
    with stay_at(home) as patch:
        save = Figure.savefig
        coarse = lambda figure, to, dpi, **rest: save(figure, to, dpi=20, **rest)  # noqa: E731
        patch.setattr(Figure, "savefig", coarse)
        assert run("collect", "pendulum", "--steps", "600", "--out", "data.npz") == 0
        assert run("fit", "data.npz", "--model", "ensemble", *TINY, "--out", "fit") == 0
        yield home


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def test_a_fitted_model_plans_in_the_tasks_own_world(capsys, at_home):
    words = ("pendulum", "--model", "fit", "--caution", "0.5", *SMALL, "--out", "one")
    assert run("plan", *words) == 0
    said = capsys.readouterr().out
    assert "on average; then came" in said
    folder = at_home / "one"
    page = (folder / "report.html").read_text()
    assert "What the model foresaw of the first plan" in page
    assert "plans expected over 4 steps, mean" in page
    assert "--model" in page and "--caution" in page
    told = np.load(folder / "foreseen.npz")
    assert told["names"].tolist()[0] == "cos angle" and told["bands"].shape == (5, 5, 3)
    seen = np.load(folder / "episode.npz")
    assert seen["plan_states"].shape == (5, 2)  # angles, and not what was observed
    np.testing.assert_allclose(seen["plan_states"][0], seen["states"][0], rtol=1e-5)
    (folder / "report.html").unlink()
    assert run("report", "one") == 0
    assert (folder / "report.html").read_text() == page


def test_where_there_is_no_world_a_plan_is_made_in_the_model(capsys, at_home):
    words = ("--objective", "wanted:upright", "--from", "-1", "0", "0.5")
    assert run("plan", "fit", *words, *SMALL, "--out", "two") == 0
    assert "task       data" in capsys.readouterr().out
    seen = np.load(at_home / "two/episode.npz")
    np.testing.assert_allclose(seen["states"][0], [-1, 0, 0.5])
    assert seen["state_names"].tolist()[2] == "angular velocity (rad/s)"
    config = json.loads((at_home / "two/config.json").read_text())
    assert config["options"]["start"] == [-1, 0, 0.5]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fit",), "needs what is wanted and where it begins"),
        (("fit", "--objective", "wanted:upright"), "where it begins"),
        (
            ("fit", "--objective", "wanted:upright", "--from", "1", "2"),
            "a start of 3 numbers (cos angle, sin angle, angular velocity (rad/s))",
        ),
        (("fit", "--objective", "wanted:up", "--from", "1", "0", "0"), "upright"),
        (
            ("cartpole", "--model", "fit"),
            "needs 4 observations",
        ),
        (("lqg", "--model", "fit"), "observations tell its state"),
        (("pendulum", "--model", "nowhere"), "nowhere"),
        (("pendulum", "--model", "."), "config.json"),
        (("pendulum", "--caution", "2"), "give --model"),
        (("pendulum", "--model", "fit", "--caution", "nan"), "finite price"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_what_does_not_fit_is_one_line(words, said, capsys):
    assert run("plan", *words) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
