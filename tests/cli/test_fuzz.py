"""Whatever number is typed after whatever flag, it ends well.

Everything up to the compiler is asked as at a terminal: flags, settings, whether a
planner fits the task, what it would need. A plan that was let pass is then traced,
which is what compiling begins with.
"""

import contextlib
import dataclasses
import io
import signal
import warnings

import hypothesis
import jax
import pytest
from hypothesis import strategies

from forethought.cli import main, session
from forethought.cli.distilling import DistillOptions
from forethought.cli.lists import _fields
from forethought.cli.options import CompareOptions, PlanOptions, TrainOptions
from forethought.planners import PLANNERS
from forethought.runs.plan import control
from forethought.runs.plan.planning import make_planner, plan_from, start_state
from forethought.runs.train.defaults import settings_for
from forethought.tasks import load

TASKS = {"lqr": "lqg", "categorical-cem": "exam", "mcts": "exam"}
"""Who cannot plan for the pendulum."""
AGENTS = {
    "pets": "pendulum",
    "mbrl-v0": "pendulum",
    "mbrl-v1": "pendulum",
    "mbrl-v2": "pendulum",
    "dyna": "maze",
    "sweeping": "maze",
    "ppo": "pendulum",
    "mb-mf": "pendulum",
    "pilco": "pilco-pendulum",
}
EDGES = (
    "0", "1", "2", "3", "-1", "0.5", "-0.5", "1.0000001", "1e-8", "1e-300", "1e300",
    "nan", "inf", "-inf", "1e22", "10000000000000000000000", "2147483647", "2147483648",
    "4294967296", "-2147483649", "1" + 400 * "0", "1000000", "5000", "", "many", "True",
    "None", "0x10", "1_000", "٣", "1,5", "--", "[31m",
)  # fmt: skip
INNER = ("Traceback", "get():", "top_k", "dot_general", "int32 ind", "jaxpr", "Tracer")
"""Words that mean nothing to a person."""


def options(form, prefix=""):
    for field in dataclasses.fields(form):
        value = getattr(form, field.name)
        flag = f"{prefix}{field.name.replace('_', '-')}"
        if dataclasses.is_dataclass(value):
            yield from options(value, f"{flag}.")
        elif field.name not in ("planner", "agent", "planners", "out", "objective"):
            yield f"--{flag}"


def commands():
    """Every flag of every planner and agent, after the command that takes it."""
    for name in PLANNERS:
        task = TASKS.get(name, "pendulum")
        head = ("plan", task, "--planner", name)
        for flag, *_ in _fields(make_planner(load(task), name), "--planner"):
            yield (*head, flag)
    for name, task in AGENTS.items():
        head = ("train", task, "--agent", name)
        for flag, *_ in _fields(settings_for(task, name), "--agent"):
            yield (*head, flag)
    yield from (("plan", "pendulum", flag) for flag in options(PlanOptions()))
    yield from (("compare", "pendulum", flag) for flag in options(CompareOptions()))
    yield from (("distill", "runs/none", flag) for flag in options(DistillOptions()))
    yield from (
        ("train", "maze", "--agent", "dyna", f) for f in options(TrainOptions())
    )


@pytest.fixture
def traced_only(monkeypatch, tmp_path, stay_at):
    """Plans are traced where they would be compiled, and nothing is run."""

    def prepare(task, planner, *, steps, seed, start, replan_every, open_loop, chunk):
        controller, steps = control.controller_for(
            task, planner, steps, replan_every=replan_every, open_loop=open_loop
        )
        key = jax.random.key(0)
        state = start_state(task, start, key=control.key_of(seed))
        belief = task.problem.model.init(key=key)
        jax.eval_shape(
            lambda key: (
                plan_from.__wrapped__(
                    controller.planner, task.problem, belief, key=key
                ).value
            ),
            key,
        )
        return state

    monkeypatch.setattr(control, "prepare", prepare)
    monkeypatch.setattr(session, "plan_session", lambda *_: 0)
    monkeypatch.setattr(session, "compare_session", lambda *_, **__: 0)
    monkeypatch.setattr("forethought.cli.learning.learn_in", lambda *_, **__: 0)
    with stay_at(tmp_path):
        yield


def end_of(arguments, seconds=60):
    """Exit code and what was said; an error for what takes longer."""

    def late(*_):
        raise AssertionError(f"{arguments} takes more than {seconds} s.")

    said = io.StringIO()
    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            warnings.catch_warnings(),
            pytest.raises(SystemExit) as stop,
        ):
            warnings.simplefilter("default")
            main(list(arguments))
    finally:
        signal.alarm(0)
    return stop.value.code, said.getvalue()


def ends_well(arguments):
    code, said = end_of(arguments)
    assert code in (0, 2), (arguments, said)
    assert not any(word in said for word in INNER), (arguments, said)
    if code == 2:
        assert said.startswith("forethought: "), (arguments, said)
        assert said.count("\n") <= 2, (arguments, said)
        assert len(said) < 800 or "known are" in said, (arguments, said)


def tries(count):
    return lambda test: hypothesis.settings(
        max_examples=count,
        suppress_health_check=list(hypothesis.HealthCheck),
        database=None,
    )(
        hypothesis.given(
            strategies.sampled_from(list(commands())), strategies.sampled_from(EDGES)
        )(test)
    )


@tries(60)
def test_what_is_typed_ends_well(traced_only, command, edge):
    ends_well((*command, edge))


@pytest.mark.long
@tries(2000)
def test_what_is_typed_two_thousand_times_ends_well(traced_only, command, edge):
    ends_well((*command, edge))
