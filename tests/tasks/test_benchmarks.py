import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from forethought.agents.imitation.mb_mf import MBMF
from forethought.agents.planning.pets import PETS
from forethought.core.readout import Readout
from forethought.core.types import ravel
from forethought.objectives.learned import Observed
from forethought.runs.train.defaults import settings_for
from forethought.tasks.benchmarks import FRAMES, TASKS

KEY = jax.random.key(0)
TOLD = ("pets-cartpole", "cartpole-swingup")
"""Tasks whose observations tell the state."""


def test_every_plant_is_consistent():
    for name, build in TASKS.items():
        task = build()
        assert task.name == name
        assert task.environment.spec.episode_length == task.steps
        assert task.environment.spec.action.shape == task.problem.action.shape
        assert {"random-shooting", "cem", "ilqr"} <= set(task.settings)
        assert isinstance(settings_for(name, "pets"), PETS)


@pytest.mark.parametrize("name", TOLD)
def test_what_is_seen_tells_the_reward(name, precision):
    """The planner of a learner sees the same rewards as one that knows the state."""
    task = TASKS[name]()
    keys = jax.random.split(KEY, 2)
    x, next_x = (task.system.start(key=key) for key in keys)
    action = jnp.array([0.4])
    objective = Observed(task.problem.objective, task.restore)
    told = [Readout.of(task.system.observe(state)) for state in (x, next_x)]
    states = [Readout.of(state) for state in (x, next_x)]
    seen, _ = objective.judge(told[0], action, told[1])
    known, _ = task.problem.objective.judge(states[0], action, states[1])
    np.testing.assert_allclose(seen, known, rtol=1e-5 if precision == 32 else 1e-12)


@pytest.mark.parametrize("name", TOLD)
def test_starts_are_drawn_as_published(name):
    """Means and deviations of 4,000 starts, to four sigmas."""
    task = TASKS[name]()
    noise, hanging = {
        "pets-cartpole": (0.1, [0, 0, 0, 0]),
        "cartpole-swingup": (0.01, [0, np.pi, 0, 0]),
    }[name]
    starts = jax.vmap(lambda key: task.system.start(key=key))(
        jax.random.split(KEY, 4000)
    )
    x = np.concatenate([starts.qpos, starts.qvel], axis=1)
    np.testing.assert_allclose(x.mean(axis=0), hanging, atol=4 * noise / 4000**0.5)
    np.testing.assert_allclose(x.std(axis=0), noise, rtol=4 / 8000**0.5)
    correlation = np.corrcoef(x.T) - np.eye(4)
    np.testing.assert_allclose(correlation, 0, atol=4 / 4000**0.5)


@pytest.mark.parametrize("name", TOLD)
def test_planners_get_finite_gradients(name):
    task = TASKS[name]()
    x = task.system.start(key=KEY)
    value = jax.jit(
        lambda u: task.problem.objective.reward(x, u, task.system.step(x, u, key=KEY))
    )
    worth, gradient = jax.value_and_grad(value)(jnp.array([0.2]))
    assert jnp.isfinite(worth)
    assert jnp.isfinite(gradient).all()
    assert gradient.any()


class Plant:
    """The cart-pole of Chua et al. (2018) by Lagrange's equations, in NumPy."""

    gravity, damping, gear, h = 9.81, 1.0, 100.0, 0.02

    def __init__(self):
        # Capsules of water, as MuJoCo 1.31 took them: longer by half a radius each end.
        self.cart = 1000 * np.pi * 0.1**2 * (0.2 + 0.1)
        length, radius = np.hypot(0.6, 0.001), 0.049
        height = length + radius
        self.pole = 1000 * np.pi * radius**2 * height
        self.inertia = self.pole * (3 * radius**2 + height**2) / 12
        self.arm, self.tilt = length / 2, np.arctan2(0.001, 0.6)

    def slope(self, state, u):
        """The centre of the pole is at x − l sin φ, −l cos φ, with φ = θ − tilt."""
        _, theta, speed, spin = state
        phi, m, arm = theta - self.tilt, self.pole, self.arm
        mass = np.array(
            [
                [self.cart + m, -m * arm * np.cos(phi)],
                [-m * arm * np.cos(phi), self.inertia + m * arm**2],
            ]
        )
        force = [
            self.gear * u - self.damping * speed - m * arm * spin**2 * np.sin(phi),
            -self.damping * spin - m * self.gravity * arm * np.sin(phi),
        ]
        return np.array([speed, spin, *np.linalg.solve(mass, force)])

    def step(self, state, u):
        """Two steps of Runge and Kutta."""
        for _ in range(2):
            k1 = self.slope(state, u)
            k2 = self.slope(state + self.h / 2 * k1, u)
            k3 = self.slope(state + self.h / 2 * k2, u)
            k4 = self.slope(state + self.h * k3, u)
            state = state + self.h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return state


def test_the_cartpole_of_pets_moves_and_earns_as_its_equations_say(x64):
    task, plant = TASKS["pets-cartpole"](), Plant()
    assert task.system.dt == 0.04
    assert task.system.action.low.tolist() == [-3]
    state, _ = task.environment.reset(key=KEY)
    x = np.array([0.1, 2.5, -0.2, 0.5])
    start = task.system.at(jnp.asarray(x[:2]), jnp.asarray(x[2:]))
    state = eqx.tree_at(lambda s: s.system, state, start)
    step = eqx.filter_jit(task.environment.step)
    visited = [x]
    for u in np.random.default_rng(0).uniform(-1, 1, 50):
        state, timestep = step(state, jnp.array([u]), key=KEY)
        x = plant.step(x, u)
        np.testing.assert_allclose(timestep.obs, x, rtol=1e-7, atol=1e-7)
        tip = np.array([x[0] - 0.6 * np.sin(x[1]), -0.6 * np.cos(x[1])])
        gap = np.sum((tip - [0, 0.6]) ** 2)
        earned = np.exp(-gap / 0.36) - 0.01 * u**2
        np.testing.assert_allclose(timestep.reward, earned, atol=1e-7)
        visited.append(x)
    least, most = np.min(visited, axis=0), np.max(visited, axis=0)
    assert max(most[0], -least[0]) < 2.5, "the end of the rail is not modelled here"
    assert least[1] < 0.5 < 2.5 < most[1], "from near the top to where it hangs"


@pytest.fixture(scope="module")
def suite():
    """dm_control's own cart-pole."""
    if int(mujoco.__version__.split(".")[0]) >= 4:
        pytest.skip("dm_control's suite does not load on MuJoCo 4")
    suite = pytest.importorskip("dm_control.suite")
    return suite.load("cartpole", "swingup", task_kwargs={"random": 0})


# dm_control writes to what NumPy 2.5 would rather have read.
@pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array")
def test_the_swingup_is_that_of_dm_control(suite, x64):
    """Frame by frame, over the hanging pole, the top and the end of the rail."""
    task = TASKS["cartpole-swingup"]()
    step = eqx.filter_jit(task.environment.step)
    first = suite.reset().observation
    physics = suite.physics
    assert suite.action_spec().minimum == task.system.action.low
    assert suite.action_spec().maximum == task.system.action.high
    touched = 0
    for seed, (angle, push) in enumerate([(np.pi, 1), (0.1, 0.3), (2.0, 4)]):
        draw = np.random.default_rng(seed)
        suite.reset()
        with physics.reset_context():
            physics.data.qpos[:] = [0.01, angle]
            physics.data.qvel[:] = 0.01
        state, _ = task.environment.reset(key=KEY)
        start = task.system.at(jnp.array([0.01, angle]), jnp.array([0.01, 0.01]))
        state = eqx.tree_at(lambda s: s.system, state, start)
        for _ in range(25):
            u = np.clip(push * draw.uniform(-1, 1, 1), -1, 1)
            total = 0.0
            for _ in range(FRAMES):
                theirs = suite.step(u)
                total += theirs.reward
                touched += physics.data.nefc
            seen = np.concatenate(list(theirs.observation.values()))
            state, timestep = step(state, jnp.asarray(u), key=KEY)
            np.testing.assert_allclose(timestep.obs, seen, rtol=1e-8, atol=1e-8)
            np.testing.assert_allclose(timestep.reward, total, rtol=1e-8, atol=1e-8)
    assert touched, "the rail's end was met"
    assert [each.shape for each in first.values()] == [(3,), (2,)]


def test_what_planners_see_of_a_decision_is_its_last_frame_times_eight(x64):
    task = TASKS["cartpole-swingup"]()
    assert np.isclose(task.system.dt, 0.08)
    state, _ = task.environment.reset(key=KEY)
    action = jnp.array([0.7])
    after, _ = eqx.filter_jit(task.environment.step)(state, action, key=KEY)
    planned = task.system.step(state.system, action, key=KEY)
    np.testing.assert_allclose(ravel(planned)[0], ravel(after.system)[0], atol=1e-12)
    eighth = task.world.environment.objective.reward(state.system, action, planned)
    objective = task.problem.objective
    np.testing.assert_allclose(
        objective.reward(state.system, action, planned), FRAMES * eighth, rtol=1e-12
    )


def test_the_swimmer_is_gymnasiums_each_action_taken_four_times(x64):
    """Every observation, and each reward as the sum of four."""
    task, theirs = TASKS["swimmer"](), gymnasium.make("Swimmer-v5").unwrapped
    theirs.reset(seed=0)
    state = task.system.at(jnp.array(theirs.data.qpos), jnp.array(theirs.data.qvel))
    step = jax.jit(lambda state, u: task.system.step(state, u, key=KEY))
    for u in np.random.default_rng(0).uniform(-1, 1, (10, 2)):
        seen, earned = None, 0.0
        for _ in range(4):
            seen, reward, *_ = theirs.step(u)
            earned += reward
        after = step(state, jnp.asarray(u))
        found = task.problem.objective.reward(state, jnp.asarray(u), after)
        np.testing.assert_allclose(task.system.observe(after), seen, atol=1e-12)
        np.testing.assert_allclose(found, earned, atol=1e-10)
        state = after


def test_the_swimmer_starts_as_gymnasiums_does():
    """The mean and the deviation of 4,000 starts, to four sigmas."""
    system = TASKS["swimmer"]().system
    starts = jax.vmap(lambda key: system.start(key=key))(jax.random.split(KEY, 4000))
    x = np.concatenate([starts.qpos, starts.qvel], axis=1)
    noise = 0.2 / 12**0.5
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=4 * noise / 4000**0.5)
    np.testing.assert_allclose(x.std(axis=0), noise, rtol=4 / 8000**0.5)


def test_where_the_swimmer_is_cannot_be_seen():
    system = TASKS["swimmer"]().system
    here = system.start(key=KEY)
    there = eqx.tree_at(lambda state: state.qpos, here, here.qpos.at[:2].add(5.0))
    np.testing.assert_array_equal(system.observe(here), system.observe(there))
    assert system.observe(here).shape == (8,)


def test_settings_for_mb_mf_make_the_agent():
    settings = settings_for("swimmer", "mb-mf")
    assert isinstance(settings, MBMF)
    assert settings.ppo.rollout % 8 == settings.model_steps % 800 == 0


def test_the_reacher_is_gymnasiums(x64):
    """Positions, and rewards to a tenth of a millimetre of the rounded distance."""
    task, theirs = TASKS["reacher"](), gymnasium.make("Reacher-v5").unwrapped
    theirs.reset(seed=0)
    state = task.system.at(jnp.array(theirs.data.qpos), jnp.array(theirs.data.qvel))
    step = jax.jit(lambda state, u: task.system.step(state, u, key=KEY))
    for u in np.random.default_rng(0).uniform(-1, 1, (10, 2)):
        _, reward, *_ = theirs.step(u)
        after = step(state, jnp.asarray(u))
        found = task.problem.objective.reward(state, jnp.asarray(u), after)
        np.testing.assert_allclose(after.qpos, theirs.data.qpos, atol=1e-12)
        apart = -reward - np.sum(u**2)
        rounded = -np.sum(u**2) - np.hypot(apart, 0.03)
        np.testing.assert_allclose(found, rounded, atol=1e-4)
        state = after


def test_what_the_reacher_shows_tells_its_state(x64):
    task = TASKS["reacher"]()
    state = task.system.start(key=KEY)
    told = task.restore(task.system.observe(state))
    np.testing.assert_allclose(told.qpos, state.qpos, atol=1e-12)
    np.testing.assert_array_equal(told.qvel, state.qvel)
