"""Runs in tables: on the command line, on the disk, as maps."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from forethought.cli import main
from forethought.planners import CategoricalCEM
from forethought.reports.figures import tables as table_plots
from forethought.runs.plan.control import control
from forethought.runs.plan.record import Record, record
from forethought.runs.store.folder import RunFolder
from forethought.tasks import load


@pytest.fixture(scope="module")
def seen():
    """The last steps through the maze."""
    planner = CategoricalCEM(8, population=64, elites=8, iterations=3)
    return record(control(load("maze"), planner, steps=4, start=35))


@pytest.fixture(autouse=True)
def at_home(tmp_path, stay_at):
    with stay_at(tmp_path):
        yield


def test_a_record_of_a_table_holds_its_map_and_what_is_best(seen):
    assert seen.table["letters"].shape == (6, 9)
    assert seen.table["choices"].tolist() == ["up", "right", "down", "left"]
    assert seen.states.shape == (5, 1) and seen.states[:2, 0].tolist() == [35, 26]
    assert seen.plan_states.shape == (9, 1) and seen.fan_states.shape[-1] == 1
    np.testing.assert_allclose(seen.table["V"][26], 0.95, rtol=1e-5)
    assert seen.table["Q"][26].argmax() == 0
    assert (seen.tick, seen.clock, seen.ahead) == (1.0, "step", "steps ahead")
    assert not seen.alive[3]


def test_what_the_first_plan_expects_is_discounted_and_ends_with_the_episode(seen):
    np.testing.assert_allclose(seen.plan_rewards, [0, 0, 0.95**2, *[0] * 5], rtol=1e-6)
    assert seen.plan_final == 0


@pytest.mark.parametrize("draw", ["where", "choices", "fan"])
def test_every_figure_of_a_table_is_drawn(seen, draw):
    figure = getattr(table_plots, draw)(seen)
    assert isinstance(figure, Figure)
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert {
        "where": "3 steps" in titles,
        "choices": len(figure.axes) == 1,
        "fan": "Iteration 1" in titles,
    }[draw]


def test_a_map_of_tables_that_are_no_grid_names_the_best_actions():
    task = load("exam")
    planner = CategoricalCEM(2, population=32, elites=4, iterations=2, particles=8)
    figure = table_plots.where(record(control(task, planner)))
    words = {text.get_text() for text in figure.axes[0].texts}
    assert {"take part", "leave it", ".6", "1"} <= words


def test_a_table_is_planned_in_on_the_command_line(tmp_path, capsys):
    fields = {"population": 32, "elites": 4, "iterations": 2, "horizon": 8}
    flags = [f"--planner.{name}={value}" for name, value in fields.items()]
    arguments = ["plan", "maze", "--planner", "categorical-cem", "--out", "run"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--steps", "3", "--start", "17", *flags])
    assert not stop.value.code
    folder = RunFolder.open(tmp_path / "run")
    again = Record.load(folder)
    assert again.table["letters"][0, 8] == "G" and again.horizon == 8
    page = (folder.path / "report.html").read_text()
    for words in ("Where it went", "Choices", "4 steps a second."):
        assert words in page
    assert (folder.path / "video.mp4").stat().st_size > 1000
    assert "optimum" not in capsys.readouterr().out


@pytest.mark.parametrize("planner", ["cem", "mppi", "gradient", "lqr", "ilqr"])
def test_planners_of_continuous_actions_refuse_tables_and_say_who_can(planner, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["plan", "maze", "--planner", planner])
    complaint = capsys.readouterr().err
    assert stop.value.code == 2
    assert complaint.count("\n") == 1 and "categorical-cem" in complaint
