"""Judging a fitted model: forecasts and scores that are known in closed form."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.readout import Readout
from forethought.data.logged import Logged
from forethought.models.base import AbstractLearned, Independent
from forethought.models.learned.recipes import EnsembleRecipe
from forethought.runs.fit.fitting import Fit
from forethought.runs.fit.held import AHEAD, ROWS, STARTS, hold
from forethought.runs.fit.judge import LEVELS, judge
from forethought.runs.fit.scores import crps, overall, rank
from forethought.runs.fit.told import looks, silent, verdict

KEY = jax.random.key(0)
DECAY, PUSH, NOISE = np.array([0.9, 0.5]), np.array([0.3, 1.0]), np.array([0.1, 0.2])


def logged(episodes=12, length=40, seed=0):
    """Episodes of o' = DECAY o + PUSH u + NOISE ε."""
    random = np.random.default_rng(seed)
    action = random.uniform(-1, 1, (episodes, length, 1))
    seen = [random.normal(size=(episodes, 2))]
    for t in range(length):
        noise = NOISE * random.normal(size=(episodes, 2))
        seen.append(DECAY * seen[-1] + PUSH * action[:, t] + noise)
    obs = np.stack(seen, axis=1)
    last = np.zeros((episodes, length), bool)
    last[:, -1] = True
    return Logged(
        obs[:, :-1].reshape(-1, 2),
        action.reshape(-1, 1),
        obs[:, 1:].reshape(-1, 2),
        None,
        np.zeros(episodes * length, bool),
        last.ravel(),
        np.repeat(np.arange(episodes), length),
        ("slow", "fast"),
        ("push",),
    )


class Exact(AbstractLearned):
    """The system itself, with noise that it claims to be so many times as large."""

    scale: jax.Array
    cloud: Independent = Independent()

    def init(self, *, key):
        return jnp.zeros(2)

    def predict(self, belief, action, *, key):
        noise = jax.random.normal(key, (2,), belief.dtype)
        spread = self.scale.astype(belief.dtype) * jnp.asarray(NOISE, belief.dtype)
        decay, push = (jnp.asarray(part, belief.dtype) for part in (DECAY, PUSH))
        return decay * belief + push * action + spread * noise

    def observe(self, belief, obs, *, key):
        return obs

    def readout(self, belief):
        return Readout(belief)

    def fit(self, data, *, key):
        return self, {}

    def expect(self, belief):
        return belief, jnp.zeros_like(belief)

    def doubt(self, belief, action):
        spread = self.scale.astype(belief.dtype) * jnp.ones(2, belief.dtype)
        return 3 * spread, spread


@pytest.fixture(scope="module")
def held():
    """Enough to learn from, and 250 episodes to be judged on."""
    fitting, apart = logged(262).split(250 / 262, 0)
    return hold(fitting, apart)


@pytest.fixture(scope="module")
def judged(held):
    """By what the noise is claimed to be."""
    return {
        scale: judge(Exact(jnp.asarray(scale)), held, key=KEY)
        for scale in (0.0, 0.5, 1.0)
    }


def test_the_exact_model_errs_by_the_noise_alone(held, judged):
    # Of 256 rows a standard deviation is known to 4.4 %, of 48 to 10 %; 3 sigma.
    np.testing.assert_allclose(judged[1.0].errors[0], NOISE, rtol=0.14)
    for k in AHEAD[1:4]:
        powers = DECAY[None] ** (2 * np.arange(k)[:, None])
        spread = NOISE * np.sqrt(powers.sum(axis=0))
        np.testing.assert_allclose(judged[1.0].errors[k - 1], spread, rtol=0.35)


def test_its_likelihood_is_that_of_its_own_noise(held, judged):
    best = -np.sum(np.log(NOISE) + 0.5 * math.log(2 * math.pi) + 0.5)
    # Of 256 rows with variance 1/2 per dimension; 400 draws cost 0.004 a dimension.
    assert abs(judged[1.0].nats - best) < 3 * math.sqrt(2 * 0.5 / ROWS) + 0.01
    # A linear map fitted to a few hundred rows comes as near.
    assert abs(held.nats["linear"] - best) < 3 * math.sqrt(2 * 0.5 / ROWS) + 0.05
    assert held.nats["constant"] < best - 1


def test_intervals_of_the_exact_model_hold_what_they_claim(judged):
    for i, level in enumerate(LEVELS):
        slack = 3 * math.sqrt(level * (1 - level) / ROWS)
        assert np.all(np.abs(judged[1.0].coverage[i, 0] - level) < slack)
        far = judged[1.0].coverage[i].mean()
        assert abs(far - level) < 0.05


def test_noise_that_is_claimed_half_as_large_is_found_to_be_too_narrow(judged):
    normal = [0.264, 0.478, 0.673]  # of 50, 80, 95 % intervals of half the width
    found = judged[0.5].coverage[:, 0].mean(axis=-1)
    np.testing.assert_allclose(found, normal, atol=0.07)
    assert judged[0.5].nats < judged[1.0].nats - 1


def told_of(judged, name="model"):
    model = Exact(jnp.ones(()))
    return Fit(name, EnsembleRecipe(), model, judged, 1.0, {})


def test_the_verdict_says_in_words_where_intervals_miss(judged):
    assert "within 7 points" in verdict(told_of(judged[1.0]))
    assert "too narrow" in verdict(told_of(judged[0.5]))
    assert "no width" in verdict(told_of(judged[0.0]))
    nine = np.minimum(np.array(LEVELS) + 0.09, 1)[:, None, None]
    nine = np.broadcast_to(nine, judged[1.0].coverage.shape)
    wide = dataclasses.replace(judged[1.0], coverage=nine)
    assert "too wide" in verdict(told_of(wide))
    assert "within 10 points" in verdict(told_of(wide, "gp"))


def test_a_model_that_claims_no_spread_has_no_likelihood(held, judged):
    assert silent(judged[0.0]) and judged[0.0].nats == -np.inf
    assert np.all(judged[0.0].coverage == 0)
    np.testing.assert_allclose(judged[0.0].errors[0], judged[1.0].errors[0], rtol=0.02)
    assert np.isnan(judged[0.0].epistemic_share)
    assert judged[1.0].epistemic_share == pytest.approx(0.25)


def test_what_needs_no_thought_is_told_where_it_is_better(held, judged):
    names = ("slow", "fast")
    assert looks(told_of(judged[1.0]), names, held) == []
    worse = dataclasses.replace(judged[1.0], errors=2 * judged[1.0].errors)
    (said,) = looks(told_of(worse, "net"), names, held)
    assert said == (
        "One step ahead the linear map foresees slow, fast better than net."
    )


def test_forecasts_end_where_their_episode_does():
    data = logged(4, 7)
    held = hold(data, data.of([1, 2]))
    assert held.linear.shape == (7, 2) and held.fans == 2
    steps = held.known.sum(axis=1)
    assert list(steps[:2]) == [7, 7] and steps.max() == 7 and steps.min() == 1
    # Each forecast is compared with what followed in its own episode.
    rows = {tuple(row): i for i, row in enumerate(data.obs)}
    for start, truth, known in zip(held.starts, held.truth, held.known, strict=True):
        at = rows[tuple(start)]
        np.testing.assert_array_equal(truth[known], data.next_obs[at:][: known.sum()])
        assert data.episode[at] == data.episode[at + known.sum() - 1]


def test_baselines_are_those_of_least_squares_and_of_standing_still():
    fitting, apart = logged(6, 9).split(0.5, 1)
    held = hold(fitting, apart)
    x = np.column_stack([fitting.obs, fitting.action, np.ones(fitting.rows)])
    weights = np.linalg.solve(x.T @ x, x.T @ fitting.next_obs)
    assert apart.rows <= ROWS
    x = np.column_stack([apart.obs, apart.action, np.ones(apart.rows)])
    gaps = apart.next_obs - x @ weights
    np.testing.assert_allclose(held.linear[0], np.sqrt(np.mean(gaps**2, axis=0)))
    gaps = apart.next_obs - apart.obs
    np.testing.assert_allclose(held.constant[0], np.sqrt(np.mean(gaps**2, axis=0)))
    last = [apart.obs[apart.episode == i] for i in range(3)]
    gaps = [
        apart.next_obs[apart.episode == i][-1] - each[0] for i, each in enumerate(last)
    ]
    np.testing.assert_allclose(held.constant[-1], np.sqrt(np.mean(np.square(gaps), 0)))


def test_a_rank_is_uniform_whatever_the_number_of_draws_and_ties(x64):
    random = np.random.default_rng(3)
    for drawn in (random.normal(size=(4000, 6)), random.integers(3, size=(4000, 6))):
        draws = jnp.asarray(drawn, float)
        ties = jnp.asarray(random.uniform(size=(4000, 1)))
        ranks = np.asarray(rank(draws[:, 1:, None], draws[:, :1], ties))[:, 0]
        plain = np.asarray(jnp.mean(draws[:, 1:] < draws[:, :1], axis=1))
        # The largest gap of 4000 uniform numbers is below 1.63 / √4000 in 99 %.
        grid = np.arange(1, 4001) / 4000
        assert np.abs(np.sort(ranks) - grid).max() < 1.63 / math.sqrt(4000)
        assert np.abs(np.sort(plain) - grid).max() > 0.1


def test_crps_is_that_of_a_gaussian_and_of_all_pairs(x64):
    random = np.random.default_rng(4)
    draws, truth = random.normal(size=(1, 20_000, 1)), np.array([[0.7]])
    found = float(crps(jnp.asarray(draws), jnp.asarray(truth))[0, 0])
    density = math.exp(-0.245) / math.sqrt(2 * math.pi)
    below = 0.5 * math.erfc(-0.7 / math.sqrt(2))
    exact = 0.7 * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi)
    assert abs(found - exact) < 0.01
    few = random.normal(size=(1, 5, 1))
    pairs = np.abs(few[0, :, None, 0] - few[0, None, :, 0])
    wanted = np.abs(few - 0.7).mean() - pairs.sum() / (2 * 5 * 4)
    biased = np.abs(few - 0.7).mean() - pairs.sum() / (2 * 5 * 5)
    found = float(crps(jnp.asarray(few), jnp.asarray(truth))[0, 0])
    assert found == pytest.approx(wanted) and found != pytest.approx(biased)
    single = crps(jnp.asarray(few[:, :1]), jnp.asarray(truth))
    np.testing.assert_allclose(single, np.abs(few[:, 0] - truth))


def test_errors_together_are_in_standard_deviations():
    errors = np.array([[3.0, 0.4], [0.0, 0.0]])
    np.testing.assert_allclose(
        overall(errors, np.array([1.0, 0.1])), [math.sqrt(12.5), 0]
    )
    assert STARTS > AHEAD[2]
