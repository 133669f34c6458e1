"""Counting programs: what counts, and who is told of it."""

import jax
import jax.numpy as jnp
import pytest
from compilations import COMPILED, Ledger, excess, settings


class Run:
    """What a ledger asks of pytest: a configuration, and a test."""

    def __init__(self, root):
        self.rootpath = root

    def getoption(self, name):
        return False


class Test:
    __test__ = False

    def __init__(self, nodeid, long=False):
        self.nodeid, self.long = nodeid, long

    def get_closest_marker(self, name):
        return name if self.long else None


def test_a_program_that_is_read_from_the_cache_counts_as_one_that_is_compiled(
    compilations,
):
    hits, found = [], []

    def listen(event, **_):
        if event == "/jax/compilation_cache/cache_hits":
            hits.append(event)

    jax.monitoring.register_event_listener(listen)
    for _ in range(2):
        jax.clear_caches()
        before, read = compilations.count, len(hits)
        jax.jit(lambda x: 3 * x**7 - 2)(jnp.ones(5))
        found.append(compilations.count - before)
    jax.monitoring.unregister_event_listener(listen)
    # The second time all comes from disk, and is counted as it was the first time.
    assert found[0] == found[1] == len(hits) - read > 0


@pytest.mark.parametrize(
    ("count", "agreed", "told"),
    [(115, 100, False), (116, 100, True), (5, 0, False), (6, 0, True), (9, 100, False)],
)
def test_more_than_a_tenth_and_five_above_what_was_agreed_is_told(count, agreed, told):
    lines = list(excess({"tests/test_a.py": count}, {"tests/test_a.py": agreed}))
    assert len(lines) == told
    assert all(f"tests/test_a.py compiled {count} programs" in line for line in lines)


def test_programs_count_for_the_module_of_the_test_and_not_for_long_ones(tmp_path):
    ledger = Ledger(Run(tmp_path))
    ledger(COMPILED, 0.1)
    for item in (Test("a.py::one"), Test("a.py::two", long=True), Test("b.py::one")):
        ledger.item = item
        for _ in range(3):
            ledger(COMPILED, 0.1)
            ledger("/jax/core/compile/something_else", 0.1)
    assert ledger.found == {"a.py": 3, "b.py": 3}


def test_heavy_modules_come_first_and_tests_keep_their_order(tmp_path):
    ledger = Ledger(Run(tmp_path))
    ledger.agreed = {"b.py": 9, "a.py": 5}
    tests = [Test(each) for each in ("c.py::1", "a.py::2", "a.py::1", "b.py::1")]
    ledger.pytest_collection_modifyitems(tests)
    order = [test.nodeid for test in tests]
    assert order == ["b.py::1", "a.py::2", "a.py::1", "c.py::1"]


def test_only_modules_of_which_all_short_tests_passed_are_whole(tmp_path):
    ledger = Ledger(Run(tmp_path))
    tests = [Test("a.py::1"), Test("a.py::2", long=True), Test("b.py::1")]
    ledger.pytest_collection_modifyitems(tests)
    ledger.passed.update(["a.py"])
    assert ledger.of_whole_modules() == {"a.py": 0}


def test_what_a_module_changed_of_jax_is_taken_back_before_the_next(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("compilations.forget", lambda: None)
    ledger, before = Ledger(Run(tmp_path)), settings()

    def begin(name):
        next(ledger.pytest_runtest_protocol(Test(name)))

    begin("a.py::1")
    jax.config.update("jax_enable_x64", not before["jax_enable_x64"])
    begin("a.py::2")
    assert settings() != before  # a module may rely on what it did itself
    begin("b.py::1")
    assert settings() == before
