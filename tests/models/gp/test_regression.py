"""Exact regression: against formulas in NumPy, and against scikit-learn."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import AS_GIVEN, KEY, LENGTHS, NOISE, SIGNAL, kernel, processes, rows
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel

from forethought.models.gp.draws import Draws
from forethought.models.gp.learning import learn
from forethought.models.gp.regression import condition, slopes

KINDS = {"squared-exponential": RBF, "matern": functools.partial(Matern, nu=2.5)}


@eqx.filter_jit
def told(kernel, x, y, valid, line=False):
    found = condition(kernel, x, y, valid, line=line)
    return found, slopes(kernel, x, y, valid, found)


def by_hand(x, y, at):
    """Evidence, mean and variance by the textbook, with an inverse."""

    def k(a, b):
        squares = ((a[:, None] - b[None]) ** 2 / LENGTHS**2).sum(-1)
        return SIGNAL**2 * np.exp(-squares / 2)

    K = k(x, x) + NOISE**2 * np.eye(len(x))
    inverse, cross = np.linalg.inv(K), k(at, x)
    evidence = -0.5 * y @ inverse @ y - 0.5 * np.linalg.slogdet(K)[1]
    evidence -= 0.5 * len(x) * np.log(2 * np.pi)
    variance = SIGNAL**2 - np.einsum("ij,jk,ik->i", cross, inverse, cross)
    return evidence, cross @ inverse @ y, variance


def compare(kind, count, tolerance):
    """Evidence, its slopes, mean and variance against scikit-learn's."""
    (x, y), (at, _) = rows(count), rows(50, seed=1)
    theirs = GaussianProcessRegressor(
        ConstantKernel(SIGNAL**2) * KINDS[kind](LENGTHS) + WhiteKernel(NOISE**2),
        alpha=0.0,
        optimizer=None,
    ).fit(x, y)
    theta = theirs.kernel_.theta
    evidence, slope = theirs.log_marginal_likelihood(theta, eval_gradient=True)
    mean, std = theirs.predict(at, return_std=True)
    valid = jnp.ones(count, bool)
    found, by = told(kernel(kind), jnp.asarray(x), jnp.asarray(y), valid)
    assert abs(found.evidence / evidence - 1) < tolerance
    # Theirs are logarithms of variances, ours of standard deviations.
    ours = [by.log_signal / 2, *by.log_lengths, by.log_noise / 2]
    size = np.abs(slope).max()
    np.testing.assert_allclose(ours, slope, rtol=0, atol=100 * tolerance * size)
    fitted = learn(
        processes([kernel(kind)], count),
        *(jnp.asarray(x), jnp.asarray(y)[:, None], valid, AS_GIVEN),
        key=KEY,
    ).processes
    got, variance = fitted.moments(jnp.asarray(at))
    np.testing.assert_allclose(got[:, 0], mean, rtol=0, atol=tolerance)
    # Theirs is of what would be seen: with noise.
    np.testing.assert_allclose(
        variance[:, 0] + NOISE**2, std**2, rtol=0, atol=tolerance
    )
    return got[:, 0], mean


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_slopes_mean_and_variance_are_those_of_scikit_learn(kind, x64):
    compare(kind, 200, 1e-9)


@pytest.mark.long
@pytest.mark.parametrize("count", [1000, 3000])
def test_they_are_those_of_scikit_learn_with_many_rows(count, x64):
    compare("squared-exponential", count, 1e-9)


def test_evidence_mean_and_variance_are_those_of_the_textbook(x64):
    (x, y), (at, _) = rows(40), rows(10, seed=1)
    evidence, mean, variance = by_hand(x, y, at)
    found, _ = told(kernel(), jnp.asarray(x), jnp.asarray(y), jnp.ones(40, bool))
    cross = kernel()(jnp.asarray(at), jnp.asarray(x))
    white = cross @ found.root.T
    assert abs(found.evidence - evidence) < 1e-9
    np.testing.assert_allclose(cross @ found.weights, mean, atol=1e-9)
    np.testing.assert_allclose(
        SIGNAL**2 - jnp.sum(white**2, axis=1), variance, atol=1e-9
    )
    # One length for all inputs, their mean, is another model, and would be found out.
    alike = dataclasses.replace(
        kernel(), log_lengths=jnp.full(3, np.log(LENGTHS.mean()))
    )
    other, _ = told(alike, jnp.asarray(x), jnp.asarray(y), jnp.ones(40, bool))
    assert abs(other.evidence - evidence) > 0.1


@pytest.mark.parametrize("line", [False, True])
def test_slopes_in_closed_form_are_derivatives_and_padding_changes_nothing(line, x64):
    x, y = map(jnp.asarray, rows(20))
    given = kernel("matern")

    @eqx.filter_jit
    def both(x, y, valid):
        def evidence(kernel):
            return condition(kernel, x, y, valid, line=line).evidence

        return jax.value_and_grad(evidence)(given)

    valid = jnp.ones(20, bool)
    value, wanted = both(x, y, valid)
    found, slope = told(given, x, y, valid, line)
    for ours, theirs in zip(
        jax.tree.leaves(slope), jax.tree.leaves(wanted), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9)
    # Without the fit of the data an evidence would only want what is simple.
    blind = eqx.tree_at(lambda f: f.weights, found, jnp.zeros(20))
    assert abs(slopes(given, x, y, valid, blind).log_noise - wanted.log_noise) > 1
    # Padding lies in between, and holds anything.
    order = jnp.array([*range(7), 20, 21, *range(7, 20), 22])
    more = jnp.concatenate([x, jnp.full((3, 3), 5.0)])[order]
    answers = jnp.concatenate([y, jnp.full(3, 9.0)])[order]
    padded, slope_too = told(given, more, answers, order < 20, line)
    np.testing.assert_allclose(padded.evidence, value, rtol=1e-12)
    np.testing.assert_allclose(padded.weights[order < 20], found.weights, rtol=1e-9)
    np.testing.assert_array_equal(padded.weights[order >= 20], 0)
    np.testing.assert_allclose(slope_too.log_lengths, slope.log_lengths, rtol=1e-9)


@pytest.mark.long
def test_functions_that_are_drawn_have_the_mean_and_variance_of_the_process(x64):
    count, samples = 30, 4000
    x, y = map(jnp.asarray, rows(count))
    at = jnp.concatenate([x[:2], 0.5 * x[2:4], 4 * x[4:6]])

    @eqx.filter_jit
    def asked(before, x, y, valid):
        found = learn(
            *(before, x, y[:, None], valid, AS_GIVEN),
            samples=samples,
            waves=16,
            key=KEY,
        )
        many = jnp.broadcast_to(at, (samples, *at.shape))
        naive = Draws(
            found.draws.waves,
            jnp.broadcast_to(found.processes.weights, found.draws.weights.shape),
        )
        moments = found.processes.moments(at)
        return *moments, *(d(found.processes, many) for d in (found.draws, naive))

    # Exact where there is room for all rows; through half as many points otherwise.
    for room in (count, count // 2):
        mean, variance, drawn, naive = asked(
            processes([kernel("matern")], room), x, y, jnp.ones(count, bool)
        )
        luck = jnp.sqrt(variance / samples)
        assert np.all(np.abs(jnp.mean(drawn, axis=0) - mean) < 4 * luck)
        ratio = np.asarray(jnp.var(drawn, axis=0) / variance)
        # Sums of few waves have longer tails than a normal, hence the room.
        assert np.all(np.abs(ratio - 1) < 0.2), ratio
        # Draws of the prior around the mean would not know where data are.
        assert jnp.var(naive, axis=0)[0, 0] > 20 * variance[0, 0]
