"""An agent that acts by a policy: whose it is, what it sees, and when it improves."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought import tasks
from forethought.agents.gradients.backprop import Improvement
from forethought.agents.gradients.improving import LEARN, _scaled
from forethought.agents.gradients.mbrl_v0 import ModelBasedV0
from forethought.agents.gradients.mbrl_v1 import ModelBasedV1
from forethought.core.gaussian import Gaussian
from forethought.data.replay import Replay
from forethought.environments.simulated import Simulated
from forethought.models.gp.hyper import SearchSettings
from forethought.models.gp.recipe import GaussianProcessRecipe, MomentMatchingRecipe
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import EnsembleRecipe
from forethought.models.learned.rows import Rows
from forethought.planners.smooth.gradient import Optimiser
from forethought.policies.affine import TimeVarying
from forethought.policies.follow import Sampled
from forethought.policies.looking import Looking
from forethought.problem import imagine
from forethought.training.loop import Training

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


TASK = tasks.load("double-integrator")
NET = {"width": 8, "depth": 1}
SEARCH = SearchSettings(restarts=0, evaluations=10)
RECIPES = {
    "ensemble": EnsembleRecipe(
        members=2, fitting=FitSettings(epochs=5, updates=10), **NET
    ),
    "gp": GaussianProcessRecipe(samples=2, points=64, waves=16, search=SEARCH),
    "gp-moments": MomentMatchingRecipe(points=64, search=SEARCH),
}
"""Each as small as it can be and still tell which way a mass goes."""


def training(settings, episode=20, rows=64):
    """An agent with room for so many steps in episodes of so many."""
    environment = Simulated(TASK.system, TASK.problem.objective, episode)
    agent = settings.make(TASK.brief)
    return Training(agent, environment, Replay(rows, 1), agent.duties)


def parameters(policy):
    return eqx.filter(policy.policy, eqx.is_inexact_array)


@pytest.mark.long
@pytest.mark.parametrize("name", RECIPES)
def test_a_policy_is_improved_in_any_model_that_is_learned(name):
    improvement = Improvement(5, updates=20, batch=8, optimiser=Optimiser("adam", 0.03))
    v1 = training(ModelBasedV1(RECIPES[name], improvement, **NET))
    state, _ = v1.collect(v1.begin(key=KEY), 40, random=True)
    after, told = v1.perform(state, LEARN)
    assert all(np.all(np.isfinite(value)) for value in told.values())
    assert told["non_finite"] == 0 and after.learner.improved == 1
    new, problem = after.learner.policy, after.learner.problem
    old = Looking(state.learner.policy.policy, new.view)
    moved = jax.tree.map(
        lambda one, other: jnp.max(jnp.abs(one - other)), *map(parameters, (old, new))
    )
    assert max(jax.tree.leaves(moved)) > 1e-3
    # From the same states and by the same draws.
    seen = v1.replay.ordered(after.flow.replay)[0].obs[:40]
    keys = jax.random.split(KEY, 40)

    @eqx.filter_jit
    def earned(policy):
        def one(obs, key):
            belief = problem.model.observe(problem.model.init(key=key), obs, key=key)
            follow = Sampled("exploit")
            return imagine(problem, policy, belief, 5, follow=follow, key=key).value

        return jnp.mean(jax.vmap(one)(seen, keys))

    assert earned(new) > earned(old)


def test_what_no_gaussian_holds_is_refused_in_a_sentence():
    for settings, words in (
        ({"known_reward": False}, "without reward, got reward=True"),
        (
            {
                "model": dataclasses.replace(
                    RECIPES["gp-moments"], termination="learned"
                ),
                "known_reward": False,
            },
            "needs termination 'none', got 'learned'",
        ),
    ):
        v1 = ModelBasedV1(**{"model": RECIPES["gp-moments"]} | settings)
        agent = v1.make(TASK.brief)
        with pytest.raises(ValueError, match=words):
            agent.init(TASK.environment.spec, key=KEY)
