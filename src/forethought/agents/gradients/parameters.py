"""The parameters of policies that are searched for, and how they begin."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from forethought.policies.affine import TimeVarying
from forethought.policies.base import AbstractResponsive
from forethought.policies.radial import features, taught


class Basis(eqx.Module):
    """The parameters of a policy of radial basis functions."""

    centres: Float[Array, "basis feature"]
    targets: Float[Array, "action basis"]
    log_lengths: Float[Array, "action feature"]

    def policy(self, angles: tuple[int, ...]) -> AbstractResponsive:
        """The policy, before it is squashed."""
        return taught(self.centres, self.targets, self.log_lengths, angles)


class Line(eqx.Module):
    """The parameters of an affine policy."""

    K: Float[Array, "action state"]
    k: Float[Array, " action"]

    def policy(self, angles: tuple[int, ...]) -> AbstractResponsive:
        """The policy, before it is squashed."""
        n, m = self.K.shape[1], self.k.shape[0]
        still = jnp.zeros((1, n), self.k.dtype), jnp.zeros((1, m, m), self.k.dtype)
        return TimeVarying(self.K[None], self.k[None], *still)


def fresh_line(
    obs: Float[Array, "row state"],
    amplitude: Array,
    sides: int,
    angles: tuple[int, ...],
    *,
    key: PRNGKeyArray,
) -> Line:
    """An affine policy drawn anew."""
    shape = (sides, obs.shape[1])
    K = 0.1 * amplitude * jax.random.normal(key, shape, obs.dtype)
    return Line(K, jnp.zeros(sides, obs.dtype))


def fresh_basis(
    obs: Float[Array, "row state"],
    amplitude: Array,
    sides: int,
    angles: tuple[int, ...],
    *,
    key: PRNGKeyArray,
) -> Basis:
    """Radial basis functions around some observations, drawn anew."""
    jitter_key, key = jax.random.split(key)
    centres = jax.vmap(lambda x: features(x, angles))(obs)
    jitter = jax.random.normal(jitter_key, centres.shape, obs.dtype)
    targets = jax.random.normal(key, (sides, len(obs)), obs.dtype)
    turns = 2 * len(angles)
    lengths = np.ones((sides, centres.shape[1]))
    if turns:
        lengths[:, -turns:] = 0.7
    logs = jnp.asarray(np.log(lengths), obs.dtype)
    return Basis(centres + 0.1 * jitter, amplitude * targets, logs)


FRESH = {"radial": fresh_basis, "affine": fresh_line}
"""How parameters are drawn anew, by the kind of policy."""
