"""Labels come from the teacher, at the states that the student visits."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought import tasks
from forethought.agents.base import Brief
from forethought.agents.imitation.dagger import DAgger, Reactive
from forethought.agents.planning.mpc import Planning
from forethought.core.readout import Readout
from forethought.core.spaces import Discrete
from forethought.data.replay import Replay
from forethought.environments.analytic.linear import LinearSystem
from forethought.environments.base import EnvironmentSpec
from forethought.environments.simulated import Simulated
from forethought.objectives.quadratic import Quadratic
from forethought.planners import CEM, MPC
from forethought.planners.linear.dare import dare
from forethought.policies.affine import TimeVarying
from forethought.training.loop import Training

KEY = jax.random.key(0)
A, B = jnp.array([[1.1, 0.2], [0.0, 1.05]]), jnp.array([[0.0], [0.2]])
"""A system that runs away by itself."""
GAIN = dare(A, B, jnp.eye(2), 0.1 * jnp.eye(1)).K
LANES, STEPS = 4, 30


def feedback(K):
    """Linear feedback as a policy."""
    state = jnp.zeros((1, 2))
    return TimeVarying(K[None], jnp.zeros((1, 1)), state, jnp.zeros((1, 1, 1)))


def training(start=(0.0, 0.0), spread=0.25, **settings):
    system = LinearSystem(jnp.concatenate([A, B], 1), start, spread=spread * jnp.eye(2))
    objective = Quadratic(jnp.diag(jnp.array([1.0, 1.0, 0.1])))
    teacher = feedback(GAIN)
    agent = DAgger(Reactive(teacher), teacher, **settings)
    return Training(agent, Simulated(system, objective, STEPS), Replay(256, LANES))


@eqx.filter_jit
def collect(training, state, random=False):
    return training.collect(state, STEPS, random=random)


def rounds(training, count):
    """Episodes in each lane, each of them followed by a fit."""
    state, traces = training.begin(key=KEY), []
    for _ in range(count):
        state, trace = collect(training, state)
        state, told = training.perform(state, training.duties[0])
        traces.append(trace)
    return state, traces, told


@pytest.fixture(scope="module")
def linear():
    """A linear student after four rounds."""
    return rounds(training(depth=0), 4)


def gain_of(policy):
    def act(x):
        return policy.act(Readout(x), key=KEY, mode="exploit")[0]

    return jax.jacfwd(act)(jnp.zeros(2))


def test_a_student_of_lqr_recovers_its_gain(linear):
    state, _, told = linear
    np.testing.assert_allclose(gain_of(state.learner.student), GAIN, rtol=0.02)
    assert told["imitation_loss"] < 0.02


def test_labels_are_the_teachers_and_states_the_students(linear):
    """Labels taken from who acted would be the student's from the second round on."""
    state, _, _ = linear
    rows = state.flow.replay.rows
    size = int(state.flow.replay.steps)
    kept, acted = rows.kept.action[:size], rows.action[:size]
    assert np.all(rows.kept.there[:size])
    # The teacher alone acts before the first fit; then the student.
    np.testing.assert_array_equal(acted[:STEPS], kept[:STEPS])
    assert np.max(np.abs(acted[STEPS : 2 * STEPS] - kept[STEPS : 2 * STEPS])) > 1e-3
    ordered, valid = Replay(256, LANES).ordered(state.flow.replay)
    wanted = ordered.obs @ GAIN.T
    np.testing.assert_allclose(
        ordered.kept.action[valid], wanted[valid], rtol=1e-4, atol=1e-4
    )


def test_random_steps_come_without_labels():
    train = training(depth=0)
    state, _ = collect(train, train.begin(key=KEY), random=True)
    assert not np.any(state.flow.replay.rows.kept.there)
    before = gain_of(state.learner.student)
    state, _ = train.perform(state, train.duties[0])
    np.testing.assert_array_equal(gain_of(state.learner.student), before)


def radius_of(policy):
    """How fast a system runs away that a policy drives."""
    return np.max(np.abs(np.linalg.eigvals(A + B @ gain_of(policy))))


def test_cloning_drifts_where_dagger_does_not():
    """The broken variant: a teacher that always acts shows nothing of one's mistakes.

    It starts where it drives the state to rest along a line, so that its own states
    tell one component of its gain. Who clones that runs away to the side, on a system
    that does; who goes there is told the rest.
    """
    _, ways = np.linalg.eig(A + B @ GAIN)
    radii = {}
    for mixing in (0.0, 1.0):
        train = training(ways[:, 0].real, 1e-6, depth=0, mixing=mixing)
        state, _, _ = rounds(train, 4)
        radii[mixing] = radius_of(state.learner.student)
    assert radii[0.0] < 0.9 < 1.1 < radii[1.0]


def test_the_teachers_share_of_the_actions_falls_with_each_fit():
    """Rows in which it acted, to four sigmas of a binomial."""
    train = training(depth=0, mixing=0.5)
    state, _, _ = rounds(train, 3)
    rows, size = state.flow.replay.rows, 3 * STEPS
    same = np.all(rows.kept.action[:size] == rows.action[:size], axis=-1)
    for i, share in enumerate((1.0, 0.5, 0.25)):
        found = same[i * STEPS : (i + 1) * STEPS]
        spread = (share * (1 - share) / found.size) ** 0.5
        assert abs(found.mean() - share) <= 4 * spread


def test_doing_its_best_it_asks_nobody(linear):
    """The teacher's knowledge is not even looked at."""
    state, _, _ = linear
    agent = training(depth=0).agent
    blind = dataclasses.replace(agent, knowledge=feedback(jnp.nan * GAIN))
    carry = blind.reset(state.learner, key=KEY)
    obs = jnp.array([0.3, -0.1])
    action, _, label = blind.act(state.learner, carry, obs, key=KEY, mode="exploit")
    assert np.all(np.isfinite(action)) and not label.there


def test_without_a_teacher_it_acts_by_what_it_has_learned_and_learns_nothing(linear):
    state, _, _ = linear
    train = training(depth=0)
    alone = dataclasses.replace(train.agent, teacher=None, knowledge=None)
    obs = jnp.array([0.3, -0.1])
    acted = [
        agent.act(state.learner, agent.reset(state.learner, key=KEY), obs, key=KEY)[0]
        for agent in (dataclasses.replace(train.agent, mixing=0.0), alone)
    ]
    np.testing.assert_array_equal(*acted)
    train = Training(alone, train.environment, train.replay)
    later, _ = collect(train, train.begin(key=KEY))
    assert not np.any(later.flow.replay.rows.kept.there)


def test_choices_need_a_likelihood():
    teacher = feedback(GAIN)
    spec = EnvironmentSpec(linear_spec().observation, Discrete(3), 10)
    with pytest.raises(ValueError, match='DAgger needs loss="likelihood" where'):
        DAgger(Reactive(teacher), teacher, loss="squared").init(spec, key=KEY)
    able = DAgger(Reactive(teacher), teacher)
    assert able.init(spec, key=KEY).fits == 0


def linear_spec():
    return training(depth=0).environment.spec


def test_what_is_seen_needs_to_be_a_vector():
    teacher = feedback(GAIN)
    spec = EnvironmentSpec(Discrete(4), linear_spec().action, 10)
    with pytest.raises(TypeError, match="DAgger needs observations that are vectors"):
        DAgger(Reactive(teacher), teacher).init(spec, key=KEY)


def test_it_may_stand_where_settings_are_asked_for():
    agent = training(depth=0).agent
    assert agent.make(Brief()) is agent


def test_a_planner_at_work_can_teach():
    task = tasks.load("double-integrator")
    planner = Planning(task.problem, MPC(CEM(3, population=6, elites=2, iterations=1)))
    agent = DAgger(planner, task.problem, width=4, depth=1)
    learner = agent.init(task.environment.spec, key=KEY)
    carry, obs = agent.reset(learner, key=KEY), jnp.array([1.0, 0.0])
    ask_key, *_ = jax.random.split(KEY, 3)
    wanted, _, _ = planner.act(task.problem, carry, obs, key=ask_key)
    action, carry, label = agent.act(learner, carry, obs, key=KEY)
    np.testing.assert_array_equal(label.action, wanted)
    np.testing.assert_array_equal(action, wanted)  # before the first fit
    assert "plan_value" in agent.watch(carry)
