import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.models.around.counted import Counted, Tally
from forethought.models.linear.dynamics import Linear
from forethought.planners import (
    CEM,
    ILQR,
    LQR,
    AugmentedLagrangian,
    RandomShooting,
)
from forethought.reports.pages.comparison import CLOSEST, cells, plot, rows_of
from forethought.runs.plan.compare import compare, counted, follow
from forethought.runs.plan.planning import plan_from
from forethought.tasks import gallery, load

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def scores():
    """Three planners on a gallery problem, one of which cannot work on it."""
    with jax.enable_x64(True):
        task = gallery.load("pendulum-swing-up").task
        planners = {
            "lqr": LQR(100),
            "cem": CEM(100, population=32, elites=8, iterations=3),
            "ilqr": ILQR(100, 300),
        }
        return task, compare(task, planners, seeds=(0, 1))


def test_a_plan_that_is_followed_earns_what_it_promised(scores):
    task, (_, cem, ilqr) = scores
    for score in (cem, ilqr):
        assert score.replan_every == task.steps
        for i, progress in enumerate(score.progress):
            assert score.returns[i] == pytest.approx(progress[-1], rel=1e-9)
            assert np.all(np.diff(progress) >= -1e-9)
            assert len(progress) == score.iterations[i]
    assert cem.execution == "open loop" and cem.iterations.tolist() == [3, 3]
    assert ilqr.execution == "closed loop by feedback"
    assert np.all(task.optimum - ilqr.returns < 1e-3 * abs(task.optimum))


def test_a_planner_that_cannot_work_is_a_row_with_its_reason(scores):
    _, (lqr, cem, _) = scores
    assert lqr.refusal.startswith("LQR needs a Linear") and lqr.returns.size == 0
    (row,) = rows_of(lqr, (0, 1))
    assert row["refusal"] == lqr.refusal and row["return"] is None
    first, second = rows_of(cem, (0, 1))
    assert (first["seed"], second["seed"]) == (0, 1)
    assert first["gap"] == pytest.approx(cem.optimum - first["return"])


def test_how_far_constraints_were_broken_is_told(x64):
    task = gallery.load("obstacle-unicycle").task
    planners = {
        "shooting": RandomShooting(25, population=16),
        "held": AugmentedLagrangian(ILQR(25, 50)),
    }
    paying, held = compare(task, planners, seeds=(0,), count=False)
    assert paying.violation[0] > 0.01 and paying.kkt is None
    assert held.violation[0] < 1e-6 and held.kkt[0] < 1e-2
    # Whoever breaks constraints pays more than that earns.
    assert paying.returns[0] < held.returns[0] < task.optimum + 1e-9
    (row,) = rows_of(held, (0,))
    assert row["violation"] == held.violation[0] and row["kkt"] == held.kkt[0]
    assert "breaks constraints by" in cells([row])[-1]


def test_the_plot_has_a_panel_a_task_and_a_line_a_search(scores):
    task, made = scores
    rows = [row for score in made for row in rows_of(score, (0, 1))]
    other = [row | {"task": "another", "optimum": None, "gap": None} for row in rows]
    figure = plot([*rows, *other])
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        task.name,
        "another",
    ]
    lowest = min(np.nanmin(line.get_ydata()) for line in figure.axes[0].lines)
    assert lowest == pytest.approx(CLOSEST)


def test_predictions_are_counted_as_settings_say():
    task = load("pendulum")
    shooting = counted(task, RandomShooting(7, population=13))
    assert shooting.evaluations == 13 * 7 + 7 and shooting.linearisations == 0
    climbing = counted(task, ILQR(7, 1))
    assert climbing.linearisations in (7, 14)
    assert counted(load("double-integrator"), LQR(7)) is None


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_derivative_counts_once_and_changes_nothing(order):
    tally, linear = Tally(), Linear([[0.5, 1.0]])
    model = Counted(linear, tally)

    def end(model, u):
        x, _ = jax.lax.scan(
            lambda x, u: (model.predict(x, u[None], key=KEY), None), jnp.ones(1), u
        )
        return jnp.sum(x**2)

    functions = (
        end,
        jax.grad(end, argnums=1),
        jax.jacfwd(jax.jacfwd(end, argnums=1), argnums=1),
    )
    u = jnp.array([1.0, -2.0, 0.5])
    found = jax.jit(lambda u: functions[order](model, u))(u)
    expected = functions[order](linear, u)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    jax.effects_barrier()
    assert tally.evaluations == (3 if order == 0 else 0)
    assert (tally.linearisations > 0) == (order > 0)


def test_gains_bring_a_disturbed_start_back():
    """Following by feedback, not by the actions alone."""
    task = load("double-integrator")
    start = task.system.start(key=KEY)
    plan = plan_from(LQR(20), task.problem, start, key=KEY)
    blind = dataclasses.replace(plan, feedback=None)
    push = start + 0.3
    seeing, closed = (
        float(follow(task, each, push, 20, key=KEY).value) for each in (plan, blind)
    )
    assert seeing > closed + 0.01


@pytest.mark.parametrize(("seeds", "planners"), [((), {"lqr": LQR(3)}), ((0,), {})])
def test_an_empty_comparison_is_refused(seeds, planners):
    with pytest.raises(ValueError, match="at least one"):
        compare(load("double-integrator"), planners, seeds=seeds)


def test_planners_and_tasks_are_known_by_their_names():
    with pytest.raises(ValueError, match="got 'cem' twice: give them as a dictionary"):
        compare("pendulum", ["cem", CEM()])
    with pytest.raises(ValueError, match="did you mean 'ilqr'"):
        compare("pendulum", ["cem", "ilqrr"])
    with pytest.raises(ValueError, match="did you mean 'acrobot'"):
        compare(["pendulum", "acrobat"], "cem")


def test_several_tasks_are_scored_one_after_another():
    scores = compare(
        ["lqg", "double-integrator"], "cem", seeds=[0], steps=2, futures=0, count=False
    )
    assert [(score.task, score.planner) for score in scores] == [
        ("lqg", "cem"),
        ("double-integrator", "cem"),
    ]
    assert all(score.returns.shape == (1,) for score in scores)
