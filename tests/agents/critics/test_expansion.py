"""Targets that look ahead, against plain loops and against each other."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import AbstractSeen

from forethought.agents.critics.ddpg import DDPG
from forethought.agents.critics.expansion import Expanded, Lambda, Stochastic
from forethought.agents.critics.sources import Branched, branch
from forethought.agents.critics.targets import Judge, Lens, OneStep, Steps
from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.environments.base import EnvironmentSpec
from forethought.models.base import AbstractCloud, Independent
from forethought.objectives.learned import Learned
from forethought.problem import Problem

SPEC = EnvironmentSpec(Box([-1.0] * 2, [1.0] * 2), Box([-2.0], [2.0]), None)
MEMBERS, HORIZON, ROWS, GAMMA = 3, 2, 4, 0.9


class Each(AbstractCloud):
    """Deals out members in order."""

    def spread(self, model, belief, particles, *, key):
        def many(leaf):
            return jnp.broadcast_to(leaf, (particles, *leaf.shape))

        x, reward, going, _ = jax.tree.map(many, belief)
        return x, reward, going, jnp.arange(particles) % MEMBERS

    def predict(self, model, cloud, action, *, keys, own=False):
        return Independent().predict(model, cloud, action, keys=keys, own=own)

    def enough(self, model, particles):
        return particles


class Disagreeing(AbstractSeen):
    """Members with other maps, rewards, and chances to go on."""

    def init(self, *, key):
        return jnp.zeros(2), jnp.zeros(()), jnp.ones(()), jnp.zeros((), jnp.int32)

    def predict(self, belief, action, *, key):
        x, _, _, member = belief
        turn = (0.8 + 0.1 * member.astype(x.dtype)) * x
        after = turn[::-1] + 0.1 * action[0]
        going = jnp.exp(-0.2 * after[0] ** 2) - 0.1 * member.astype(x.dtype)
        return after, jnp.sum(x) - action[0] ** 2, going, member

    def observe(self, belief, obs, *, key):
        return obs, *belief[1:]

    def readout(self, belief):
        x, reward, going, _ = belief
        return Readout(x, reward=reward, discount=going)


WORLD = Problem(Disagreeing(), Learned(GAMMA), SPEC.action, Each())


def judge_of(critics=2, **fields):
    ddpg = DDPG(width=4, depth=1, critics=critics, gamma=GAMMA, **fields)
    known = ddpg.init(SPEC, key=jax.random.key(0))
    lens = Lens(jnp.array([0.1, -0.2]), jnp.array([2.0, 0.5]))
    return Judge(ddpg, known, lens)


@pytest.fixture(scope="module")
def steps():
    draw = np.random.default_rng(0).normal(size=(ROWS, 8)).astype(np.float32)
    discount = jnp.array([GAMMA, GAMMA, 0.0, GAMMA])
    draw = jnp.asarray(draw)
    return Steps(draw[:, :2], draw[:, 2:3], draw[:, 3], draw[:, 4:6], discount)


def values_by_loops(judge, steps, row):
    """T[i][member][critic] of one row: what the paper writes, in Python."""
    key = jax.random.key(0)
    policy, mode = judge.follower()
    found = [
        [[0.0] * judge.critic.critics for _ in range(MEMBERS)]
        for _ in range(HORIZON + 1)
    ]
    for member in range(MEMBERS):
        x, earned = steps.next_obs[row], float(steps.reward[row])
        carried = float(steps.discount[row])
        belief = (x, jnp.zeros(()), jnp.ones(()), jnp.asarray(member))
        for i in range(HORIZON + 1):
            beyond = judge.bootstrap(belief[0], key=key)
            for critic, value in enumerate(beyond):
                found[i][member][critic] = earned + carried * float(value)
            action, _ = policy.act(Readout(belief[0]), key=key, mode=mode)
            belief = WORLD.model.predict(belief, action, key=key)
            earned += carried * float(belief[1])
            carried *= GAMMA * float(belief[2])
    return np.array(found)


def test_steve_is_the_plain_loop(steps, x64):
    steps = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), float), steps)
    judge, target = judge_of(), Stochastic(HORIZON, MEMBERS)
    aims, told = eqx.filter_jit(target.aims)(judge, WORLD, steps, key=jax.random.key(1))
    shares = []
    for row in range(ROWS):
        T = values_by_loops(judge, steps, row)
        mean, variance = T.mean((1, 2)), T.var((1, 2))
        weight = 1 / (variance + 1e-8)
        shares.append(weight / weight.sum())
        wanted = (weight * mean).sum() / weight.sum()
        assert float(aims.value[row]) == pytest.approx(wanted, rel=1e-6)
    for i, share in enumerate(np.mean(shares, axis=0)):
        assert float(told[f"weight_{i}"]) == pytest.approx(share, rel=1e-6)


def test_mve_believes_the_last_and_lambda_lies_between(steps):
    judge, key = judge_of(), jax.random.key(1)
    one, _ = OneStep().aims(judge, None, steps, key=key)
    last, _ = Expanded(HORIZON, tdk=False, noise=0.0).aims(judge, WORLD, steps, key=key)
    T = np.array(
        [values_by_loops(judge, steps, row)[:, 0].mean(-1) for row in range(ROWS)]
    )
    np.testing.assert_allclose(one.value, T[:, 0], rtol=1e-5)
    np.testing.assert_allclose(last.value, T[:, -1], rtol=1e-5)
    mixed, _ = Lambda(HORIZON, 0.5).aims(judge, WORLD, steps, key=key)
    np.testing.assert_allclose(mixed.value, T @ [0.5, 0.25, 0.25], rtol=1e-5)


@pytest.mark.parametrize(
    ("target", "critics"),
    [
        (Expanded(0, tdk=False), 2),
        (Lambda(0), 2),
        (Stochastic(0, 1), 1),
        (Lambda(2, 0.0), 2),
    ],
)
def test_without_a_horizon_all_are_the_usual_target(steps, target, critics):
    judge, key = judge_of(critics), jax.random.key(1)
    one, _ = OneStep().aims(judge, None, steps, key=key)
    other, _ = target.aims(judge, WORLD, steps, key=key)
    np.testing.assert_allclose(other.value, one.value, rtol=1e-6)


def test_tails_of_a_future_are_aims_by_tdk(steps):
    judge, key = judge_of(), jax.random.key(1)
    aims, told = Expanded(HORIZON, noise=0.0).aims(judge, WORLD, steps, key=key)
    last, _ = Expanded(HORIZON, tdk=False, noise=0.0).aims(judge, WORLD, steps, key=key)
    assert aims.obs.shape == ((HORIZON + 1) * ROWS, 2)
    value, weight = (x.reshape(HORIZON + 1, ROWS) for x in (aims.value, aims.weight))
    np.testing.assert_allclose(value[0], last.value, rtol=1e-6)
    # Each aim follows from the next one, and rows count as they are reached.
    first = steps.reward + steps.discount * value[1]
    np.testing.assert_allclose(first, value[0], rtol=1e-5)
    np.testing.assert_allclose(weight[0], 1)
    np.testing.assert_allclose(weight[1], steps.discount / GAMMA, rtol=1e-6)
    np.testing.assert_allclose(aims.obs[ROWS : 2 * ROWS], steps.next_obs)
    assert np.all(np.asarray(weight[2]) <= np.asarray(weight[1]))
    assert 0 < float(told["reached"]) < 1


def test_a_target_that_looks_ahead_needs_a_model(steps):
    with pytest.raises(ValueError, match="needs a model"):
        Expanded(1).aims(judge_of(), None, steps, key=jax.random.key(0))


def test_branches_are_what_the_model_says_until_it_ends():
    judge = judge_of(noise=0.0)
    obs = jnp.array([2.5, -0.5])
    steps, going = branch(judge, WORLD, obs, 3, key=jax.random.key(0))
    belief = (obs, jnp.zeros(()), jnp.ones(()), jnp.zeros((), jnp.int32))
    goes_on = True
    for i in range(3):
        np.testing.assert_allclose(steps.obs[i], belief[0], rtol=1e-6)
        action, _ = judge.policy.act(
            Readout(belief[0]), key=jax.random.key(0), mode="exploit"
        )
        np.testing.assert_allclose(steps.action[i], action, rtol=1e-5)
        belief = WORLD.model.predict(belief, action, key=jax.random.key(0))
        np.testing.assert_allclose(steps.next_obs[i], belief[0], rtol=1e-5)
        assert float(steps.reward[i]) == pytest.approx(float(belief[1]), rel=1e-5)
        assert float(steps.discount[i]) == pytest.approx(
            GAMMA * float(belief[2]), rel=1e-5
        )
        assert bool(going[i]) == goes_on
        goes_on = goes_on and float(belief[2]) >= 0.5


def test_branches_grow_and_batches_are_mixed_as_they_should_be():
    growing = Branched(length=1, longest=5, fits=4)
    assert [int(growing.reach(n)) for n in range(7)] == [1, 2, 3, 4, 5, 5, 5]
    shares = [Branched(share=share).real(128) for share in (0.0, 0.001, 0.05, 1.0)]
    assert shares == [0, 1, 6, 128]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"share": 1.5}, "share in"),
        ({"length": 0}, "length >= 1"),
        ({"length": 3, "longest": 2}, "longest >= length"),
    ],
)
def test_branches_that_cannot_be_are_refused(fields, told):
    with pytest.raises(ValueError, match=f"Branched needs {told}"):
        Branched(**fields)


def test_noise_in_a_future_spreads_its_actions_and_nothing_else(steps):
    judge, key = judge_of(), jax.random.key(1)

    def spread(noise):
        aims, _ = Expanded(HORIZON, noise=noise).aims(judge, WORLD, steps, key=key)
        assert np.all(np.abs(aims.action) <= 2)
        return float(jnp.std(aims.action[ROWS:])), aims.action[:ROWS]

    still, stirred = spread(0.0), spread(0.5)
    # Without noise an untaught actor does about the same everywhere.
    assert still[0] < 0.2 < 0.6 < stirred[0]
    np.testing.assert_array_equal(still[1], stirred[1])
