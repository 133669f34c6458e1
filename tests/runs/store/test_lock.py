"""One process a run folder."""

import json
import os
import platform
import signal
import subprocess
import sys

import pytest

from forethought.runs.store import lock
from forethought.runs.store.lock import alone

HOLD = """
import pathlib, sys, time
from forethought.runs.store.lock import alone
with alone(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(300)
"""


def owner(**changed):
    process = os.getpid()
    here = {"host": platform.node(), "since": lock._began(process)}
    return json.dumps({"process": process, **here, **changed})


def test_two_processes_do_not_write_to_one_folder_and_the_other_is_named(tmp_path):
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with pytest.raises(ValueError, match=f"process {process.pid} on "):
                with alone(tmp_path):
                    pass
        finally:
            process.send_signal(signal.SIGKILL)
    assert (tmp_path / lock.FILE).exists()  # nobody removed it, and it binds nobody
    with alone(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_a_lock_is_released_whatever_happens(tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError), alone(tmp_path):
            assert json.loads((tmp_path / lock.FILE).read_text())["process"]
            with pytest.raises(ValueError, match="folder for itself"):
                with alone(tmp_path):  # nor may another thread of ours
                    pass
            raise RuntimeError
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("kept", "free"),
    [
        ({}, False),
        ({"since": "7"}, True),  # the number of a process that is no more
        ({"process": 2**40}, True),
        ({"host": "elsewhere", "since": "7"}, False),  # nobody here can tell
        ("", True),
        ("[" * 9999, True),
        ('{"process": "x"}', True),
    ],
)
def test_where_the_file_system_knows_no_locks_the_file_decides(
    kept, free, tmp_path, monkeypatch
):
    text = owner(**kept) if isinstance(kept, dict) else kept
    monkeypatch.setattr(lock, "_lock", lambda file: False)
    (tmp_path / lock.FILE).write_text(text)
    if free:
        with alone(tmp_path):
            assert json.loads((tmp_path / lock.FILE).read_text()) == json.loads(owner())
    else:
        with pytest.raises(ValueError, match="folder for itself"), alone(tmp_path):
            pass


def test_a_lock_that_leads_elsewhere_is_not_written_to(tmp_path):
    (tmp_path / "mine").write_text("mine")
    os.symlink("mine", tmp_path / lock.FILE)
    with pytest.raises(ValueError, match="a link"), alone(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "mine"
