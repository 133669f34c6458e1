r"""How a cloud of particles is carried through an ensemble.

The ensemble's own `predict` takes one particle. Here a whole cloud takes a step, so
that each particle is computed by its own member alone, and so that what particles
share can be said:

| rule | what particles share |
|---|---|
| E | nothing; all are alike |
| DS | nothing |
| MM | each step's answers are redrawn from a Gaussian with their mean and variance |
| TS1 | members are dealt anew at each step, the same number to each |
| TSinf | members are dealt once, particle $p$ of $P$ to $\lfloor p E / P \rfloor$ |

Answers are in the model's output space, before a particle's own observation is added.
Dealing the same number to each member, rather than drawing members, takes the luck of
the draw out of the comparison between candidates.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PRNGKeyArray, PyTree

from forethought.core.types import Action
from forethought.models.base import AbstractCloud, AbstractModel
from forethought.models.learned.ensemble import Ensemble, Particle
from forethought.models.learned.uncertainty import mixture_moments


class Propagation(AbstractCloud):
    """The particles of an `Ensemble`, by the ensemble's own rule.

    Raises:
        TypeError: The model is no ensemble.
        ValueError: TS1 or TSinf with particles that members cannot share evenly.

    References:
        Chua et al., Deep reinforcement learning in a handful of trials using
        probabilistic dynamics models, 2018, arXiv:1805.12114, section 5;
        details as in the authors' code.

    Note:
        One key serves all candidates of a planner, so one deal does too; the
        authors deal for each candidate.
    """

    def spread(
        self, model: AbstractModel, belief: PyTree, particles: int, *, key: PRNGKeyArray
    ) -> Particle:
        """Copies of one particle, with members dealt in order."""
        ensemble = _require_ensemble(model)
        if ensemble.propagation in ("TS1", "TSinf") and particles % ensemble.size:
            raise ValueError(
                f"{ensemble.propagation} needs particles that {ensemble.size} members "
                f"can share evenly, got {particles}."
            )
        cloud = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (particles, *leaf.shape)), belief
        )
        member = jnp.arange(particles) * ensemble.size // particles
        return eqx.tree_at(
            lambda cloud: cloud.member, cloud, member.astype(belief.member.dtype)
        )

    def predict(
        self,
        model: AbstractModel,
        cloud: PyTree,
        action: Action,
        *,
        keys: Key[Array, " particle"],
    ) -> Particle:
        """One step of all particles."""
        ensemble = _require_ensemble(model)
        rule, size = ensemble.propagation, ensemble.size
        shared = jax.random.fold_in(keys[0], keys.shape[0])
        x = jax.vmap(lambda obs: ensemble.transform.inputs(obs, action))(cloud.obs)
        member, order, back = cloud.member, slice(None), slice(None)
        if rule == "TSinf":
            mean, variance = _share_out(ensemble, x)
        elif rule == "TS1":
            order = jax.random.permutation(shared, x.shape[0])
            back = jnp.argsort(order)
            mean, variance = (part[back] for part in _share_out(ensemble, x[order]))
            member = (back * size // x.shape[0]).astype(member.dtype)
        else:
            means, variances = ensemble.grouped(jnp.broadcast_to(x, (size, *x.shape)))
            mean, variance = jax.vmap(mixture_moments, 1)(means, variances)
        if rule == "E":
            y = mean
        else:
            noise = jax.vmap(
                lambda key: jax.random.normal(key, mean.shape[1:], mean.dtype)
            )(keys)
            y = mean + jnp.sqrt(variance) * noise
        if rule == "MM":
            fresh = jax.random.normal(shared, y.shape, y.dtype)
            centre, spread = jnp.mean(y, axis=0), jnp.std(y, axis=0)
            y = centre[None, :] + spread[None, :] * fresh
        obs, reward = jax.vmap(ensemble.transform.restore)(cloud.obs, y)
        if rule in ("TS1", "TSinf"):
            ends = _ends_shared_out(ensemble, obs[order])[back]
        else:
            shape = (size, *obs.shape)
            ends = jnp.mean(ensemble.ends(jnp.broadcast_to(obs, shape)), axis=0)
        return jax.vmap(Particle)(obs, reward, 1 - ends, member)


def _share_out(ensemble: Ensemble, x: Array) -> tuple[Array, Array]:
    """What members answer to rows of which each takes an equal run, in order."""
    rows = x.shape[0] // ensemble.size
    means, variances = ensemble.grouped(x.reshape(ensemble.size, rows, x.shape[1]))
    return means.reshape(x.shape[0], -1), variances.reshape(x.shape[0], -1)


def _ends_shared_out(ensemble: Ensemble, obs: Array) -> Array:
    """How probable members find an end, of rows shared out in the same manner."""
    ends = ensemble.ends(obs.reshape(ensemble.size, -1, obs.shape[1]))
    return ends.reshape(obs.shape[0])


def _require_ensemble(model: AbstractModel) -> Ensemble:
    if not isinstance(model, Ensemble):
        raise TypeError(
            "Propagation carries the particles of an Ensemble, but the model is "
            f"{type(model).__name__}; use Independent with it."
        )
    return model
