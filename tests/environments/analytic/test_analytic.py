import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.environments.analytic import (
    Acrobot,
    Car,
    CartPole,
    DoubleIntegrator,
    Pendulum,
    PointMass,
    Quadrotor,
)
from forethought.environments.analytic.integrate import euler, rk4, semi_implicit_euler
from forethought.objectives.task import PendulumReward

KEY = jax.random.key(0)


@pytest.fixture
def gymnasium_pendulum():
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    yield env
    env.close()


def test_the_pendulum_equals_gymnasium_step_by_step(x64, gymnasium_pendulum):
    """Double-precision actions, some beyond the limits, from states of every speed."""
    env, system, objective = gymnasium_pendulum, Pendulum(), PendulumReward()
    generator = np.random.default_rng(0)
    count = 400
    states = generator.uniform([-10, -8], [10, 8], (count, 2))
    actions = generator.uniform(-3, 3, (count, 1))

    @jax.jit
    @jax.vmap
    def ours(state, action):
        after = system.step(state, action, key=KEY)
        return after, system.observe(after), objective.reward(state, action, after)

    after, obs, rewards = ours(jnp.asarray(states), jnp.asarray(actions))
    for i in range(count):
        env.state = states[i]
        gym_obs, gym_reward, terminated, truncated, _ = env.step(actions[i])
        np.testing.assert_allclose(after[i], env.state, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(obs[i], gym_obs, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(rewards[i], gym_reward, rtol=1e-12)
        assert not terminated and not truncated


def test_a_whole_pendulum_episode_equals_gymnasium(x64, gymnasium_pendulum):
    env, system, objective = gymnasium_pendulum, Pendulum(), PendulumReward()
    actions = np.random.default_rng(1).uniform(-2, 2, (200, 1))
    start = env.state.copy()

    def step(state, action):
        after = system.step(state, action, key=KEY)
        return after, (after, objective.reward(state, action, after))

    _, (states, rewards) = jax.lax.scan(step, jnp.asarray(start), jnp.asarray(actions))
    for i, action in enumerate(actions):
        _, reward, *_ = env.step(action)
        np.testing.assert_allclose(states[i], env.state, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(rewards[i], reward, rtol=1e-9, atol=1e-9)


def test_pendulum_starts_are_drawn_as_gymnasium_draws_them(precision):
    starts = jax.vmap(lambda key: Pendulum().start(key=key))(
        jax.random.split(KEY, 2000)
    )
    assert starts.dtype == (jnp.float64 if precision == 64 else jnp.float32)
    limits = np.array([np.pi, 1.0])
    assert (np.abs(starts) <= limits).all()
    # A uniform draw on [-a, a] has standard deviation a/√3; 2,000 draws, 5 sigmas.
    np.testing.assert_allclose(np.std(starts, 0), limits / np.sqrt(3), rtol=0.06)
    np.testing.assert_allclose(np.mean(starts, 0), 0, atol=0.08)


def test_a_pendulum_at_its_limits_still_feels_the_whole_motor(x64):
    system = Pendulum()
    resting = jnp.array([0.3, 0.0])

    @jax.jit
    @jax.grad
    def slope(torque):
        return system.step(resting, torque[None], key=KEY)[1]

    assert slope(jnp.asarray(2.0)).item() == pytest.approx(3 * system.dt)


SYSTEMS = {
    "double-integrator": DoubleIntegrator(),
    "pendulum": Pendulum(),
    "cartpole": CartPole(),
    "acrobot": Acrobot(),
    "car": Car(),
    "quadrotor": Quadrotor(),
    "point-mass": PointMass(obstacles=((0.0, 0.0, 0.5),)),
}


def example(system, seed=0):
    """A state and an action in the middle of where the system works."""
    generator = np.random.default_rng(seed)
    n = len(system.state_names)
    state = generator.uniform(-1, 1, n)
    action = generator.uniform(-1, 1, len(system.action_names))
    return jnp.asarray(state), jnp.asarray(0.4 * action)


@pytest.mark.parametrize("name", SYSTEMS)
def test_states_keep_their_shape_dtype_and_names(name, precision):
    system = SYSTEMS[name]
    state, action = system.start(key=KEY), example(system)[1]
    kind = jnp.float64 if precision == 64 else jnp.float32
    after = jax.jit(lambda x, u: system.step(x, u, key=KEY))(state, action)
    assert state.dtype == after.dtype == action.dtype == kind
    assert state.shape == after.shape == (len(system.state_names),)
    assert action.shape == system.action.shape == (len(system.action_names),)
    assert jax.tree.leaves(system.observe(after))[0].dtype == kind
    assert all(n.endswith(")") for n in (*system.state_names, *system.action_names))


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_sketch_is_finite_and_planar(name):
    system = SYSTEMS[name]
    drawing = system.sketch(system.start(key=KEY))
    count = drawing.kind.shape[0]
    assert drawing.start.shape == drawing.end.shape == (count, 2)
    assert drawing.radius.shape == (count,)
    assert (np.asarray(drawing.radius) > 0).all()
    assert np.isfinite(drawing.start).all() and np.isfinite(drawing.end).all()
    assert {0, 2} <= set(np.asarray(drawing.kind).tolist())


@pytest.mark.parametrize("name", SYSTEMS)
def test_derivatives_of_a_step_agree_with_central_differences(name, x64):
    system = SYSTEMS[name]
    state, action = example(system)
    n = state.shape[0]

    def step(both):
        return system.step(both[:n], both[n:], key=KEY)

    both, width = jnp.concatenate([state, action]), 1e-5
    moves = width * jnp.eye(both.shape[0])

    @jax.jit
    def slopes(both):
        up = jax.vmap(step)(both[None] + moves)
        down = jax.vmap(step)(both[None] - moves)
        return jax.jacobian(step)(both), (up - down).T / (2 * width)

    exact, approximate = slopes(both)
    np.testing.assert_allclose(exact, approximate, atol=1e-8)


def cartpole_energy(system, x):
    """Two masses, from the velocity of each."""
    _, theta, v, rate = x
    m_c, m_p, l, g = system.cart_mass, system.pole_mass, system.length, system.gravity
    tip = (v + l * rate * jnp.cos(theta)) ** 2 + (l * rate * jnp.sin(theta)) ** 2
    return 0.5 * m_c * v**2 + 0.5 * m_p * tip - m_p * g * l * jnp.cos(theta)


def acrobot_energy(system, x):
    """Two rigid links, from the velocity of each centre of mass."""
    one, two, rate_1, both_rate = x[0], x[0] + x[1], x[2], x[2] + x[3]
    m, l, c, I, g = (
        system.mass,
        system.length,
        system.centre,
        system.inertia,
        system.gravity,
    )
    upper = (c * rate_1) ** 2
    across = l * rate_1 * jnp.cos(one) + c * both_rate * jnp.cos(two)
    above = l * rate_1 * jnp.sin(one) + c * both_rate * jnp.sin(two)
    spin = 0.5 * I * (rate_1**2 + both_rate**2)
    height = -c * jnp.cos(one) - l * jnp.cos(one) - c * jnp.cos(two)
    return 0.5 * m * (upper + across**2 + above**2) + spin + m * g * height


def pendulum_energy(system, x):
    """A uniform rod about its end; the angle is zero upright."""
    m, l, g = system.mass, system.length, system.gravity
    return m * l**2 * x[1] ** 2 / 6 + 0.5 * m * g * l * jnp.cos(x[0])


@pytest.mark.parametrize(
    ("system", "energy", "start"),
    [
        (CartPole(dt=0.005), cartpole_energy, [0.1, 2.5, 0.4, -1.0]),
        (Acrobot(dt=0.005), acrobot_energy, [1.5, -0.8, 0.3, 1.0]),
    ],
    ids=["cartpole", "acrobot"],
)
def test_energy_stays_where_nobody_pushes(system, energy, start, x64):
    """Ten seconds of Runge-Kutta; the energy itself is of order ten."""
    rest = jnp.zeros(1)

    def step(x, _):
        after = system.step(x, rest, key=KEY)
        return after, energy(system, after)

    start = jnp.asarray(start)
    _, energies = jax.lax.scan(step, start, None, length=2000)
    np.testing.assert_allclose(energies, energy(system, start), atol=1e-6)


def test_the_free_pendulum_keeps_its_energy_within_the_order_of_its_step(x64):
    """Semi-implicit Euler wavers by a share of the step and does not drift."""
    system, rest = Pendulum(dt=1e-4, max_speed=100.0), jnp.zeros(1)

    def step(x, _):
        after = system.step(x, rest, key=KEY)
        return after, pendulum_energy(system, after)

    start = jnp.array([2.0, 1.0])
    _, energies = jax.lax.scan(step, start, None, length=50_000)
    np.testing.assert_allclose(energies, pendulum_energy(system, start), atol=5e-3)


def test_a_quadrotor_without_thrust_falls_as_galilei_says(x64):
    system = Quadrotor()
    start = jnp.array([1.0, 2.0, 0.3, 0.5, 1.0, -0.7])
    fall = jax.lax.scan(
        lambda x, _: (system.step(x, jnp.zeros(2), key=KEY), None),
        start,
        None,
        length=40,
    )[0]
    t = 40 * system.dt
    velocity = start[3:] - jnp.array([0.0, system.gravity * t, 0.0])
    place = start[:3] + start[3:] * t - jnp.array([0, 0.5 * system.gravity * t**2, 0])
    np.testing.assert_allclose(fall, jnp.concatenate([place, velocity]), atol=1e-12)


def test_a_quadrotor_turns_toward_its_weaker_rotor(x64):
    after = Quadrotor().step(jnp.zeros(6), jnp.array([4.0, 5.0]), key=KEY)
    assert after[5] > 0 and after[3] < 0


@pytest.mark.parametrize(
    ("integrate", "order"), [(euler, 1), (semi_implicit_euler, 1), (rk4, 4)]
)
def test_integrators_have_the_order_that_they_state(integrate, order, x64):
    """Half the step, 2^p of the error, on an oscillator with a known solution."""
    rest = jnp.zeros(1)

    def error(steps):
        x, dt = jnp.array([1.0, 0.5]), 1.0 / steps
        for _ in range(steps):
            x = integrate(lambda x, u: jnp.stack([x[1], -x[0]]), x, rest, dt)
        exact = [np.cos(1) + 0.5 * np.sin(1), 0.5 * np.cos(1) - np.sin(1)]
        return np.linalg.norm(np.asarray(x) - exact)

    assert error(16) / error(32) == pytest.approx(2**order, rel=0.1)


def test_the_double_integrator_is_exact_however_long_the_step(x64):
    start, push = jnp.array([1.0, -2.0]), jnp.array([3.0])
    once = DoubleIntegrator(dt=1.0).step(start, push, key=KEY)
    half = DoubleIntegrator(dt=0.5)
    twice = half.step(half.step(start, push, key=KEY), push, key=KEY)
    np.testing.assert_allclose(once, twice, rtol=1e-14)
    np.testing.assert_allclose(once, [0.5, 1.0], rtol=1e-14)


def test_a_step_of_the_car_is_the_one_worked_out_by_hand(x64):
    """Wheels turned by 30°, 2 m rolled at once: f sin ω = 1, b = √3 + 2 − √3 = 2."""
    system = Car(dt=1.0)
    start, action = jnp.array([1.0, 2.0, np.pi / 2, 2.0]), jnp.array([np.pi / 6, 0.5])
    after = system.step(start, action, key=KEY)
    np.testing.assert_allclose(
        after, [1.0, 4.0, np.pi / 2 + np.pi / 6, 2.5], rtol=1e-12
    )


def test_the_wheels_of_a_car_keep_their_distance(x64):
    """The front axle moves by f in the direction of its wheels, the rear along."""
    system, f = Car(), 0.03 * 1.7
    x, u = jnp.array([0.3, -0.2, 0.9, 1.7]), jnp.array([0.4, 1.0])
    after = system.step(x, u, key=KEY)

    def front(x):
        return x[:2] + system.wheelbase * jnp.stack([jnp.cos(x[2]), jnp.sin(x[2])])

    wheels = f * jnp.stack([jnp.cos(x[2] + u[0]), jnp.sin(x[2] + u[0])])
    np.testing.assert_allclose(front(after), front(x) + wheels, atol=1e-12)


def test_friction_slows_a_point_mass_as_in_closed_form(x64):
    """Velocity decays by 1 − h μ / m a step."""
    system, rest = PointMass(friction=0.5, mass=2.0), jnp.zeros(2)
    x = jnp.array([0.0, 0.0, 1.0, -2.0])
    for _ in range(10):
        x = system.step(x, rest, key=KEY)
    decay = (1 - system.dt * 0.5 / 2.0) ** 10
    np.testing.assert_allclose(x[2:], [decay, -2 * decay], rtol=1e-12)


def test_physical_parameters_can_be_differentiated(x64):
    """A heavier pole tip changes the motion, and the gradient says by how much."""
    x, u = jnp.array([0.0, 2.0, 0.0, 1.0]), jnp.array([1.0])

    def speed(mass):
        return CartPole(pole_mass=mass).step(x, u, key=KEY)[2]

    mass, width = jnp.asarray(0.2), 1e-6
    slope = (speed(mass + width) - speed(mass - width)) / (2 * width)
    np.testing.assert_allclose(jax.grad(speed)(mass), slope, rtol=1e-6)
