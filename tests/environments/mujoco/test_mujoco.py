import importlib.resources

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from forethought.core.types import ravel
from forethought.environments.mujoco.engine import KEPT_BATCHES
from forethought.environments.mujoco.system import MuJoCo, load
from forethought.tasks.physics import asset, gymnasium_model

KEY = jax.random.key(0)
BALL = """<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 1"/>
    <body name="ball" pos="0 0 .5"><freejoint name="root"/><geom size=".1"/>
      <body name="arm" pos=".1 0 0">
        <joint name="elbow" type="hinge" axis="0 1 0"/>
        <geom name="bone" type="capsule" fromto="0 0 0 .4 0 0" size=".02"/>
      </body>
    </body>
    <body name="target"><geom type="box" size=".1 .2 .5" pos="1 0 1"/></body>
  </worldbody>
  <actuator>
    <position name="muscle" joint="elbow" kp="2" timeconst=".1" ctrlrange="-1 1"/>
  </actuator>
  <sensor><framepos name="place" objtype="body" objname="ball"/></sensor>
  <keyframe><key name="high" qpos="0 0 2 1 0 0 0 .3"/></keyframe>
</mujoco>"""


def roll(system, state, actions):
    def step(state, action):
        state = system.step(state, action, key=KEY)
        return state, state

    return jax.lax.scan(step, state, actions)[1]


roll = eqx.filter_jit(roll)
derivative = eqx.filter_jit(
    lambda system, states, actions: jax.vmap(
        jax.jacfwd(lambda x, u: system.step(x, u, key=KEY), (0, 1))
    )(states, actions)
)


def actions_for(system, steps, *, scale=1.2, seed=0):
    shape = (steps, *system.action.shape)
    return jnp.asarray(np.random.default_rng(seed).uniform(-scale, scale, shape))


@pytest.mark.parametrize(
    ("source", "skip", "steps"),
    [
        (gymnasium_model("hopper"), 4, 300),
        (gymnasium_model("half_cheetah"), 5, 300),
        (asset("cartpole"), 1, 300),
        (BALL, 3, 200),
    ],
    ids=["hopper", "half-cheetah", "cart-pole", "ball"],
)
def test_a_step_in_float64_equals_mj_step_bit_for_bit(x64, source, skip, steps):
    system = MuJoCo(source, skip)
    actions = actions_for(system, steps)
    states = roll(system, system.start(key=KEY), actions)
    model = source if isinstance(source, mujoco.MjModel) else load(source)
    data, touched = mujoco.MjData(model), 0
    for t in range(steps):
        data.ctrl[:] = actions[t]
        mujoco.mj_step(model, data, skip)
        touched += data.ncon
        assert np.array_equal(data.qpos, states.qpos[t])
        assert np.array_equal(data.qvel, states.qvel[t])
        assert np.array_equal(data.act, states.act[t])
        assert np.array_equal(data.sensordata, states.sensordata[t])
    assert touched or source == asset("cartpole")


def test_the_step_agrees_with_mujoco_in_float32():
    system = MuJoCo(asset("cartpole"))
    actions = actions_for(system, 20).astype("float32")
    states = roll(system, system.start(key=KEY), actions)
    assert states.qpos.dtype == jnp.float32
    model = system.mj_model
    data = mujoco.MjData(model)
    for action in actions:
        data.ctrl[:] = action
        mujoco.mj_step(model, data)
    np.testing.assert_allclose(states.qpos[-1], data.qpos, rtol=1e-4, atol=1e-5)


def reference_jacobian(model, qpos, qvel, act, action, skip, epsilon=1e-6):
    """Central differences by a plain loop over `mj_step` from a cold start."""

    def after(z):
        data = mujoco.MjData(model)
        data.qpos, data.qvel, data.act, data.ctrl = np.split(
            z, np.cumsum([model.nq, model.nv, model.na])
        )
        mujoco.mj_step(model, data, skip)
        return np.concatenate([data.qpos, data.qvel, data.act, data.sensordata])

    z = np.concatenate([qpos, qvel, act, action])
    columns = [
        (after(z + epsilon * e) - after(z - epsilon * e)) / (2 * epsilon)
        for e in np.eye(z.size)
    ]
    return np.stack(columns, 1)


NAMES = ("qpos", "qvel", "act", "sensordata")


def as_matrix(jacobian):
    """Rows (qpos, qvel, act, sensordata), columns the same of the input, then ctrl."""
    rows = []
    for name in NAMES:
        by_state, by_action = getattr(jacobian, name)
        columns = [getattr(by_state, column) for column in NAMES]
        rows.append(jnp.concatenate([*columns, by_action], axis=-1))
    return jnp.concatenate(rows, axis=-2)


@pytest.mark.parametrize("source", [asset("cartpole"), BALL], ids=["RK4", "Euler"])
def test_derivatives_equal_central_differences_of_mujoco_itself(x64, source):
    system = MuJoCo(source, 2)
    model = system.mj_model
    rng = np.random.default_rng(1)
    qpos = jnp.asarray(model.qpos0 + 0.1 * rng.normal(size=(3, model.nq)))
    qvel = jnp.asarray(0.1 * rng.normal(size=(3, model.nv)))
    actions = actions_for(system, 3, scale=0.5)
    states = jax.vmap(system.at)(qpos, qvel)
    got = as_matrix(derivative(system, states, actions))
    sensors = model.nsensordata
    physics = model.nq + model.nv + model.na
    for t in range(3):
        expected = reference_jacobian(
            model, qpos[t], qvel[t], states.act[t], actions[t], 2
        )
        by_sensors = got[t, :, physics : physics + sensors]
        rest = np.delete(got[t], slice(physics, physics + sensors), axis=1)
        np.testing.assert_allclose(rest, expected, atol=2e-7, rtol=2e-6)
        assert not by_sensors.any(), "readings do not move the physics"


def test_derivatives_equal_mjd_transition_fd_where_the_integrator_allows_it(x64):
    xml = (importlib.resources.files("forethought") / "assets/cartpole.xml").read_text()
    system = MuJoCo(xml.replace("RK4", "implicitfast"))
    model = system.mj_model
    qpos, qvel, action = np.array([0.2, 2.0]), np.array([0.5, -1.0]), np.array([0.3])
    data = mujoco.MjData(model)
    data.qpos, data.qvel, data.ctrl = qpos, qvel, action
    n = 2 * model.nv
    A, B = np.zeros((n, n)), np.zeros((n, model.nu))
    mujoco.mjd_transitionFD(model, data, 1e-6, True, A, B, None, None)
    state = system.at(jnp.asarray(qpos), jnp.asarray(qvel))
    batch = jax.tree.map(lambda leaf: leaf[None], state)
    got = as_matrix(derivative(system, batch, jnp.asarray(action)[None]))[0]
    np.testing.assert_allclose(got[:n, :n], A, atol=1e-7)
    np.testing.assert_allclose(got[:n, -1:], B, atol=1e-7)


def test_float32_derivatives_are_as_good_as_float32(precision):
    system = MuJoCo(asset("cartpole"))
    state = system.at(jnp.array([0.2, 2.0]), jnp.array([0.5, -1.0]))
    batch = jax.tree.map(lambda leaf: leaf[None], state)
    got = as_matrix(derivative(system, batch, jnp.array([[0.3]])))[0]
    expected = reference_jacobian(
        system.mj_model,
        np.array(state.qpos, float),
        np.array(state.qvel, float),
        np.zeros(0),
        np.array([0.3]),
        1,
    )
    assert got.dtype == state.qpos.dtype
    np.testing.assert_allclose(got[:4, :4], expected[:4, :4], atol=2e-6)
    np.testing.assert_allclose(got[:4, -1:], expected[:4, -1:], atol=2e-6)


def test_at_a_limit_the_derivative_is_that_of_the_inner_side_and_zero_beyond(x64):
    system = MuJoCo(asset("cartpole"))
    states = jax.vmap(lambda _: system.start(key=KEY))(jnp.arange(3))
    actions = jnp.array([[0.5], [1.0], [1.5]])
    inside, edge, beyond = derivative(system, states, actions).qvel[1][:, 0, 0]
    assert jnp.isclose(inside, edge, rtol=1e-6)
    assert beyond == 0


def test_reverse_mode_through_time_equals_finite_differences(x64):
    system = MuJoCo(asset("cartpole"))
    start = system.start(key=KEY)
    actions = actions_for(system, 12, scale=0.5)

    def loss(actions):
        return jnp.sum(roll(system, start, actions).qpos[-1] ** 2)

    gradient = jax.grad(loss)(actions)
    for t in (0, 6, 11):
        bump = jnp.zeros_like(actions).at[t, 0].set(1e-5)
        difference = (loss(actions + bump) - loss(actions - bump)) / 2e-5
        np.testing.assert_allclose(gradient[t, 0], difference, rtol=1e-5, atol=1e-9)


def test_one_host_call_linearises_a_trajectory(x64, monkeypatch):
    system = MuJoCo(asset("cartpole"))
    calls = []
    run = system.engine._run
    monkeypatch.setattr(
        system.engine, "_run", lambda rows, **k: calls.append(len(rows)) or run(rows)
    )
    actions = actions_for(system, 10, scale=0.5)
    states = roll(system, system.start(key=KEY), actions)
    calls.clear()
    jax.block_until_ready(derivative(system, states, actions))
    assert calls == [10 * (1 + 2 * 5)]


def test_vmap_equals_the_loop_bit_for_bit(x64):
    system = MuJoCo(BALL, start_noise=0.1)
    keys = jax.random.split(KEY, 5)
    starts = jax.vmap(lambda key: system.start(key=key))(keys)
    actions = jnp.stack([actions_for(system, 30, seed=seed) for seed in range(5)])
    together = eqx.filter_vmap(roll, in_axes=(None, 0, 0))(system, starts, actions)
    for i in range(5):
        start = system.start(key=keys[i])
        assert jnp.array_equal(start.sensordata, starts.sensordata[i])
        alone = roll(system, start, actions[i])
        assert eqx.tree_equal(alone, jax.tree.map(lambda leaf, i=i: leaf[i], together))


def test_a_diverging_member_is_nan_and_its_neighbours_do_not_notice(
    precision, capfd, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    system = MuJoCo(gymnasium_model("hopper"), 2)
    good = system.start(key=KEY)
    fast = eqx.tree_at(lambda x: x.qvel, good, good.qvel.at[1].set(1e11))
    lost = eqx.tree_at(lambda x: x.qpos, good, good.qpos.at[1].set(jnp.nan))
    action = jnp.full(3, 0.1)
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), good, fast, lost, good)
    actions = jnp.stack([action, action, action, action.at[0].set(jnp.inf)])
    step = jax.jit(jax.vmap(lambda x, u: system.step(x, u, key=KEY)))
    for _ in range(3):
        states = step(states, actions)
    alone = roll(system, good, jnp.stack([action] * 3))
    assert jnp.array_equal(states.qpos[0], alone.qpos[-1])
    for i in (1, 2, 3):
        assert jnp.isnan(
            ravel(jax.tree.map(lambda leaf, i=i: leaf[i], states))[0]
        ).all()
    jacobian = as_matrix(derivative(system, states, actions))
    assert jnp.isfinite(jacobian[0]).all()
    assert jnp.isnan(jacobian[1:]).all()
    assert capfd.readouterr().err == "", "MuJoCo's own warnings stay quiet"
    assert not list(tmp_path.iterdir()), "and so does its log file"


def test_the_second_call_does_not_compile_again(compilations):
    system = MuJoCo(asset("cartpole"))
    start = system.start(key=KEY)
    actions = actions_for(system, 5).astype(start.qpos.dtype)
    roll(system, start, actions)
    before = compilations.count
    copied = jax.tree.map(lambda leaf: leaf, system)
    roll(copied, start, actions)
    assert compilations.count == before


def test_batches_are_kept_for_a_few_sizes_only():
    system = MuJoCo(asset("cartpole"))
    row = np.zeros(system.engine.inputs)
    for size in range(1, KEPT_BATCHES + 5):
        system.engine.step(np.tile(row, (size, 1)))
    assert len(system.engine._batches) == KEPT_BATCHES


def test_planners_see_positions_velocities_activations_and_sensors_only(x64):
    system = MuJoCo(BALL, keyframe="high")
    state = system.start(key=KEY)
    vector, unravel = ravel(state)
    assert len(system.state_names) == vector.size == 8 + 7 + 1 + 3
    assert system.state_names[:4] == (
        "root x (m)",
        "root y (m)",
        "root z (m)",
        "root quaternion w",
    )
    assert system.state_names[15:] == ("activation 0", "place 0", "place 1", "place 2")
    assert system.action_names == ("muscle",)
    assert eqx.tree_equal(unravel(vector), state)
    np.testing.assert_allclose(state.sensordata, [0, 0, 2])
    assert system.observe(state).shape == (16,)


def test_start_noise_keeps_quaternions_on_the_sphere(precision):
    system = MuJoCo(BALL, start_noise=0.3)
    state = system.start(key=jax.random.key(3))
    assert jnp.isclose(jnp.linalg.norm(state.qpos[3:7]), 1, rtol=1e-6)
    np.testing.assert_allclose(state.sensordata, state.qpos[:3], rtol=1e-6)


def test_the_sketch_shows_geoms_where_mujoco_puts_them(precision):
    system = MuJoCo(BALL, keyframe=0)
    sketch = system.sketch(system.start(key=KEY))
    assert sketch.kind.tolist() == [0, 0, 2], "ball, bone, target; no floor"
    np.testing.assert_allclose(sketch.radius, [0.1, 0.02, 0.15], rtol=1e-6)
    np.testing.assert_allclose(sketch.start[0], sketch.end[0])
    length = jnp.linalg.norm(sketch.end[1] - sketch.start[1])
    np.testing.assert_allclose(length, 0.4, rtol=1e-5)
    np.testing.assert_allclose(sketch.end[2] - sketch.start[2], [0, 0, 0.7], atol=1e-6)


def test_limits_come_from_ctrlrange_and_are_free_where_the_model_has_none():
    assert MuJoCo(asset("cartpole")).action.high.tolist() == [1]
    free = MuJoCo(BALL.replace('ctrlrange="-1 1"', ""))
    assert not free.action.bounded


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "message"),
    [
        (("nowhere.xml",), {}, FileNotFoundError, "no MJCF file 'nowhere.xml'"),
        (("<mujoco><worldbody>",), {}, ValueError, "cannot compile the MJCF text"),
        (("<mujoco/>",), {}, ValueError, "at least one actuator"),
        ((BALL, 0), {}, ValueError, "frame_skip >= 1, got 0"),
        ((BALL,), {"keyframe": "hihg"}, ValueError, "did you mean 'high'"),
        ((BALL,), {"keyframe": 4}, ValueError, "no keyframe named '4'"),
        ((asset("cartpole"),), {"start_qpos": [0.0]}, ValueError, r"shape \[2\], got"),
        ((asset("cartpole"),), {"start_qvel": [0.0, np.nan]}, ValueError, "finite"),
        ((BALL,), {"start_noise": -1.0}, ValueError, "start_noise >= 0"),
        ((BALL,), {"epsilon": 0.0}, ValueError, "epsilon > 0"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(arguments, settings, error, message):
    with pytest.raises(error, match=message) as caught:
        MuJoCo(*arguments, **settings)
    assert "\n" not in str(caught.value)


def test_the_controls_of_a_keyframe_are_what_planners_begin_with():
    text = BALL.replace('0 .3"/>', '0 .3" ctrl=".4"/>')
    box = MuJoCo(text, keyframe="high").action
    np.testing.assert_allclose(box.centre_and_scale(np.float32), [[0.4], [1]])
    # Whoever says none means none, and beyond the limits lies nothing.
    assert MuJoCo(text).action.rest is None
    assert MuJoCo(BALL, keyframe="high").action.rest is None
    far = text.replace('ctrl=".4"', 'ctrl="7"')
    box = MuJoCo(far, keyframe=0).action
    np.testing.assert_allclose(box.centre_and_scale(np.float32)[0], [1])


@pytest.mark.parametrize("step", ["0", "-0.01"])
def test_a_timestep_that_is_none_is_refused(step):
    with pytest.raises(ValueError, match="timestep"):
        MuJoCo(BALL.replace('timestep="0.01"', f'timestep="{step}"'))


def test_a_state_of_another_size_is_refused():
    with pytest.raises(
        ValueError, match=r"qpos of shape \[2\] and qvel of shape \[2\]"
    ):
        MuJoCo(asset("cartpole")).at(jnp.zeros(3), jnp.zeros(2))


def test_a_missing_file_is_answered_with_the_nearest_one(tmp_path):
    (tmp_path / "robot.xml").write_text(BALL)
    with pytest.raises(FileNotFoundError, match=r"did you mean '.*robot\.xml'"):
        MuJoCo(tmp_path / "robto.xml")
    assert MuJoCo(tmp_path / "robot.xml").mj_model.nu == 1
