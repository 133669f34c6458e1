"""Trajectories of linear-Gaussian controllers, and how far apart they are."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.gaussian import Gaussian, kl_divergence
from forethought.policies.affine import TimeVarying
from forethought.policies.linear_gaussian import divergence, marginals, sample

T, N, M = 4, 3, 2


def random_system(seed=0):
    """Dynamics, a start, and two controllers, none of which is like another."""
    draw = np.random.default_rng(seed)

    def covariance(*lead, size, scale):
        root = draw.normal(size=(*lead, size, size))
        cov = np.einsum("...ij,...kj->...ik", root, root) + 0.3 * np.eye(size)
        return jnp.asarray(scale * cov)

    F = np.concatenate([np.eye(N) * np.ones((T, 1, 1)), np.zeros((T, N, M))], axis=2)
    F = jnp.asarray(F + 0.3 * draw.normal(size=(T, N, N + M)))
    f = jnp.asarray(draw.normal(size=(T, N)))
    W = covariance(T, size=N, scale=0.05)
    start = Gaussian(jnp.asarray(draw.normal(size=N)), covariance(size=N, scale=0.1))

    def controller(scale):
        return TimeVarying(
            jnp.asarray(0.3 * draw.normal(size=(T, M, N))),
            jnp.asarray(0.3 * draw.normal(size=(T, M))),
            jnp.asarray(0.3 * draw.normal(size=(T, N))),
            covariance(T, size=M, scale=scale),
        )

    return (F, f, W, start), controller(0.3), controller(0.8)


def joint(policy, F, f, W, start):
    """The whole trajectory's normal distribution, by the matrix of all its noise."""
    # Columns are the noises of the start, of the actions and of the steps.
    size = N + T * (M + N)
    x, mean = np.zeros((N, size)), np.asarray(start.mean)
    x[:, :N] = np.linalg.cholesky(start.cov)
    rows, means = [x], [mean]
    for t in range(T):
        at = N + t * (M + N)
        u = np.asarray(policy.K[t]) @ x
        u[:, at : at + M] += np.linalg.cholesky(policy.cov[t])
        u_mean = np.asarray(policy.k[t] + policy.K[t] @ (mean - policy.x[t]))
        x = np.asarray(F[t]) @ np.concatenate([x, u])
        x[:, at + M : at + M + N] += np.linalg.cholesky(W[t])
        mean = np.asarray(F[t]) @ np.concatenate([mean, u_mean]) + np.asarray(f[t])
        rows += [u, x]
        means += [u_mean, mean]
    root = np.concatenate(rows)
    return Gaussian(jnp.asarray(np.concatenate(means)), jnp.asarray(root @ root.T))


def log_prob(policy, states, actions):
    """Of the actions alone, the rest being the same for all controllers."""
    x, u = states[:-1], actions
    time = jnp.arange(T)
    each = jax.vmap(lambda x, u, t: policy.given(x, t).log_prob(u))(x, u, time)
    return jnp.sum(each)


def without_gains(new, old, states):
    """The broken variant: what spreads through the state is forgotten."""
    still = eqx.tree_at(lambda s: s.cov, states, jnp.zeros_like(states.cov))
    return divergence(new, old, still)


def without_logs(new, old, states):
    """Another: the determinants are forgotten, as if both explored alike."""
    logs = [jnp.sum(jnp.linalg.slogdet(each.cov)[1]) for each in (new, old)]
    return divergence(new, old, states) - 0.5 * (logs[1] - logs[0])


BROKEN = (without_gains, without_logs)


def test_marginals_are_those_of_the_whole_trajectory(x64):
    system, policy, _ = random_system()
    both, last = marginals(policy, *system)
    whole = joint(policy, *system)
    for t in range(T):
        at = t * (N + M)
        part = slice(at, at + N + M)
        np.testing.assert_allclose(both.mean[t], whole.mean[part], atol=1e-12)
        np.testing.assert_allclose(both.cov[t], whole.cov[part, part], atol=1e-12)
    np.testing.assert_allclose(last.mean, whole.mean[-N:], atol=1e-12)
    np.testing.assert_allclose(last.cov, whole.cov[-N:, -N:], atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_divergence_is_that_of_whole_trajectories(seed, x64):
    system, new, old = random_system(seed)
    states = marginals(new, *system)[0]
    exact = float(kl_divergence(joint(new, *system), joint(old, *system)))
    assert float(divergence(new, old, states)) == pytest.approx(exact, rel=1e-9)
    for broken in BROKEN:
        assert float(broken(new, old, states)) != pytest.approx(exact, rel=0.02)


def test_the_divergence_equals_monte_carlo(x64):
    system, new, old = random_system()
    keys = jax.random.split(jax.random.key(0), 20_000)
    states, actions = jax.vmap(lambda key: sample(new, *system, key=key))(keys)

    def gap(x, u):
        return log_prob(new, x, u) - log_prob(old, x, u)

    drawn = np.asarray(jax.vmap(gap)(states, actions))
    error = 4 * drawn.std() / len(drawn) ** 0.5
    found = float(divergence(new, old, marginals(new, *system)[0]))
    assert found == pytest.approx(drawn.mean(), abs=error)
    for broken in BROKEN:
        wrong = float(broken(new, old, marginals(new, *system)[0]))
        assert abs(wrong - drawn.mean()) > error


def test_a_controller_does_not_diverge_from_itself_around_another_trajectory(x64):
    system, policy, _ = random_system()
    states = marginals(policy, *system)[0]
    shift = jnp.ones_like(policy.x)
    moved = dataclasses.replace(
        policy,
        x=policy.x + shift,
        k=policy.k + jnp.einsum("tmn,tn->tm", policy.K, shift),
    )
    assert float(divergence(policy, moved, states)) == pytest.approx(0, abs=1e-12)


def test_a_covariance_that_is_none_is_told_by_a_nan(x64):
    system, new, old = random_system()
    flat = dataclasses.replace(old, cov=jnp.zeros_like(old.cov))
    assert np.isnan(divergence(new, flat, marginals(new, *system)[0]))


def test_a_controller_comes_back_from_a_file(tmp_path, x64):
    _, policy, other = random_system()
    eqx.tree_serialise_leaves(tmp_path / "policy.eqx", policy)
    loaded = eqx.tree_deserialise_leaves(tmp_path / "policy.eqx", other)
    assert eqx.tree_equal(loaded, policy)
