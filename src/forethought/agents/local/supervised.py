r"""The policy's turn: it is fitted to controllers, where they are sure the most.

**Notation.** $\mu(o)$ the policy's mean and $\Sigma$ its covariance; $u_{i,t}$ what
the controller of start $i$ does in a state on average, and $C_{i,t}$ its covariance.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from forethought.agents.base import Metrics
from forethought.agents.imitation.imitate import (
    Demonstrations,
    ImitationSettings,
    imitate,
)
from forethought.core.linalg import matvec, solve_positive, symmetrise
from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.policies.affine import TimeVarying
from forethought.policies.gaussian import GaussianPolicy


def taught(
    policy: GaussianPolicy,
    controllers: TimeVarying,
    x: Float[Array, "start rollout time state"],
    obs: Float[Array, "start rollout time observation"],
    valid: Bool[Array, "start rollout time"],
    pushed: Float[Array, "start time action"],
    settings: ImitationSettings,
    *,
    key: PRNGKeyArray,
) -> tuple[GaussianPolicy, Metrics]:
    r"""The policy that diverges least from all controllers where they were seen.

    $$\min_\mu \sum_{i,t} \mathbb E\big[(\mu(o) - u_{i,t})^\top C_{i,t}^{-1}
      (\mu(o) - u_{i,t})\big], \qquad
      \Sigma = \Big(\overline{C_{i,t}^{-1}}\Big)^{-1}$$

    Args:
        policy: Whose weights the fit begins from.
        controllers: Of each start, leaves `[start, time, ...]`.
        x: States in which they are asked.
        obs: What the policy sees there.
        valid: Which of them were seen.
        pushed: $\lambda / \nu$ of BADMM: targets move by $-C \lambda / \nu$.
        settings: How it is fitted.
        key: Draws the minibatches.

    References:
        Levine, Finn, Darrell and Abbeel, End-to-end training of deep visuomotor
        policies, 2016, arXiv:1504.00702, eq. 2 and appendix A.2 (mean and covariance).

    Note:
        Of the covariance the diagonal alone is kept.
    """
    count, each, steps, _ = x.shape
    m = controllers.k.shape[2]
    half = _limits(policy).centre_and_scale(x.dtype)[1]
    moved = jax.vmap(jax.vmap(matvec))(controllers.cov, pushed)
    wanted = answers(controllers, x) - moved[:, None]
    eye = jnp.eye(m, dtype=x.dtype)

    def inverse(cov: Array) -> Array:
        return symmetrise(half[:, None] * solve_positive(cov, eye)[0] * half[None])

    precision = jax.vmap(jax.vmap(inverse))(controllers.cov)
    sure = jnp.diag(jnp.mean(precision, axis=(0, 1)))
    weights = (precision / jnp.mean(sure))[:, None]
    weights = jnp.broadcast_to(weights, (count, each, steps, m, m))
    shown = Demonstrations(
        obs.reshape(-1, obs.shape[-1]),
        wanted.reshape(-1, m),
        valid.reshape(-1),
        weights.reshape(-1, m, m),
    )
    policy, told = imitate(policy, shown, settings, loss="weighted", key=key)
    spread = -0.5 * jnp.log(sure)
    return eqx.tree_at(lambda policy: policy.log_std, policy, spread), told


def answers(
    controllers: TimeVarying, x: Float[Array, "start rollout time state"]
) -> Float[Array, "start rollout time action"]:
    """What each start's controller does on average in each of its states."""

    def at(K, k, x_bar, x):
        return k + matvec(K, x - x_bar)

    by_rollout = jax.vmap(jax.vmap(at), (None, None, None, 0))
    return jax.vmap(by_rollout)(controllers.K, controllers.k, controllers.x, x)


def kept(new: TimeVarying, old: TimeVarying) -> TimeVarying:
    """A controller, or the one before where some number of it is none."""
    fine = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(new)]
    every = jnp.all(jnp.stack(fine))
    return jax.tree.map(lambda one, other: jnp.where(every, one, other), new, old)


def everywhere(function: Callable[[Array], Array], steps: Array) -> Array:
    """A function of a step for all of them, of leaves `[start, rollout, time, ...]`."""
    return jax.vmap(jax.vmap(jax.vmap(function)))(steps)


def mean_action(policy: GaussianPolicy, obs: Array) -> Float[Array, " action"]:
    """What a policy does on average, before limits."""
    z = policy.distribution(Readout(obs)).mode
    centre, half = _limits(policy).centre_and_scale(z.dtype)
    return centre + half * z


def deviations(policy: GaussianPolicy) -> Float[Array, " action"]:
    """The standard deviation of its draws, before limits."""
    half = _limits(policy).centre_and_scale(policy.log_std.dtype)[1]
    return half * jnp.exp(policy.log_std)


def _limits(policy: GaussianPolicy) -> Box:
    return Box(np.asarray(policy.low), np.asarray(policy.high))
