r"""Gradients through time, measured: how they grow or vanish with the horizon.

What back-propagation multiplies on its way is the Jacobian of each step with the policy
in the loop, $A_t = \mathrm d x_{t+1} / \mathrm d x_t$:

$$\frac{\mathrm d x_T}{\mathrm d x_0} = A_{T-1} \cdots A_1 A_0, \qquad
  \frac{\mathrm d J_T}{\mathrm d\theta} = \sum_{t < T} \frac{\mathrm d r_t}{\mathrm d\theta}$$

Where singular values of the steps lie below one the product vanishes, where they lie
above it explodes; of a chaotic system its logarithm grows by the largest Lyapunov
exponent in each step.

**Notation.** $x$ coordinates of the belief, $r$ discounted reward, $\theta$ parameters,
$J_T$ return of $T$ steps without what lies beyond.
"""  # noqa: E501  (an equation)

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.readout import Readout
from forethought.core.types import ravel
from forethought.policies.base import AbstractPolicy
from forethought.policies.follow import AbstractFollow, Sampled
from forethought.problem import Problem, imagine


class Growth(eqx.Module):
    """What was measured along one imagined future; entry $t$ is of $t + 1$ steps."""

    policy: Float[Array, " horizon"]
    """Length of the gradient of the return in the policy's parameters."""
    state: Float[Array, " horizon"]
    """Largest singular value of the derivative of the last state in the first."""
    singular: Float[Array, "horizon state"]
    """Singular values of the Jacobian of each step, falling."""
    radius: Float[Array, " horizon"]
    """Its spectral radius."""


def growth(
    problem: Problem,
    policy: AbstractPolicy,
    belief: PyTree,
    horizon: int,
    *,
    follow: AbstractFollow = Sampled("exploit"),  # noqa: B008  (a frozen setting)
    key: PRNGKeyArray,
) -> Growth:
    """Measure derivatives along what a policy does in imagination.

    A sequence of actions is measured as the policy that plays it: `TimeVarying` with
    gains of zero.

    Args:
        problem: Model and objective.
        policy: Who acts; its real numbers are the parameters.
        belief: Where to start.
        horizon: How many steps.
        follow: How policy and model step together.
        key: Consumed; all derivatives are of one future.

    References:
        Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural
        networks, 2013, arXiv:1211.5063, §2.1.
    """
    params, rest = eqx.partition(policy, eqx.is_inexact_array)

    def rewards(params: PyTree) -> tuple[Array, PyTree]:
        acting = eqx.combine(params, rest)
        future = imagine(problem, acting, belief, horizon, follow=follow, key=key)
        return future.rewards, future.beliefs

    slopes, beliefs = jax.jacrev(rewards, has_aux=True)(params)
    flat = [leaf.reshape(horizon, -1) for leaf in jax.tree.leaves(slopes)]
    total = jnp.cumsum(jnp.concatenate(flat, axis=1), axis=0)

    # As `imagine` draws them.
    keys = jax.random.split(key, horizon)
    policy_keys = jax.random.split(jax.random.fold_in(key, horizon), horizon)

    def jacobian(belief: PyTree, time: Array, key: Array, policy_key: Array) -> Array:
        x, unravel = ravel(belief)

        def onward(x: Array) -> Array:
            here = unravel(x)
            seen = Readout.of(problem.model.readout(here), time)
            action, _ = follow.act(policy, seen, problem.action, key=policy_key)
            return ravel(problem.model.predict(here, action, key=key))[0]

        return jax.jacfwd(onward)(x)

    before = jax.tree.map(lambda leaf: leaf[:-1], beliefs)
    times = jnp.arange(horizon)
    steps = jax.vmap(jacobian)(before, times, keys, policy_keys)

    def multiply(product: Array, step: Array) -> tuple[Array, Array]:
        product = step @ product
        return product, jnp.linalg.svd(product, compute_uv=False)[0]

    one = jnp.eye(steps.shape[1], dtype=steps.dtype)
    _, state = jax.lax.scan(multiply, one, steps)
    return Growth(
        policy=jnp.sqrt(jnp.sum(total**2, axis=1)),
        state=state,
        singular=jnp.linalg.svd(steps, compute_uv=False),
        radius=jnp.max(jnp.abs(jnp.linalg.eigvals(steps)), axis=1),
    )
