"""Training runs: they learn, they cannot be lost, and they go on where they were."""

import dataclasses
import errno

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from interrupted import require_the_same_after_a_kill, told

from forethought import tasks
from forethought.agents.planning.pets import PETS
from forethought.agents.schedule import Schedule
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import EnsembleRecipe
from forethought.objectives.base import AbstractObjective
from forethought.planners import CEM
from forethought.runs.store.folder import RunFolder
from forethought.runs.train.intervals import learn, score
from forethought.runs.train.saving import load_learner
from forethought.runs.train.settings import Learning
from forethought.tasks import TASKS

TINY = PETS(
    model=dataclasses.replace(
        PETS().model, members=2, width=4, depth=1, fitting=FitSettings(epochs=2)
    ),
    planner=CEM(3, population=6, elites=2, iterations=1, particles=2),
)


@pytest.fixture(scope="module")
def task():
    return tasks.load("double-integrator")


@pytest.fixture(scope="module")
def tiny(task):
    return Learning(task.name, TINY, 4 * task.steps, seed=1)


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A run that nobody interrupted."""
    folder = RunFolder.create(tmp_path_factory.mktemp("whole"), {})
    learn(tiny, folder)
    return folder


@pytest.mark.long
def test_pets_reaches_the_cost_of_lqr_on_a_linear_quadratic_task(task, tmp_path):
    settings = PETS(
        model=EnsembleRecipe(
            members=2, width=32, fitting=FitSettings(300, patience=30)
        ),
        planner=CEM(
            15,
            population=100,
            elites=10,
            iterations=6,
            particles=2,
            noise_beta=1.0,
            initial_std=1.0,
        ),
    )
    folder = RunFolder.create(tmp_path, {})
    learn(Learning(task.name, settings, 7 * task.steps, seed=2), folder)
    returns = [row["return"] for row in folder.metrics()]
    assert returns[0] < 5 * task.optimum  # random actions do not
    np.testing.assert_allclose(np.median(returns[-5:]), task.optimum, rtol=0.02)


def test_an_interrupted_run_goes_on_with_the_same_lines(tiny, whole, tmp_path):
    folder = RunFolder.create(tmp_path, {})

    def stop(event):
        if event.row["interval"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(tiny, folder, watch=stop)
    assert len(folder.metrics()) == 2
    learn(tiny, folder, resume=True)
    assert told(folder) == told(whole)
    for name in ("cards/0002.npz", "cards/0003.npz", "cards/0004.npz"):
        np.testing.assert_equal(folder.arrays(name), whole.arrays(name))


def test_a_damaged_checkpoint_is_passed_over_and_that_is_said(tiny, whole, tmp_path):
    folder = RunFolder.create(tmp_path, {})
    learn(tiny, folder)
    newest = tmp_path / "checkpoints" / "4" / "leaves.npz"
    newest.write_bytes(newest.read_bytes()[:-100])
    _, notices = learn(tiny, folder, resume=True)
    assert len(notices) == 1 and "4" in notices[0]
    assert told(folder) == told(whole)


def test_evaluation_uses_what_was_learned_and_changes_nothing(tiny, whole):
    before = told(whole)
    returns, notices = score(tiny, whole, episodes=2, seed=9)
    again, _ = score(tiny, whole, episodes=2, seed=9)
    assert returns.shape == (2,) and notices == ()
    np.testing.assert_array_equal(returns, again)
    assert told(whole) == before
    state = tiny.training.begin(key=jax.random.key(tiny.seed))
    loaded = load_learner(whole.path, state)
    assert loaded.step == 4
    assert not eqx.tree_equal(loaded.tree.learner, state.learner)


def test_too_few_steps_are_refused(task):
    with pytest.raises(ValueError, match="more steps than the 60 random ones"):
        Learning(task.name, TINY, 60, seed=0)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'Pendulum-v1'"):
        Learning("Pendulm-v1", TINY)


def test_evaluating_changes_nothing_else(tiny, whole, tmp_path):
    every = dataclasses.replace(tiny, evaluate=Schedule(2), evaluate_episodes=2)
    folder = RunFolder.create(tmp_path, {})
    learn(every, folder)
    rows = told(folder)
    found = [row.pop("evaluation", None) for row in rows]
    spread = [row.pop("evaluation_std", None) for row in rows]
    assert rows == told(whole)
    assert [value is not None for value in found] == [False, True, False, True]
    assert [value is not None for value in spread] == [False, True, False, True]
    assert found[1] != found[3]


def test_intervals_are_as_long_as_the_schedule_says(task, tmp_path):
    run = Learning(
        task.name,
        TINY,
        200,
        learn=Schedule(50, "steps"),
        random_steps=40,
        count=2,
    )
    folder = RunFolder.create(tmp_path, {})
    learn(run, folder)
    rows = folder.metrics()
    assert [row["step"] for row in rows] == [40, 50, 100, 150, 200]
    assert [row["kind"] for row in rows] == ["random", *["planned"] * 4]
    # Two environments side by side, in episodes of 60 steps each.
    assert [row["ends"] for row in rows] == [[], [], [], [120, 120], []]
    assert [row["return"] is None for row in rows] == [True] * 3 + [False, True]
    np.testing.assert_allclose(rows[3]["return"], np.mean(rows[3]["returns"]))
    assert all("plan_value" in row and row["plan_failed"] == 0 for row in rows[1:])


def test_a_full_disk_leaves_the_checkpoint_before_and_that_is_used(
    tiny, whole, tmp_path, monkeypatch
):
    folder = RunFolder.create(tmp_path, {})
    saved = np.savez

    def savez(file, *arrays, **named):
        if ".3." in str(getattr(file, "name", "")):
            raise OSError(errno.ENOSPC, "No space left on device")
        saved(file, *arrays, **named)

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", savez)
        with pytest.raises(OSError, match=r"step 3 .* No space left .* are intact"):
            learn(tiny, folder)
    returns, _ = score(tiny, folder, episodes=1, seed=0)
    assert np.all(np.isfinite(returns))
    learn(tiny, folder, resume=True)
    assert told(folder) == told(whole)


class Exploding(AbstractObjective):
    """Rewards that are no number once the state is far enough away."""

    def reward(self, x, action, next_x):
        return jnp.where(jnp.abs(next_x[0]) > 1.2, jnp.nan, -(next_x[0] ** 2))

    def discount(self, x, action, next_x):
        return jnp.ones_like(x[0])

    def value(self, x):
        return jnp.zeros_like(x[0])


def test_a_reward_that_is_no_number_is_named_and_what_was_saved_stays(
    task, tmp_path, monkeypatch
):
    broken = dataclasses.replace(
        task,
        problem=eqx.tree_at(
            lambda problem: problem.objective, task.problem, Exploding()
        ),
    )
    folder = RunFolder.create(tmp_path, {})
    monkeypatch.setitem(TASKS, "broken", lambda: broken)
    run = Learning("broken", TINY, 400, learn=Schedule(5, "steps"), random_steps=5)
    with pytest.raises(
        FloatingPointError, match=r"broken gave .* in environment 0 at step \d+\."
    ) as stop:
        learn(run, folder)
    step = int(str(stop.value).split()[-1][:-1])
    rows = folder.metrics()
    assert rows and rows[-1]["step"] < step <= rows[-1]["step"] + 5
    assert load_learner(folder.path, run.training.begin(key=jax.random.key(0)))


WORDS = [
    *("--seed", "1", "--agent.model.members", "2", "--agent.model.width", "4"),
    *("--agent.model.depth", "1", "--agent.model.fitting.epochs", "2"),
    *("--agent.planner.horizon", "3", "--agent.planner.population", "6"),
    *("--agent.planner.elites", "2", "--agent.planner.iterations", "1"),
    *("--agent.planner.particles", "2", "--agent.planner.noise-beta", "2.0"),
]
RUNS = {
    "pure": ["double-integrator", "--steps", "240"],
    "gymnasium": [
        *("InvertedPendulum-v5", "--steps", "120", "--random-steps", "40"),
        *("--learn.every", "20", "--learn.unit", "steps"),
    ],
}


@pytest.mark.long
@pytest.mark.parametrize("kind", RUNS)
def test_a_run_killed_at_any_moment_goes_on_with_the_same_lines(kind, tmp_path):
    """Also in the middle of an episode, where intervals in Gymnasium end here."""
    words = [*RUNS[kind], *WORDS]
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    require_the_same_after_a_kill(words, tmp_path, 300, **quick)
