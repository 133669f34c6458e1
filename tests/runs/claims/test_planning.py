"""Studies of planning: one number is varied, and each seed is the same everywhere."""

import dataclasses
import json

import numpy as np
import pytest

from forethought.planners import CEM, MPC
from forethought.reports.pages.claim import publish, write_reproduction
from forethought.runs.claims.kept import read_result
from forethought.runs.claims.planning import PlanningStudy, earned
from forethought.runs.claims.studies import Promise, run_study
from forethought.runs.entries.studies.planning import PLANNING, gusty_pendulum
from forethought.runs.store.folder import RunFolder

TASK = dataclasses.replace(gusty_pendulum(), steps=12)


def controller(every):
    return MPC(CEM(horizon=6, population=8, elites=2, iterations=2), every)


TINY = PlanningStudy(
    claim="nothing much happens in twelve steps",
    variant="the pendulum in wind",
    task=lambda: TASK,
    along="steps from one plan to the next",
    places=(1, 6),
    arms={"few": controller},
    seeds=3,
    promises=(
        Promise("it costs", lambda means: float(means["few"][0]), high=0.0),
        Promise("it pays", lambda means: float(means["few"][1]), low=0.0),
    ),
    seconds=1.0,
)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = RunFolder.create(tmp_path_factory.mktemp("planning"), {})
    return folder, run_study("tiny", TINY, range(5, 8), folder)


def test_a_curve_is_the_mean_over_seeds_at_each_place(result):
    _, found = result
    arm = found["arms"]["few"]
    assert found["at"] == [1, 6] and found["axis"] == TINY.along
    alone, _ = earned(TASK, controller(6), [7, 6, 5])  # the same in any company
    assert arm["mean"][1] == pytest.approx(alone.mean(), rel=1e-4)
    assert arm["std"][1] == pytest.approx(alone.std(), rel=1e-3)
    assert [check["passed"] for check in found["checks"]] == [True, False]


def test_page_and_files_to_commit_are_made_of_the_json_alone(result, tmp_path):
    folder, found = result
    page = write_reproduction(folder).read_text()
    assert "1 of 2" in page and "steps from one plan to the next" in page
    made = publish(folder, tmp_path)
    assert json.loads(made[0].read_text()) == found


@pytest.mark.parametrize("name", ["mean", "std"])
def test_a_curve_that_lacks_a_point_is_refused(name, result, tmp_path):
    damaged = json.loads(json.dumps(result[1]))
    damaged["arms"]["few"][name].pop()
    folder = RunFolder.create(tmp_path / "copy", {})
    folder.write_json("reproduction.json", damaged)
    with pytest.raises(ValueError, match="as many points as there are steps"):
        read_result(folder)


@pytest.mark.parametrize("name", PLANNING)
def test_every_promise_is_about_places_that_there_are(name):
    study = PLANNING[name]
    means = {arm: -np.arange(1.0, 1 + len(study.places)) for arm in study.arms}
    assert all(np.isfinite(promise.value(means)) for promise in study.promises)
    for place in study.places:  # no plan ends before the next one is made
        assert all(arm(place).replan_every <= 200 for arm in study.arms.values())
