"""An agent that acts by a policy: whose it is, what it sees, and when it improves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from forethought import tasks
from forethought.agents.gradients.improving import _scaled
from forethought.agents.gradients.mbrl_v0 import ModelBasedV0
from forethought.core.gaussian import Gaussian
from forethought.models.learned.rows import Rows
from forethought.policies.affine import TimeVarying

KEY = jax.random.key(0)
SETTINGS = ModelBasedV0(width=4, depth=1, noise=0.0)


def begun():
    task = tasks.load("double-integrator")
    agent = SETTINGS.make(task.brief)
    return agent, agent.init(task.environment.spec, key=KEY)


def test_a_base_policy_acts_until_the_policy_was_improved():
    agent, learner = begun()
    base = TimeVarying(
        *(jnp.full(shape, 0.25) for shape in ((1, 1, 2), (1, 1), (1, 2), (1, 1, 1)))
    )
    agent = dataclasses.replace(agent, base=base)
    obs = jnp.array([1.0, 0.25])
    action, _, _ = agent.act(learner, None, obs, key=KEY, mode="exploit")
    np.testing.assert_allclose(action, 0.25 + 0.25 * 0.75, rtol=1e-6)
    later = dataclasses.replace(learner, improved=learner.improved + 1)
    own, _, _ = agent.act(later, None, obs, key=KEY, mode="exploit")
    assert abs(float(own[0] - action[0])) > 1e-3


def test_what_a_policy_is_shown_is_scaled_once_and_never_again():
    _, learner = begun()
    rows = Rows.pad(
        np.array([[0.0, 1.0], [4.0, 3.0]]),
        np.ones((2, 1)),
        np.zeros(2),
        np.ones((2, 2)),
    )
    first = _scaled(learner, rows).policy.view
    np.testing.assert_allclose(first(jnp.array([4.0, 3.0])), [1.0, 1.0], atol=1e-6)
    unsure = Gaussian(jnp.array([4.0, 3.0]), jnp.eye(2))
    np.testing.assert_allclose(first(unsure), [1.0, 1.0], atol=1e-6)
    later = dataclasses.replace(learner, improved=learner.improved + 1)
    same = _scaled(later, rows).policy.view(jnp.array([4.0, 3.0]))
    np.testing.assert_allclose(same, [4.0, 3.0])
