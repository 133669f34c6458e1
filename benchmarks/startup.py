"""Seconds from the command to the first action, with a cold and a warm cache.

Each run is a fresh process, `forethought plan TASK`, timed until the first line of its
`metrics.jsonl` is there, on all cores as a user has them.

    python benchmarks/startup.py
"""

import argparse
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import common

PROGRAM = "from forethought.cli import main; main()"
GOAL = 8.0


def first_action(task: str, planner: str, cache: str) -> float:
    """Start the program, wait for its first action, stop it."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        words = ["plan", task, "--planner", planner, "--out", str(out)]
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            env={**os.environ, "XDG_CACHE_HOME": cache},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        metrics = out / "metrics.jsonl"
        while not metrics.exists():
            if process.poll() is not None:
                raise RuntimeError(f"forethought plan {task} ended without an action.")
            time.sleep(0.01)
        spent = time.perf_counter() - began
        process.send_signal(signal.SIGKILL)
        process.wait()
        return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    rows = []
    for task, planner in (
        ("pendulum", "cem"),
        ("acrobot", "ilqr"),
        ("mujoco-cartpole", "cem"),
        ("mujoco-cartpole", "ilqr"),
        ("mujoco-humanoid", "cem"),
    ):
        with tempfile.TemporaryDirectory() as cache:
            cold = first_action(task, planner, cache)
            warm = [first_action(task, planner, cache) for _ in range(repeats)]
        row = {
            "task": task,
            "planner": planner,
            "cold_s": cold,
            "warm_s": statistics.median(warm),
            "warm_worst_s": max(warm),
            "goal_s": GOAL,
        }
        rows.append(row)
        print(
            f"{task:18s} {planner:6s} cold {cold:5.1f} s   warm {row['warm_s']:5.1f} s"
            f"   worst {row['warm_worst_s']:5.1f} s"
        )
    packages = ("jax", "mujoco")
    results = {"seed": 0, "versions": common.versions(*packages), "rows": rows}
    print(common.write_results("startup", results))


if __name__ == "__main__":
    main()
