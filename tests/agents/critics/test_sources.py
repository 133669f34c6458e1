"""Which steps critics learn from: what is imagined, against what really happens."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import AbstractLasting

from forethought.agents.critics.ddpg import DDPG
from forethought.agents.critics.dreams import Rescaled
from forethought.agents.critics.sources import Branched
from forethought.agents.critics.targets import Judge, Lens
from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.data.memory import Memory
from forethought.data.replay import Replay
from forethought.data.transitions import Transition
from forethought.environments.analytic.double_integrator import DoubleIntegrator
from forethought.environments.simulated import Simulated, Timed
from forethought.models.known import Known
from forethought.problem import Problem

STARTS, LENGTH, ROWS, GAMMA, SCALE = 24, 4, 16, 0.9, 0.5
SYSTEM = DoubleIntegrator(action=Box([-2.0], [2.0]))


class Anywhere(AbstractLasting):
    """Where it is costs, and so does what is done."""

    def reward(self, x, action, next_x):
        return -(next_x[0] ** 2) - 0.1 * action[0] ** 2


class Fenced(AbstractLasting):
    """The same, but there is an end at a fence."""

    def reward(self, x, action, next_x):
        return Anywhere().reward(x, action, next_x)

    def discount(self, x, action, next_x):
        inside = jnp.abs(next_x[0]) < 1
        return inside.astype(next_x.dtype)


def world_of(objective):
    """The exact dynamics, in the units of critics."""
    rescaled = Rescaled(objective, SCALE, GAMMA)
    return Problem(Known(SYSTEM), rescaled, SYSTEM.action)


@pytest.fixture(scope="module")
def judge():
    ddpg = DDPG(width=4, depth=1, gamma=GAMMA, noise=0.0, reward_scale=SCALE)
    spec = Simulated(SYSTEM, Fenced(), 100).spec
    lens = Lens(jnp.array([0.1, -0.2]), jnp.array([2.0, 0.5]))
    known = eqx.filter_jit(lambda key: ddpg.init(spec, key=key))(jax.random.key(0))
    return Judge(ddpg, known, lens)


@eqx.filter_jit
def remembered(obs):
    """A memory of steps that began there, and led elsewhere."""
    replay, no = Replay(ROWS), jnp.zeros(ROWS, bool)
    seen = Transition(obs, jnp.zeros((ROWS, 1)), jnp.zeros(ROWS), obs + 0.3, no, ~no)
    rows = jax.tree.map(lambda leaf: leaf[:, None], seen)
    state = replay.init(jax.tree.map(lambda leaf: leaf[0], seen))
    state, _ = jax.lax.scan(lambda s, row: (replay.add(s, row), None), state, rows)
    return Memory(replay, state)


def really(judge, starts):
    """What comes of the policy in the environment, until each episode ends."""
    environment = Simulated(SYSTEM, Fenced(), 100)
    key = jax.random.key(0)

    def step(carry, _):
        state, alive = carry
        obs = SYSTEM.observe(state.system)
        action, _ = judge.policy.act(Readout(obs), key=key, mode="explore")
        state, now = environment.step(state, action, key=key)
        discount = GAMMA * (1 - now.terminated.astype(obs.dtype))
        row = (obs, action, SCALE * now.reward, now.obs, discount)
        return (state, alive & ~now.terminated), (row, alive)

    def episode(obs):
        begun = (Timed(obs, jnp.asarray(0)), jnp.asarray(True))
        return jax.lax.scan(step, begun, None, LENGTH)[1]

    rows, alive = eqx.filter_jit(jax.vmap(episode))(starts)
    alive = np.asarray(alive).reshape(-1)
    return [np.asarray(leaf).reshape(-1, *leaf.shape[2:])[alive] for leaf in rows]


def imagined(judge, objective, obs, key):
    """The rows that count, of those that are imagined from a memory."""
    source = Branched(starts=STARTS, length=LENGTH, longest=LENGTH)
    dreamt, told = eqx.filter_jit(source.gather)(
        judge, world_of(objective), remembered(obs), 0, key=key
    )
    steps, count = dreamt.steps, int(dreamt.count)
    assert int(told["imagined"]) == count
    rows = (steps.obs, steps.action, steps.reward, steps.next_obs, steps.discount)
    return [np.asarray(leaf)[:count] for leaf in rows]


def same(rows, others):
    """Whether they are as many, and equal."""
    return all(
        one.shape == other.shape and np.allclose(one, other, rtol=1e-5, atol=1e-6)
        for one, other in zip(rows, others, strict=True)
    )


def test_with_the_exact_model_what_is_imagined_is_what_happens(judge):
    """Ends are among it, and whoever branches elsewhere or sees none is told apart."""
    obs = jax.random.normal(jax.random.key(1), (ROWS, 2))
    key = jax.random.key(2)
    starts = remembered(obs).sample(STARTS, key=jax.random.split(key)[0]).obs
    happened = really(judge, starts)
    assert same(imagined(judge, Fenced(), obs, key), happened)
    assert 0 < np.sum(happened[-1] == 0) < STARTS < len(happened[0]) < STARTS * LENGTH
    elsewhere = imagined(judge, Fenced(), obs + 0.3, key)
    endless = imagined(judge, Anywhere(), obs, key)
    assert not same(elsewhere, happened) and not same(endless, happened)
