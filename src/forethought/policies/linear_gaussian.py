r"""Trajectories of a linear-Gaussian controller under linear-Gaussian dynamics.

Both are normal, so is all that they do together:

$$p(\tau) = \mathcal N(x_0; m_0, S_0) \prod_t
  \mathcal N(u_t; \hat u_t + K_t (x_t - \hat x_t), C_t) \;
  \mathcal N(x_{t+1}; F_t [x_t; u_t] + f_t, W_t)$$

The controller is a `TimeVarying` policy. Two of them meet the same dynamics and the
same start, which cancel in the divergence of what they do:

$$\mathrm{KL}(p \| q) = \sum_t \mathbb E_{x_t \sim p} \,
  \mathrm{KL}\big(p(u_t | x_t) \,\|\, q(u_t | x_t)\big)$$

**Notation.** $p$ and $q$ are the new and the old controller, $\Delta$ the difference of
their mean actions, $\Delta K$ that of their gains, $m_t, S_t$ the state under $p$.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from forethought.core.gaussian import Gaussian, Response
from forethought.core.linalg import cholesky, matmul, matvec, symmetrise
from forethought.policies.affine import TimeVarying


def marginals(
    policy: TimeVarying,
    F: Float[Array, "horizon state both"],
    f: Float[Array, "horizon state"],
    W: Float[Array, "horizon state state"],
    start: Gaussian,
) -> tuple[Gaussian, Gaussian]:
    r"""The distribution of each $[x_t; u_t]$, and of the last state.

    Args:
        policy: As many steps of it as there are of $F$; covariances count.
        F: Shape `[horizon, state, state + action]`.
        f: Shape `[horizon, state]`.
        W: Covariance of the noise, shape `[horizon, state, state]`.
        start: Of $x_0$.

    Returns:
        State and action together, leaves with a leading axis `[horizon]`, and the
        state after the last action.
    """

    def step(x: Gaussian, inputs):
        K, k, nominal, cov, F, f, W = inputs
        cross = matmul(x.cov, K.T)
        noise = symmetrise(matmul(K, cross)) + cov
        both = Response(k + matvec(K, x.mean - nominal), noise, cross).joint(x)
        return both.affine(F, f, W), both

    inputs = (policy.K, policy.k, policy.x, policy.cov, F, f, W)
    last, both = jax.lax.scan(step, start, inputs)
    return both, last


def sample(
    policy: TimeVarying,
    F: Float[Array, "horizon state both"],
    f: Float[Array, "horizon state"],
    W: Float[Array, "horizon state state"],
    start: Gaussian,
    *,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "look state"], Float[Array, "horizon action"]]:
    """One trajectory, drawn: states, one more than actions, and actions.

    Args:
        policy: As for `marginals`, as are the others.
        F: Shape `[horizon, state, state + action]`.
        f: Shape `[horizon, state]`.
        W: Covariance of the noise, shape `[horizon, state, state]`.
        start: Of $x_0$.
        key: Consumed.
    """
    start_key, key = jax.random.split(key)

    def step(x, inputs):
        K, k, nominal, cov, F, f, W, key = inputs
        act_key, move_key = jax.random.split(key)
        u = Gaussian(k + matvec(K, x - nominal), cov).sample(key=act_key)
        mean = matvec(F, jnp.concatenate([x, u])) + f
        return Gaussian(mean, W).sample(key=move_key), (x, u)

    keys = jax.random.split(key, policy.k.shape[0])
    inputs = (policy.K, policy.k, policy.x, policy.cov, F, f, W, keys)
    last, (x, u) = jax.lax.scan(step, start.sample(key=start_key), inputs)
    return jnp.concatenate([x, last[None]]), u


def divergence(new: TimeVarying, old: TimeVarying, states: Gaussian) -> Scalar:
    r"""$\mathrm{KL}(p(\tau) \| q(\tau))$ of two controllers, in nats.

    $$\sum_t \tfrac12 \Big( \operatorname{tr}(C_q^{-1} C_p) - m
      + \log \frac{\det C_q}{\det C_p} + \Delta^\top C_q^{-1} \Delta
      + \operatorname{tr}(C_q^{-1} \Delta K S_t \Delta K^\top) \Big)$$

    Args:
        new: $p$.
        old: $q$, as long as $p$.
        states: Each $x_t$ under the new one, leaves with a leading axis `[horizon]`;
            the first coordinates of `marginals`.

    Returns:
        The divergence; NaN where a covariance is not positive definite.

    References:
        Levine and Abbeel, Learning neural network policies with guided policy search
        under unknown dynamics, 2014, §3.2.
    """
    n = new.x.shape[1]

    def step(new, old, x: Gaussian):
        K_p, k_p, x_p, C_p = new
        K_q, k_q, x_q, C_q = old
        L_p, fine_p = cholesky(C_p)
        L_q, fine_q = cholesky(C_q)
        x_mean, x_cov = x.mean[:n], x.cov[:n, :n]
        gap = k_p + matvec(K_p, x_mean - x_p) - k_q - matvec(K_q, x_mean - x_q)
        turn = K_p - K_q
        white = jax.scipy.linalg.solve_triangular(
            L_q, jnp.concatenate([L_p, gap[:, None], turn], axis=1), lower=True
        )
        m = k_p.shape[0]
        plain, pulled = white[:, : m + 1], white[:, m + 1 :]
        spread = jnp.sum(pulled * matmul(pulled, x_cov))
        logs = jnp.sum(jnp.log(jnp.diag(L_q))) - jnp.sum(jnp.log(jnp.diag(L_p)))
        found = 0.5 * (jnp.sum(plain * plain) + spread - m) + logs
        return jnp.where(fine_p & fine_q, found, jnp.nan)

    of_new, of_old = ((each.K, each.k, each.x, each.cov) for each in (new, old))
    return jnp.sum(jax.vmap(step)(of_new, of_old, states))
