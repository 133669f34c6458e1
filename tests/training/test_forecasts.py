"""Report cards against forecasts that are known in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.gaussian import Gaussian
from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.data.replay import Replay
from forethought.data.transitions import Transition
from forethought.models.base import AbstractCloud, AbstractLearned, Independent
from forethought.models.learned.ensemble import Ensemble
from forethought.models.learned.transforms import Transform
from forethought.objectives.quadratic import Quadratic
from forethought.planners import RandomShooting
from forethought.problem import Problem
from forethought.training.forecasts import LEVELS, QUANTILES, STARTS, examine, quantiles

DECAY, PUSH, NOISE = np.array([0.9, 0.5]), np.array([0.3, 1.0]), np.array([0.1, 0.2])
PLANNER = RandomShooting(4, population=8, particles=2)


def exact(noise, members=2, offsets=None):
    """An ensemble that is o' = DECAY o + PUSH u + noise ε, offset by member."""
    key = jax.random.key(0)
    model = Ensemble(Transform(2, 1), size=members, width=6, depth=1, key=key)
    # silu(x) − silu(−x) = x, so that six units pass three inputs on as they are.
    first = np.concatenate([np.eye(3), -np.eye(3)], axis=1)
    answer = np.zeros((3, 4))
    answer[:2, :2], answer[2, :2] = np.diag(DECAY - 1), PUSH
    last = np.concatenate([answer, -answer])
    biases = np.zeros((members, 4))
    biases[:, 2:] = 2 * np.log(noise)
    if offsets is not None:
        biases[:, :2] = np.asarray(offsets)[:, None]
    dtype = model.members.biases[0].dtype

    def alike(part):
        return jnp.asarray(np.broadcast_to(part, (members, *part.shape)), dtype)

    wide = jnp.full((members, 2), 60, dtype)
    network = eqx.tree_at(
        lambda m: (m.weights, m.biases, m.max_log_variance, m.min_log_variance),
        model.members,
        (
            (alike(first), alike(last)),
            (alike(np.zeros(6)), jnp.asarray(biases, dtype)),
            wide,
            -wide,
        ),
    )
    model = eqx.tree_at(lambda m: m.members, model, network)
    action = Box(-np.ones(1), np.ones(1))
    objective = Quadratic(np.eye(3))
    return Problem(model, objective, action, model.cloud)


def simulate(lengths, count=1, jump=0.0, seed=0):
    """What the same system does, in episodes that begin `jump` apart."""
    random = np.random.default_rng(seed)
    rows = []
    obs = random.normal(size=(count, 2))
    for episode, length in enumerate(lengths):
        for t in range(length):
            action = random.uniform(-1, 1, (count, 1))
            noise = NOISE * random.normal(size=(count, 2))
            after = DECAY * obs + PUSH * action + noise
            end = np.full(count, t == length - 1)
            rows.append((obs, action, np.zeros(count), after, end & (episode % 2), end))
            obs = after
        obs = random.normal(size=(count, 2)) + jump * (episode + 1)
    dtype = jnp.result_type(float)
    leaves = [np.stack(part) for part in zip(*rows, strict=True)]
    kinds = (dtype, dtype, dtype, dtype, bool, bool)
    leaves = [jnp.asarray(leaf, kind) for leaf, kind in zip(leaves, kinds, strict=True)]
    seen = Transition(*leaves)
    replay = Replay(4096 // count, count)
    one = jax.tree.map(lambda leaf: leaf[0, 0], seen)
    return replay.extend(replay.init(one), seen)


KEY = jax.random.key(3)
LENGTH = 25


def examined(problem, lengths, *, new=None, **options):
    """The card of a simulation, by default of its second half."""
    count = options.get("count", 1)
    memory = simulate(lengths, **options)
    new = count * sum(lengths) // 2 if new is None else new
    return examine(problem, PLANNER, memory, new, count=count, key=KEY)


@pytest.fixture(scope="module")
def right():
    """A model that is right, on episodes of which each start sees one."""
    return examined(exact(NOISE), [LENGTH] * 2 * STARTS)


def test_a_right_model_errs_as_much_as_the_noise_makes_it(right):
    k = np.arange(1, LENGTH + 1)[:, None]
    variance = NOISE**2 * (1 - DECAY ** (2 * k)) / (1 - DECAY**2)
    data = simulate([LENGTH] * 2 * STARTS)
    rows, _ = Replay(data.capacity, data.lanes).ordered(data)
    scale = np.std(np.asarray(rows.obs[: int(data.size)]), axis=0)
    ratio = np.asarray(right.errors[:LENGTH]) / (np.sqrt(variance) / scale)
    # A root mean square of 64 draws has a relative error of 1/√128.
    np.testing.assert_allclose(ratio, 1, atol=3.5 / np.sqrt(2 * STARTS))


@pytest.mark.parametrize("k", [1, 5, LENGTH])
def test_a_right_model_covers_what_its_bands_say(right, k):
    inside = np.mean(np.asarray(right.coverage[:, k - 1]), axis=1)
    for level, share in zip(LEVELS, inside, strict=True):
        sigma = np.sqrt(level * (1 - level) / (2 * STARTS))
        assert abs(share - level) < 3 * sigma


def test_a_model_that_is_too_sure_covers_less_and_one_too_timid_more(right):
    for factor, sign in ((0.5, -1), (2.0, 1)):
        card = examined(exact(factor * NOISE), [LENGTH] * 2 * STARTS)
        inside = np.mean(np.asarray(card.coverage[:, :LENGTH]), axis=(1, 2))
        for level, share in zip(LEVELS, inside, strict=True):
            sigma = np.sqrt(level * (1 - level) / (2 * STARTS))
            assert sign * (share - level) > 3 * sigma
        # How sure it is changes no median.
        np.testing.assert_allclose(card.errors[0], right.errors[0], rtol=0.2)


@pytest.mark.parametrize("count", [1, 2])
def test_no_stretch_crosses_the_end_of_an_episode(count):
    # Episodes are far apart, so that one step across would be seen in any number.
    card = examined(exact(NOISE), [7] * 40, new=count * 70, count=count, jump=1e4)
    known = np.arange(1, 51) <= 7
    np.testing.assert_array_equal(np.isfinite(card.errors).all(axis=1), known)
    gap = np.asarray(card.truth[1:8] - card.fan[2, 1:8])
    assert np.isnan(card.truth[8:]).all() and np.isfinite(card.truth[:8]).all()
    assert np.abs(gap).max() < 10 and np.max(np.asarray(card.errors[:7])) < 1
    inside = np.mean(np.asarray(card.coverage[1, :7]))
    assert inside > 0.7


class Filter(AbstractLearned):
    """The same system as a mean and a variance, of which all particles are alike."""

    cloud: AbstractCloud = Independent()
    told: float = 1.0

    def init(self, *, key):
        return Gaussian(jnp.zeros(2), jnp.zeros((2, 2)))

    def predict(self, belief, action, *, key):
        decay, push, noise = (jnp.asarray(x, jnp.float32) for x in (DECAY, PUSH, NOISE))
        cov = jnp.diag(decay**2) @ belief.cov + jnp.diag(noise**2)
        return Gaussian(decay * belief.mean + push * action, cov)

    def observe(self, belief, obs, *, key):
        return Gaussian(obs, 0 * belief.cov)

    def readout(self, belief):
        return Readout(belief.mean)

    def fit(self, data, *, key):
        return self, {}

    def expect(self, belief):
        return belief.mean, self.told * jnp.diag(belief.cov)

    def doubt(self, belief, action):
        return jnp.ones(2), jnp.full(2, 0.25)


def test_a_model_without_samples_is_examined_by_what_it_expects_and_doubts():
    def card(told):
        problem = Problem(
            Filter(told=told), Quadratic(np.eye(3)), Box([-1.0], [1.0]), Independent()
        )
        return examined(problem, [LENGTH] * 2 * STARTS)

    def shares(card):
        return np.mean(np.asarray(card.coverage[:, :LENGTH]), axis=(1, 2))

    found, silent = card(1.0), card(0.0)
    for level, share in zip(LEVELS, shares(found), strict=True):
        assert abs(share - level) < 3 * np.sqrt(level * (1 - level) / (2 * STARTS))
    # One that does not tell its variance is right about nothing.
    np.testing.assert_array_equal(shares(silent), 0)
    np.testing.assert_allclose(found.doubts, 0.5)


def test_members_that_are_a_fixed_distance_apart_disagree_by_it_everywhere():
    card = examined(exact(NOISE, offsets=[-0.3, 0.3]), [LENGTH] * 2 * STARTS)
    np.testing.assert_allclose(card.doubts, 0.3, rtol=1e-3)


def test_a_second_card_compiles_nothing_and_the_same_key_gives_the_same(
    right, compilations
):
    memory, problem = simulate([LENGTH] * 2 * STARTS), exact(NOISE)
    new, less = STARTS * LENGTH, STARTS * LENGTH - 5
    again = examine(problem, PLANNER, memory, new, key=KEY)
    before = compilations.count
    other = examine(problem, PLANNER, memory, less, key=KEY)
    assert compilations.count == before
    for name, array in vars(right).items():
        np.testing.assert_array_equal(array, vars(again)[name])
    assert not np.array_equal(other.errors[:LENGTH], right.errors[:LENGTH])


def test_a_band_between_two_quantiles_holds_one_more_draw_as_often_as_it_says():
    draws = jax.random.normal(KEY, (4000, 41, 1))
    found = quantiles(draws[:, :40])
    assert found.shape == (len(QUANTILES), 4000, 1)
    for level, (low, high) in LEVELS.items():
        inside = (found[low] <= draws[:, 40]) & (draws[:, 40] <= found[high])
        sigma = np.sqrt(level * (1 - level) / 4000)
        assert abs(float(jnp.mean(inside)) - level) < 3 * sigma
