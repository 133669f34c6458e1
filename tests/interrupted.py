"""What tests of training runs share: lines without clocks, and runs that are killed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np

from forethought.runs.store.folder import RunFolder

PROGRAM = [sys.executable, "-c", "from forethought.cli import main; main()"]


def told(folder):
    """The metrics, but for the clocks."""
    return [
        {name: value for name, value in row.items() if name not in ("seconds", "cpu")}
        for row in folder.metrics()
    ]


def require_the_same_after_a_kill(words, home, seconds, **environment):
    """Run words of `train`, again until SIGKILL at any moment, and go on.

    Args:
        words: What is typed after `train`.
        home: A folder for both runs.
        seconds: The longest that the second may take to come to its moment.
        **environment: Variables of the processes.
    """
    environment = {**os.environ, "XDG_CACHE_HOME": str(home / "cache"), **environment}

    def start(*words):
        return subprocess.Popen(
            [*PROGRAM, *words], env=environment, stdout=subprocess.DEVNULL
        )

    whole, path = home / "whole", home / "run"
    assert start("train", *words, "--out", str(whole)).wait() == 0
    expected = told(RunFolder(whole))
    # Not seeded: which moment it is must not matter.
    moment = np.random.default_rng().uniform(0, len(expected) - 1)
    process = start("train", *words, "--out", str(path))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (
        not (path / "config.json").exists()
        or len(RunFolder(path).metrics()) < int(moment)
    ):
        assert process.poll() is None
        time.sleep(0.005)
    time.sleep(0.2 * (moment % 1))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start("resume", str(path)).wait() == 0, moment
    assert told(RunFolder(path)) == expected, moment
