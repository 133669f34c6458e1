"""Rollouts and evaluation against sums done by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.readout import Readout
from forethought.core.returns import Risk
from forethought.core.spaces import Box
from forethought.models.base import AbstractModel
from forethought.models.learned.ensemble import Ensemble
from forethought.models.learned.transforms import Transform
from forethought.objectives.base import AbstractObjective, constant
from forethought.objectives.task import Regulate
from forethought.policies.base import AbstractPolicy
from forethought.problem import Problem, evaluate, imagine, imagine_cloud, rollout


class Counter(AbstractModel):
    """Adds the action, and noise if there is any."""

    noise: float = 0.0

    def init(self, *, key):
        return {"count": jnp.zeros(())}

    def predict(self, belief, action, *, key):
        noise = self.noise * jax.random.normal(key, (), belief["count"].dtype)
        return {"count": belief["count"] + action[0] + noise}

    def observe(self, belief, obs, *, key):
        return obs

    def readout(self, belief):
        return Readout(belief["count"])


class EndsAbove(AbstractObjective):
    """Earns the new count, halves what follows, ends above a limit."""

    limit: float

    def reward(self, x, action, next_x):
        return next_x

    def discount(self, x, action, next_x):
        return jnp.where(next_x > self.limit, 0.0, 0.5).astype(next_x.dtype)

    def value(self, x):
        return constant(x, 100)


def problem(limit=jnp.inf, noise=0.0):
    free = Box([-jnp.inf], [jnp.inf])
    return Problem(Counter(noise), EndsAbove(float(limit)), free)


ONES = jnp.ones((3, 1))
START = {"count": jnp.zeros(())}


def test_a_rollout_discounts_rewards_and_adds_what_lies_beyond():
    future = rollout(problem(), START, ONES, key=jax.random.key(0))
    np.testing.assert_allclose(future.rewards, [1.0, 0.5 * 2, 0.25 * 3])
    np.testing.assert_allclose(future.final, 0.125 * 100)
    np.testing.assert_allclose(future.value, 1 + 1 + 0.75 + 12.5)
    np.testing.assert_array_equal(future.beliefs["count"], [0.0, 1.0, 2.0, 3.0])


def test_nothing_is_earned_after_the_end_of_an_episode():
    future = rollout(problem(limit=1.5), START, ONES, key=jax.random.key(0))
    np.testing.assert_allclose(future.rewards, [1.0, 1.0, 0.0])
    assert float(future.final) == 0.0


def test_an_evaluation_is_the_risk_measure_of_the_returns_of_its_particles():
    key, noisy = jax.random.key(2), problem(noise=1.0)
    returns = jnp.stack(
        [
            rollout(noisy, START, ONES, key=each).value
            for each in jax.random.split(key, 8)
        ]
    )
    for risk in (Risk(), Risk("cvar", 0.25), Risk("worst"), Risk("entropic", 0.1)):
        found = evaluate(noisy, START, ONES, key=key, particles=8, risk=risk)
        np.testing.assert_allclose(found, risk(returns), rtol=1e-6)


def test_one_return_that_is_no_number_scores_minus_infinity():
    actions = ONES.at[1].set(jnp.nan)
    assert float(evaluate(problem(), START, actions, key=jax.random.key(0))) == -np.inf


@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 3, 1)])
def test_actions_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape \[horizon, 1\], got"):
        rollout(problem(), START, jnp.ones(shape), key=jax.random.key(0))


class Own(AbstractPolicy):
    """Does what the key says, the same from one trace to the next."""

    def act(self, seen, *, key, mode):
        return jax.random.normal(key, (1,)) - 0.1 * seen.x[None], seen.time


def test_particles_that_have_nothing_in_common_are_imagined_each_by_itself():
    world, keys = problem(noise=0.3), jax.random.split(jax.random.key(0), 4)
    starts = {"count": jnp.arange(4.0)}
    together = imagine_cloud(world, Own(), starts, 3, keys=keys)
    alone = jax.vmap(lambda start, key: imagine(world, Own(), start, 3, key=key))(
        starts, keys
    )
    jax.tree.map(np.testing.assert_array_equal, together, alone)


def test_of_each_particle_its_own_member_alone_is_computed():
    members, rows = 4, 64
    network = Ensemble(
        Transform(1, 1),
        size=members,
        width=32,
        depth=1,
        probabilistic=False,
        key=jax.random.key(0),
    )
    free = Box([-jnp.inf], [jnp.inf])
    world = Problem(network, Regulate([0.0], [1.0], [1.0], [1.0]), free, network.cloud)
    obs, keys = jnp.linspace(-1, 1, rows), jax.random.split(jax.random.key(1), members)

    def cloud(obs):
        belief = network.observe(network.init(key=keys[0]), obs[None], key=keys[0])
        return world.cloud.spread(network, belief, members, key=keys[0])

    policy = Constant()

    def together(obs):
        return imagine_cloud(world, policy, cloud(obs), 2, keys=keys).beliefs.obs

    def each(obs):
        return jax.vmap(
            lambda belief, key: imagine(world, policy, belief, 2, key=key).beliefs.obs
        )(cloud(obs), keys)

    compiled = [jax.jit(jax.vmap(f)).lower(obs).compile() for f in (together, each)]
    found, wanted = (run(obs) for run in compiled)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    # All members of each particle, which is what is not done, are found out.
    work = [run.cost_analysis()["flops"] for run in compiled]
    assert work[0] < 0.5 * work[1]


class Constant(AbstractPolicy):
    """Does the same everywhere."""

    def act(self, seen, *, key, mode):
        return jnp.ones(1), None
