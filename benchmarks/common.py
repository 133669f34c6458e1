"""What every benchmark does the same way: pin, repeat in turns, write results."""

import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHORT = 5e-3
"""Seconds below which a call is warmed anew each time."""


def pin() -> None:
    """One core, one thread. Call before NumPy, JAX or a peer is imported.

    Also asks XLA to compile small loops whole, as the command line does; newer JAX
    does so by itself.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from forethought.core.xla import compile_loops_whole

    compile_loops_whole()


def timings(
    calls: Mapping[str, Callable[[], Any]], *, repeats: int, warm: int = 3
) -> dict[str, list[float]]:
    """Seconds of each call, ascending, taken in turns so that noise hits all alike.

    A call must block until its work is done. A short one is made twice in a row, and
    timed the second time: what the others left in the processor's caches is not its
    doing.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    short = dict.fromkeys(calls, False)
    for name, call in calls.items():
        for _ in range(warm):
            began = time.perf_counter()
            call()
            short[name] = time.perf_counter() - began < SHORT
    for _ in range(repeats):
        for name, call in calls.items():
            if short[name]:
                call()
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return {name: sorted(each) for name, each in times.items()}


def medians(
    calls: Mapping[str, Callable[[], Any]], *, repeats: int, warm: int = 3
) -> dict[str, float]:
    """Median seconds of each call, taken in turns."""
    times = timings(calls, repeats=repeats, warm=warm)
    return {name: each[len(each) // 2] for name, each in times.items()}


def spread(times: list[float]) -> dict[str, float]:
    """Median and quartiles of ascending seconds, in microseconds."""
    places = {"microseconds": 0.5, "lower_quartile": 0.25, "upper_quartile": 0.75}
    last = len(times) - 1
    return {name: round(times[round(q * last)] * 1e6, 2) for name, q in places.items()}


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of packages."""
    found = {"python": platform.python_version()}
    return found | {name: metadata.version(name) for name in packages}


def machine() -> dict[str, Any]:
    """What it ran on: processor, cores, load at the time."""
    model = platform.processor()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load": [round(each, 2) for each in os.getloadavg()],
    }


def commit() -> str:
    """The commit that is checked out, with a mark if files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", ":!results")
    return git("rev-parse", "--short", "HEAD") + (" (changed)" if changed else "")


def write_results(name: str, results: Mapping[str, Any]) -> pathlib.Path:
    """Write `results/NAME.json` with machine, commit and command beside the figures."""
    path = ROOT / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    content = {
        "command": " ".join(["python", *sys.argv]),
        "commit": commit(),
        "machine": machine(),
        **results,
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
