"""Signals ask the first time, and end the process the second time."""

import os
import signal
import subprocess
import sys
import time

import pytest

from forethought.training import stop

PROGRAM = """
import hashlib, os, signal, sys, threading, time
from importlib.util import module_from_spec, spec_from_file_location

# The file alone: to import all of the library would take longer than the test.
spec = spec_from_file_location("stop", sys.argv[1])
stop = module_from_spec(spec)
spec.loader.exec_module(stop)

def send(times, number=signal.SIGINT):
    for _ in range(times):
        os.kill(os.getpid(), number)
        time.sleep(0.2)

def wait():
    assert stop._asked.wait(60)  # the thread that listens may be slow

def look():
    try:
        stop.look()
    except KeyboardInterrupt:
        print("stopped")
    stop.look()
    print("goes on")

{first}
with stop.heeded("asked\\n"):
    {then}
"""


def run(then, first=""):
    program = PROGRAM.format(first=first, then=then)
    return subprocess.run(
        [sys.executable, "-c", program, stop.__file__],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_the_first_signal_stops_at_the_next_look_and_only_there(number):
    done = run(f"send(1, signal.{number}); wait(); look()")
    assert (done.returncode, done.stdout) == (0, "stopped\ngoes on\n")
    assert done.stderr == "asked\n"


def test_the_second_signal_ends_the_process_at_once_in_compiled_code_too():
    threads = "threading.Thread(target=send, args=(2,)).start()"
    # Python's own handlers would not be called for minutes.
    long = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
    done = run(f"{threads}; {long}")
    assert (done.returncode, done.stdout) == (stop.INTERRUPTED, "")


def test_a_look_without_a_signal_does_nothing():
    assert run("look()").stdout == "goes on\n"


def test_who_was_told_to_ignore_ctrl_c_goes_on_ignoring_it():
    done = run("send(3); look()", "signal.signal(signal.SIGINT, signal.SIG_IGN)")
    assert (done.returncode, done.stdout) == (0, "goes on\n")


def test_handlers_are_those_of_before_afterwards():
    before = [signal.getsignal(number) for number in stop.SIGNALS]
    with stop.heeded():
        assert [signal.getsignal(number) for number in stop.SIGNALS] != before
    assert [signal.getsignal(number) for number in stop.SIGNALS] == before
    with pytest.raises(KeyboardInterrupt):  # Python's own is at work again
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    signal.signal(signal.SIGINT, before[0])
