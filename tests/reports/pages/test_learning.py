"""The page of a training run, made of folders that are written by hand."""

import numpy as np
import pytest

from forethought.reports.figures import learning
from forethought.reports.pages.learning import HALVES, SECTIONS
from forethought.reports.write import write_report
from forethought.runs.store.folder import RunFolder

CONFIG = {
    "task": "<b>pendulum",
    "planner": "pets",
    "options": {"steps": 800},
    "command": ["forethought", "train", "pendulum"],
}
BOUNDS = {
    "exact": {"returns": [-90.0, -110.0], "mean": -100.0, "std": 14.1, "seconds": 1},
    "random": {"returns": [-900.0] * 3, "mean": -900.0, "std": 0.0, "seconds": 1},
}


def row(i, **changed):
    line = {
        "interval": i,
        "step": 200 * i,
        "episode": i,
        "kind": "planned" if i > 1 else "random",
        "return": -800.0 / i,
        "episodes": 1,
        "returns": [-800.0 / i],
        "ends": [200 * i],
        "lengths": [200 - i],
        "holdout": -1.0 * i,
        "non_finite": 3,
        "plan_failed": 0,
        "seconds": 1.5,
    }
    return line | changed


def card(i, steps=30):
    random = np.random.default_rng(i)
    truth = np.cumsum(random.normal(size=(steps + 1, 2)), axis=0)
    offsets = np.arange(-2, 3)[:, None, None] * np.arange(steps + 1)[None, :, None]
    return {
        "errors": np.linspace(0.1, 1, steps)[:, None] * np.ones(2) / i,
        "persistence": np.linspace(0.2, 2, steps)[:, None] * np.ones(2),
        "coverage": np.array([0.4, 0.8])[:, None, None] * np.ones((1, steps, 2)),
        "fan": truth[None] + 0.1 * offsets,
        "truth": truth,
        "doubts": np.array([0.1, 0.2, 0.4]) / i,
        "names": np.array(["angle (rad)", "speed"]),
    }


def folder_of(path, rows, cards=(), bounds=None):
    folder = RunFolder.create(path, CONFIG)
    for line in rows:
        folder.append(line)
    (path / "cards").mkdir()
    for i in cards:
        folder.save_arrays(f"cards/{i:04d}.npz", card(i))
    if bounds:
        folder.write_json("bounds.json", bounds)
    return folder


def page_of(folder):
    return write_report(folder).read_text()


def test_a_page_shows_curves_bounds_and_every_card(tmp_path):
    folder = folder_of(tmp_path, [row(i) for i in range(1, 5)], (2, 3, 4), BOUNDS)
    text = page_of(folder)
    names = {"learning", *SECTIONS, *HALVES}
    assert {path.stem for path in (tmp_path / "plots").iterdir()} == names
    assert text.count("<img") == len(names) and "<video" not in text
    for words in ("−200", "−100", "−900", "imagined returns that were no number"):
        assert words in text
    assert "<b>pendulum" not in text and "stopped" not in text
    assert "forethought train pendulum" in text


def test_a_run_without_cards_or_bounds_that_was_killed_has_a_page(tmp_path):
    text = page_of(folder_of(tmp_path, [row(1)]))
    assert {path.stem for path in (tmp_path / "plots").iterdir()} == {"learning", "fit"}
    assert "stopped before its end, of 800 steps" in text


def test_steps_lead_where_an_episode_earns_one_of_two_numbers(tmp_path):
    maze = [
        row(i, returns=[float(i > 1)], lengths=[300 - i]) | {"return": 1.0}
        for i in range(1, 6)
    ]
    text = page_of(folder_of(tmp_path / "maze", maze))
    assert text.index("Steps of each episode") < text.index(">Learning<")
    assert text.index("steps of the last") < text.index("return of the last")
    text = page_of(folder_of(tmp_path / "else", [row(i) for i in range(1, 6)]))
    assert text.index("Steps of each episode") > text.index(">Learning<")


def test_settings_are_shown_under_the_flags_that_set_them(tmp_path):
    config = CONFIG | {"settings": {"model": {"width": 8}, "known_reward": True}}
    folder = RunFolder.create(tmp_path, config)
    folder.append(row(1))
    text = page_of(folder)
    for flag in ("--agent.model.width", "--agent.known-reward", "--steps"):
        assert f"<dt>{flag}</dt>" in text


def test_numbers_that_are_none_and_episodes_that_never_ended_do_no_harm(tmp_path):
    nothing = {"return": None, "returns": [], "ends": [], "episodes": 0}
    rows = [row(1, **nothing), row(2, holdout=None, plan_value=-np.inf)]
    rows += [row(3, returns=[np.nan, 2.0], ends=[500, 600], error_25=np.inf)]
    folder = folder_of(tmp_path, rows, (2,))
    (tmp_path / "cards" / "0003.npz").write_bytes(b"half a file")
    assert "2 whole episodes" in page_of(folder)
    steps, returns, _ = learning.episodes(folder.metrics())
    np.testing.assert_array_equal(steps, [400, 500, 600])
    np.testing.assert_array_equal(returns, [-400, np.nan, 2])


def test_a_run_in_which_nothing_ended_has_a_page(tmp_path):
    rows = [row(1, **{"return": None, "returns": [], "ends": [], "episodes": 0})]
    assert "0 whole episodes" in page_of(folder_of(tmp_path, rows))


@pytest.mark.parametrize("count", [1, 3])
def test_errors_are_drawn_as_they_are_recorded(count):
    cards = {i: card(i) for i in range(2, 2 + count)}
    rows = [row(i) for i in range(1, 6)]
    figure = learning.errors(rows, cards)
    assert figure is not None
    lines = figure.axes[0].lines
    assert len(lines) == count + 1
    assert lines[0].get_label() == "fitted to 200 steps"
    np.testing.assert_allclose(lines[0].get_ydata(), cards[2]["errors"][:, 0])
    over = figure.axes[1].lines[0]
    np.testing.assert_array_equal(over.get_xdata(), [200 * i for i in cards])


def test_fans_show_the_first_the_middle_and_the_last_stage():
    cards = {i: card(i) for i in range(2, 9)}
    figure = learning.fans([row(i) for i in range(1, 9)], cards)
    assert figure is not None
    titles = [axis.get_title(loc="left") for axis in figure.axes[:3]]
    assert titles == [f"fitted to {n:,} steps" for n in (200, 800, 1400)]
    assert [axis.get_ylabel() for axis in figure.axes[::3]] == ["angle (rad)", "speed"]
    truth = figure.axes[0].lines[1].get_ydata()
    np.testing.assert_array_equal(truth, cards[2]["truth"][:, 0])


def test_a_single_network_has_no_disagreement_to_draw():
    cards = {2: card(2) | {"doubts": np.zeros(3)}}
    assert learning.doubts([row(2)], cards) is None
