"""The compiler's switch, each time in a process of its own."""

import os
import subprocess
import sys

import jax
import pytest

OLD = tuple(int(part) for part in jax.__version__.split(".")[:2]) < (0, 12)
CALL = (
    "import os, jax; from forethought.core.xla import compile_loops_whole as call; {} "
    "call(); call(); print(os.environ['XLA_FLAGS']); jax.numpy.ones(3) + 1"
)


def run(program, flags=""):
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.mark.skipif(not OLD, reason="this JAX compiles small loops whole by itself")
def test_the_option_joins_those_that_are_there_and_the_backend_accepts_it():
    option = "xla_backend_extra_options=xla_cpu_use_xnnpack=false"
    done = run(CALL.format(""), f"--xla_cpu_enable_fast_math=false --{option}")
    assert done.returncode == 0, done.stderr
    expected = f"--{option},xla_cpu_small_while_loop_byte_threshold=1000000"
    assert done.stdout.split()[-1] == expected


@pytest.mark.skipif(not OLD, reason="this JAX compiles small loops whole by itself")
def test_a_call_that_comes_too_late_is_refused():
    done = run(CALL.format("jax.numpy.ones(3);"))
    assert done.returncode == 1
    assert "needs to be called before JAX computes anything" in done.stderr


@pytest.mark.skipif(OLD, reason="this JAX must be asked")
def test_a_jax_that_needs_no_asking_is_left_alone():
    done = run(CALL.format(""))
    assert done.returncode == 0 and done.stdout.strip() == ""
