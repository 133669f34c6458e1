r"""A policy as a linear-Gaussian controller, around roll-outs of a start.

$$\bar\pi_t(u \mid x) = \mathcal N(\bar K_t x + \bar k_t, \bar C_t)$$

A bound on how far a controller moves away from a policy needs the policy in the form of
a controller. Its slope at each step is fitted to what it would do at the states of the
roll-outs, with the same prior as the dynamics: a mixture over all steps.

**Notation.** $z$ states and $y$ the policy's mean actions, both standardised.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from forethought.core.linalg import matvec, symmetrise
from forethought.models.linear.local import LocalSettings, condition
from forethought.models.linear.mixture import fit_mixture
from forethought.policies.affine import TimeVarying

LEAST = 1e-5
"""Variance, in standard units, that a fit has at least: a policy has no noise, and what
it answers may be linear in states to the last bit."""


def linearised(
    x: Float[Array, "rollout time state"],
    u: Float[Array, "rollout time action"],
    valid: Bool[Array, "rollout time"],
    cov: Float[Array, "action action"],
    settings: LocalSettings,
    *,
    key: PRNGKeyArray,
) -> TimeVarying:
    r"""The controller that answers states as a policy does.

    Args:
        x: States that were seen.
        u: What the policy does there on average.
        valid: Which of them were seen.
        cov: Of the policy's own draws, which is added to that of the fit.
        settings: How it is fitted, as a local model is.
        key: Seeds the mixture.

    References:
        Montgomery and Levine, Guided policy search via approximate mirror descent,
        2016, arXiv:1607.04614, §4.1 (the fit in place of the policy's derivative).
        Levine, Finn, Darrell and Abbeel, End-to-end training of deep visuomotor
        policies, 2016, appendix A.4 (its prior).
    """
    rollouts, steps, n = x.shape
    flat = valid.reshape(-1)
    scaled = [
        _standard(each.reshape(rollouts * steps, -1), flat, settings.floor)
        for each in (x, u)
    ]
    (z, x_mean, x_scale), (y, u_mean, u_scale) = scaled
    points = jnp.where(flat[:, None], jnp.concatenate([z, y], axis=1), 0)
    clusters = max(2, min(settings.clusters, rollouts * steps // settings.share))
    mixture, _ = fit_mixture(points, flat, clusters, floor=settings.floor, key=key)
    shares = jnp.where(flat[None], mixture.responsibilities(points), 0)
    shares = shares.reshape(-1, rollouts, steps).sum(1)
    points = points.reshape(rollouts, steps, -1)

    def step(points, valid, shares):
        count = jnp.sum(valid).astype(points.dtype)
        some = jnp.maximum(count, 1)
        shares = jnp.where(count > 0, shares / some, mixture.weights)
        mean = jnp.sum(jnp.where(valid[:, None], points, 0), axis=0)[:n] / some
        fit = condition(
            points,
            valid,
            mixture.moments(shares),
            n,
            strength=settings.strength,
            floor=settings.floor + LEAST,
        )
        K = u_scale[:, None] * fit.M[:, :n] / x_scale[None]
        k = u_mean + u_scale * (matvec(fit.M[:, :n], mean) + fit.M[:, n])
        noise = u_scale[:, None] * fit.noise * u_scale[None]
        return K, k, x_mean + x_scale * mean, symmetrise(noise + cov)

    return TimeVarying(*jax.vmap(step, (1, 1, 1))(points, valid, shares))


def _standard(
    points: Array, valid: Array, floor: float
) -> tuple[Array, Float[Array, " dimension"], Float[Array, " dimension"]]:
    """Points of about unit size, and the mean and the scale that were taken out."""
    count = jnp.maximum(jnp.sum(valid), 1).astype(points.dtype)
    mean = jnp.sum(jnp.where(valid[:, None], points, 0), axis=0) / count
    gaps = jnp.where(valid[:, None], points - mean[None], 0)
    std = jnp.sqrt(jnp.sum(gaps**2, axis=0) / count)
    least = jnp.sqrt(jnp.asarray(floor, points.dtype)) * (1 + jnp.abs(mean))
    scale = jnp.where(std > least, std, jnp.ones_like(std))
    return (points - mean[None]) / scale[None], mean, scale
