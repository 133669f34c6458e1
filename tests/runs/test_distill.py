"""What runs can do, in one network whose folder is that of a training run."""

import contextlib
import io
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import forethought as ft
from forethought.agents.imitation.distill import Distill
from forethought.agents.imitation.imitate import (
    Demonstrations,
    ImitationSettings,
    imitate,
)
from forethought.cli import main
from forethought.cli.options import PlanOptions
from forethought.core.readout import Readout
from forethought.planners.linear.dare import dare
from forethought.policies.categorical import policy_for
from forethought.runs.distill import teacher_of
from forethought.runs.loading import load
from forethought.runs.plan.control import config_of
from forethought.runs.plan.planning import make_planner
from forethought.runs.store.folder import RunFolder

KEY = jax.random.key(0)


def typed(*arguments):
    """Exit code, and what was said."""
    said = io.StringIO()
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        pytest.raises(SystemExit) as stop,
    ):
        main(list(map(str, arguments)))
    return stop.value.code, said.getvalue()


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory, stay_at):
    """A folder to work in, and JAX's settings as they were: commands change them."""
    folder = tmp_path_factory.mktemp("distill")
    with stay_at(folder):
        yield folder


def of_plan(path, task="double-integrator", planner="lqr", **settings):
    """The folder of a run of `plan`, as far as a teacher is read from it."""
    task = ft.tasks.load(task)
    options = PlanOptions(planner=planner, replan_every=1)
    config = config_of(task, make_planner(task, planner, **settings), options)
    RunFolder.create(path, config).finish()
    return path


@pytest.fixture(scope="module")
def planned(home):
    """LQR, replanned each step for long, so that its gain does not vary."""
    return of_plan(home / "lqr", horizon=60)


@pytest.fixture(scope="module")
def student(home, planned):
    """A linear one, of that."""
    settings = Distill(depth=0)
    folder = home / "student"
    ft.distill(
        planned,
        out=folder,
        student=settings,
        episodes=3,
        evaluate_episodes=2,
        progress=False,
    )
    return folder


def gain_of(policy):
    def act(x):
        return policy.act(Readout(x), key=KEY, mode="exploit")[0]

    return jax.jacfwd(act)(jnp.zeros(2))


def exact():
    """By the Riccati equation, of the task's own matrices."""
    problem = ft.tasks.load("double-integrator").problem

    def step(z):
        after = problem.model.predict(z[:2], z[2:], key=KEY)
        return problem.model.readout(after).x

    F = jax.jacfwd(step)(jnp.zeros(3))

    def cost(z):
        before = Readout(z[:2])
        return -problem.objective.judge(before, z[2:], before)[0]

    C = jax.hessian(cost)(jnp.zeros(3))
    return dare(F[:, :2], F[:, 2:], C[:2, :2], C[2:, 2:]).K


def test_a_linear_student_of_lqr_recovers_its_gain_to_two_percent(student):
    policy = load(student)
    obs = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    found = np.stack([policy.act(each) for each in obs], axis=1)
    np.testing.assert_allclose(found, exact(), rtol=0.02)


def test_who_is_told_wrong_labels_does_not_recover_it():
    """The broken variant: each label is that of the row before."""
    obs = jax.random.normal(KEY, (512, 2))
    wanted = obs @ exact().T
    space = ft.tasks.load("double-integrator").problem.action
    fitting = ImitationSettings(epochs=300, threshold=0.0)
    errors = []
    for shift in (0, 1):
        policy = policy_for(2, space, depth=0, key=KEY)
        shown = Demonstrations(obs, jnp.roll(wanted, shift, 0), jnp.ones(512, bool))
        policy, _ = imitate(policy, shown, fitting, key=KEY)
        errors.append(float(jnp.max(jnp.abs(gain_of(policy) / exact() - 1))))
    assert errors[0] < 0.02 < 0.5 < errors[1]


def test_its_folder_sets_student_and_teacher_side_by_side(student):
    kept = RunFolder.open(student).read_json("taught.json")
    assert kept["student"]["mean"] == pytest.approx(kept["teacher"]["mean"], rel=0.01)
    assert min(kept[who]["milliseconds"] for who in ("student", "teacher")) > 0
    code, said = typed("report", student)
    assert code == 0, said
    assert "ms an action" in (student / "report.html").read_text("utf-8")


def test_the_student_acts_when_its_teachers_are_gone(student, planned, home):
    shutil.move(planned, home / "away")
    try:
        code, said = typed("evaluate", student, "--episodes", 2)
        assert code == 0 and "mean" in said, said
        code, said = typed("resume", student)
        assert code == 2 and said.count("\n") == 1, said
    finally:
        shutil.move(home / "away", planned)


def test_a_student_teaches_as_any_training_run_does(student):
    teacher = teacher_of(student)
    assert teacher.name == "double-integrator"
    assert teacher.agent.teacher is None


def test_what_cannot_be_distilled_is_refused_in_one_line(student, planned, home):
    bare = home / "bare"
    shutil.copytree(student, bare)
    shutil.rmtree(bare / "checkpoints")
    other = of_plan(home / "other", "pendulum", "cem")
    RunFolder.create(home / "fit", {"forethought": "fit"})
    for words, arguments in (
        ("RUN", ()),
        ("config.json", (home / "nothing",)),
        ("one task", (planned, other)),
        ("plan or train", (home / "fit",)),
        ("checkpoint", (bare,)),
        ("holds config.json", (planned, "--out", planned)),
        ("depth >= 0", (planned, "--depth", -1)),
        ("observations tell its state", (of_plan(home / "lqg", "lqg"),)),
    ):
        out = () if "--out" in arguments else ("--out", home / "new")
        code, said = typed("distill", *arguments, *out)
        assert code == 2 and said.count("\n") == 1 and words in said, (words, said)
        assert not (home / "new").exists()
