r"""Gradients of an imagined return in a policy's parameters, of two kinds and mixed.

| estimator | is | where it is noisy |
|---|---|---|
| `reparametrised` | back-propagation through time, $\nabla_\theta J(\theta, \epsilon)$ | chaos: it grows with the Jacobians of all steps |
| `score` | likelihood ratios, $\sum_t \nabla_\theta \log \pi_\theta(u_t \mid x_t)\,(G_t - b_t)$ | it grows with the horizon, and as $1 / \sigma$ |
| `mixture` | both, weighted by their inverse variances | as the better of the two |

All three have the same expectation where actions are shaken by noise. The baseline
$b_t$ of a future is the mean of what the *others* of the batch earn from there on, so
that it knows nothing of this future's own noise.

**Notation.** $\theta$ parameters, $J$ imagined return, $\epsilon$ everything drawn;
$G_t$ discounted rewards from step $t$ on, with what lies beyond; $\sigma$ noise on
actions; $B$ futures of a batch.
"""  # noqa: E501  (a table)

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, Scalar

from forethought.core.types import ravel
from forethought.policies.base import AbstractPolicy
from forethought.policies.follow import AbstractFollow, Sampled
from forethought.policies.shaken import Shaken
from forethought.problem import Problem, Rollout, imagine

Estimator = Literal["reparametrised", "score", "mixture"]
FEWEST = 4
"""Futures of a mixture: two for a variance, of either half."""


class Way(NamedTuple):
    """How futures are imagined.

    Args:
        horizon: Steps of each.
        std: Noise on actions, shape `[action]`; None for none.
        truncate: Steps after which back-propagation ends, as `imagine` takes them.
        follow: How policy and model step together.
    """

    horizon: int
    std: Float[Array, " action"] | None = None
    truncate: int | None = None
    follow: AbstractFollow | None = None


class Estimate(eqx.Module):
    """A gradient of the mean return of a batch, and what it was made of."""

    gradient: PyTree
    """Like the policy; None where it has no real numbers."""
    futures: Rollout
    """Leaves with a leading axis `[batch]`; no derivatives go through it."""
    share: Scalar
    """The weight of the reparametrised part: one, nought, or between."""

    @property
    def value(self) -> Scalar:
        """The mean return."""
        return jnp.mean(jax.vmap(lambda future: future.value)(self.futures))


def estimate(
    estimator: Estimator,
    problem: Problem,
    policy: AbstractPolicy,
    beliefs: PyTree,
    way: Way,
    *,
    keys: Key[Array, " batch"],
) -> Estimate:
    r"""The gradient of the mean imagined return in a policy's parameters.

    Args:
        estimator: Which one.
        problem: Model and objective.
        policy: Its real numbers are the parameters.
        beliefs: Where futures begin, leaves `[batch, ...]`.
        way: How they are imagined; `score` and `mixture` need noise on actions.
        keys: One for each future.

    Returns:
        The gradient, with what was imagined.

    Raises:
        ValueError: Likelihood ratios are asked for without noise, or a mixture of fewer
            than four futures.

    References:
        Williams, Simple statistical gradient-following algorithms for connectionist
        reinforcement learning, 1992 (score). Parmas, Rasmussen, Peters and Doya, PIPPS:
        flexible model-based policy search robust to the curse of chaos, 2018,
        arXiv:1902.01240, §3.2 (mixing by $\sigma^{-2}$).

    Note:
        The paper mixes anew at each step backwards in time, from one set of futures;
        here the two gradients are mixed once, from a set each. Weights of one half of
        the batch come from the other half, without which the mixture is biased.
    """
    params, rest = eqx.partition(policy, eqx.is_inexact_array)
    parts = {"reparametrised": _pathwise, "score": _ratios}
    if estimator != "reparametrised" and way.std is None:
        raise ValueError(
            f"The estimator {estimator} needs noise on imagined actions, got noise=0."
        )

    def slope(name: str, params: PyTree, keys: Array, own: bool) -> Any:
        def part(params: PyTree) -> tuple[Scalar, Rollout]:
            policy = eqx.combine(params, rest)
            return parts[name](problem, policy, beliefs, keys, way, own=own)

        return jax.grad(part, has_aux=True)(params)

    if estimator != "mixture":
        gradient, futures = slope(estimator, params, keys, False)
        path = jnp.asarray(float(estimator == "reparametrised"), futures.rewards.dtype)
        return Estimate(gradient, still(futures), path)
    count = keys.shape[0]
    if count < FEWEST:
        raise ValueError(
            f"The estimator mixture needs at least {FEWEST} futures, got {count}."
        )
    # With parameters of its own, each future has a gradient of its own.
    copies = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), params
    )
    # Of other draws, so that what one errs by tells nothing of the other.
    apart = jax.vmap(lambda key: jax.random.fold_in(key, count))(keys)
    found = {
        name: slope(name, copies, drawn, True)
        for name, drawn in (("reparametrised", keys), ("score", apart))
    }
    futures = found["reparametrised"][1]
    # Each is the derivative of a mean, and so a share of it.
    alone = {name: scaled(each, float(count)) for name, (each, _) in found.items()}
    half = count // 2
    halves = slice(0, half), slice(half, count)
    # Each half is weighted by what the other one tells: no weight knows what it weighs.
    shares = [_share(alone, other) for other in halves[::-1]]

    def mix(path: Array, score: Array) -> Array:
        sums = [
            _weighted(share, jnp.sum(path[part], 0), jnp.sum(score[part], 0))
            for share, part in zip(shares, halves, strict=True)
        ]
        return (sums[0] + sums[1]) / count

    gradient = jax.tree.map(mix, alone["reparametrised"], alone["score"])
    return Estimate(gradient, still(futures), (shares[0] + shares[1]) / 2)


def _share(gradients: dict[str, PyTree], part: slice) -> Scalar:
    """The weight of the reparametrised kind, by what some futures of both tell."""
    path, score = (
        jnp.sum(
            jnp.stack(
                [
                    jnp.sum(jnp.var(leaf[part], axis=0, ddof=1))
                    for leaf in jax.tree.leaves(gradients[name])
                ]
            )
        )
        for name in ("reparametrised", "score")
    )
    total = path + score
    share = jnp.where(total > 0, score / total, jnp.ones_like(total))
    # Where one of the two is no number the other stands alone.
    share = jnp.where(jnp.isfinite(path), share, jnp.zeros_like(share))
    return jnp.where(jnp.isfinite(score), share, jnp.ones_like(share))


def _weighted(share: Scalar, path: Array, score: Array) -> Array:
    """Their weighted sum, in which what has no weight may be no number."""
    mixed = share * path + (1 - share) * score
    return jnp.where(share == 1, path, jnp.where(share == 0, score, mixed))


def _pathwise(
    problem: Problem,
    policy: PyTree,
    beliefs: PyTree,
    keys: Key[Array, " batch"],
    way: Way,
    *,
    own: bool = False,
) -> tuple[Scalar, Rollout]:
    """The mean return, through which derivatives go."""
    futures = _imagined(problem, policy, beliefs, keys, way, own)
    return jnp.mean(jax.vmap(lambda future: future.value)(futures)), futures


def _ratios(
    problem: Problem,
    policy: PyTree,
    beliefs: PyTree,
    keys: Key[Array, " batch"],
    way: Way,
    *,
    own: bool = False,
) -> tuple[Scalar, Rollout]:
    """A number whose derivative is that of the mean return by likelihood ratios."""
    # Cut at every step, each log-probability is that of an action in a given state.
    way = way._replace(truncate=1)
    futures = _imagined(problem, policy, beliefs, keys, way, own)
    rewards, final = still((futures.rewards, futures.final))
    onward = jnp.cumsum(rewards[:, ::-1], axis=1)[:, ::-1] + final[:, None]
    advantage = onward - others(onward)
    return jnp.mean(jnp.sum(futures.kept * advantage, axis=1)), futures


def others(earned: Float[Array, "batch time"]) -> Float[Array, "batch time"]:
    """What the others of a batch earn on average; nought where there are none."""
    count = earned.shape[0]
    total = jnp.sum(earned, axis=0, keepdims=True)
    return (total - earned) / max(1, count - 1)


def _imagined(
    problem: Problem,
    policy: PyTree,
    beliefs: PyTree,
    keys: Key[Array, " batch"],
    way: Way,
    own: bool,
) -> Rollout:
    """Futures of a batch, under one policy or with one of its own for each."""
    axes = jax.tree.map(
        lambda leaf: 0 if own and eqx.is_inexact_array(leaf) else None, policy
    )

    def one(policy: AbstractPolicy, belief: PyTree, key: Array) -> Rollout:
        acting = policy if way.std is None else Shaken(policy, way.std)
        drawn = Sampled("exploit" if way.std is None else "explore")
        return imagine(
            problem,
            acting,
            belief,
            way.horizon,
            follow=drawn if way.follow is None else way.follow,
            truncate=way.truncate,
            key=key,
        )

    return eqx.filter_vmap(one, in_axes=(axes, 0, 0))(policy, beliefs, keys)


def still(tree: PyTree) -> PyTree:
    """The same, through which no derivatives go."""
    return jax.tree.map(jax.lax.stop_gradient, tree)


def scaled(tree: PyTree, factor: float | Scalar) -> PyTree:
    """All of its numbers times a factor."""
    return jax.tree.map(lambda leaf: factor * leaf, tree)


def norm(tree: PyTree) -> Scalar:
    """The length of all numbers together."""
    flat = ravel(tree)[0]
    return jnp.sqrt(jnp.sum(flat**2))
