"""The figure of critics: a panel for each thing that lines of metrics tell of them."""

import numpy as np
import pytest

from forethought.reports.figures.critics import figure
from forethought.reports.write import write_report
from forethought.runs.store.folder import RunFolder

TOLD = {
    "What critics expect": {"value_expected": 3.0, "value_realised": 2.0},
    "Weight of targets that look so far": {"weight_0": 0.75, "weight_1": 0.25},
    "Steps that critics learn from": {"real_share": 0.05},
    "Entropy of an action, in half widths": {"entropy": -1.0},
    "Temperature: what a nat is worth": {"temperature": 0.2},
    "Actions at a limit": {"saturated": 0.1},
}


def rows(told, count=3):
    return [{"step": 100 * i, **told} for i in range(1, count + 1)]


def test_without_critics_there_is_none():
    assert figure(rows({})) is None
    assert figure(rows({"entropy": None})) is None


@pytest.mark.parametrize("title", TOLD)
def test_each_panel_is_drawn_where_there_is_something_to_draw(title):
    drawn = [axis for axis in figure(rows(TOLD[title])).axes if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in drawn] == [title]


def test_futures_are_drawn_where_their_length_changes():
    assert figure([{"step": i, "length": 1} for i in (1, 2)]) is None
    (axis, *_) = figure([{"step": i, "length": i} for i in (1, 2)]).axes
    np.testing.assert_array_equal(axis.lines[0].get_ydata(), [1, 2])


def test_weights_are_stacked_to_the_whole():
    (axis, *_) = figure(rows(TOLD["Weight of targets that look so far"])).axes
    near, far = axis.collections
    assert near.get_paths()[0].get_extents().y1 == pytest.approx(75)
    assert far.get_paths()[0].get_extents().y1 == pytest.approx(100)


def test_a_run_that_was_killed_shows_all_of_it(tmp_path):
    folder = RunFolder.create(tmp_path, {"task": "pendulum", "planner": "mbpo"})
    line = {name: value for told in TOLD.values() for name, value in told.items()}
    line |= {"interval": 1, "step": 100, "kind": "planned", "return": None}
    line |= {"episodes": 0, "returns": [], "ends": [], "seconds": 1.0}
    folder.append(line)
    assert ">Critics<" in write_report(folder).read_text()
    assert (tmp_path / "plots" / "critics.png").exists()
