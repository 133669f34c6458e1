"""Linear regression against NumPy's, and what a linear model knows of itself."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from forethought.core.spaces import Discrete, free_box
from forethought.environments.base import EnvironmentSpec
from forethought.models.learned.propagation import Propagation
from forethought.models.learned.rows import Rows
from forethought.models.learned.transforms import Transform
from forethought.models.learned.uncertainty import mixture_moments
from forethought.models.linear.dynamics import Linear
from forethought.models.linear.posterior import Regression
from forethought.models.linear.regression import (
    LinearGaussianRecipe,
    LinearRegression,
    left_out,
)
from forethought.planners import ILQR, LQR
from forethought.problem import Problem, rollout

INPUTS, OUTPUTS = 3, 2
KEY = jax.random.key(0)
W = np.array([[1.0, -0.5, 0.3, 0.2], [0.2, 0.7, -1.0, -0.4]])
NOISE = np.array([[0.04, 0.01], [0.01, 0.02]])
fit_rows = jax.jit(Regression.fit)


def draw(count, rng):
    """Inputs, and what a known map under known noise answers."""
    x = rng.normal(size=(count, INPUTS))
    noise = rng.multivariate_normal(np.zeros(OUTPUTS), NOISE, count)
    return x, x @ W[:, :-1].T + W[:, -1] + noise


def padded(x, y, size):
    """Rows among which some are none."""
    more = ((0, size - len(x)), (0, 0))
    parts = (jnp.asarray(np.pad(part, more, constant_values=9.0)) for part in (x, y))
    return *parts, jnp.arange(size) < len(x)


def test_the_posterior_is_the_conjugate_one_whatever_lies_in_the_padding(x64):
    x, y = draw(12, np.random.default_rng(0))
    ridge, noise = 0.5, 0.3
    found = fit_rows(*padded(x, y, 16), ridge=ridge, noise=noise)
    X = np.concatenate([x, np.ones((12, 1))], axis=1)
    V = np.linalg.inv(X.T @ X + ridge * np.eye(4))
    M = V @ X.T @ y
    gaps = y - X @ M
    psi = noise**2 * np.eye(2) + gaps.T @ gaps + ridge * M.T @ M
    freedom = OUTPUTS + 2 + 12 - (4 - ridge * np.trace(V))
    np.testing.assert_allclose(found.M, M.T, rtol=1e-9)
    np.testing.assert_allclose(found.root @ found.root.T, V, rtol=1e-9)
    np.testing.assert_allclose(found.freedom, freedom, rtol=1e-9)
    np.testing.assert_allclose(found.noise, psi / (freedom - OUTPUTS - 1), rtol=1e-9)


def test_with_a_flat_prior_it_is_least_squares_and_its_unbiased_noise(x64):
    x, y = draw(40, np.random.default_rng(1))
    found = fit_rows(
        jnp.asarray(x), jnp.asarray(y), jnp.ones(40, bool), ridge=1e-14, noise=1e-9
    )
    X = np.concatenate([x, np.ones((40, 1))], axis=1)
    M, rest, *_ = np.linalg.lstsq(X, y)
    np.testing.assert_allclose(found.M, M.T, rtol=1e-9)
    # The prior counts as one row more.
    np.testing.assert_allclose(np.diag(found.noise), rest / (40 - 4 + 1), rtol=1e-9)


@pytest.mark.long
def test_sixteen_times_the_rows_miss_the_truth_by_a_quarter(x64):
    rng, seeds = np.random.default_rng(2), 40

    def misses(count):
        x, y = (
            np.stack(each)
            for each in zip(*(draw(count, rng) for _ in range(seeds)), strict=True)
        )
        known = jnp.ones(count, bool)
        found = jax.jit(jax.vmap(lambda x, y: Regression.fit(x, y, known)))(x, y)
        return [
            np.abs(np.asarray(part) - truth).mean()
            for part, truth in ((found.M, W), (found.noise, NOISE))
        ]

    few, many = misses(100), misses(1600)
    # Of 320 and 160 numbers each: a mean's standard error is below a tenth of it.
    for less, more in zip(few, many, strict=True):
        assert 4 / 1.3 < less / more < 4 * 1.3


def test_draws_have_the_moments_of_the_posterior_if_there_are_more_than_inputs(x64):
    x, y = draw(10, np.random.default_rng(3))
    known = fit_rows(jnp.asarray(x), jnp.asarray(y), jnp.ones(10, bool))
    place = jnp.array([2.0, -1.0, 0.5])
    expected = np.diag(known.noise) * float(known.reach(place))

    @functools.partial(jax.jit, static_argnums=0)
    def moments(count):
        weights, variances = known.draws(count, key=KEY)
        means = weights[:, :, :-1] @ place + weights[:, :, -1]
        return jnp.mean(weights, 0), jnp.mean(variances, 0), jnp.var(means, axis=0)

    for count in (1, 4, 5):
        mean, noise, apart = moments(count)
        np.testing.assert_allclose(mean, known.M, atol=1e-9)
        np.testing.assert_allclose(noise, np.diag(known.noise), rtol=1e-9)
        if count > 4:
            np.testing.assert_allclose(apart, expected, rtol=1e-9)
        else:
            # Too few to span all directions: right on average, and here by luck alone.
            assert not np.allclose(apart, expected, rtol=1e-2)


@pytest.mark.long
def test_single_draws_are_those_of_the_matrix_normal_inverse_wishart(x64):
    x, y = draw(10, np.random.default_rng(3))
    known = fit_rows(jnp.asarray(x), jnp.asarray(y), jnp.ones(10, bool))
    count, nu = 20_000, float(known.freedom)
    apart, variances = jax.jit(jax.vmap(known._draw))(jax.random.split(KEY, count))
    mean = np.diag(known.noise)
    # The variance of an inverse Wishart's diagonal is 2 mean^2 / (nu - d - 3).
    spread = np.sqrt(2 * mean**2 / (nu - OUTPUTS - 3))
    # Five standard errors of means; spreads have heavy tails.
    np.testing.assert_allclose(
        (variances.mean(0) - mean) / spread, 0, atol=5 / count**0.5
    )
    np.testing.assert_allclose(variances.std(0), spread, rtol=0.2)
    # Rows of W are correlated as the outputs' noise is.
    together = np.einsum("noi,npi->op", apart, apart) / (count * 4)
    np.testing.assert_allclose(together, known.noise, atol=0.05 * mean.max())


def test_what_is_left_out_costs_as_if_it_had_been(x64):
    x, y = draw(9, np.random.default_rng(4))
    x, y, valid = jnp.asarray(x), jnp.asarray(y), jnp.ones(9, bool)
    known = fit_rows(x, y, valid)
    noise, terms = np.diag(known.noise), []
    for i in range(9):
        without = fit_rows(x, y, valid.at[i].set(False))
        wide = noise * (1 + float(without.reach(x[i])))
        gap = y[i] - without.M @ jnp.concatenate([x[i], jnp.ones(1)])
        terms.append(0.5 * np.mean(gap**2 / wide + np.log(wide)))
    np.testing.assert_allclose(left_out(known, x, y, valid), np.mean(terms), rtol=1e-9)
    assert left_out(known, x, y, valid) > 1.2 * np.mean(
        0.5 * ((y - x @ known.M[:, :-1].T - known.M[None, :, -1]) ** 2 / noise[None])
    ) + np.mean(0.5 * np.log(noise))


def rows(count, seed=0, noise=0.1, scale=1.0):
    """A mass that is pushed, seen through noise."""
    rng, F = np.random.default_rng(seed), np.asarray(toys.F)
    obs, action = scale * rng.normal(size=(count, 2)), 3 * rng.normal(size=(count, 1))
    after = np.concatenate([obs, action], axis=1) @ F.T
    after = after + noise * np.array([0.1, 1.0]) * rng.normal(size=obs.shape) + 0.02
    parts = obs, action, obs.sum(1), after
    return Rows.pad(*(part.astype(jnp.zeros(()).dtype) for part in parts))


def begin(**settings):
    return LinearRegression(Transform(2, 1), key=KEY, **settings)


@eqx.filter_jit
def doubt(model, obs, action):
    """Noise and doubt in the data's own units, which change less than their scale."""
    belief = model.observe(model.init(key=KEY), obs, key=KEY)
    scale = model.transform.variance_scale
    return tuple(scale * part for part in model.doubt(belief, action))


@eqx.filter_jit
def predictive(model, obs, action):
    reach = model.posterior.reach(model.transform.inputs(obs, action))
    scale = model.transform.variance_scale
    _, total = mixture_moments(*model.outputs(obs, action))
    return scale * total, scale * jnp.diag(model.posterior.noise) * (1 + reach)


def test_doubt_grows_far_away_and_shrinks_with_data_and_noise_does_neither():
    few, many = (begin().fit(rows(count), key=KEY)[0] for count in (300, 3000))
    near, far = jnp.array([0.5, -0.5]), jnp.array([3.0, 3.0])
    noise, unknown = doubt(few, near, jnp.zeros(1))
    still, grown = doubt(few, far, jnp.zeros(1))
    assert np.all(grown > 5 * unknown)
    np.testing.assert_allclose(still, noise, rtol=0.2)
    still, shrunk = doubt(many, far, jnp.zeros(1))
    assert np.all(shrunk < grown / 2)
    np.testing.assert_allclose(still, noise, rtol=0.2)
    # One draw, the mean, knows nothing of this.
    sure, _ = begin(size=1).fit(rows(300), key=KEY)
    np.testing.assert_array_equal(doubt(sure, far, jnp.zeros(1))[1], 0)


def test_total_variance_is_noise_and_doubt_and_that_of_the_predictive(precision):
    model, _ = begin().fit(rows(30), key=KEY)
    obs, action = jnp.array([2.0, -1.0]), jnp.ones(1)
    noise, unknown = doubt(model, obs, action)
    total, closed = predictive(model, obs, action)
    np.testing.assert_allclose(total, noise + unknown, rtol=1e-5)
    np.testing.assert_allclose(total, closed, rtol=1e-3 if precision == 32 else 1e-9)
    assert total.dtype == obs.dtype


def test_its_linear_model_is_its_own_mean_in_the_datas_units():
    transform = Transform(2, 1, absolute=(1,), reward=True)
    model = LinearRegression(transform, propagation="E", key=KEY)
    model, _ = model.fit(rows(80), key=KEY)

    @eqx.filter_jit
    def ask(model, obs, action):
        belief = model.observe(model.init(key=KEY), obs, key=KEY)
        after = model.predict(belief, action, key=KEY)
        linear = model.linear
        return after, linear.dynamics.predict(obs, action, key=KEY), linear.W

    obs = jnp.array([0.7, -2.0])
    after, mean, W = ask(model, obs, jnp.ones(1))
    np.testing.assert_allclose(mean, after.obs, rtol=1e-4)
    np.testing.assert_allclose(after.reward, obs.sum(), rtol=1e-3)
    np.testing.assert_allclose(np.sqrt(np.diag(W)), [0.01, 0.1], rtol=0.2)
    bent = LinearRegression(Transform(2, 1, circles=((0, 1),)), key=KEY)
    with pytest.raises(TypeError, match="angles on circles"):
        _ = bent.linear


@pytest.mark.long
def test_lqr_and_ilqr_earn_with_it_what_lqr_earns_with_the_true_matrices():
    model, _ = begin().fit(rows(2000, noise=0.02), key=KEY)
    objective, steps, x = (
        toys.linear_quadratic()[0].objective,
        20,
        jnp.array([1.0, 0.0]),
    )
    true = Problem(Linear(toys.F, [0.02, 0.02]), objective, free_box(1))

    def earned(planner, problem, belief):
        def found(belief):
            state = planner.init(problem, belief, key=KEY)
            actions = planner.plan(problem, belief, state, key=KEY)[0].actions
            return rollout(true, x, actions, key=KEY).value

        return float(jax.jit(found)(belief))

    best = earned(LQR(steps), true, x)
    fitted = Problem(model.linear.dynamics, objective, free_box(1))
    by_mean = eqx.tree_at(lambda m: m.cloud, model, Propagation("E"))
    belief = model.observe(model.init(key=KEY), x, key=KEY)
    particles = Problem(by_mean, objective, free_box(1))
    for value in (
        earned(LQR(steps), fitted, x),
        earned(ILQR(steps, 10), particles, belief),
    ):
        assert best * 1.005 < value <= best * (1 - 1e-6)


@pytest.mark.long
def test_it_learns_under_choices_and_where_episodes_end():
    rng = np.random.default_rng(0)
    obs, choice = rng.uniform(-1, 1, (400, 1)), rng.integers(0, 3, 400)
    after = obs + np.array([-0.3, 0.0, 0.3])[choice][:, None]
    data = Rows.pad(
        obs.astype("float32"),
        choice,
        0 * after[:, 0],
        after.astype("float32"),
        after[:, 0] > 0.8,
    )
    recipe = LinearGaussianRecipe(samples=2, termination="learned")
    spec = EnvironmentSpec(free_box(1), Discrete(3), None)
    model, metrics = recipe.begin(spec, key=KEY).fit(data, key=KEY)

    @eqx.filter_jit
    def step(model, obs, choice):
        belief = model.observe(model.init(key=KEY), obs, key=KEY)
        after = model.predict(belief, choice, key=KEY)
        return after.obs, after.discount

    place, goes_on = step(model, jnp.array([0.2]), jnp.asarray(2))
    np.testing.assert_allclose(place, [0.5], atol=0.05)
    assert goes_on > 0.9
    place, goes_on = step(model, jnp.array([0.9]), jnp.asarray(2))
    np.testing.assert_allclose(place, [1.2], atol=0.05)
    assert goes_on < 0.1 and metrics["end_nats"].shape == (2,)


def test_data_that_say_little_leave_a_model_and_doubt(precision):
    dtype = f"float{precision}"
    one = Rows.pad(*(np.ones(shape, dtype) for shape in ((1, 2), (1, 1), (1,), (1, 2))))
    same = rows(64)
    same = eqx.tree_at(lambda d: d.action, same, jnp.ones_like(same.action))
    for data in (one, same):
        model, metrics = begin().fit(data, key=KEY)
        for leaf in jax.tree.leaves((model, metrics)):
            if jnp.issubdtype(leaf.dtype, jnp.floating):
                assert np.isfinite(leaf).all() and leaf.dtype == dtype
    # Never was another action seen: the prior alone says what it would do.
    seen, other = (doubt(model, jnp.zeros(2), jnp.full(1, u))[1] for u in (1.0, 2.0))
    assert np.all(other > 5 * seen)
