"""Whatever a run is pointed at, nothing of a person's is lost, and it ends well."""

import errno
import io
import os
import signal
import subprocess
import sys
import time

import pytest

from forethought.cli import main
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.lock import alone

PLAN = ["plan", "double-integrator", "--planner", "lqr", "--steps", "3"]
TRAIN = ["train", "double-integrator", "--steps", "180"]
COMPARE = ["compare", "double-integrator", "--planners", "lqr"]
STUDY = ["reproduce", "dyna-maze"]


@pytest.fixture(scope="module")
def home(tmp_path_factory, stay_at):
    """A working folder with a finished run in it."""
    folder = tmp_path_factory.mktemp("home")
    with stay_at(folder):
        assert run(*PLAN, "--out", "done") == 0
        yield folder


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def everything(path):
    return {
        each: each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()
    }


def refused(words, capsys, *arguments):
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("forethought: ")
    assert words in err, err


@pytest.mark.parametrize("flag", [(), ("--overwrite",)])
@pytest.mark.parametrize("words", [PLAN, TRAIN, COMPARE], ids=lambda words: words[0])
def test_a_folder_that_is_no_run_keeps_what_lies_in_it(
    words, flag, home, tmp_path, capsys
):
    for name in ("checkpoints/model.pt", "plots/paper.png", "config.json", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"mine": 1}')
    before = everything(tmp_path)
    refused("new or an empty folder", capsys, *words, "--out", tmp_path, *flag)
    assert everything(tmp_path) == before


def test_a_finished_run_is_replaced_only_by_one_of_its_kind_that_was_told_to(
    home, capsys
):
    before = everything(home / "done")
    refused("--overwrite would replace", capsys, *PLAN, "--out", "done")
    refused("same kind", capsys, *COMPARE, "--out", "done", "--overwrite")
    refused("not that of a training run", capsys, "resume", "done")
    assert everything(home / "done") == before
    (home / "done" / "mine.txt").write_text("mine")
    assert run(*PLAN, "--out", "done", "--seed", "1", "--overwrite") == 0
    assert RunFolder(home / "done").config()["options"]["seed"] == 1
    assert (home / "done" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "words",
    [
        *([*each, "--out", ""] for each in (PLAN, TRAIN, COMPARE, STUDY)),
        *([command, ""] for command in ("report", "resume", "evaluate")),
    ],
    ids=lambda words: words[0],
)
def test_a_folder_without_a_name_is_refused(words, home, capsys, monkeypatch):
    monkeypatch.chdir(home / "done")  # not what lies here is meant
    before = everything(home / "done")
    refused("got an empty one", capsys, *words)
    assert everything(home / "done") == before


def test_two_processes_do_not_write_to_one_folder(home, capsys):
    with alone(home / "done"):
        words = [*PLAN, "--out", "done", "--overwrite"]
        refused(f"process {os.getpid()} on ", capsys, *words)
        assert run("report", "done") == 0  # who only reads waits for nobody
    assert not (home / "done" / ".lock").exists()


@pytest.mark.parametrize("name", ["video.mp4", "episode.npz", "metrics.jsonl", "plots"])
def test_a_link_out_of_a_run_does_not_end_in_its_report(name, home, tmp_path, capsys):
    (tmp_path / "secret").write_text("secret")
    assert run(*PLAN, "--out", tmp_path / "run") == 0
    capsys.readouterr()
    path = tmp_path / "run" / name
    path.rename(tmp_path / "elsewhere")
    os.symlink(tmp_path / ("elsewhere" if name == "plots" else "secret"), path)
    before = everything(tmp_path)
    refused("link that leads elsewhere", capsys, "report", tmp_path / "run")
    assert everything(tmp_path) == before


def test_a_full_disk_ends_a_report_and_a_plan_in_one_line(
    home, tmp_path, monkeypatch, capsys
):
    assert run(*PLAN, "--out", tmp_path / "run") == 0
    capsys.readouterr()
    real = os.fsync

    def full(handle):
        if "report.html" in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    for words in (["report", tmp_path / "run"], [*PLAN, "--out", tmp_path / "other"]):
        assert run(*words) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "report.html: No space left" in err
    assert (tmp_path / "run" / "report.html").exists()  # the old one


def test_a_run_whose_output_cannot_be_written_is_saved_and_says_so(
    home, tmp_path, monkeypatch, capsys
):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert run(*PLAN, "--out", tmp_path / "run") == 1
        assert run("tasks") == 0  # nothing is left that could not be written
    err = capsys.readouterr().err
    assert err == "forethought: standard output: No space left on device.\n"
    assert (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "done.json").exists()


def test_who_reads_a_pipe_may_stop(monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert run("tasks") == 1
    assert capsys.readouterr().err == ""


def test_output_need_not_be_utf_8_and_names_need_not_be_unicode(
    home, tmp_path, monkeypatch, capsys
):
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff \xe2\x82\xac")
    assert run(*PLAN, "--out", name) == 0
    assert run("report", name) == 0
    assert capsys.readouterr().err == ""
    assert RunFolder.open(name).has("done.json")


def test_a_stream_that_was_closed_is_no_fault(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert run("tasks") == 0


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["config.json", "metrics.jsonl"])
@pytest.mark.parametrize(
    "words",
    [
        [
            "train",
            "Pendulum-v1",
            "--steps",
            "20000",
            "--agent.planner.population",
            "16",
        ],
        ["plan", "mujoco-cheetah", "--steps", "20000", "--planner.population", "64"],
        ["compare", "pendulum", "cartpole", "--seeds", "9", "--planners", "cem"],
    ],
    ids=lambda words: words[0],
)
def test_a_signal_is_heeded_whatever_runs(words, moment, number, tmp_path):
    """Also in a callback of compiled code, in which an exception would be lost."""
    path = tmp_path / "run"
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from forethought.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words, "--out", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not (path / moment).exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    ran = (path / "metrics.jsonl").exists()
    assert ("before anything was run" in err) == (words[0] != "train" and not ran)
    assert path.exists() == (ran or words[0] == "train")
    if words[0] == "train":
        assert f"forethought resume {path} goes on" in " ".join(out.split())
    elif ran:
        assert (path / "report.html").exists() and (path / "done.json").exists()
