import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought import tasks
from forethought.planners import CEM, ILQR, LQR, Polished

KEY = jax.random.key(0)
START = jnp.array([3.0, 0.0])


def test_a_polished_plan_is_the_second_planners_from_the_firsts_actions():
    task = tasks.load("pendulum")
    first, second = CEM(25, population=32, iterations=2), ILQR(25)
    planner = Polished(first, second)

    @jax.jit
    def plan(key):
        state = planner.init(task.problem, START, key=key)
        found, state = planner.plan(task.problem, START, state, key=key)
        first_key, second_key, _ = jax.random.split(key, 3)
        state = first.init(task.problem, START, key=key)
        rough, _ = first.plan(task.problem, START, state, key=first_key)
        begin = second.init(task.problem, START, rough.actions, key=key)
        expected, _ = second.plan(task.problem, START, begin, key=second_key)
        return found, rough, expected

    found, rough, expected = plan(KEY)
    np.testing.assert_allclose(found.actions, expected.actions, rtol=1e-5, atol=1e-5)
    assert found.value > rough.value == found.stats.numbers["first_value"]


def test_the_next_search_begins_with_the_polished_actions():
    task = tasks.load("pendulum")
    planner = Polished(CEM(8, population=16, iterations=1), ILQR(8, 5))

    @jax.jit
    def plan(key):
        state = planner.init(task.problem, START, key=key)
        found, state = planner.plan(task.problem, START, state, key=key)
        return found, planner.shift(task.problem, state)

    found, state = plan(KEY)
    np.testing.assert_array_equal(state.mean[:-1], found.actions[1:])


def test_planners_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one horizon, got 5 and 6"):
        Polished(CEM(5), ILQR(6))
    task = tasks.load("double-integrator")
    with pytest.raises(TypeError, match=r"LQR .* cannot begin with actions"):
        Polished(CEM(5), LQR(5)).init(task.problem, jnp.array([1.0, 0.0]), key=KEY)
