"""What every test runs under: strict dtypes, strict ranks, both precisions."""

import contextlib
import os
import signal

import hypothesis
import jax
import jaxtyping
import pytest
from compilations import COMPILED, Ledger, restore, settings

from forethought.core.xla import compile_loops_whole

pytest.register_assert_rewrite("promises")
compile_loops_whole()
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Optimising would take longer than the programs of tests run.
jax.config.update("jax_disable_most_optimizations", True)
# Compilation makes the first example slow; the same examples run every time.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.load_profile("house")


def pytest_addoption(parser):
    parser.addoption(
        "--write-compilations",
        action="store_true",
        help="agree on the programs that each module compiles in this run",
    )


def pytest_configure(config):
    """Keep compiled programs from one run to the next: they are most of the time."""
    ledger = Ledger(config)
    jax.monitoring.register_event_duration_secs_listener(ledger)
    config.pluginmanager.register(ledger, "compilations")
    cache = config.rootpath / ".pytest_cache" / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(params=[32, 64], ids=["float32", "float64"])
def precision(request):
    """Run the test once in each precision."""
    with jax.enable_x64(request.param == 64):
        yield request.param


@pytest.fixture
def x64():
    """Run the test in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked():
    """As it is outside tests: whoever is given what is of the wrong type says so."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def stay_at():
    """A folder to work in, with a cache of its own; JAX's settings come back after."""

    @contextlib.contextmanager
    def stay(home):
        before = settings()
        handler = signal.getsignal(signal.SIGTERM)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(home)
            patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
            patch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
            yield patch
        signal.signal(signal.SIGTERM, handler)
        restore(before)

    return stay


class Compilations:
    """Counts how often JAX compiled something."""

    def __init__(self):
        self.count = 0

    def __call__(self, event, duration, **_):
        if event == COMPILED:
            self.count += 1


@pytest.fixture
def compilations():
    """A counter of compilations; read `.count` before and after."""
    counter = Compilations()
    jax.monitoring.register_event_duration_secs_listener(counter)
    yield counter
    jax.monitoring.unregister_event_duration_listener(counter)
