r"""TRPO's step: along the natural gradient, as far as a divergence allows.

$$\max_\theta\ L(\theta) = \overline{\rho \hat A} \quad \text{where} \quad
  \bar D(\theta) = \overline{D(\pi_{\text{old}} \,\|\, \pi_\theta)} \le \delta$$

To second order that is $\theta + \sqrt{2 \delta / x^\top F x}\, x$ with $F x = g$, the
slope of $L$ and the curvature $F$ of $\bar D$. Products with $F$ are all that conjugate
gradients need. A
line search then takes the longest step that keeps the bound and gains.

**Notation.** $\rho$ ratio of probabilities, $\hat A$ advantage, $\delta$ radius.
"""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, Int, Scalar

from forethought.agents.on_policy.actor_critic import Batch, mean
from forethought.core.readout import Readout
from forethought.policies.base import AbstractStochastic

P = TypeVar("P", bound=AbstractStochastic)
DAMPING, PRODUCTS, HALVINGS = 0.1, 10, 10
"""What is added to the diagonal of $F$; products with it; steps that are tried."""


def natural_step(
    policy: P,
    rows: Batch,
    advantage: Float[Array, " row"],
    weight: Float[Array, " row"],
    radius: ArrayLike,
    *,
    damping: float = DAMPING,
    products: int = PRODUCTS,
) -> tuple[P, Int[Array, ""]]:
    r"""The policy after one step, and how often that was halved.

    Where no step gains within the radius, or none is finite, the policy stays, and the
    number is `HALVINGS`.

    Args:
        policy: Who drew the rows.
        rows: What it drew, where.
        advantage: Of each.
        weight: What each counts.
        radius: $\delta$, in nats.
        damping: Added to the diagonal of $F$.
        products: How many of conjugate gradients.

    References:
        Schulman et al., Trust region policy optimization, 2015, arXiv:1502.05477,
        section 6 and appendix C.
    """
    moving, fixed = eqx.partition(policy, eqx.is_inexact_array)
    start, unravel = ravel_pytree(moving)

    def spread(theta: Array):
        made = eqx.combine(unravel(theta), fixed)
        return jax.vmap(lambda obs: made.distribution(Readout(obs)))(rows.obs)

    old = spread(start)
    drawn = jax.vmap(lambda dist, draw: dist.log_prob(draw))

    def gain(theta: Array) -> Scalar:
        log_ratio = drawn(spread(theta), rows.draw) - rows.log_prob
        return mean(jnp.exp(log_ratio) * advantage, weight)

    def far(theta: Array) -> Scalar:
        return mean(jax.vmap(lambda a, b: a.divergence(b))(old, spread(theta)), weight)

    def curved(x: Array) -> Array:
        return jax.jvp(jax.grad(far), (start,), (x,))[1] + damping * x

    first, slope = jax.value_and_grad(gain)(start)
    direction = jax.scipy.sparse.linalg.cg(curved, slope, maxiter=products)[0]
    length = jnp.maximum(direction @ curved(direction), jnp.finfo(slope.dtype).tiny)
    longest = jnp.sqrt(2 * radius / length) * direction

    def fits(halved: Array) -> Array:
        theta = start + longest * 0.5**halved
        return (gain(theta) > first) & (far(theta) <= radius)

    halved = jax.lax.while_loop(
        lambda halved: (halved < HALVINGS) & ~fits(halved.astype(slope.dtype)),
        lambda halved: halved + 1,
        jnp.zeros((), jnp.int32),
    )
    there = start + longest * 0.5 ** halved.astype(slope.dtype)
    theta = jnp.where(halved < HALVINGS, there, start)
    return eqx.combine(unravel(theta), fixed), halved
