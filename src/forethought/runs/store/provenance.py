"""Where a number comes from: the machine, the versions, the commit."""

import os
import pathlib
import platform
import subprocess
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp


def machine() -> dict[str, Any]:
    """What computes here, but nothing that would tell which machine it is."""
    device = jax.devices()[0]
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": "CPU" if device.platform == "cpu" else device.device_kind,
        "precision": 8 * jnp.zeros(()).dtype.itemsize,
        "python": platform.python_version(),
        "jax": version("jax"),
    }


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The commit of the checkout that the package lies in; otherwise its version.

    A mark follows where files differ from the commit; what is kept under `results/`
    does not count.
    """
    package = pathlib.Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=package, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        root = pathlib.Path(git("rev-parse", "--show-toplevel")).resolve()
        if root / "src" / "forethought" != package:
            raise OSError("The package lies in somebody else's checkout.")
        changed = git(
            "status", "--porcelain", "--untracked-files=no", ":(top,exclude)results"
        )
        return git("rev-parse", "--short", "HEAD") + (" (changed)" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return f"forethought {version('forethought')}"
