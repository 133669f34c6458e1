"""Moment matching: against samples, against differences, and under a planner."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import AS_GIVEN, KEY, kernel, processes, rows

from forethought.core.gaussian import Gaussian, Response
from forethought.core.spaces import Box
from forethought.models.gp.learning import learn
from forethought.models.gp.matched import MomentMatching
from forethought.models.gp.moments import match
from forethought.models.gp.turns import with_turns
from forethought.models.learned.rows import Rows
from forethought.models.learned.transforms import Transform
from forethought.objectives.expected import Expected
from forethought.objectives.task import Regulate
from forethought.planners import ILQR
from forethought.problem import Problem

MEAN = np.array([0.2, -0.3, 0.4])
ROOT = np.array([[0.3, 0.0, 0.0], [0.1, 0.2, 0.0], [-0.1, 0.1, 0.25]])


@eqx.filter_jit
def two_outputs(line):
    """Two processes of 30 rows, one of which is rougher."""
    x, y = map(jnp.asarray, rows(30))
    rough = kernel()
    rough = eqx.tree_at(lambda k: k.log_lengths, rough, rough.log_lengths - 0.3)
    y = jnp.stack([y, jnp.cos(2 * x[:, 1])], axis=1)
    valid = jnp.ones(30, bool)
    before = processes([kernel(), rough], 30)
    found = learn(before, x, y, valid, AS_GIVEN, line=line, key=KEY).processes
    return found, found.precision()


def off(moments, x, y, count):
    """How many standard errors moments are off samples, at most; each kind apart."""
    mean, cov, slope = moments
    gaps = (x - x.mean(0))[:, :, None] * (y - y.mean(0))[:, None, :]
    squares = (y - y.mean(0))[:, :, None] * (y - y.mean(0))[:, None, :]
    luck = [each.std(0) / np.sqrt(count) for each in (y, squares, gaps)]
    seen = y.mean(0), squares.mean(0), gaps.mean(0)
    told = mean, cov, ROOT @ ROOT.T @ slope
    return [
        float(np.max(np.abs(one - other) / each))
        for one, other, each in zip(told, seen, luck, strict=True)
    ]


def against_samples(line, count):
    found, precision = two_outputs(line)
    where = jnp.asarray(MEAN), jnp.asarray(ROOT @ ROOT.T)
    told = eqx.filter_jit(match)(found, precision, *where)
    rng = np.random.default_rng(1)
    x = MEAN + rng.normal(size=(count, 3)) @ ROOT.T
    ask = eqx.filter_jit(found.moments)
    parts = [ask(jnp.asarray(part)) for part in np.split(x, max(1, count // 50_000))]
    mean, variance = (np.concatenate(each) for each in zip(*parts, strict=True))
    y = mean + np.sqrt(variance) * rng.normal(size=mean.shape)
    assert max(off(told, x, y, count)) < 4
    # What a variance or the way of the inputs into the outputs leaves out is seen.
    mean, cov, slope = told
    swapped = mean, cov[::-1, ::-1], slope
    uncoupled = mean, cov, jnp.zeros_like(slope)
    assert off(swapped, x, y, count)[1] > 8 and off(uncoupled, x, y, count)[2] > 8


@pytest.mark.parametrize("line", [False, True])
def test_moments_are_those_of_samples(line, x64):
    against_samples(line, 50_000)


@pytest.mark.long
@pytest.mark.parametrize("line", [False, True])
def test_moments_are_those_of_a_million_samples(line, x64):
    against_samples(line, 1_000_000)


def test_moments_have_derivatives_and_tend_to_a_point_prediction(x64):
    found, precision = two_outputs(True)
    here, root = jnp.asarray(MEAN), jnp.asarray(ROOT)

    def total(mean, root):
        first, second, slope = match(found, precision, mean, root @ root.T)
        return jnp.sum(first) + jnp.sum(jnp.sin(second)) + jnp.sum(slope**2)

    value, slopes = jax.jit(total), jax.jit(jax.grad(total, argnums=(0, 1)))
    by_mean, by_root = slopes(here, root)
    rng, step = np.random.default_rng(0), 1e-4
    for toward in rng.normal(size=(3, 4, 3)):
        m, L = step * toward[0], step * np.tril(toward[1:])
        wanted = (value(here + m, root + L) - value(here - m, root - L)) / 2
        told = jnp.sum(by_mean * m) + jnp.sum(by_root * L)
        np.testing.assert_allclose(told, wanted, rtol=1e-5)
    # A covariance that is singular, as where an action is known, is no matter.
    flat = jnp.zeros((3, 3)).at[0, 0].set(1e-10)
    mean, cov, _ = eqx.filter_jit(match)(found, precision, here, flat)
    there, variance = found.moments(here[None])
    np.testing.assert_allclose(mean, there[0], atol=1e-7)
    np.testing.assert_allclose(jnp.diag(cov), variance[0], atol=1e-7)


def test_sines_and_cosines_of_a_gaussian_have_the_moments_of_samples(x64):
    cov = jnp.array([[0.5, 0.2, 0.1], [0.2, 0.8, -0.3], [0.1, -0.3, 0.6]])
    told = with_turns(Gaussian(jnp.array([0.3, 2.5, -1.0]), cov), (0, 2))
    draw = np.random.default_rng(0).multivariate_normal(
        np.array([0.3, 2.5, -1.0]), np.asarray(cov), 400_000
    )
    turned = draw[:, [0, 2]]
    seen = np.concatenate([draw, np.sin(turned), np.cos(turned)], axis=1)
    np.testing.assert_allclose(told.mean, seen.mean(0), atol=5e-3)
    np.testing.assert_allclose(told.cov, np.cov(seen.T), atol=6e-3)
    # The variances of sine and cosine differ, and swapped they would be found out.
    assert np.abs(told.cov[3, 3] - told.cov[5, 5]) > 0.03


@pytest.fixture(scope="module")
def glider():
    """A model of a mass that a force moves, fitted in float64."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        obs, force = rng.uniform(-2, 2, (60, 2)), rng.uniform(-1, 1, (60, 1))
        change = np.concatenate([0.2 * obs[:, 1:], 0.2 * force], axis=1)
        after = obs + change + 0.01 * rng.normal(size=obs.shape)
        data = Rows.pad(obs, force, np.zeros(60), after)
        model = MomentMatching(Transform(2, 1), points=64)
        return model.fit(data, key=KEY)[0]


def test_a_belief_moves_as_the_linear_system_it_was_fitted_to(glider, x64):
    belief = Gaussian(jnp.array([0.5, -0.5]), 0.04 * jnp.eye(2))
    step = eqx.filter_jit(lambda belief, u: glider.predict(belief, u, key=KEY))
    A, B = np.array([[1.0, 0.2], [0.0, 1.0]]), np.array([[0.0], [0.2]])
    noise = 0.01**2 * np.eye(2)
    told = step(belief, jnp.array([0.5]))
    np.testing.assert_allclose(
        told.mean, A @ belief.mean + B @ np.array([0.5]), atol=0.02
    )
    np.testing.assert_allclose(told.cov, A @ belief.cov @ A.T + noise, atol=0.002)
    # An action that answers the state takes away some of what is not known of it.
    gain = np.array([[-1.0, -1.5]])
    cov = np.asarray(belief.cov)
    parts = [0.2], gain @ cov @ gain.T, cov @ gain.T
    answer = Response(*(jnp.asarray(part) for part in parts))
    closed = step(belief, answer)
    loop = A + B @ gain
    np.testing.assert_allclose(closed.cov, loop @ cov @ loop.T + noise, atol=0.002)
    assert jnp.trace(closed.cov) < jnp.trace(told.cov) - 0.005


@pytest.mark.long
def test_ilqr_plans_on_a_gaussian_belief(glider, x64):
    goal = Regulate([0.0, 0.0], [1.0, 0.1], [0.01], [10.0, 1.0])
    problem = Problem(glider, Expected(goal), Box([-1.0], [1.0]))
    start = Gaussian(jnp.array([0.6, 0.0]), 1e-4 * jnp.eye(2))
    planner = ILQR(horizon=8, iterations=15)
    state = planner.init(problem, start, key=KEY)
    plan, _ = eqx.filter_jit(planner.plan)(problem, start, state, key=KEY)

    @eqx.filter_jit
    def end(actions):
        def step(belief, action):
            return glider.predict(belief, action, key=KEY), None

        return jax.lax.scan(step, start, actions)[0]

    idle, led = end(jnp.zeros((8, 1))), end(plan.actions)
    assert abs(idle.mean[0]) > 0.5 > 3 * abs(led.mean[0])
    assert jnp.all(jnp.linalg.eigvalsh(led.cov) > 0)


@pytest.mark.parametrize("given", [{"circles": ((0, 1),)}, {"reward": True}])
def test_what_a_gaussian_does_not_hold_is_refused(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        MomentMatching(Transform(2, 1, **given))
