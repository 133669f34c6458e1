"""PILCO: what it foresees, how it searches, and what it refuses."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from forethought import tasks
from forethought.agents.base import Brief
from forethought.agents.gradients.descents import descend
from forethought.agents.gradients.pilco import PILCO, _search
from forethought.agents.gradients.starts import bucket, first_seen
from forethought.core.gaussian import Gaussian
from forethought.core.optimise import quasi_newton
from forethought.core.readout import Readout
from forethought.core.spaces import Box, Discrete, free_box
from forethought.environments.base import EnvironmentSpec
from forethought.models.gp.matched import MomentMatching
from forethought.models.gp.recipe import GaussianProcessRecipe, MomentMatchingRecipe
from forethought.models.gp.sampled import GaussianProcess
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import EnsembleRecipe
from forethought.models.learned.rows import Rows
from forethought.objectives.base import AbstractObjective, constant
from forethought.objectives.expected import AbstractExpecting
from forethought.objectives.quadratic import Quadratic
from forethought.objectives.saturating import Saturating

KEY = jax.random.key(0)
ROWS = 25
GOAL = Saturating([0.5, 0.0], jnp.eye(2), width=0.7)
FREE = EnvironmentSpec(free_box(2), free_box(1), 40)
LIMITED = EnvironmentSpec(free_box(2), Box([-2.0], [2.0]), 40)
TINY = EnsembleRecipe(members=2, width=4, depth=1, fitting=FitSettings(epochs=2))


def processes(model):
    """A model that saw some rows of a pushed pendulum, under kernels that are given."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 3 + len(model.transform.angles)))
    change = np.stack([0.1 * x[:, 1], 0.2 * x[:, -1] - 0.3 * np.sin(x[:, 0])], axis=1)
    y = change + 0.01 * rng.normal(size=change.shape)
    gaps = np.sum((x[:, None] - x[None]) ** 2, axis=2)
    K = np.exp(-0.5 * gaps / 1.5**2)
    inverse = np.linalg.inv(K + 0.01 * np.eye(ROWS))
    root = np.linalg.cholesky(inverse).T
    held = model.processes
    held = eqx.tree_at(
        lambda p: (
            p.points,
            p.weights,
            p.root,
            p.kernel.log_lengths,
            p.kernel.log_signal,
            p.kernel.log_noise,
        ),
        held,
        (
            held.points.at[:ROWS].set(x),
            held.weights.at[:, :ROWS].set((inverse @ y).T),
            held.root.at[:, :ROWS, :ROWS].set(root[None]),
            jnp.full_like(held.kernel.log_lengths, np.log(1.5)),
            jnp.zeros_like(held.kernel.log_signal),
            jnp.full_like(held.kernel.log_noise, np.log(0.02)),
        ),
    )
    return eqx.tree_at(
        lambda m: (m.processes, m.precision), model, (held, held.precision())
    )


def agent_of(spec, angles=(), objective=GOAL, **settings):
    """An agent of moments and its learner, which has seen something."""
    recipe = MomentMatchingRecipe(points=ROWS, angles=angles)
    made = PILCO(model=recipe, **settings)
    agent = made.make(Brief(objective, start=((0.0, 0.0), (0.3, 0.2))))
    learner = agent.init(spec, key=KEY)
    model = processes(learner.problem.model)
    return agent, eqx.tree_at(lambda each: each.problem.model, learner, model)


def start():
    return Gaussian(jnp.zeros(2), jnp.diag(jnp.array([0.09, 0.04])))


def test_the_gradient_of_the_imagined_cost_equals_differences(x64):
    turned = Saturating(
        [0.0, 0.0, 0.5, 1.0], jnp.diag(jnp.array([0.0, 0.0, 1, 1])), angles=(0,)
    )
    agent, learner = agent_of(LIMITED, (0,), turned, basis=4, horizon=4)
    flat, restore = ravel_pytree(learner.parameters)

    def cost(flat):
        policy = agent.dressed(restore(flat), learner.policy)
        return -agent.foreseen(learner.problem, policy, start(), key=KEY)

    both = jax.jit(jax.value_and_grad(cost))
    slope = both(flat)[1]
    size = float(jnp.linalg.norm(slope))
    assert size > 1e-3
    for seed in range(4):
        way = np.random.default_rng(seed).normal(size=flat.shape)
        way /= np.linalg.norm(way)
        at = [float(both(flat + step * 1e-3 * way)[0]) for step in (2, 1, -1, -2)]
        slopes = (-at[0] + 8 * at[1] - 8 * at[2] + at[3]) / 12e-3
        assert abs(float(slope @ way) - slopes) < 1e-6 * size


def test_what_is_foreseen_is_what_roll_outs_of_the_processes_earn(x64):
    """Each step of the cloud is drawn anew from its own mean and covariance.

    The policy is affine and knows no limits, so that state and action are jointly
    normal: then a step's moments are exact, and roll-outs whose clouds are made
    Gaussian again after each step are what is foreseen, but for luck.
    """
    agent, learner = agent_of(FREE, policy="affine", horizon=8)
    policy = learner.policy
    policy = eqx.tree_at(lambda p: p.K, policy, jnp.array([[[-0.8, -0.6]]]))
    processes, t = learner.problem.model.processes, learner.problem.model.transform
    groups, many = 10, 10_000

    @jax.jit
    def rolled(key):
        def step(x, key):
            fresh, noise, turn = jax.random.split(key, 3)
            act = jax.vmap(lambda x: policy.act(Readout(x), key=key, mode="exploit")[0])
            seen = jax.vmap(t.inputs)(x, act(x))
            mean, variance = processes.moments(seen)
            spread = jnp.sqrt(variance + processes.kernel.noise[None])
            after = x + mean + spread * jax.random.normal(noise, mean.shape)
            cost = jnp.mean(jax.vmap(GOAL.cost)(after))
            centre = jnp.mean(after, axis=0)
            gaps = after - centre[None]
            cloud = Gaussian(centre, gaps.T @ gaps / many)
            fresh = cloud.unwhiten(jax.random.normal(turn, after.shape))
            return fresh, (cost, jnp.mean(jax.vmap(GOAL.cost)(fresh)))

        first, key = jax.random.split(key)
        x = start().unwhiten(jax.random.normal(first, (many, 2)))
        return jax.lax.scan(step, x, jax.random.split(key, 8))[1]

    keys = jax.random.split(jax.random.key(3), groups)
    raw, gaussian = (np.asarray(each) for each in jax.lax.map(rolled, keys))
    told = -float(agent.foreseen(learner.problem, policy, start(), key=KEY))
    sums = gaussian.sum(1)
    luck = sums.std(ddof=1) / np.sqrt(groups)
    assert abs(sums.mean() - told) < 4 * luck
    # As they come, clouds of a process are nearly normal here: within one per cent.
    np.testing.assert_allclose(raw.sum(1).mean(), told, rtol=0.01)
    assert luck < 1e-2 * told


def test_descents_from_several_places_keep_the_best_and_not_the_last(x64):
    def cost(x, factor):
        return jnp.sum((x**2 - 1) ** 2 + 0.3 * x) / factor

    starts = jnp.array([[-0.8], [0.3], [0.9]])
    how = {"widening": 2.0, "short": 30, "long": 30}
    no = jnp.zeros(3, bool)
    found = jax.jit(lambda: descend(cost, starts, fresh=~no, barred=no, **how))()
    np.testing.assert_allclose(found.x, [-1.0356], atol=1e-3)
    np.testing.assert_allclose(found.cost, cost(found.x, 1.0))
    assert np.argmin(found.costs) == 0
    slope = jax.value_and_grad(lambda x: cost(x, 1.0))
    last = quasi_newton(slope, starts[-1], limit=60)
    assert float(last.value) > float(found.cost) + 0.5
    # Who is barred is kept where nothing better is found; what is no number never.
    barred = jnp.array([True, False, False])
    found = jax.jit(lambda: descend(cost, starts, fresh=~no, barred=barred, **how))()
    np.testing.assert_allclose(found.x, [-1.0356], atol=1e-2)
    spoilt = starts.at[0].set(jnp.nan)
    found = jax.jit(lambda: descend(cost, spoilt, fresh=no, barred=~no, **how))()
    assert np.isinf(found.costs[0]) and np.isfinite(found.cost)


@pytest.mark.parametrize(("worse", "end"), [(1.2, 0.0), (2.0, 0.9)])
def test_who_is_barred_gives_way_to_a_rival_and_to_no_other(worse, end, x64):
    """On the left a shallow valley, 1 where it begins; on the right a deep one."""

    def cost(x, factor):
        left, right = 0.9 + 0.1 * (x[0] + 1) ** 2, worse * (x[0] - 1) ** 2
        return jnp.where(x[0] < 0, left, right) / factor

    starts, old = jnp.array([[2.0], [-2.0]]), jnp.array([False, True])
    how = {"widening": 1.0, "short": 1, "long": 30}
    found = jax.jit(lambda: descend(cost, starts, fresh=~old, barred=old, **how))()
    np.testing.assert_allclose(found.cost, end, atol=1e-6)


class Nowhere(AbstractObjective):
    """Tells no number."""

    def reward(self, x, action, next_x):
        return constant(x, np.nan) * x[0]

    def discount(self, x, action, next_x):
        return constant(x, 1)

    def value(self, x):
        return constant(x, 0)


@eqx.filter_jit
def predict(model, x, u):
    return model.predict(x, u, key=KEY)


def rows_of(count):
    valid = np.arange(count) < count
    rng = np.random.default_rng(2)
    obs = rng.normal(size=(count, 2)).astype(np.float32)
    return Rows.pad(obs, 0 * obs[:, :1], 0 * obs[:, 0], obs, valid < 0)


def test_where_nothing_finite_is_found_the_last_policy_is_kept_and_told():
    settings = PILCO(TINY, "affine", horizon=2, fresh=1, short=2, iterations=2)
    settings = dataclasses.replace(settings, particles=2)
    agent = settings.make(Brief(Nowhere()))
    learner = agent.init(LIMITED, key=KEY)
    learner = eqx.tree_at(lambda each: each.stale, learner, jnp.asarray(0, jnp.int32))
    rows = rows_of(8)
    after, told = _search(agent, learner, learner.problem, rows, rows.valid, KEY)
    # One fresh start, and the policy at work, which begins twice.
    assert float(told["search_failed"]) == 1 and float(told["starts_failed"]) == 3
    for old, new in zip(
        jax.tree.leaves(learner.parameters),
        jax.tree.leaves(after.parameters),
        strict=True,
    ):
        np.testing.assert_array_equal(old, new)
    assert np.isfinite(after.value)


@pytest.mark.parametrize("recipe", [TINY, GaussianProcessRecipe(samples=2, points=8)])
def test_particles_meet_the_same_chance_whatever_the_policy(recipe):
    settings = PILCO(recipe, "affine", horizon=3, particles=3)
    agent = settings.make(Brief(GOAL, start=((0.0, 0.0), (0.3, 0.2))))
    learner = agent.init(LIMITED, key=KEY)

    @jax.jit
    def told(key):
        return agent.foreseen(learner.problem, learner.policy, start(), key=key)

    assert float(told(KEY)) == float(told(KEY)) != float(told(jax.random.key(1)))


def test_starts_that_are_not_told_are_seen():
    rows = rows_of(8)
    begins = jnp.array([True, False, False, True, False, False, False, False])
    found = first_seen(None, rows, begins)
    seen = np.asarray(rows.obs)[[0, 3]]
    np.testing.assert_allclose(found.mean, seen.mean(0), rtol=1e-5)
    low = np.linalg.eigvalsh(found.cov - np.cov(seen.T, ddof=0))
    assert low.min() > 0 and low.max() < 0.05


def test_what_a_model_is_not_asked_of_points_that_hold_nothing_is_the_same(x64):
    _, learner = agent_of(FREE)
    wide = MomentMatching(learner.problem.model.transform, points=2 * ROWS)
    wide = processes(wide)
    small = wide.narrowed(ROWS)
    x, u = start(), jnp.array([0.3])
    one, two = (predict(model, x, u) for model in (wide, small))
    np.testing.assert_allclose(one.mean, two.mean, rtol=1e-12)
    np.testing.assert_allclose(one.cov, two.cov, rtol=1e-9)


def test_functions_that_were_drawn_answer_the_same_without_points_that_hold_nothing(
    x64,
):
    _, learner = agent_of(FREE)
    transform = learner.problem.model.transform
    held = processes(MomentMatching(transform, points=2 * ROWS)).processes
    wide = GaussianProcess(transform, size=2, points=2 * ROWS, waves=8, key=KEY)
    weights = jnp.stack([held.weights, -held.weights])
    wide = eqx.tree_at(
        lambda model: (model.processes, model.draws.weights), wide, (held, weights)
    )
    x = jax.random.normal(KEY, (2, 3, wide.processes.points.shape[1]))
    few = wide.narrowed(ROWS - 1).grouped(x)[0]
    one, two = (model.grouped(x)[0] for model in (wide, wide.narrowed(ROWS)))
    np.testing.assert_allclose(one, two, rtol=1e-12)
    assert not np.allclose(one, few, rtol=1e-6)


def test_rows_are_counted_in_buckets():
    found = [bucket(count, 320, 512) for count in (1, 80, 81, 320, 321, 512)]
    assert found == [80, 80, 160, 320, 512, 512]
    assert bucket(40, 320, 64) == 64
    assert [bucket(count, 0, 4096) for count in (40, 81, 1000)] == [64, 128, 1024]


def test_what_cannot_work_is_refused_in_a_sentence():
    choices = EnvironmentSpec(free_box(2), Discrete(3), 40)
    with pytest.raises(TypeError, match="vectors of real numbers, got Discrete"):
        PILCO().make(Brief(GOAL)).init(choices, key=KEY)
    with pytest.raises(ValueError, match="64 bits"):
        PILCO().make(Brief(GOAL)).init(LIMITED, key=KEY)
    with pytest.raises(ValueError, match="amplitude"):
        PILCO(amplitudes=())


def test_a_start_too_wide_for_moments_is_warned_of_with_the_number():
    brief = Brief(GOAL, angles=(0,), start=((0.0, 0.0), (1.8, 0.1)))
    with pytest.warns(UserWarning, match=r"standard deviation of 1\.8 rad.*0\.785"):
        PILCO().make(brief)


def test_an_objective_of_any_kind_is_expected_over(x64):
    for objective in (Quadratic(jnp.eye(3)), tasks.load("quadrotor").objective):
        agent = PILCO().make(Brief(objective))
        judge = agent.init(LIMITED, key=KEY).problem.objective
        assert isinstance(judge, Quadratic) == isinstance(objective, Quadratic)
        assert isinstance(judge, AbstractExpecting)
