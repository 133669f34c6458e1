"""Tasks that are seen through a camera."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought import tasks
from forethought.environments.camera import Lens
from forethought.tasks.around.seen import seen

LENS = Lens(8, reach=1.25)


def test_learners_see_pictures_and_planners_know_the_state_and_what_it_earns():
    task = seen(tasks.load("pendulum"), LENS, repeat=4, stack=2)
    assert (task.name, task.steps, task.brief.objective) == (
        "pixels-pendulum",
        50,
        None,
    )
    world = task.environment
    assert world.spec.observation.shape == (8, 8, 2)
    state, first = world.reset(key=jax.random.key(0))
    action = jnp.array([1.5])
    _, after = world.step(state, action, key=jax.random.key(1))
    assert first.obs.dtype == after.obs.dtype == jnp.uint8
    model, x = task.problem.model, state.environment.system
    told = model.readout(model.predict(x, action, key=jax.random.key(1)))
    np.testing.assert_allclose(told.reward, after.reward, rtol=1e-6)
    # A planner that took the reward of one step in the place of four would be caught.
    once = tasks.load("pendulum").objective.reward(x.x, action, x.x)
    assert abs(once - told.reward) > 1e-3


def test_a_task_that_is_acted_in_behind_something_else_is_not_seen_again():
    with pytest.raises(ValueError, match="lqg is not"):
        seen(tasks.load("lqg"), LENS)
    with pytest.raises(ValueError, match="repeat >= 1, got 0"):
        seen(tasks.load("pendulum"), LENS, repeat=0)
