"""One switch of the compiler, for programs to call before they compute anything.

Planning on a CPU is many small steps in a row. XLA either dispatches each operation of
a loop's body or compiles the whole loop into one native function, which for the
recursions of the LQR family is about ten times faster. Newer versions of JAX decide
that well by themselves; older ones must be asked, before their backend starts.
"""

import os

import jax

OPTION = "xla_cpu_small_while_loop_byte_threshold"
THRESHOLD = 1_000_000
"""Bytes of a loop's buffers up to which it is compiled whole."""
AUTOMATIC = (0, 12)
"""The version of JAX from which on XLA decides by itself."""


def compile_loops_whole() -> None:
    """Have XLA compile small loops into single native functions on a CPU.

    It adds an option to `XLA_FLAGS` in the environment; one that is already there is
    left as it is. The command line calls this; the library never does so unasked.

    ```python
    >>> from forethought.core.xla import compile_loops_whole
    >>> compile_loops_whole()  # doctest: +SKIP

    ```

    Raises:
        RuntimeError: JAX has computed something already, so it is too late.
    """
    version = tuple(int(part) for part in jax.__version__.split(".")[:2])
    flags = os.environ.get("XLA_FLAGS", "")
    if version >= AUTOMATIC or OPTION in flags:
        return
    if _backend_runs():
        raise RuntimeError(
            "compile_loops_whole needs to be called before JAX computes anything, but "
            "JAX's backend has already started; call it first, or set XLA_FLAGS to "
            f"--xla_backend_extra_options={OPTION}={THRESHOLD} before Python starts."
        )
    name = "--xla_backend_extra_options="
    words = flags.split()
    given = [word for word in words if word.startswith(name)]
    rest = [word for word in words if not word.startswith(name)]
    options = [word.removeprefix(name) for word in given]
    options.append(f"{OPTION}={THRESHOLD}")
    os.environ["XLA_FLAGS"] = " ".join([*rest, name + ",".join(options)])


def _backend_runs() -> bool:
    """Whether a backend has started: JAX then refuses to change this setting."""
    name = "jax_num_cpu_devices"
    devices = getattr(jax.config, name)
    try:
        jax.config.update(name, devices + 2)
    except RuntimeError:
        return True
    jax.config.update(name, devices)
    return False
