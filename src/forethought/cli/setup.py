"""What every command does first: configure JAX, find the task."""

import os
import pathlib
import warnings
from typing import Any

from forethought.cli.parse import bad_input


def set_up(precision: int) -> None:
    """Configure JAX for a program: precision, compiled loops, compilation cache."""
    import jax

    from forethought.core.xla import compile_loops_whole

    compile_loops_whole()
    # A cache that cannot be used costs time, and nothing else.
    warnings.filterwarnings("ignore", r"Error (writ|read)ing persistent compilation")
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    jax.config.update("jax_enable_x64", precision == 64)
    jax.config.update(
        "jax_compilation_cache_dir", str(pathlib.Path(home) / "forethought" / "jax")
    )
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def load(name: str, objective: str | None) -> Any:
    """A task by name, or one made of an MJCF file and an objective."""
    from forethought import tasks

    with bad_input():
        if name.endswith((".xml", ".mjcf")):
            if objective is None:
                raise ValueError(
                    f"A model of your own needs an objective: forethought plan {name} "
                    "--objective MODULE:NAME."
                )
            from forethought.tasks.user import user_task

            return user_task(name, objective)
        if objective is not None:
            raise ValueError(
                f"--objective goes with an MJCF file (.xml), got the task {name!r}."
            )
        return tasks.load(name)
