"""One improvement of a local controller in NumPy, as published Python code does it.

Loops over time, one factorisation a step, a bisection of the price's logarithm within
its bracket: the structure of the guided policy search code of Finn et al. (2016),
written anew. The yardstick of `local.py`; nothing of the library is in it.
"""

import numpy as np
import scipy.linalg


def mixture(points, clusters, steps, floor=1e-6, seed=0):
    """Expectation maximisation of a Gaussian mixture: weights, means, covariances."""
    random = np.random.default_rng(seed)
    size, d = points.shape
    share = np.zeros((size, clusters))
    share[np.arange(size), random.integers(clusters, size=size)] = 1
    for _ in range(steps):
        mass = share.sum(0) + 1e-12
        means = share.T @ points / mass[:, None]
        logs, covs = np.empty((size, clusters)), np.empty((clusters, d, d))
        for k in range(clusters):
            gap = points - means[k]
            covs[k] = (share[:, k, None] * gap).T @ gap / mass[k] + floor * np.eye(d)
            L = np.linalg.cholesky(covs[k])
            white = scipy.linalg.solve_triangular(L, gap.T, lower=True)
            logs[:, k] = np.log(mass[k] / size) - np.log(np.diag(L)).sum()
            logs[:, k] -= 0.5 * (white**2).sum(0)
        share = np.exp(logs - logs.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
    return share.mean(0), means, covs, share


def fit(x, u, clusters, steps, floor=1e-6):
    """Dynamics F, f and noise W of each step, from roll-outs `[rollout, time, ...]`."""
    rollouts, T, m = u.shape
    n = x.shape[2]
    p = n + m
    points = np.concatenate([x[:, :-1], u, x[:, 1:]], axis=2)
    _, means, covs, share = mixture(points.reshape(rollouts * T, -1), clusters, steps)
    share = share.reshape(rollouts, T, clusters).mean(0)
    F, f, W = np.empty((T, n, p)), np.empty((T, n)), np.empty((T, n, n))
    for t in range(T):
        w = share[t]
        mu0 = w @ means
        gaps = means - mu0
        phi = np.einsum("k,kij->ij", w, covs) + (w[:, None] * gaps).T @ gaps
        mu = points[:, t].mean(0)
        gap = points[:, t] - mu
        pull = rollouts / (rollouts + 1)
        sigma = gap.T @ gap + phi + pull * np.outer(mu - mu0, mu - mu0)
        sigma = sigma / (rollouts + 1) + floor * np.eye(p + n)
        F[t] = np.linalg.solve(sigma[:p, :p], sigma[:p, p:]).T
        f[t] = mu[p:] - F[t] @ mu[:p]
        W[t] = sigma[p:, p:] - F[t] @ sigma[:p, :p] @ F[t].T
        W[t] = 0.5 * (W[t] + W[t].T)
    return F, f, W


def backward(F, f, C, c, K, k, precision, price):
    """The controller of a price, or None where there is none."""
    T, n = f.shape
    m = k.shape[1]
    new = np.empty_like(K), np.empty_like(k), np.empty_like(precision)
    V, v = np.zeros((n, n)), np.zeros(n)
    for t in reversed(range(T)):
        turn = np.concatenate([-K[t], np.eye(m)], axis=1)
        Q = C / price + turn.T @ precision[t] @ turn
        q = c / price - turn.T @ precision[t] @ k[t]
        Q += F[t].T @ V @ F[t]
        q += F[t].T @ (v + V @ f[t])
        try:
            L = np.linalg.cholesky(Q[n:, n:])
        except np.linalg.LinAlgError:
            return None
        solved = scipy.linalg.cho_solve(
            (L, True), np.concatenate([Q[n:, :n], q[n:, None], np.eye(m)], axis=1)
        )
        new[0][t], new[1][t] = -solved[:, :n], -solved[:, n]
        new[2][t] = solved[:, n + 1 :]
        V = Q[:n, :n] + Q[:n, n:] @ new[0][t]
        V = 0.5 * (V + V.T)
        v = q[:n] + Q[:n, n:] @ new[1][t]
    return new


def forward(F, f, W, start, new, K, k, precision):
    """The divergence of a controller from the old one."""
    T, n = f.shape
    mean, cov, total = start.copy(), np.zeros((n, n)), 0.0
    for t in range(T):
        K_p, k_p, C_p = new[0][t], new[1][t], new[2][t]
        turn = K_p - K[t]
        gap = turn @ mean + k_p - k[t]
        total += 0.5 * (
            np.sum(precision[t] * (C_p + turn @ cov @ turn.T))
            - len(gap)
            + gap @ precision[t] @ gap
            - np.linalg.slogdet(C_p)[1]
            - np.linalg.slogdet(precision[t])[1]
        )
        side = cov @ K_p.T
        both = np.block([[cov, side], [side.T, K_p @ side + C_p]])
        mean = F[t] @ np.concatenate([mean, K_p @ mean + k_p]) + f[t]
        cov = F[t] @ both @ F[t].T + W[t]
        cov = 0.5 * (cov + cov.T)
    return total


def improve(F, f, W, C, c, start, K, k, cov, bound, price=1.0):
    """The controller within the bound: new K, k, covariances, divergence, sweeps."""
    precision = np.array([np.linalg.inv(each) for each in cov])
    low, high, sweeps = 1e-8, 1e16, 0
    new, kl = None, np.inf
    while sweeps < 50:
        sweeps += 1
        new = backward(F, f, C, c, K, k, precision, price)
        kl = np.inf
        if new is not None:
            kl = forward(F, f, W, start, new, K, k, precision)
        if abs(kl - bound) < 0.1 * bound:
            break
        if kl > bound:
            low = price
            price = min(np.sqrt(low * high), 10 * low)
        else:
            high = price
            price = max(np.sqrt(low * high), 0.1 * high)
    return new, kl, sweeps
