"""Reproductions: numbers by hand, runs that are never done twice, a list to read."""

import dataclasses
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time

import equinox as eqx
import jax
import numpy as np
import pytest

from forethought import cli
from forethought.agents.planning.mbrl_v2 import ModelBasedV2
from forethought.agents.schedule import Schedule
from forethought.agents.tables.dyna import Dyna
from forethought.cli import learning as learning_commands
from forethought.cli.learning import read_training
from forethought.models.learned.fitting import FitSettings
from forethought.planners import CEM
from forethought.reports.pages.claim import publish, write_reproduction
from forethought.runs.claims import reproduce
from forethought.runs.claims.kept import read_result
from forethought.runs.claims.outcomes import (
    Outcome,
    best_by,
    cpu_seconds,
    first_above,
    first_success,
    last_evaluation,
    last_line,
    last_planned,
    outcome_of_lines,
    relative_gap,
    steps_to_evaluation,
)
from forethought.runs.claims.reproduce import Arm, Replication
from forethought.runs.claims.reproductions import (
    Check,
    Panel,
    Published,
    Reproduction,
    Than,
)
from forethought.runs.entries.registry import REPRODUCTIONS, STUDIES
from forethought.runs.events import Line, Notice
from forethought.runs.store.folder import RunFolder
from forethought.runs.train import trained as trained_runs
from forethought.runs.train.bounds import summary
from forethought.runs.train.settings import Learning

WORDS = (
    *("double-integrator", "--steps", "180", "--agent", "mbrl-v2"),
    *("--agent.model.width", "4", "--agent.model.depth", "1"),
    *("--agent.model.fitting.epochs", "2", "--agent.planner.horizon", "3"),
    *("--agent.planner.population", "6", "--agent.planner.hold", "1"),
)
ENTRY = Reproduction(
    claim="a tiny ensemble learns next to nothing",
    variant="our own double integrator",
    train=WORDS,
    checks=(
        Check("it is not ruined", best_by(180), ">", -1e6, "best", (180, -1e6)),
        Check("it earns a fortune", last_planned(2), "≥", 1e6, "each", (180, 0.0)),
    ),
    published=(
        Published("somebody", "nowhere", ((60, -100.0), (120, -50.0))),
        Published("somebody patient", "nowhere", ((6000, -9.0),)),
    ),
    measured=math.nan,
)  # fmt: skip
TINY = ModelBasedV2(
    model=dataclasses.replace(
        ModelBasedV2().model, width=4, depth=1, fitting=FitSettings(epochs=2)
    ),
    planner=dataclasses.replace(
        ModelBasedV2().planner, horizon=3, population=6, hold=1
    ),
)
SEEDS = (101, 102)
RESULTS = pathlib.Path(__file__).parents[3] / "results"
BOUNDS = {
    "random": summary(np.array([-40.0, -60.0]), 1.0),
    "exact": summary(np.array([-9.0, -11.0]), 1.0),
}


def trained(settings):
    return Arm(
        lambda seed: Learning("double-integrator", settings, 180, seed, Schedule(1)),
        lambda seed: ["forethought", "train", *WORDS, "--seed", str(seed)],
    )


def plan_of(settings=TINY, seeds=SEEDS):
    return Replication("tiny", ENTRY, False, seeds, {"": trained(settings)})


def told(result):
    """What a reproduction found, but for the wall clock."""
    arm = result["arms"][""]
    seeds = [run | {"seconds": 0, "cpu": 0} for run in arm["seeds"]]
    arms = {"": arm | {"seeds": seeds}}
    return result | {"arms": arms, "commit": "", "machine": {}}


PROGRAM = """
import json, sys
sys.path.insert(0, {here!r})
from test_reproduce import BOUNDS, ENTRY
from forethought.cli import main
from forethought.runs.claims import reproduce
from forethought.runs.train import trained
from forethought.runs.entries.registry import REPRODUCTIONS
REPRODUCTIONS["tiny"] = ENTRY
# Tested where they are written; here they would only be compiled.
reproduce.write_bounds = lambda *_, **__: BOUNDS
trained.state_cost = lambda *_: None
for words in json.loads(sys.argv[1]):
    try:
        main(["reproduce", "tiny", *words])
    except SystemExit as stop:
        print("code", stop.code)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A reproduction that was killed in its second seed and then went on.

    Returns its folder, its result, what was printed when it went on, and another
    folder that holds the second seed alone, which nobody interrupted.
    """
    place = tmp_path_factory.mktemp("reproduction")
    folder, apart = RunFolder(place / "run"), RunFolder(place / "apart")
    program = PROGRAM.format(here=str(pathlib.Path(__file__).parent))
    words = [
        ["--seeds", "2", "--out", str(folder.path)],
        ["--seeds", "1", "--seed", "102", "--out", str(apart.path)],
    ]
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "XDG_CACHE_HOME": str(place / "cache")}
    metrics = folder.path / "seed-102" / "metrics.jsonl"
    process = subprocess.Popen(
        [*command, json.dumps(words[:1])],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not metrics.exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder.path / "seed-101" / "outcome.json").exists()
    assert not (folder.path / "seed-102" / "outcome.json").exists()
    before = (folder.path / "seed-101" / "metrics.jsonl").stat().st_mtime_ns
    folder.write_json("bounds.json", BOUNDS)
    done = subprocess.run(
        [*command, json.dumps(words)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    after = (folder.path / "seed-101" / "metrics.jsonl").stat().st_mtime_ns
    assert before == after, "A finished seed was run again."
    return folder, folder.read_json("reproduction.json"), done.stdout, apart


def by_hand(seed, *returns):
    steps = tuple(10 * (i + 1) for i in range(len(returns)))
    return Outcome(seed, steps, returns, (False, *(True for _ in returns[1:])), 1.0)


RUNS = (
    by_hand(1, -9.0, -5.0, -1.0, -2.0),
    by_hand(2, -8.0, -3.0, -4.0, -6.0),
    by_hand(3, -7.0, -2.0, -3.0, -1.0),
)


def test_measures_are_those_that_one_counts_by_hand():
    assert [best_by(20)(run) for run in RUNS] == [-5.0, -3.0, -2.0]
    assert [best_by(39)(run) for run in RUNS] == [-1.0, -3.0, -2.0]
    assert best_by(9)(RUNS[0]) == -math.inf
    assert [last_planned(2)(run) for run in RUNS] == [-1.5, -5.0, -2.0]
    assert last_planned(4)(RUNS[0]) == -math.inf  # the random one is none of them
    assert [first_above(-3.0)(run) for run in RUNS] == [2, math.inf, 1]
    assert first_above(-10.0)(RUNS[0]) == 1


@pytest.mark.parametrize(
    ("measure", "relation", "goal", "median", "passed"),
    [
        (best_by(20), "≥", -3.0, -3.0, True),
        (best_by(20), ">", -3.0, -3.0, False),
        (last_planned(2), ">", -2.5, -2.0, True),
        (first_above(-3.0), "≤", 2.0, 2.0, True),
        (first_above(-3.0), "≤", 1.0, 2.0, False),
        (first_above(0.0), "≤", 9.0, math.inf, False),
    ],
)
def test_a_check_is_about_the_median_over_seeds(
    measure, relation, goal, median, passed
):
    check = Check("so it is", measure, relation, goal, "best", (1, 1.0))
    found = check.judge({"": RUNS})
    assert (found["median"], found["passed"]) == (median, passed)
    assert found["seeds"] == [measure(run) for run in RUNS]


SLOW = (by_hand(1, -9.0, -6.0), by_hand(2, -8.0, -2.5), by_hand(3, -7.0, -1.0))


@pytest.mark.parametrize(
    ("share", "goal", "held", "passed"),
    [
        (1.0, -3.0, 2, False),  # the medians and the means keep it, one seed does not
        (2 / 3, -3.0, 2, True),
        (0.7, -3.0, 2, False),  # of three seeds that is all of them
        (0.3, -1.5, 1, True),
    ],
)
def test_a_check_of_so_many_seeds_counts_those_that_keep_it(share, goal, held, passed):
    runs = (by_hand(1, 0.0, -5.0), by_hand(2, 0.0, -2.0), by_hand(3, 0.0, -1.0))
    check = Check("so it is", last_planned(1), "≥", goal, share=share)
    found = check.judge({"": runs})
    assert (found["held"], found["passed"]) == (held, passed)
    assert found["wanted"] == math.ceil(share * 3 - 1e-9) and "mark" not in found
    if share == 1:  # what judges the mean or the median instead is caught here
        values = [last_planned(1)(run) for run in runs]
        assert np.mean(values) >= goal and np.median(values) >= goal


def test_an_arm_is_judged_by_another_by_medians_or_seed_by_seed():
    runs = {"fast": RUNS, "slow": SLOW}
    check = Check("faster", best_by(20), ">", Than("slow"), arm="fast")
    found = check.judge(runs)
    assert (found["median"], found["goal"], found["passed"]) == (-3.0, -2.5, False)
    assert found["than"] == "slow" and found["others"] == [-6.0, -2.5, -1.0]
    with_room = dataclasses.replace(check, goal=Than("slow", times=2.0, plus=1.0))
    assert with_room.judge(runs)["goal"] == -4.0 and with_room.judge(runs)["passed"]
    each = dataclasses.replace(check, share=1 / 3)  # the first seed is, others are not
    assert each.judge(runs)["held"] == 1 and each.judge(runs)["passed"]
    other = Than("slow", measure=best_by(10))
    assert dataclasses.replace(check, goal=other).judge(runs)["goal"] == -8.0


ROWS = [
    {"step": 40 * i, "kind": kind, "ends": [40 * i], "returns": [value], "seconds": 2.0}
    | {"cpu": 3.0, "foreseen": foreseen}
    | ({} if success is None else {"evaluation": 10 * value, "success": success})
    for i, kind, value, success, foreseen in (
        (1, "random", 1.0, None, None),
        (2, "planned", 2.0, 0.2, 2.5),
        (3, "planned", 3.0, 0.9, 33.0),
        (4, "planned", 4.0, 1.0, None),
    )
]


def test_evaluations_successes_and_any_number_of_the_lines_can_be_judged():
    run = outcome_of_lines(7, ROWS)
    assert run.steps == (40, 80, 120, 160) and run.planned == (False, True, True, True)
    assert (run.seconds, cpu_seconds(run)) == (8.0, 12.0)
    assert run.evaluated == (80, 120, 160) and run.successes == (0.2, 0.9, 1.0)
    assert first_success(0.9, 0.1)(run) == pytest.approx(12.0)
    assert first_success(0.9)(run) == 120 and first_success(0.95)(run) == 160
    assert last_evaluation()(run) == 40 and last_evaluation(2)(run) == 35
    assert last_evaluation(4)(run) == -math.inf
    assert steps_to_evaluation(25.0)(run) == 120
    assert steps_to_evaluation(99.0)(run) == math.inf
    assert last_line("foreseen")(run) == 33.0 and math.isnan(last_line("none")(run))
    gap = relative_gap(last_line("foreseen"), lambda run: run.evaluations[1])
    assert gap(run) == pytest.approx(0.1)
    assert first_success(0.5)(RUNS[0]) == math.inf  # nobody was evaluated
    missing = Check("known", last_line("none"), "≤", 1.0).judge({"": [run]})
    assert not missing["passed"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"arms": {"a": (), "b": ()}}, "needs one of the arms a, b, got ''"),
        ({"arms": {"": (), "../b": ()}}, "a name that a folder can have, got ''"),
    ],
)
def test_arms_that_do_not_fit_are_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(ENTRY, **change)
    with pytest.raises(ValueError, match=r"share of seeds in \(0, 1\], got 0"):
        Check("none", best_by(1), "≥", 0.0, share=0.0)


ARMED = Reproduction(
    claim="more of nothing is nothing",
    variant="our own double integrator",
    train=("maze", "--steps", "1200", "--agent", "dyna"),
    arms={"short": (), "long": ("--steps", "1800")},
    checks=(
        Check("longer", lambda run: len(run.steps), ">", Than("short"), arm="long"),
        Check("all", cpu_seconds, ">", 0.0, arm="short", share=1.0),
    ),
    remarks=(Check("dear", cpu_seconds, ">", 1e9, arm="short"),),
    evidence=lambda runs: [
        Panel("ends", "seed", "step", {arm: ([1, 2], [len(runs), 4])}) for arm in runs
    ],
)


LENGTHS = {"short": 1200, "long": 1800}


def pretend(run, folder, *, resume, watch):
    """Lines of metrics as training would write them, of episodes of 300 steps."""
    for i in range(run.steps // 300):
        row = {"interval": i + 1, "step": 300 * (i + 1), "kind": "planned"}
        row |= {"ends": [row["step"]], "returns": [float(run.seed + i)], "cpu": 2.0}
        row |= {"return": row["returns"][0], "episodes": 1, "seconds": 1.0}
        row |= {"evaluation": 1.0 * i, "success": 0.1 * i} if i else {}
        folder.append(row)
        watch(Line(row))
    return None, ("it was all made up",)


@pytest.fixture(scope="module")
def armed(tmp_path_factory):
    """Two arms that nobody trained, and their result."""
    words = ["forethought", "train"]
    arms = {
        name: Arm(
            lambda seed, steps=steps: Learning("maze", Dyna(), steps, seed),
            lambda seed: [*words, str(seed)],
        )
        for name, steps in LENGTHS.items()
    }
    plan = Replication("armed", ARMED, False, SEEDS, arms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproduce, "write_bounds", lambda *_, **__: BOUNDS)
        patch.setattr(reproduce, "learn", pretend)
        folder = reproduce.open_folder(plan, tmp_path_factory.mktemp("armed") / "run")
        seen = []
        outcomes = reproduce.run_seeds(plan, folder, seen.append)
        result = reproduce.save_result(plan, folder, outcomes)
    return plan, folder, seen, result


def test_every_arm_has_a_folder_for_each_seed_and_is_not_run_again(armed):
    plan, folder, seen, result = armed
    notices = [event.text for event in seen if isinstance(event, Notice)]
    assert notices[0] == "short seed 101: it was all made up" and len(notices) == 4
    told = [event for event in seen if isinstance(event, Line)]
    rows = {arm: [each for each in told if each.arm == arm] for arm in LENGTHS}
    for arm, steps in LENGTHS.items():
        for seed, run in zip(SEEDS, result["arms"][arm]["seeds"], strict=True):
            lines = RunFolder.open(folder.path / arm / f"seed-{seed}").metrics()
            assert lines == [each.row for each in rows[arm] if each.seed == seed]
            assert lines[-1]["step"] == steps
            assert run["steps"] == [at for line in lines for at in line["ends"]]
    assert [check["passed"] for check in result["checks"]] == [True, True]
    assert result["arms"]["long"]["train"].endswith("--steps 1800")
    again = []
    reproduce.run_seeds(plan, reproduce.open_folder(plan, folder.path), again.append)
    assert not again
    other = dataclasses.replace(plan, arms={**plan.arms, "long": plan.arms["short"]})
    with pytest.raises(ValueError, match="long: steps=1800, got 1200"):
        reproduce.open_folder(other, folder.path)


def test_a_page_of_several_arms_tells_of_each(armed):
    _, folder, _, _ = armed
    page = write_reproduction(folder).read_text()
    for words in ("Seeds of short", "Settings of long", "2 of 2", "kept by 2 of 2"):
        assert words in page
    assert "# forethought train maze" in page
    assert "asked of nobody" in page and "not so" in page


@pytest.mark.parametrize(
    "damage",
    [
        lambda result: result["arms"].clear(),
        lambda result: result["arms"]["long"]["steps"].pop(),
        lambda result: result["arms"]["long"]["seeds"].clear(),
        lambda result: result["arms"]["short"]["seeds"][0]["returns"].pop(),
        lambda result: result["arms"]["short"]["seeds"][0].update(evaluated=[1]),
        lambda result: result["checks"][0].update(arm="none"),
        lambda result: result["remarks"][0].update(arm="none"),
        lambda result: result["checks"][0].update(mark=[1]),
        lambda result: result["evidence"][0]["series"]["short"]["x"].pop(),
    ],
)
def test_a_damaged_result_is_refused(damage, armed, tmp_path):
    result = json.loads(json.dumps(armed[3]))
    damage(result)
    folder = RunFolder.create(tmp_path / "copy", {})
    folder.write_json("reproduction.json", result)
    with pytest.raises(ValueError, match="needs curves with as many points"):
        read_result(folder)


@pytest.mark.parametrize("name", ["pets-cartpole", "pets-pendulum"])
def test_what_older_versions_wrote_is_read_as_one_arm(name, tmp_path):
    folder = RunFolder.create(tmp_path / "old", {})
    old = json.loads((RESULTS / f"{name}.json").read_text())
    folder.write_json("reproduction.json", old)
    arm = read_result(folder)["arms"][""]
    kept = old["arms"][""] if "arms" in old else old
    assert arm["seeds"] == kept["seeds"] and arm["bound"] == kept["bound"]


def test_curves_lie_on_common_steps_and_the_maximum_never_falls():
    steps, each, best = reproduce.curves(RUNS)
    np.testing.assert_array_equal(steps, [10, 20, 30, 40])
    np.testing.assert_array_equal(each, [run.returns for run in RUNS])
    np.testing.assert_array_equal(np.median(each, axis=0), [-8, -3, -3, -2])
    np.testing.assert_array_equal(
        best, [[-9, -5, -1, -1], [-8, -3, -3, -3], [-7, -2, -2, -1]]
    )


def test_a_return_stands_until_the_next_episode_ends():
    early = Outcome(1, (5, 25), (1.0, 3.0), (False, True), 0.0)
    late = Outcome(2, (10, 20), (4.0, 2.0), (False, True), 0.0)
    steps, each, best = reproduce.curves([early, late])
    np.testing.assert_array_equal(steps, [10, 20, 25])
    np.testing.assert_array_equal(each, [[1, 1, 3], [4, 2, 2]])
    np.testing.assert_array_equal(best, [[1, 1, 3], [4, 4, 4]])


@pytest.mark.long
def test_the_result_holds_every_number_and_says_where_it_comes_from(whole):
    folder, result, _, _ = whole
    arm = result["arms"][""]
    for seed, run in zip(SEEDS, arm["seeds"], strict=True):
        rows = RunFolder.open(folder.path / f"seed-{seed}").metrics()
        assert run["returns"] == [value for row in rows for value in row["returns"]]
        assert run["steps"] == [60, 120, 180]
        assert run["planned"] == [False, True, True]
        assert 0 < run["cpu"] < 600 and run["evaluations"] == []
    assert [check["passed"] for check in result["checks"]] == [True, False]
    assert arm["bound"] == {"mean": -10, "std": pytest.approx(2**0.5), "episodes": 2}
    assert arm["floor"]["mean"] == -50
    assert result["command"] == "forethought reproduce tiny --seeds 2 --seed 101"
    assert result["machine"]["precision"] == 32
    assert arm["run"]["task"] == "double-integrator"
    text = json.dumps(result)
    assert str(pathlib.Path.home()) not in text and str(folder.path) not in text


@pytest.mark.long
def test_what_is_done_is_not_done_again(whole):
    folder, result, _, _ = whole
    plan = plan_of()
    seen = []
    outcomes = reproduce.run_seeds(plan, folder, seen.append)
    assert not seen
    assert told(reproduce.save_result(plan, folder, outcomes)) == told(result)


@pytest.mark.long
def test_other_settings_in_the_same_folder_are_refused_by_name(whole):
    folder, _, _, _ = whole
    other = dataclasses.replace(TINY, known_reward=False)
    with pytest.raises(ValueError, match=r"agent\.known_reward=True, got False"):
        reproduce.open_folder(plan_of(other), folder.path)
    with pytest.raises(ValueError, match=r"of its own, but .* holds another run"):
        reproduce.open_folder(plan_of(), folder.path / "seed-101")


@pytest.mark.long
def test_page_and_files_to_commit_are_made_of_the_json_alone(whole, tmp_path):
    _, result, _, _ = whole
    copy = RunFolder(tmp_path / "copy")
    copy.path.mkdir()
    copy.write_json("reproduction.json", result)
    page = write_reproduction(copy).read_text()
    assert "1 of 2" in page and "it earns a fortune" in page
    assert "somebody patient" in page
    copy.write_json("config.json", {})
    (copy.path / "report.html").unlink()
    with pytest.raises(SystemExit):
        cli.main(["report", str(copy.path)])
    assert (copy.path / "report.html").read_text() == page
    made = publish(copy, tmp_path / "results")
    assert [path.name for path in made] == ["tiny.json", "tiny.png"]
    assert sorted(os.listdir(tmp_path / "results")) == ["tiny.json", "tiny.png"]
    assert json.loads(made[0].read_text()) == result
    assert made[0].stat().st_size < 20_000
    alone = {"mean": 2.5, "std": None, "episodes": 1}
    arms = {"": result["arms"][""] | {"bound": alone}}
    copy.write_json("reproduction.json", result | {"arms": arms})
    assert ">2.5<" in write_reproduction(copy).read_text()


@pytest.mark.long
def test_a_killed_reproduction_ends_with_the_numbers_of_one_that_was_not(whole):
    _, result, printed, apart = whole
    alone = apart.read_json("reproduction.json")
    both, one = (told(each)["arms"][""] for each in (result, alone))
    assert both["seeds"][1] == one["seeds"][0] and both["run"] == one["run"]
    assert printed.count("code 1") == 2  # one of the checks fails
    assert "FAILED: it earns a fortune" in " ".join(printed.split())


def test_the_list_is_no_wider_than_a_screen_and_tells_every_claim(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        cli.main(["reproduce", "--list"])
    lines = capsys.readouterr().out.splitlines()
    assert stop.value.code == 0
    assert max(map(len, lines)) <= 80
    entries = {**REPRODUCTIONS, **STUDIES}
    assert {line.split()[0] for line in lines if line[:1].isalpha()} >= {*entries}
    words = {word for line in lines for word in line.split()}
    assert all({*entry.claim.split()} <= words for entry in entries.values())


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["pets-pendulm"], "did you mean 'pets-pendulum'?"),
        ([], "reproduce needs NAME first"),
        (["pets-pendulum", "--seeds", "0"], "reproduce needs seeds >= 1, got 0"),
        (["pets-pendulum", "--paper"], "has no settings of a paper"),
        (["pets-pendulum", "--sed", "1"], "did you mean '--seed"),
    ],
)
def test_bad_input_is_answered_in_one_line(words, complaint, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["reproduce", *words])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert complaint in error and error.count("\n") == 1


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_every_entry_says_what_is_compared_and_is_a_command(name):
    entry = REPRODUCTIONS[name]
    assert entry.checks and entry.variant
    commands = [(*entry.train, *words) for words in entry.arms.values()]
    assert all(words[1] == "--steps" for words in commands)
    marks = [check.mark for check in entry.checks if check.mark is not None]
    assert all(mark[0] <= entry.steps for mark in marks)
    assert all(each.source and each.points for each in entry.published)
    assert bool(entry.paper) == bool(entry.paper_note)


def test_the_flags_of_the_paper_make_the_papers_agent():
    entry = REPRODUCTIONS["pets-cartpole"]
    words = [*entry.train[1:], *entry.paper]
    _, learning = read_training(entry.train[0], words)
    settings = learning.settings
    assert (learning.steps, settings.model.propagation) == (3000, "TSinf")
    assert settings.model.fitting == FitSettings(
        epochs=5,
        patience=5,
        holdout=0.0,
        batch=32,
        updates=1,
        learning_rate=1e-3,
        weight_decay=(1e-4, 2.5e-4, 2.5e-4, 5e-4),
        clip=math.inf,
        warm=True,
    )
    # Their search stops at a variance of 0.001, which is of a force within ±3.
    pets = CEM.pets(25, particles=20, stop_std=0.0105)
    assert jax.tree.leaves(settings.planner) == jax.tree.leaves(pets)
    assert jax.tree.structure(settings.planner) == jax.tree.structure(pets)
    training = learning.training
    networks = jax.eval_shape(
        lambda: (
            eqx.filter(
                training.agent.init(training.environment.spec, key=jax.random.key(0)),
                eqx.is_array,
            ).model.members.weights
        )
    )
    # Sine, cosine, position, two speeds and the force; four means and variances.
    sizes = [(5, 6, 500), (5, 500, 500), (5, 500, 500), (5, 500, 8)]
    assert [each.shape for each in networks] == sizes


def test_the_command_runs_all_arms_and_judges_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(REPRODUCTIONS, "armed", ARMED)
    monkeypatch.setattr(reproduce, "write_bounds", lambda *_, **__: BOUNDS)
    monkeypatch.setattr(reproduce, "learn", pretend)
    monkeypatch.setattr(trained_runs, "state_cost", lambda *_: None)
    monkeypatch.setattr(learning_commands, "set_up", lambda precision: None)
    words = ["reproduce", "armed", "--seeds", "2", "--out", str(tmp_path / "run")]
    for _ in range(2):  # the second time nothing is trained
        with pytest.raises(SystemExit) as stop:
            cli.main([*words, "--results", str(tmp_path / "results")])
        assert stop.value.code == 0
        printed = capsys.readouterr().out
        assert "long seed 102" in printed and "passed: longer" in printed
        monkeypatch.setattr(reproduce, "learn", None)
    config = RunFolder.open(tmp_path / "run" / "long" / "seed-102").config()
    assert config["command"][-4:] == ["--steps", "1800", "--seed", "102"]
    assert sorted(os.listdir(tmp_path / "results")) == ["armed.json", "armed.png"]
