import dataclasses
import html.parser
import re

import equinox as eqx
import numpy as np
import pytest
from matplotlib.figure import Figure

from forethought.core.results import Stats
from forethought.reports.figures import episode as plots
from forethought.reports.figures import search as search_plots
from forethought.reports.pages.comparison import rows_of, write_comparison
from forethought.reports.pages.run import SECTIONS, chatter
from forethought.reports.style import choose, gap, number
from forethought.reports.write import save_run, write_report
from forethought.runs.plan.compare import Score
from forethought.runs.plan.control import control, make_planner
from forethought.runs.plan.record import Record, record
from forethought.runs.store.folder import RunFolder
from forethought.tasks.analytic import double_integrator, pendulum

VOID = {"meta", "img", "br", "hr", "link", "input"}
NASTY = "<script>alert('&\"')</script>"


class Page(html.parser.HTMLParser):
    """Collects what a page refers to and says, and checks that tags nest."""

    def __init__(self, text):
        super().__init__()
        self.references, self.tags, self.text, self.open = [], [], "", []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [
            value
            for name, value in attrs
            if name in ("src", "href", "poster", "srcset", "data", "action")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def cem_run():
    planner = make_planner(
        pendulum(), "cem", horizon=4, population=12, elites=3, iterations=2
    )
    return control(pendulum(), planner, steps=9)


@pytest.fixture(scope="module")
def lqr_run():
    task = dataclasses.replace(double_integrator(), steps=12)
    return control(task, make_planner(task, "lqr", horizon=12), steps=12)


@pytest.fixture(scope="module")
def finished(cem_run, tmp_path_factory):
    command = ["forethought", "plan", "pendulum", "--out", "a b"]
    folder = RunFolder.create(
        tmp_path_factory.mktemp("run") / "run",
        {"task": "pendulum", "planner": "cem", "command": command, "note": NASTY},
    )
    assert save_run(cem_run, folder) == []
    return folder


def test_chatter_is_how_much_actions_change_where_nothing_moves(cem_run):
    seen = record(cem_run)
    steps = np.arange(40)
    states = np.stack([np.minimum(steps, 9) / 9.0, 0.0 * steps], axis=1)
    actions = np.where(steps < 9, 2.0, 0.1 * (-1.0) ** steps)[:, None]
    still = dataclasses.replace(
        seen,
        states=np.concatenate([states, states[-1:]]),
        actions=actions,
        alive=np.ones(40, bool),
        low=np.array([-2.0]),
        high=np.array([2.0]),
    )
    assert chatter(still) == pytest.approx(0.05)
    assert chatter(dataclasses.replace(still, high=np.array([np.inf]))) is None
    restless = states * (-1.0) ** steps[:, None]
    restless = np.concatenate([restless, restless[-1:]])
    assert chatter(dataclasses.replace(still, states=restless)) is None


def test_a_report_is_one_file_that_needs_no_other(finished):
    text = (finished.path / "report.html").read_text()
    page = Page(text)
    assert page.references
    assert all(each.startswith("data:") for each in page.references)
    style = text[text.index("<style>") : text.index("</style>")]
    assert not re.search(r"url\(|@import", style)
    assert page.tags.count("video") == 1 and page.tags.count("img") == 6
    assert "script" not in page.tags and NASTY in page.text
    assert "forethought plan pendulum --out 'a b'" in page.text
    for words in ("Closed loop: replanned every step", "of 9 plans: successful"):
        assert words in page.text


def test_every_figure_is_saved_beside_the_report(finished):
    names = {path.stem for path in (finished.path / "plots").iterdir()}
    assert names == {*SECTIONS, "strip"} - {"gains", "tree"}


def test_a_report_is_made_again_from_the_disk_alone(finished):
    report = finished.path / "report.html"
    figures = {path: path.read_bytes() for path in (finished.path / "plots").iterdir()}
    first = Page(report.read_text()).text
    (finished.path / "video.mp4").unlink()
    report.unlink()
    for path in figures:
        path.unlink()
    assert write_report(finished.path) == report
    assert Page(report.read_text()).text == first
    assert {path: path.read_bytes() for path in figures} == figures
    assert (finished.path / "video.mp4").stat().st_size > 1000


def test_a_run_that_was_killed_still_has_a_report(tmp_path):
    folder = RunFolder.create(tmp_path, {"task": NASTY, "planner": "cem"})
    folder.append({"step": 1, "return": -2.5, "result": "successful"})
    page = Page(write_report(tmp_path).read_text())
    assert "stopped before its end" in page.text
    assert "-2.5" in page.text and "script" not in page.tags


def test_a_plan_with_gains_shows_them_and_one_without_a_search_shows_none(lqr_run):
    seen = record(lqr_run)
    assert search_plots.fan(seen) is None
    assert search_plots.search(seen) is None
    figure = search_plots.gains(seen)
    assert isinstance(figure, Figure)
    assert len(figure.axes[0].lines) == 3  # two states and the line of zero
    np.testing.assert_array_equal(
        figure.axes[0].lines[0].get_ydata(), lqr_run.first.feedback.gains[:, 0, 0]
    )


def test_the_known_optimum_and_the_gap_to_it_are_told(lqr_run, tmp_path):
    folder = RunFolder.create(tmp_path, {"task": "double-integrator"})
    save_run(lqr_run, folder)
    text = Page((tmp_path / "report.html").read_text()).text
    assert "known optimum" in text and "0.00%below the optimum" in text


def test_expected_and_realised_returns_are_drawn_as_recorded(lqr_run):
    # One plan for the whole episode on exact dynamics: both curves are the same.
    figure = plots.returns(record(lqr_run))
    expected, _, realised, _ = figure.axes[0].lines
    np.testing.assert_allclose(
        expected.get_ydata(), realised.get_ydata(), rtol=1e-4, atol=1e-5
    )


def test_drawing_touches_nothing_global(cem_run):
    import matplotlib
    import matplotlib.pyplot

    before = dict(matplotlib.rcParams)
    seen = record(cem_run)
    for _, _, draw in SECTIONS.values():
        draw(seen)
    assert dict(matplotlib.rcParams) == before
    assert matplotlib.pyplot.get_fignums() == []


def test_coordinates_that_repeat_or_stand_still_are_not_chosen():
    time = np.linspace(0, 1, 50)
    series = np.stack([time, 2 * time + 1, np.ones(50), np.sin(9 * time)], axis=1)
    worth = np.array([1.0, 9.0, 9.0, 5.0])
    np.testing.assert_array_equal(choose(worth, series, 3), [0, 3])
    np.testing.assert_array_equal(choose(worth, series, 1), [3])


def test_planners_are_set_side_by_side_and_again_from_the_disk(tmp_path):
    folder = RunFolder.create(tmp_path, {"task": "pendulum"})
    scores = [
        Score(
            task,
            planner,
            optimum,
            execution="open loop",
            returns=np.array([value, value - 1]),
            plan_seconds=np.array([seconds, seconds]),
            iterations=np.array([3, 3]),
            results={"successful": 2},
            progress=(np.array([value - 9, value - 5, value]),) * 2,
            evaluations=1200,
            linearisations=40,
        )
        for task, optimum in (("pendulum", -10.0), ("car", None))
        for planner, value, seconds in ((NASTY, -30.0, 0.002), ("ilqr", -20.0, 0.01))
    ]
    scores.append(Score("car", "lqr", None, refusal="LQR needs a Linear model."))
    rows = [row for score in scores for row in rows_of(score, (0, 1))]
    report = write_comparison(folder, rows)
    page = Page(report.read_text())
    assert all(each.startswith("data:") for each in page.references)
    assert "script" not in page.tags
    assert page.text.index("ilqr") < page.text.index(NASTY)  # the best comes first
    assert "−20.5" in page.text and "105.00%" in page.text
    assert "1,200 + 40 ∂" in page.text and "refuses: LQR needs" in page.text
    lines = (tmp_path / "comparison.csv").read_text().splitlines()
    assert len(lines) == 10 and lines[0].startswith("task,planner,seed,return,optimum")
    assert lines[3] == (
        "pendulum,ilqr,0,-20.0,-10.0,10.0,1.0,3,0.01,1200,40,"
        ",,,,,,open loop,2 successful,"
    )
    assert (tmp_path / "plots" / "comparison.png").stat().st_size > 10_000
    report.unlink()
    assert Page(write_report(tmp_path).read_text()).text == page.text
    with pytest.raises(ValueError, match="at least one episode"):
        write_comparison(folder, [])


def test_numbers_read_well():
    assert [number(x) for x in (0.0, -85.1423, 37198.8, 0.000123456, np.nan)] == [
        "0",
        "−85.142",
        "37,199",
        "0.0001235",
        "nan",
    ]
    assert gap(-11.0, -10.0) == "10.00%"
    assert gap(-10.0, -10.0) == gap(-10.0 - 1e-12, -10.0) == "0.00%"
    assert gap(-10.00002, -10.0) == "0.0002%"
    assert gap(-316.0, -1.4) == "314.6"
    assert gap(float("nan"), -1.4) == "–"


def test_the_search_shows_every_number_an_iteration_and_none_beyond_the_last(cem_run):
    curve = np.array([-900.0, -40.0, -1.0, -1.0])
    stats = Stats(
        best=curve,
        iterations=np.array(3),
        numbers={"step_size": curve, "gradient": -curve, "first_value": np.array(-9.0)},
        inside=Stats(curve, mean=curve - 1),
    )
    seen = dataclasses.replace(record(cem_run), plan_stats=stats)
    axes = {axis.get_title("left"): axis for axis in search_plots.search(seen).axes}
    assert list(axes) == ["Cost", "Gradient", "Step size", "Return, last round"]
    (cost,) = axes["Cost"].lines
    np.testing.assert_array_equal(cost.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(cost.get_ydata(), -curve[:3])
    assert axes["Cost"].get_yscale() == "log"
    assert [len(line.get_ydata()) for line in axes["Return, last round"].lines] == [
        4,
        4,
    ]


def test_a_report_of_a_record_from_before_statistics_had_types_says_as_much(
    cem_run, tmp_path
):
    new = RunFolder.create(tmp_path / "new", {})
    seen = record(cem_run)
    seen.save(new)
    arrays = new.arrays("episode.npz")
    names = {"best": "best_return", "mean": "elite_return", "numbers/spread": "spread"}
    for name, old in names.items():
        arrays[f"plan_stats/{old}"] = arrays.pop(f"plan_stats/{name}")
    old = RunFolder.create(tmp_path / "old", {})
    old.save_arrays("episode.npz", arrays)
    assert eqx.tree_equal(Record.load(old).plan_stats, seen.plan_stats)
