"""A policy as a planner."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import Near, Reach, Sum

from forethought.core.results import Result
from forethought.core.spaces import free_box
from forethought.planners.around.following import Following
from forethought.policies.affine import TimeVarying
from forethought.problem import Problem

KEY = jax.random.key(0)


def halving():
    """Takes half of the state away, at every step."""
    shapes = ((1, 1), (1, 1), (1, 1, 1))
    zeros = (jnp.zeros(shape) for shape in shapes)
    return Following(TimeVarying(jnp.full((1, 1, 1), -0.5), *zeros), 3)


def test_its_plan_is_what_the_policy_does():
    problem = Problem(Sum(), Near(), free_box(1))
    plan, _ = halving().plan(problem, jnp.ones(1), None, key=KEY)
    np.testing.assert_allclose(plan.actions[:, 0], [-0.5, -0.25, -0.125])
    assert plan.result == Result.successful


def test_a_future_that_is_no_number_is_told():
    problem = Problem(Sum(), Reach(0.1), free_box(1))
    plan, _ = halving().plan(problem, jnp.ones(1), None, key=KEY)
    assert plan.result == Result.non_finite


def test_it_begins_with_no_actions():
    problem = Problem(Sum(), Near(), free_box(1))
    with pytest.raises(TypeError, match="begins with no actions"):
        halving().init(problem, jnp.ones(1), jnp.zeros((3, 1)), key=KEY)
