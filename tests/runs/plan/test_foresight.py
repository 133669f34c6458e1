"""What is too large or takes too long is said before it begins."""

import jax.numpy as jnp
import pytest

from forethought import tasks
from forethought.planners import CEM, ILQR, MCTS, MPC, Polished
from forethought.runs import cost
from forethought.runs.plan import foresight
from forethought.runs.plan.foresight import extent, foresee_run


@pytest.fixture(scope="module")
def task():
    return tasks.load("double-integrator")


@pytest.fixture
def small(monkeypatch):
    """A machine of a megabyte."""
    for module in (cost, foresight):
        monkeypatch.setattr(module, "memory", lambda: 1e6)


def test_the_largest_array_of_a_program_is_its_least_memory():
    found = cost.needs(
        lambda x: jnp.sin(jnp.outer(x, x)) @ jnp.outer(x, x)[:, :900], jnp.ones(1000)
    )
    assert found.bytes == 1000 * 900 * jnp.ones(()).dtype.itemsize
    assert "[1000,900]" in found.array


def test_more_memory_than_there_is_is_refused_with_both_figures(task, small):
    foresee_run(task, MPC(CEM(5)), 10)
    words = r"^CEM needs \S+ GB of memory for one array .*100000.*0.001 GB here\.$"
    with pytest.raises(ValueError, match=words):
        foresee_run(task, MPC(CEM(5, population=1_000_000)), 10)
    with pytest.raises(ValueError, match="An episode of 1,000,000 steps needs"):
        foresee_run(task, MPC(CEM(5)), 1_000_000)


@pytest.mark.parametrize(
    "planner",
    [
        CEM(50, population=2**31 - 1, elites=10**9),
        CEM(10**6, population=10**6),
        ILQR(10**6, iterations=2**31 - 1),
        MCTS(5, simulations=2**31 - 1, nodes=2**31 - 1),
    ],
)
def test_settings_as_large_as_they_can_be_are_refused_in_a_sentence(planner):
    name = "exam" if isinstance(planner, MCTS) else "pendulum"
    with pytest.raises(ValueError, match=r"^[^\n]* needs [^\n]*\.$") as error:
        foresee_run(tasks.load(name), MPC(planner), 3)
    assert len(str(error.value)) < 250


def test_a_run_of_hours_is_said_with_its_figure(task):
    planner = CEM(5, iterations=10_000_000, keep_fraction=0.0)
    with pytest.warns(
        UserWarning, match=r"^100 plans of \S+ FLOP will take about .* h,"
    ):
        foresee_run(task, MPC(planner), 100)


def test_usual_settings_are_let_pass_without_being_traced(task, monkeypatch):
    monkeypatch.setattr(foresight, "needs_of", None)
    foresee_run(task, MPC(CEM(50)), 200)
    foresee_run(task, MPC(Polished(CEM(50), ILQR(50))), 200)
    assert extent(CEM(3, 4, 2, 5)) == 3 * 4 * 2 * 5
    assert extent(Polished(CEM(3, 4, 2, 5), ILQR(3, 7, 2))) == 120 + 42 - 2
