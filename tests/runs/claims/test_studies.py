"""Figures of a book made again, and training runs of agents with tables."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

from forethought import cli
from forethought.agents.schedule import Schedule
from forethought.agents.tables.dyna import Dyna
from forethought.agents.tables.sweeping import Sweeping
from forethought.cli import reproduce as command
from forethought.environments.tables.grids import grid
from forethought.environments.tables.tabular import TabularEnvironment
from forethought.reports.pages.claim import publish, write_reproduction
from forethought.reports.pages.learning import body
from forethought.reports.write import film_training
from forethought.runs.claims.studies import Arm, Promise, Study, curves, run_study
from forethought.runs.entries.registry import STUDIES
from forethought.runs.entries.studies.mazes import MAZES
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.log import sparkline
from forethought.runs.train.bounds import exact_bound, write_bounds
from forethought.runs.train.intervals import learn, pace, score
from forethought.runs.train.settings import Learning
from forethought.runs.train.trained import Trained
from forethought.tasks import TASKS

TINY = Study(
    claim="a corridor is learned",
    variant="five cells in a row",
    source="counted by hand",
    world=lambda: TabularEnvironment(grid(["S...G"]).table),
    arms={"dyna": Arm(Dyna(planning_steps=2), ((1, 30.0), (6, 4.0)))},
    measure="steps per episode",
    length=6,
    steps=4000,
    seeds=3,
    promises=(
        Promise("fast at last", lambda means: float(means["dyna"][-1]), high=40.0),
        Promise("faster than light", lambda means: float(means["dyna"][-1]), high=3.0),
    ),
    seconds=1.0,
)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = RunFolder.create(tmp_path_factory.mktemp("study"), {})
    return folder, run_study("tiny", TINY, range(5, 9), folder)


def test_a_study_counts_the_steps_of_each_episode_and_rewards_step_by_step(result):
    _, found = result
    steps, _ = curves(TINY, TINY.arms["dyna"].agent, [5, 6, 7, 8])
    assert steps.shape == (4, 6) and steps.min() >= 4  # none is shorter than the way
    np.testing.assert_allclose(found["arms"]["dyna"]["mean"], steps.mean(0), rtol=1e-4)
    study = dataclasses.replace(TINY, measure="cumulative reward", length=9, steps=40)
    # Each seed is the same in any company.
    earned, _ = curves(study, TINY.arms["dyna"].agent, [8, 7, 6, 5])
    steps = steps[::-1]
    for row, own in zip(earned, steps, strict=True):
        ends = np.cumsum(own)
        known = min(40, ends[-1])
        counted = [np.sum(ends <= t) for t in range(1, known + 1)]
        np.testing.assert_array_equal(row[:known], counted)


def test_a_seed_that_does_not_end_is_named():
    with pytest.raises(RuntimeError, match="Seed 5 needs 6 episodes, but only"):
        curves(dataclasses.replace(TINY, steps=12), TINY.arms["dyna"].agent, [5])


def test_page_and_files_to_commit_are_made_of_the_json_alone(result, tmp_path):
    folder, found = result
    assert [check["passed"] for check in found["checks"]] == [True, False]
    page = write_reproduction(folder).read_text()
    assert "1 of 2" in page and "faster than light" in page and "≤ 3" in page
    made = publish(folder, tmp_path)
    assert [path.name for path in made] == ["tiny.json", "tiny.png"]
    assert json.loads(made[0].read_text()) == found
    assert found["command"] == "forethought reproduce tiny --seeds 4 --seed 5"


def test_the_command_judges_and_keeps_to_its_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(STUDIES, "tiny", TINY)
    monkeypatch.setattr(command, "set_up", lambda precision: None)

    def code(*words):
        with pytest.raises(SystemExit) as stop:
            cli.main(["reproduce", "tiny", "--out", str(tmp_path / "run"), *words])
        return stop.value.code

    assert code() == 1
    assert "FAILED: faster than light" in capsys.readouterr().out
    assert code("--seeds", "2") == 2
    assert re.search("seeds 101 to 102 needs a folder", capsys.readouterr().err)
    assert code("--paper") == 2


@pytest.mark.parametrize("name", MAZES)
def test_every_study_compares_like_with_like(name):
    study = MAZES[name]
    assert study.promises and study.source and study.steps >= study.length
    for arm in study.arms.values():
        assert max(at for at, _ in arm.known) == study.length
        assert arm.agent.memory == 0.0  # the book's model is the last outcome


MAZE = Learning("maze", Dyna(planning_steps=5), 1500, seed=3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run in the maze that nobody interrupted."""
    folder = RunFolder.create(tmp_path_factory.mktemp("maze"), {})
    state, _ = learn(MAZE, folder)
    return folder, state


def told(folder):
    return [
        {name: value for name, value in row.items() if name not in ("seconds", "cpu")}
        for row in folder.metrics()
    ]


def test_a_line_tells_of_an_episode_and_learning_began_with_the_first_step(trained):
    folder, state = trained
    rows = told(folder)
    assert all(row["kind"] == "planned" and row["episodes"] <= 1 for row in rows)
    ends = [row["ends"][0] for row in rows if row["ends"]]
    lengths = [row["lengths"][0] for row in rows if row["ends"]]
    np.testing.assert_array_equal(np.diff(ends, prepend=0), lengths)
    assert all(length >= 14 for length in lengths) and rows[-1]["step"] == 1500
    assert int(state.learner.clock) == 1500
    assert all(row["td_error"] >= 0 and 0 < row["tried"] <= 1 for row in rows)


def test_an_interrupted_run_goes_on_with_the_same_lines(trained, tmp_path):
    folder = RunFolder.create(tmp_path, {})

    def stop(event):
        if event.row["interval"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(MAZE, folder, watch=stop)
    learn(MAZE, folder, resume=True)
    assert told(folder) == told(trained[0])


def test_in_gymnasium_too(tmp_path):
    run = Learning(
        "CliffWalking-v1", Sweeping(), 60, interval=Schedule(20, "steps"), seed=1
    )
    # Its episodes never end, so that intervals are counted in steps.
    assert run.length is None and run.clocks == (Schedule(20, "steps"),)
    whole, parts = (RunFolder.create(tmp_path / name, {}) for name in ("a", "b"))
    learn(run, whole)

    def stop(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(run, parts, watch=stop)
    learn(run, parts, resume=True)
    rows = told(whole)
    assert [row["step"] for row in rows] == [20, 40, 60] and told(parts) == rows


def test_its_page_shows_values_and_lengths_and_leaves_out_what_it_has_not(trained):
    folder, state = trained
    write_bounds(folder, MAZE)
    assert film_training(Trained(MAZE, folder, state.learner)) == []
    bounds = folder.read_json("bounds.json")
    assert bounds["exact"]["mean"] == 1.0 and bounds["exact"]["label"] == "table solved"
    _, parts = body(folder, {"task": "maze", "planner": "dyna"})
    page = "".join(parts)
    assert "Values and policy" in page and "Steps of each episode" in page
    assert "Imagined and real" not in page and "hold-out" not in page
    assert "table solved" in page
    returns, _ = score(MAZE, folder, episodes=2, seed=1)
    assert returns.shape == (2,)


def test_the_solved_table_bounds_what_can_be_earned():
    task = TASKS["cliff-walking"]()
    found = exact_bound(task, Dyna(gamma=1.0), episodes=2, key=jax.random.key(0))
    np.testing.assert_array_equal(found["exact"]["returns"], [-13.0, -13.0])
    task = TASKS["blocking-maze"]()
    found = exact_bound(task, Dyna(), episodes=2, key=jax.random.key(0))
    assert "changes" in found["note"]


def test_its_pace_is_measured_in_steps():
    assert 0 < pace(MAZE) < 1


def test_a_curve_of_letters_falls_with_the_numbers():
    assert sparkline([800, 100, 10]) == "█▅▁"
    assert sparkline([5, 5]) == "▁▁" and len(sparkline(range(1, 900))) == 24


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"learn": Schedule(1)}, "by steps or by a ratio to them, got one by episodes"),
        ({"name": "CliffWalking-v1", "interval": Schedule(2)}, "have intervals by"),
    ],
)
def test_schedules_that_do_not_fit_the_agent_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(MAZE, **options)
