import pathlib

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.agents.planning.mpc import Planning
from forethought.core.types import ravel
from forethought.objectives.residual import Residual
from forethought.planners.mpc import MPC
from forethought.planners.sampling.cem import CEM
from forethought.problem import rollout
from forethought.tasks.physics import TASKS, gymnasium_model, user_task
from forethought.training.control import begin, closed_loop

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
KEY = jax.random.key(0)
OWN = "my_objective:MyObjective"


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_physics_task_gives_finite_returns_and_gradients(name):
    task = TASKS[name]()
    assert task.name == name
    start = task.system.start(key=KEY)
    assert len(task.system.state_names) == ravel(start)[0].size
    assert {"random-shooting", "cem", "ilqr"} <= set(task.settings)
    actions = jnp.full((3, *task.problem.action.shape), 0.1)

    @jax.jit
    def value(actions):
        return rollout(task.problem, start, actions, key=KEY).value

    worth, gradient = jax.value_and_grad(value)(actions)
    assert jnp.isfinite(worth)
    assert jnp.isfinite(gradient).all()
    assert gradient.any()


@pytest.mark.long
def test_cem_swings_the_cartpole_up_and_balances_it():
    task = TASKS["mujoco-cartpole"]()
    agent = Planning(task.problem, MPC(CEM(**task.settings["cem"])))
    start_key, begin_key, key = jax.random.split(jax.random.key(7), 3)
    start = task.system.start(key=start_key)
    loop = begin(agent, task.plant, start, key=begin_key)
    _, episode = eqx.filter_jit(closed_loop)(
        agent, task.plant, loop, keys=jax.random.split(key, 150)
    )
    angle = episode.states.qpos[-30:, 1]
    assert jnp.all(jnp.cos(angle) > 0.8), "the pole stays up"
    assert jnp.all(jnp.abs(episode.states.qpos[-30:, 0]) < 1), "and in the middle"
    assert episode.value > -150, "doing nothing costs about 450"


def test_the_cheetah_is_that_of_gymnasium(x64, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log file about gymnasium's model
    task = TASKS["mujoco-cheetah"]()
    system, objective = task.system, task.problem.objective
    assert capfd.readouterr().err == ""
    environment = gymnasium.make("HalfCheetah-v5").unwrapped
    environment.reset(seed=0)
    qpos, qvel = environment.data.qpos.copy(), environment.data.qvel.copy()
    state = system.at(jnp.asarray(qpos), jnp.asarray(qvel))
    step = jax.jit(lambda x, u: system.step(x, u, key=KEY))
    environment.set_state(qpos, qvel)
    assert np.isclose(system.dt, environment.dt)
    for action in np.random.default_rng(0).uniform(-1, 1, (20, 6)):
        observation, reward, *_ = environment.step(action)
        after = step(state, jnp.asarray(action))
        ours = objective.reward(state, jnp.asarray(action), after)
        np.testing.assert_allclose(ours, reward, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(system.observe(after)[1:], observation, rtol=1e-9)
        state = after
    environment.close()


def test_a_longer_physics_step_is_integrated_implicitly():
    model = gymnasium_model("hopper", timestep=0.004)
    assert model.opt.timestep == 0.004
    assert gymnasium_model("hopper").opt.timestep == 0.002


def test_the_example_of_ones_own_robot_runs():
    task = user_task(EXAMPLES / "my_robot.xml", OWN)
    assert (task.name, task.steps) == ("my_robot", 250)
    assert np.isclose(task.system.dt, 0.02)
    planner = CEM(horizon=10, population=16, elites=4, iterations=2)
    start = task.system.start(key=KEY)

    @eqx.filter_jit
    def plan(problem, start):
        state = planner.init(problem, start, key=KEY)
        return planner.plan(problem, start, state, key=KEY)[0]

    best = plan(task.problem, start).value
    idle = rollout(task.problem, start, jnp.zeros((10, 2)), key=KEY).value
    assert best > idle


@pytest.mark.parametrize(
    ("objective", "error", "message"),
    [
        ("my_objective", ValueError, "named MODULE:NAME"),
        ("my_objectiv:MyObjective", ValueError, "'my_objectiv' does not import"),
        ("my_objective:MyObjectiv", ValueError, "did you mean 'MyObjective'"),
        ("my_objective:jnp", TypeError, "should be an AbstractObjective"),
        ("my_objective:constant", TypeError, "needs x, number"),
        (
            "my_objective:AbstractObjective",
            TypeError,
            "without discount, reward, value",
        ),
    ],
)
def test_an_objective_that_cannot_be_used_is_refused(objective, error, message):
    with pytest.raises(error, match=message) as caught:
        user_task(EXAMPLES / "my_robot.xml", objective)
    assert "\n" not in str(caught.value)


def test_a_module_is_found_in_the_current_folder_and_says_why_it_breaks(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_wish.py").write_text("1 / 0")
    with pytest.raises(ValueError, match=r"division by zero, in .*wish\.py, line 1\."):
        user_task(EXAMPLES / "my_robot.xml", "broken_wish:Wish")
    (tmp_path / "made_wish.py").write_text(
        "from forethought.objectives.residual import Residual, Term\n"
        "def wish(system):\n"
        "    return Residual(system, [Term('sensor', 'hand')])\n"
    )
    task = user_task(EXAMPLES / "my_robot.xml", "made_wish:wish")
    assert isinstance(task.problem.objective, Residual)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import sys\nsys.exit(3)", r"ends the program, in .*wish_\d\.py, line 2\."),
        ("raise SystemExit", r"ends the program, in .*wish_\d\.py, line 1\."),
        ("x = (", r"SyntaxError: .*, in .*wish_\d\.py, line 1\."),
        ("import nowhere_at_all", r"'nowhere_at_all', in .*wish_\d\.py, line 1\)"),
        (
            "def wish():\n    raise OSError('no\\n' * 999)",
            r"made: OSError: no no .*2\.",
        ),
        ("class wish:\n    def __init__(self): exit()", r"cannot be made: it ends"),
        ("import json\nwish = json.loads('')", r"JSONDecodeError: .*py, line 2\."),
    ],
)
def test_what_an_objective_does_at_import_ends_in_one_sentence(
    text, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    module = f"wish_{abs(hash(text)) % 10**6}"
    (tmp_path / f"{module}.py").write_text(text)
    with pytest.raises(ValueError, match=words.replace(r"\d", r"\d+")) as caught:
        user_task(EXAMPLES / "my_robot.xml", f"{module}:wish")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 800


def test_an_interrupt_at_import_passes_and_a_module_may_print(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stopped_wish.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        user_task(EXAMPLES / "my_robot.xml", "stopped_wish:wish")
    (tmp_path / "chatty_wish.py").write_text(
        "print('hello')\nfrom my_objective import MyObjective\n"
    )
    task = user_task(EXAMPLES / "my_robot.xml", "chatty_wish:MyObjective")
    assert type(task.problem.objective).__name__ == "MyObjective"
    assert "hello" in capsys.readouterr().out
