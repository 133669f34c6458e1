"""Counts the programs that each test module compiles, and what was agreed on.

Compiling is what the suite spends its time on, so `compilations.json` holds how many
programs each module may compile: a run in which one compiles more than a tenth and
five above that fails, whatever its tests say. Every module begins with no program in
memory, so that its count does not depend on who ran before it. A program that is read
from the persistent cache counts as well. Tests marked `long` do not.

Counts belong to a version of JAX and are compared under that one alone.
"""

import collections
import ctypes
import gc
import json
import sys

import jax
import pytest

COMPILED = "/jax/core/compile/backend_compile_duration"
"""Fires for each program, whether it is compiled or read from the persistent cache."""
SHARE, SLACK = 0.1, 5
SETTINGS = (
    "jax_enable_x64",
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)
"""What the commands of the program change of JAX."""


def module_of(item):
    """The file of a test, by its path from the root of the checkout."""
    return item.nodeid.split("::")[0]


def is_long(item):
    return item.get_closest_marker("long") is not None


def settings():
    """JAX's settings as they are now."""
    return {name: getattr(jax.config, name) for name in SETTINGS}


def restore(before):
    """Make JAX's settings what they were."""
    for name, value in before.items():
        jax.config.update(name, value)


def forget():
    """Let go of what a module leaves: compiled programs, their memory, environments."""
    gymnasium = sys.modules.get("gymnasium")
    if gymnasium is not None:  # packages name theirs by strings
        for name, spec in list(gymnasium.registry.items()):
            if callable(spec.entry_point):
                del gymnasium.registry[name]
    jax.clear_caches()
    gc.collect()
    # The C library of Linux keeps what was freed, in gigabytes, unless it is asked.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def excess(found, agreed):
    """One line for each module that compiles more than was agreed."""
    for module, count in sorted(found.items()):
        most = agreed.get(module, 0)
        if count > (1 + SHARE) * most + SLACK:
            yield (
                f"{module} compiled {count} programs, agreed were {most}; find what "
                "was added, or agree by `make compilations`."
            )


class Ledger:
    """Watches a run, as a plugin of pytest and as a listener to JAX."""

    def __init__(self, config):
        self.file = config.rootpath / "tests" / "compilations.json"
        self.writes = config.getoption("write_compilations")
        kept = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.agreed = kept.get("modules", {})
        self.checks = kept.get("jax") == jax.__version__
        self.found, self.passed = collections.Counter(), collections.Counter()
        self.collected = collections.Counter()
        self.whole = {}
        self.item, self.begun, self.lines = None, {}, []

    def __call__(self, event, duration, **_):
        if event == COMPILED and self.item is not None and not is_long(self.item):
            self.found[module_of(self.item)] += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items):
        """Heavy modules first, so that processes end at about the same time."""
        short = [module_of(item) for item in items if not is_long(item)]
        self.collected.update(short)
        items.sort(key=lambda item: -self.agreed.get(module_of(item), 0))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        if self.item is None:
            self.begun = settings()
        if self.item is None or module_of(item) != module_of(self.item):
            forget()
            restore(self.begun)  # whoever ran before may have typed commands
        self.item = item
        return (yield)

    def pytest_runtest_logreport(self, report):
        if report.when == "teardown" and report.passed:
            self.passed[report.nodeid.split("::")[0]] += "long" not in report.keywords

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        if not self.whole:
            self.whole = self.of_whole_modules()
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["compilations"] = dict(self.found), self.whole
        elif self.writes:
            modules = self.agreed | self.whole
            text = {"jax": jax.__version__, "modules": dict(sorted(modules.items()))}
            self.file.write_text(json.dumps(text, indent=2) + "\n")
        elif self.checks:
            self.lines = list(excess(self.found, self.agreed))
            if self.lines and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def of_whole_modules(self):
        """Counts of the modules of which no test was left out or failed."""
        return {
            module: self.found[module]
            for module, tests in self.collected.items()
            if tests == self.passed[module]
        }

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        """Take over what a process of pytest-xdist found."""
        found, whole = node.workeroutput.get("compilations", ({}, {}))
        self.found.update(found)
        self.whole |= whole

    def pytest_terminal_summary(self, terminalreporter):
        for line in self.lines:
            terminalreporter.write_line(line, red=True)
