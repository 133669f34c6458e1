"""One table: every agent keeps the same promises."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought import tasks
from forethought.agents.critics.ddpg import DDPG
from forethought.agents.critics.expansion import Expanded, Stochastic
from forethought.agents.critics.mba import MBA
from forethought.agents.critics.mbpo import MBPO
from forethought.agents.critics.mve import MVE
from forethought.agents.critics.naf import NAF
from forethought.agents.critics.sac import SAC
from forethought.agents.critics.sources import Branched
from forethought.agents.critics.steve import STEVE
from forethought.agents.gradients.backprop import Improvement
from forethought.agents.gradients.mbrl_v0 import ModelBasedV0
from forethought.agents.gradients.mbrl_v1 import ModelBasedV1
from forethought.agents.gradients.pilco import PILCO
from forethought.agents.imitation.imitate import ImitationSettings
from forethought.agents.imitation.mb_mf import MBMF
from forethought.agents.latent.latent_mpc import LatentMPC
from forethought.agents.local.gps import GPS
from forethought.agents.local.local import LocalControl
from forethought.agents.on_policy.ppo import PPO
from forethought.agents.planning.mbrl_v2 import ModelBasedV2
from forethought.agents.planning.mpc import Planning
from forethought.agents.planning.pets import PETS
from forethought.agents.registry import AGENTS
from forethought.agents.schedule import Schedule
from forethought.agents.tables.dyna import Dyna
from forethought.agents.tables.sweeping import Sweeping
from forethought.data.replay import Replay
from forethought.environments.camera import Lens, Seen
from forethought.environments.simulated import Simulated
from forethought.environments.tables.grids import grid
from forethought.environments.tables.tabular import TabularEnvironment
from forethought.models.latent.single_step import SingleStepSettings
from forethought.models.latent.studied import StudySettings
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import EnsembleRecipe
from forethought.planners import CEM, MPC, RandomShooting
from forethought.runs.store import checkpoint
from forethought.training.loop import Training

TINY = {"width": 4, "depth": 1, "fitting": FitSettings(epochs=2)}
IMPROVED = {
    "model": dataclasses.replace(ModelBasedV1().model, **TINY),
    "improvement": Improvement(3, updates=3, batch=2),
    "width": 4,
    "depth": 1,
}
CRITIC = {"width": 4, "depth": 1, "critics": 1, "batch": 4, "updates": 2, "start": 10}
SETTINGS = {
    "pets": PETS(
        model=EnsembleRecipe(members=2, **TINY),
        planner=CEM(3, population=6, elites=2, iterations=1, particles=2),
    ),
    "mbrl-v2": ModelBasedV2(
        model=dataclasses.replace(ModelBasedV2().model, **TINY),
        planner=RandomShooting(3, population=8),
    ),
    "mbrl-v0": ModelBasedV0(**IMPROVED),
    "mbrl-v1": ModelBasedV1(**IMPROVED),
    "mb-mf": MBMF(
        model=dataclasses.replace(MBMF().model, **TINY),
        planner=RandomShooting(3, population=8),
        imitation=ImitationSettings(epochs=2, updates=2),
        ppo=PPO(rollout=10, batch=4, epochs=2, width=4, depth=1),
    ),
    "dyna": Dyna(planning_steps=3, bonus=1e-3, epsilon=0.5),
    "sweeping": Sweeping(planning_steps=3, epsilon=0.5),
    "ppo": PPO(rollout=10, batch=4, epochs=2, width=4, depth=1),
    "pilco": PILCO(
        model=EnsembleRecipe(members=2, **TINY),
        basis=3,
        horizon=2,
        fresh=1,
        short=2,
        iterations=2,
        particles=2,
    ),
    "local": LocalControl(rollouts=2, sweeps=3),
    "sac": SAC(**CRITIC),
    "ddpg": DDPG.td3(**CRITIC),
    "naf": NAF(**CRITIC),
    "mba": MBA(
        NAF(**CRITIC), EnsembleRecipe(members=1, **TINY), source=Branched(0.5, 3, 2, 2)
    ),
    "mbpo": MBPO(
        SAC(**CRITIC),
        EnsembleRecipe(members=3, elites=2, **TINY),
        source=Branched(0.5, 3),
    ),
    "mve": MVE(
        DDPG(**CRITIC), EnsembleRecipe(members=1, **TINY), target=Expanded(1, True)
    ),
    "gps": GPS(
        conditions=1,
        local=LocalControl(rollouts=2),
        imitation=ImitationSettings(epochs=2, updates=2),
        width=4,
        depth=1,
    ),
    "steve": STEVE(
        DDPG(**CRITIC), EnsembleRecipe(members=2, **TINY), target=Stochastic(1, 2)
    ),
    "latent-mpc": LatentMPC(
        model=SingleStepSettings(size=3, width=4, embedding=3, drawn=2),
        study=StudySettings(first=2, updates=2, windows=2, length=3),
        planner=RandomShooting(3, population=8),
    ),
}
INSIDE = {"dyna": 1, "sweeping": 2, "sac": 1, "ddpg": 1, "naf": 1}
"""Agents that learn on the way, and steps from one update to the next."""
TABLES = ("dyna", "sweeping")
"""Agents that keep a table of values."""
DREAMING = ("mba", "mbpo", "mve", "steve")
"""Agents that learn on the way and refit a model besides."""
CRITICS = ("sac", "ddpg", "naf", *DREAMING)
"""Agents whose actions need limits."""
ROWS = [*SETTINGS, "known-model"]
LONG = pytest.param("mbrl-v1", marks=pytest.mark.long)
FAMILIES = ["mbrl-v2", LONG, "dyna", "ppo", "ddpg"]
"""One row each of those that plan in a network, improve a policy through one, keep a
table, learn a policy from what it did, and learn critics."""


def agent_of(name, task):
    if name in SETTINGS:
        return SETTINGS[name].make(task.brief)
    return Planning(task.problem, MPC(CEM(3, population=6, elites=2, iterations=1)))


class Row:
    """An agent in training, compiled once for all tests of the row."""

    def __init__(self, name):
        task = tasks.load("double-integrator")
        environment = Simulated(task.system, task.problem.objective, 5)
        if name in CRITICS:
            task = tasks.load("pendulum")
            environment = Simulated(task.system, task.problem.objective, 5)
        if name == "latent-mpc":
            seen = Seen(tasks.load("pendulum").system, Lens(4, reach=1.25))
            environment = Simulated(seen, tasks.load("pendulum").objective, 5)
        if name in TABLES:
            # Two ways to the goal, one of them wet.
            table = grid(["S.G", "..G"], slip=0.3, step_reward=-0.1).table
            environment = TabularEnvironment(table, episode_length=5)
        self.name, self.agent = name, agent_of(name, task)
        duties = self.agent.duties
        if name in INSIDE:
            schedule = Schedule(2 * INSIDE[name], "steps")
            duties = (dataclasses.replace(duties[0], every=schedule),)
        if name in DREAMING:
            duties = (dataclasses.replace(duties[0], begin=10), duties[1])
        self.training = Training(self.agent, environment, Replay(16, 2), duties)
        self.run = eqx.filter_jit(self._run)
        self.side_by_side = eqx.filter_jit(eqx.filter_vmap(self._run))

    def _run(self, key):
        """An episode at random, what is learned from it, and one that is planned.

        An agent that learns from its own actions alone takes the first one, too.
        """
        state = self.training.begin(key=key)
        random = not any(duty.on_policy for duty in self.training.duties)
        state, _ = self.training.collect(state, 5, random=random)
        metrics = {}
        for duty in self.training.duties:
            state, told = self.training.perform(state, duty)
            metrics |= told
        state, trace = self.training.collect(state, 5)
        return state, trace, metrics


@pytest.fixture(scope="module", params=ROWS)
def row(request):
    return Row(request.param)


@pytest.fixture(scope="module")
def ran(row):
    """Where training stands after two episodes, and what happened in the second."""
    return row.run(jax.random.key(0))


def numbers(tree):
    """The arrays of a pytree, keys as plain numbers."""
    return [
        np.asarray(
            jax.random.key_data(leaf)
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            else leaf
        )
        for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))
    ]


def test_every_agent_has_a_row():
    assert set(SETTINGS) == set(AGENTS)


def assert_sound(row, ran, bits):
    """Everything finite, within limits, and in one precision."""
    state, trace, metrics = ran
    watched = dict(trace.watched)
    if row.name == "mb-mf":  # its last phase, in which nothing is planned
        assert np.all(np.isnan(watched.pop("plan_value")))
    for told in (watched, metrics):
        assert all(np.all(np.isfinite(value)) for value in told.values())
    memory = state.flow.replay
    rows = memory.rows
    reals = [trace.rewards, *jax.tree.leaves(eqx.filter(state.learner, inexact))]
    if row.name in INSIDE or row.name in DREAMING:
        for told in trace.learned.values():
            assert told.dtype == f"float{bits}"
            assert np.isfinite(told)
    if row.name in TABLES:
        assert set(np.unique(rows.action)) <= set(range(4))
    else:
        reals.append(rows.action)
        box = row.training.environment.spec.action
        assert np.all(np.abs(rows.action) <= np.asarray(box.high)[None])
    if row.name not in INSIDE and row.name not in DREAMING:
        assert trace.learned == {}
        if "plan_value" in trace.watched:
            assert not np.any(trace.watched["plan_failed"])
            reals += [trace.watched["plan_value"]]
    assert row.agent.broken(state.learner) is None
    assert {str(leaf.dtype) for leaf in reals} == {f"float{bits}"}
    assert np.all(np.isfinite(memory.observations)) and np.all(trace.finite)
    assert int(memory.size) == int(state.flow.step) == 20


def inexact(leaf):
    return eqx.is_inexact_array(leaf)


def test_it_acts_within_limits_and_learns(row, ran):
    assert_sound(row, ran, 32)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_does_so_in_double_precision_and_with_seeds_side_by_side(name, x64):
    row = Row(name)
    keys = jax.random.split(jax.random.key(5), 2)
    batch = numbers(row.side_by_side(keys))
    for i, key in enumerate(keys):
        one = row.run(key)
        assert_sound(row, one, 64)
        for many, alone in zip(batch, numbers(one), strict=True):
            np.testing.assert_allclose(many[i], alone, rtol=1e-6, atol=1e-9)


def test_the_same_key_gives_the_same_run(row, ran):
    again = row.run(jax.random.key(0))
    other = row.run(jax.random.key(1))
    for one, same in zip(numbers(ran), numbers(again), strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(other[1].rewards, ran[1].rewards)


def test_acting_in_environments_side_by_side_equals_acting_in_each(row, ran):
    learner = ran[0].learner
    obs = jnp.array([[1.0, 0.0], [-0.5, 0.3]])
    if row.name in TABLES:
        obs = jnp.array([0, 3])
    if row.name in CRITICS:
        obs = jnp.array([[1.0, 0.0, 0.3], [0.0, 1.0, -2.0]])
    if row.name == "latent-mpc":
        obs = jnp.arange(32, dtype=jnp.uint8).reshape(2, 4, 4, 1)
    keys = jax.random.split(jax.random.key(2), 2)
    act = eqx.filter_jit(row.agent.act)
    carries = [row.agent.reset(learner, key=key) for key in keys]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *carries)
    actions, after, _ = eqx.filter_jit(
        jax.vmap(lambda carry, obs, key: row.agent.act(learner, carry, obs, key=key))
    )(stacked, obs, keys)
    watched = row.agent.watch(after)
    for i in range(2):
        action, carry, _ = act(learner, carries[i], obs[i], key=keys[i])
        np.testing.assert_allclose(actions[i], action, rtol=1e-4, atol=1e-5)
        told = row.agent.watch(carry)
        assert told.keys() == watched.keys()
        for name, value in told.items():
            np.testing.assert_allclose(watched[name][i], value, rtol=1e-4)


def test_what_learns_a_model_can_be_examined_and_nothing_else(row, ran):
    examined = row.agent.examined(ran[0].learner)
    learns = ("pets", "mbrl-v0", "mbrl-v1", "mbrl-v2", "mb-mf", "pilco", *DREAMING)
    assert (examined is not None) == (row.name in learns)


def test_learning_a_second_time_compiles_nothing(row, ran, compilations):
    for duty in row.training.duties:
        state, _ = row.training.perform(ran[0], duty)
        before = compilations.count
        row.training.perform(state, duty)
        assert compilations.count == before


def test_what_was_learned_comes_back_from_a_checkpoint(row, ran, tmp_path):
    learner = ran[0].learner
    checkpoint.save(tmp_path, 1, learner, {})
    fresh = row.agent.init(row.training.environment.spec, key=jax.random.key(9))
    loaded = checkpoint.load(tmp_path, fresh).tree
    assert jax.tree.structure(loaded) == jax.tree.structure(learner)
    for one, other in zip(numbers(loaded), numbers(learner), strict=True):
        np.testing.assert_array_equal(one, other)
