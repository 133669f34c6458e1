"""Ends of episodes: known ones as Gymnasium's, learned ones as the data's law."""

from typing import get_args

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.spaces import Box
from forethought.models.learned.ensemble import Ensemble
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.propagation import Particle
from forethought.models.learned.rows import Rows
from forethought.models.learned.termination import (
    CLOSED_FORMS,
    LearnedEnd,
    Termination,
    closed_form,
)
from forethought.models.learned.transforms import Transform
from forethought.objectives.learned import Learned
from forethought.problem import Problem, evaluate, rollout

THRESHOLD, SLOPE, MEMBERS = 1.2, 4.0, 3
QUICK = FitSettings(epochs=1, updates=1, batch=4)
RULES = ["E", "DS", "MM", "TS1", "TSinf"]


def probability(x):
    """Of an end: a threshold on the absolute value, with a soft edge."""
    return 1 / (1 + np.exp(-SLOPE * (np.abs(x) - THRESHOLD)))


def data(count, seed=0, ends=probability):
    rng = np.random.default_rng(seed)
    obs = rng.normal(size=(count, 2))
    next_obs = obs + 0.1 * rng.normal(size=(count, 2))
    ended = rng.random(count) < ends(next_obs[:, 1])
    dtype = jnp.zeros(()).dtype
    parts = obs, rng.normal(size=(count, 1)), obs[:, 0], next_obs
    return Rows.pad(*(part.astype(dtype) for part in parts), ended)


def ensemble(termination="learned", **changes):
    transform = Transform(2, 1, reward=True)
    kind = {"size": MEMBERS, "width": 4, "depth": 1, "fitting": QUICK} | changes
    return Ensemble(transform, termination=termination, key=jax.random.key(0), **kind)


def fitted(rows, model=None):
    model = ensemble(seed=2) if model is None else model
    return model.fit(rows, key=jax.random.key(1))


def ends(model, obs):
    """How probable members find an end, shape `[member, row]`."""
    every = jnp.broadcast_to(obs, (model.size, *obs.shape))
    return np.asarray(eqx.filter_jit(type(model).ends)(model, every))


@pytest.fixture(scope="module")
def learned():
    return fitted(data(1000))


def test_a_learned_end_is_as_probable_as_it_is(learned):
    model, metrics = learned
    x = np.linspace(-2.5, 2.5, 101)
    obs = jnp.stack([jnp.zeros(101), jnp.asarray(x) * 1.0], axis=1)
    found = ends(model, obs.astype(jnp.float32)).mean(axis=0)
    true = probability(x)
    # Two rows in three lie within ±1, one in 80 beyond ±2.5.
    assert np.sqrt(np.mean((found - true) ** 2)) < 0.12
    assert np.mean((found > 0.5) == (true > 0.5)) > 0.93
    # Ends that weigh as much as all other rows would be called twice as probable.
    fresh = data(2000, seed=7)
    count = int(np.sum(fresh.valid))
    expected = ends(model, fresh.next_obs).mean(axis=0)[:count].mean()
    np.testing.assert_allclose(
        expected, np.asarray(fresh.terminated)[:count].mean(), rtol=0.15
    )
    share = float(np.mean(np.asarray(fresh.terminated)[:count]))
    constant = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert np.all(metrics["end_nats"] < 0.85 * constant)


def test_one_end_in_many_rows_is_learned_where_it_was_and_not_elsewhere(learned):
    rows = data(1000, ends=lambda x: x > np.sort(x)[-2])
    worst = rows.next_obs[rows.terminated]
    model, _ = fitted(rows, learned[0])
    # Also by members for whom that row counts nothing in their bootstrap.
    assert np.all(ends(model, 1.3 * worst) > 0.5)
    assert ends(model, rows.next_obs)[:, :1000].mean() < 0.01


def test_without_an_end_in_the_data_none_is_ever_expected(learned):
    model, metrics = fitted(data(1000, ends=lambda x: np.zeros(1000)), learned[0])
    found = ends(model, jnp.array([[0.0, 1e3], [jnp.inf, 1.0]]))
    np.testing.assert_array_equal(found, 0)
    np.testing.assert_array_equal(metrics["end_nats"], 0)


def test_data_in_which_everything_ends_give_finite_certainty(learned):
    model, _ = fitted(data(1000, ends=lambda x: np.ones(1000)), learned[0])
    found = ends(model, jnp.zeros((1, 2)))
    assert np.all(found > 0.9) and np.all(np.isfinite(found))


def test_an_end_is_the_same_under_other_features(learned):
    end = jax.tree.map(lambda leaf: leaf[0], learned[0].termination)
    scale, shift = jnp.array([2.0, 0.8]), jnp.array([-0.5, 0.4])
    features = jax.random.normal(jax.random.key(3), (20, 2))
    before = jax.vmap(end)(scale[None] * features + shift[None])
    np.testing.assert_allclose(
        jax.vmap(end.under(scale, shift))(features), before, rtol=2e-3, atol=1e-6
    )
    assert np.ptp(before) > 0.1  # a constant would be the same under anything


def test_an_end_on_one_side_is_foreseen_on_the_other():
    rows = data(1000, ends=lambda x: x > 1.8)
    ended = np.asarray(rows.next_obs[:, 1])[np.asarray(rows.terminated)]
    assert 10 < len(ended) < 80 and ended.min() > 1.8
    valid = rows.valid & (rows.next_obs[:, 1] > -1.8)  # never on the other side
    rows = eqx.tree_at(lambda rows: rows.valid, rows, valid)
    model, _ = fitted(rows)
    place = jnp.array([[0.0, -2.6], [0.0, 2.6], [0.0, 0.0]])
    found = ends(model, place).mean(axis=0)
    assert found[0] > 0.3 and found[1] > 0.9 and found[2] < 0.01


def test_more_ends_within_the_capacity_do_not_recompile(learned, compilations):
    rows = data(700, seed=3)
    jax.block_until_ready(rows)
    before = compilations.count
    jax.block_until_ready(fitted(rows, learned[0]))
    assert compilations.count == before


def test_learning_ends_leaves_what_members_predict_as_it_is(learned):
    with_ends, found = learned
    without, expected = fitted(data(1000), ensemble(None, seed=2))
    np.testing.assert_allclose(found["holdout"], expected["holdout"], rtol=1e-4)
    for one, other in zip(
        jax.tree.leaves(with_ends.members),
        jax.tree.leaves(without.members),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_ends_are_learned_in_double_precision_too(x64):
    end = LearnedEnd(2, key=jax.random.key(0))
    rows, counts = data(8), jnp.ones(8)
    parts = rows.next_obs, rows.terminated, rows.valid, counts
    end = eqx.filter_jit(LearnedEnd.fit)(end, *parts, key=jax.random.key(1))
    assert all(
        leaf.dtype == rows.obs.dtype for leaf in jax.tree.leaves((end.network, counts))
    )
    assert end.log_odds.dtype == jnp.float64


def test_rows_are_padded_without_ends_and_hold_none_unless_told():
    rows = data(5, ends=lambda x: np.ones(5))
    assert rows.terminated.tolist() == [True] * 5 + [False] * 3
    parts = np.zeros((3, 2)), np.zeros((3, 1)), np.zeros(3), np.zeros((3, 2))
    assert Rows.pad(*parts).terminated.tolist() == [False] * 4
    with pytest.raises(ValueError, match="as many of each part"):
        Rows.pad(*parts, np.zeros(2, bool))


def beyond_two(obs):
    return obs[0] > 2


def drift(rule, termination, members=(1.0, 1.0)):
    """Members that move the first number by constants, and earn it as a reward."""
    model = ensemble(termination, size=len(members), propagation=rule)
    zeros = jax.tree.map(jnp.zeros_like, model.members)
    steps = jnp.array(members)[:, None] * jnp.array([1.0, 0.0, 0.0])[None]
    # The reward is constant: three at each step.
    means = steps + jnp.array([0.0, 0.0, 3.0])[None]
    bias = jnp.concatenate([means, jnp.full_like(means, -60.0)], axis=1)
    zeros = eqx.tree_at(
        lambda n: (n.biases[-1], n.max_log_variance, n.min_log_variance),
        zeros,
        (bias, *([jnp.full_like(means, -60.0)] * 2)),
    )
    return eqx.tree_at(lambda m: m.members, model, zeros)


def value(model, particles=2, horizon=4):
    problem = Problem(model, Learned(), Box([-1.0], [1.0]), model.cloud)
    belief = model.observe(
        model.init(key=jax.random.key(0)), jnp.zeros(2), key=jax.random.key(1)
    )
    actions = jnp.zeros((horizon, 1))
    return float(
        eqx.filter_jit(evaluate)(
            problem, belief, actions, key=jax.random.key(0), particles=particles
        )
    )


def test_a_plan_earns_until_the_end_that_is_known():
    # At 1, 2, 3, 4: the third step ends the episode and is still paid.
    np.testing.assert_allclose(value(drift("E", beyond_two)), 3 * 3, rtol=1e-5)


def test_each_particle_ends_where_its_own_member_takes_it():
    # At 1, 2, 3, 4 and at 3, 6, ...: three steps are paid to one, one to the other.
    model = drift("TSinf", beyond_two, members=(1.0, 3.0))
    np.testing.assert_allclose(value(model), 3 * (3 + 1) / 2, rtol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_a_learned_end_weighs_what_follows_by_what_members_believe(rule):
    model = drift(rule, "learned")
    odds = jnp.array([0.25, 0.75])
    end = model.termination
    blank = jax.tree.map(jnp.zeros_like, (end.own, end.network))
    end = eqx.tree_at(
        lambda end: (end.own, end.network, end.log_odds, end.seen),
        end,
        (*blank, jnp.log(odds / (1 - odds)), jnp.ones(2, bool)),
    )
    model = eqx.tree_at(lambda m: m.termination, model, end)
    # The second step is paid if the first did not end the episode, and so on. By TSinf
    # the same member answers throughout; by TS1 what two deals of two particles have
    # in common is left to chance, and to the tolerance.
    third = (0.75**2 + 0.25**2) / 2 if rule == "TSinf" else 0.25
    tolerance = 3 * 0.0625 + 1e-4 if rule == "TS1" else 1e-4
    found = value(model, horizon=3)
    np.testing.assert_allclose(found, 3 * (1 + 0.5 + third), atol=tolerance)


def test_a_particle_alone_carries_what_a_cloud_of_one_carries():
    model = drift("E", beyond_two)
    problem = Problem(model, Learned(), Box([-1.0], [1.0]), model.cloud)
    start = Particle(jnp.array([1.5, 0.0]), jnp.zeros(()), jnp.ones(()), jnp.array(0))
    found = rollout(problem, start, jnp.zeros((3, 1)), key=jax.random.key(0))
    np.testing.assert_array_equal(found.beliefs.discount, [1, 0, 0, 0])
    np.testing.assert_allclose(found.value, 3, rtol=1e-5)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms_are_those_of_gymnasium(name):
    with gymnasium.make(name) as environment:
        environment.action_space.seed(0)
        obs, _ = environment.reset(seed=0)
        ends = closed_form(name, obs.shape[0])
        seen, said = [obs], [False]
        for _ in range(150):
            obs, _, ended, truncated, _ = environment.step(
                environment.action_space.sample()
            )
            seen.append(obs)
            said.append(ended)
            if ended or truncated:
                environment.reset()
    with jax.enable_x64(True):
        found = jax.vmap(ends)(jnp.asarray(np.stack(seen)))
    np.testing.assert_array_equal(found, said)
    assert name == "Ant-v5" or any(said)


def test_every_closed_form_can_be_asked_for_by_name():
    assert get_args(Termination) == ("none", "learned", *CLOSED_FORMS)
    with pytest.raises(ValueError, match=r"'Hopper-v4'.*Hopper-v5"):
        closed_form("Hopper-v4", 11)
    with pytest.raises(ValueError, match="from 11 numbers, but observations have 4"):
        closed_form("Hopper-v5", 4)
