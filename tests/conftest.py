"""What every test runs under: strict dtypes, strict ranks, both precisions."""

import hypothesis
import jax
import pytest

from forethought.core.xla import compile_loops_whole

compile_loops_whole()
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Compilation makes the first example slow; the same examples run every time.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.load_profile("house")


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


class Compilations:
    """Counts how often JAX compiled something."""

    def __init__(self):
        self.count = 0

    def __call__(self, event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            self.count += 1


@pytest.fixture
def compilations():
    """A counter of compilations; read `.count` before and after."""
    counter = Compilations()
    jax.monitoring.register_event_duration_secs_listener(counter)
    yield counter
    jax.monitoring.unregister_event_duration_listener(counter)
