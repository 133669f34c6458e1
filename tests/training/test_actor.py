"""An agent at work: one observation in, one action out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import forethought as ft
from forethought.training.actor import REMEMBERED, Actor, Form


@pytest.fixture(scope="module")
def controller():
    return ft.controller("double-integrator", "cem", population=32, horizon=6)


def actions(actor, observations):
    actor.reset()
    return np.stack([actor.act(obs) for obs in observations])


def test_the_same_observations_after_a_reset_lead_to_the_same_actions(controller):
    seen = np.array([[1.0, 0.0], [0.9, -0.1], [0.8, -0.2]])
    first, second = actions(controller, seen), actions(controller, seen)
    np.testing.assert_array_equal(first, second)
    assert first.shape == (3, 1) and isinstance(first, np.ndarray)


def test_what_was_planned_is_remembered_until_a_reset(controller):
    controller.reset()
    once, again = (controller.act([1.0, 0.0]) for _ in range(2))
    assert not np.array_equal(once, again), "a warm start and a new key"


def test_nothing_is_compiled_after_it_was_made(compilations):
    actor = ft.controller("pendulum", "cem", population=16, horizon=4, iterations=1)
    before = compilations.count
    for obs in ([1.0, 0.0, 0.0], [0.9, 0.1, 0.2], [0.0, 0.1], np.zeros(2)):
        actor(obs)
    actor.reset()
    actor.act(np.zeros(3, np.float32))
    assert compilations.count == before


def test_milliseconds_are_those_of_each_call_since_the_reset(controller):
    controller.reset()
    assert controller.milliseconds.shape == (0,)
    for _ in range(3):
        controller.act(np.zeros(2))
    assert controller.milliseconds.shape == (3,)
    assert (controller.milliseconds > 0).all()
    assert REMEMBERED >= 1000


@pytest.mark.parametrize(
    ("obs", "words"),
    [
        ([1.0], r"state \(position \(m\), velocity .* of shape \[2\].* got \[1\]"),
        ({"a": 1.0}, r"got \{'a': \[\]\}"),
        ([np.nan, 0.0], "needs finite numbers, got"),
    ],
)
def test_an_observation_that_cannot_be_used_is_refused(controller, obs, words):
    with pytest.raises(ValueError, match=words):
        controller.act(obs)


def test_an_observation_and_the_state_it_tells_lead_to_the_same_action():
    task = ft.tasks.load("pendulum")
    state = jnp.array([2.0, 0.5])
    seen = task.system.observe(state)
    made = [ft.controller(task, "ilqr", horizon=5, iterations=2) for _ in range(2)]
    told = [made[0].act(np.asarray(seen)), made[1].act(np.asarray(state))]
    np.testing.assert_allclose(*told, rtol=1e-4)


def test_a_controller_acts_as_control_does():
    """By a planner that draws nothing, in the same states."""
    task = ft.tasks.load("double-integrator")
    run = ft.control(task, "ilqr", steps=4, horizon=8)
    controller = ft.controller(task, "ilqr", horizon=8)
    found = actions(controller, np.asarray(run.episode.states[:-1]))
    np.testing.assert_allclose(found, run.episode.actions, atol=1e-4)


def test_a_filter_is_told_measurements_and_carries_what_it_believes():
    controller = ft.controller("lqg", "lqr", horizon=5)
    controller.reset()
    once, again = (controller.act([1.0]) for _ in range(2))
    assert abs(again - once) > 1e-3
    with pytest.raises(ValueError, match=r"a measurement of shape \[1\], got \[2\]"):
        controller.act([1.0, 0.0])


def test_a_mujoco_model_is_told_by_positions_and_velocities():
    controller = ft.controller("mujoco-cartpole", "cem", population=8, iterations=1)
    assert controller.act([0.0, 3.0, 0.0, 0.0]).shape == (1,)
    with pytest.raises(ValueError, match=r"and velocities of shape \[4\], got"):
        controller.act([0.0])


def test_choices_are_whole_numbers():
    controller = ft.controller("exam", "categorical-cem", population=16)
    action = controller.act(0)
    assert action.shape == () and np.issubdtype(action.dtype, np.integer)


def test_a_form_is_turned_into_what_the_agent_is_told():
    task = ft.tasks.load("double-integrator")
    agent = ft.controller(task, "lqr", horizon=3)
    known = agent._forms[-1]
    doubled = Form("half a state", np.zeros(2), lambda obs: 2 * obs)
    made = ft.make_planner(task, "lqr", horizon=3)
    from forethought.agents.planning.mpc import Planning

    twice = Actor(Planning(task.problem, ft.MPC(made)), task.problem, [doubled, known])
    np.testing.assert_allclose(twice.act([1.0, 0.5]), agent.act([2.0, 1.0]), rtol=1e-5)
    assert jax.tree.structure(known.like) == jax.tree.structure(np.zeros(2))
