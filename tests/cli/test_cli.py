"""The command line: what it writes, what it says, and how it exits."""

import json
import signal
import subprocess
import sys
import time

import pytest

from forethought.cli import main
from forethought.cli.parse import told
from forethought.cli.session import fitting
from forethought.planners import PLANNERS

SMALL = ["--planner.population", "16", "--planner.horizon", "8", "--steps", "10"]


@pytest.fixture(autouse=True)
def at_home(tmp_path, stay_at):
    """An empty working folder and cache, and JAX's settings as they were."""
    with stay_at(tmp_path):
        yield


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pln"], "did you mean 'plan'"),
        (["plan"], "plan needs TASK first"),
        (["plan", "pendulm"], "did you mean 'pendulum'"),
        (["plan", "pendulum", "--planner", "cme"], "did you mean 'cem'"),
        (["plan", "pendulum", "--planner", "--seed", "3"], "value for argument"),
        (["plan", "pendulum", "--precision", "16"], "invalid choice '16'"),
        (["plan", "pendulum", "--sed", "1"], "did you mean '--seed'"),
        (
            ["plan", "pendulum", "--steps", "many"],
            "--steps: needs a whole number, got 'many'",
        ),
        (["plan", "pendulum", "--steps", "0"], "steps >= 1, got 0"),
        (["plan", "pendulum", "extra"], "extra"),
        (
            ["plan", "pendulum", "--planner.horizn", "3"],
            "did you mean '--planner.horizon'",
        ),
        (["plan", "pendulum", "--horizon", "3"], "did you mean '--planner.horizon'"),
        (["plan", "pendulum", "--planner", "CEM"], "did you mean 'cem'"),
        (["plan", "[bold]\x1b[31m"], r"'[bold]\x1b[31m'"),
        (["plan", "pendulum", "--planner.horizon", "0"], "horizon >= 1, got 0"),
        (
            ["plan", "pendulum", "--planner.elites", "999"],
            "elites <= population, which is",
        ),
        (["plan", "pendulum", "--start", "nan", "0"], "a finite start"),
        (["plan", "pendulum", "--start", "1"], "needs 2 numbers"),
        (["plan", "pendulum", "--planner", "lqr"], "LQR needs"),
        (["plan", "pendulum", "--replan-every", "0"], "replan_every >= 1, got 0"),
        (["plan", "pendulum", "--replan-every", "999"], "horizon"),
        (["plan", "pendulum", "--objective", "a:B"], "goes with an MJCF file"),
        (["plan", "pendulum", "--out", "taken/file"], "got the file"),
        (["plan", "missing.xml", "--objective", "a:B"], "missing.xml"),
        (["plan", "broken.xml", "--objective", "a:B"], "broken.xml"),
        (["plan", "fine.xml"], "needs an objective"),
        (["plan", "fine.xml", "--objective", "nowhere:Thing"], "nowhere"),
        (["plan", "fine.xml", "--objective", "nothing"], "MODULE:NAME"),
        (["compare", "pendulum", "--seeds", "0"], "seeds >= 1"),
        (["compare", "pendulum", "--planners"], "at least one planner"),
        (["compare", "pendulum", "--planners", "lqr"], "LQR needs a Linear"),
        (["compare", "--planners", "lqr"], "needs TASK first"),
        (["compare", "--gallery", "acrobat"], "did you mean 'acrobot'"),
        (["compare", "pendulum", "--planners", "cem", "ilqt"], "did you mean 'ilqr'"),
        (["planners", "mpi"], "planner"),
        (["train", "Pendulm-v1"], "did you mean 'Pendulum-v1'"),
        (["train", "pendulum", "--agent", "petz"], "did you mean 'pets'"),
        (["train", "pendulum", "--steps", "100"], "more steps than the"),
        (["train", "pendulum", "--agent.planner.particles", "3"], "share evenly"),
        (["resume", "nowhere"], "config.json"),
        (["evaluate", "nowhere"], "config.json"),
        (["report", "nowhere"], "config.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, words, tmp_path, capsys):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    (tmp_path / "broken.xml").write_text("<mujoco><worldbody></mujoco>")
    (tmp_path / "fine.xml").write_text(
        "<mujoco><worldbody><body><joint name='j'/><geom size='1'/></body></worldbody>"
        "<actuator><motor joint='j' ctrlrange='-1 1'/></actuator></mujoco>"
    )
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("forethought: ") and err.count("\n") == 1
    assert words in err
    assert "Traceback" not in err


def test_plan_leaves_a_whole_run_folder_and_says_how_it_was_executed(tmp_path, capsys):
    assert run("plan", "pendulum", *SMALL, "--out", "mine", "--seed", "3") == 0
    folder = tmp_path / "mine"
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "config.json",
        "metrics.jsonl",
        "plots",
        "video.mp4",
        "report.html",
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["options"]["seed"] == 3
    assert config["settings"]["population"] == 16
    rows = metrics(folder)
    assert [row["step"] for row in rows] == list(range(1, 11))
    out = capsys.readouterr().out
    assert "closed loop: replanned every step" in out
    assert all(len(line) <= 100 for line in out.splitlines())

    before = (folder / "report.html").read_text()
    assert run("report", "mine") == 0
    assert (folder / "report.html").read_text() == before


def test_a_world_of_choices_is_planned_by_one_who_can(tmp_path):
    few = ["--planner.simulations", "8", "--planner.horizon", "4", "--steps", "2"]
    assert run("plan", "frozen-lake", *few, "--out", "lake") == 0
    config = json.loads((tmp_path / "lake" / "config.json").read_text())
    assert config["planner"] == config["options"]["planner"] == "mcts"


def test_names_of_folders_are_told_as_they_are(tmp_path, capsys):
    odd = "[red]x\x1b[0m[/red]"
    assert run("plan", "pendulum", *SMALL, "--out", odd) == 0
    out = capsys.readouterr().out
    assert "[red]x\\x1b[0m[/red]" in "".join(out.split()) and "\x1b[0m[" not in out


@pytest.mark.parametrize(
    "words",
    [
        *("plan pendulum", "compare", "train pendulum", "resume", "evaluate", "report"),
        *("reproduce", "tasks", "planners", "planners mppi", "agents", "models"),
        "distill",
    ],
)
def test_help_fits_a_terminal_of_80_columns(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(*words.split(), "--help") == 0
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_a_table_of_scores_has_the_columns_that_there_is_room_for():
    head = ("planner", "return", "iterations", "model calls", "results")
    line = ("random-shooting", "−1,234 ± 56", "100", "1,234,567", "100 successful")
    shown = {
        width: [column.header for column in fitting(head, [line], width).columns]
        for width in (200, 65, 20)
    }
    assert shown[200] == list(head)
    assert shown[65] == ["planner", "return", "iterations", "results"]
    assert shown[20] == ["planner", "return", "results"]


def test_fields_are_those_of_the_planner_that_was_named_last():
    words = ["--planner", "cem", "--seed", "3", "--planner=ilqr"]
    assert told(words, "--planner") == "ilqr" and told(words, "--out") is None
    assert told([*words, "--planner"], "--planner") == "ilqr"
    assert run("plan", "pendulum", *words, "--planner.elites", "3") == 2


def test_help_says_where_the_fields_of_a_planner_are_told(capsys):
    assert run("plan", "pendulum", "--planner", "ilqr", "--help") == 0
    assert "forethought planners NAME" in capsys.readouterr().out
    assert run("planners", "ilqr") == 0
    assert "--planner.second-order" in capsys.readouterr().out


def test_planners_are_listed_with_what_they_can_do(capsys):
    assert run("planners") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line[:1].strip()}
    assert set(PLANNERS) <= set(rows) and all(len(line) <= 80 for line in lines)
    assert rows["cem"][-1] == "box" and rows["categorical-cem"][-1] == "discrete"
    assert rows["gradient"][-2:] == ["box", "yes"]
    assert rows["polished"][-3:] == ["box", "yes", "yes"]


def test_an_open_loop_run_says_so_and_plans_once(tmp_path, capsys):
    assert run("plan", "double-integrator", "--open-loop", *SMALL, "--out", "o") == 0
    assert "open loop" in capsys.readouterr().out
    rows = metrics(tmp_path / "o")
    assert len({row["planned"] for row in rows}) == 1


def test_without_a_folder_each_run_gets_one_of_its_own(tmp_path):
    assert run("plan", "pendulum", *SMALL) == 0
    assert run("plan", "pendulum", *SMALL) == 0
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["pendulum-cem", "pendulum-cem-2"]


def test_compare_shows_the_gap_to_the_known_optimum(tmp_path, capsys):
    code = run(
        "compare",
        "double-integrator",
        "--planners",
        "random-shooting",
        "lqr",
        "--seeds",
        "2",
        "--out",
        "c",
    )
    assert code == 0
    out = capsys.readouterr().out
    assert "gap" in out and "0.00%" in out
    assert (tmp_path / "c" / "report.html").exists()
    assert (tmp_path / "c" / "plots" / "comparison.png").exists()


@pytest.mark.long
def test_compare_runs_planners_over_problems_of_the_gallery(tmp_path, capsys):
    words = "compare --gallery lq-2-1 pendulum-swing-up --planners lqr ilqr --seeds 1"
    assert run(*words.split(), "--out", "c") == 0
    out = capsys.readouterr().out
    assert "lq-2-1" in out and "lqr refuses: LQR needs" in " ".join(out.split())
    lines = (tmp_path / "c" / "comparison.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [
        ["lq-2-1", "lqr"],
        ["lq-2-1", "ilqr"],
        ["pendulum-swing-up", "lqr"],
        ["pendulum-swing-up", "ilqr"],
    ]
    assert run("report", "c") == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["tasks"],
        ["planners"],
        ["plan", "--help"],
        ["compare", "--help"],
        ["report", "--help"],
        ["agents"],
        ["train", "--help"],
        ["evaluate", "--help"],
        ["distill", "--help"],
    ],
    ids=" ".join,
)
def test_lists_and_help_fit_a_screen(arguments, capsys):
    assert run(*arguments) == 0
    assert len(capsys.readouterr().out.splitlines()) <= 52


def test_every_task_is_listed(capsys):
    from forethought.tasks import TASKS

    run("tasks")
    out = capsys.readouterr().out
    assert all(name in out for name in TASKS)


@pytest.mark.long
def test_an_interrupted_run_is_saved_and_exits_130(tmp_path):
    # Tests that run in the background may have been told to ignore this signal.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from forethought.cli import main; main()"
    )
    words = ["plan", "pendulum", "--out", "long", "--steps", "50000"]
    file = tmp_path / "long" / "metrics.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not file.exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    rows = metrics(tmp_path / "long")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert (tmp_path / "long" / "report.html").exists()
