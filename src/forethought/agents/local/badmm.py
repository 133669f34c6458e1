r"""A controller near an old one, and under BADMM pulled to a policy.

The cost that a controller is improved on may have two more terms: multipliers that push
its mean actions to those of the policy, and a weight on how far it diverges from it.

**Notation.** $p$ the controller, $\bar\pi$ the linearised policy, $\lambda_t$ the
multipliers, $\nu$ the weight, $\eta$ the price of the bound, $H$ an entropy.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from forethought.core.linalg import matmul, matvec, solve_positive, symmetrise
from forethought.core.results import Result
from forethought.core.spaces import require_box
from forethought.core.types import Stamped
from forethought.models.linear.local import Local
from forethought.planners.smooth.expansion import Expansion, expand
from forethought.planners.smooth.ilqg import ILQGState
from forethought.planners.smooth.kl_bound import Improvement, improve
from forethought.planners.smooth.recursions import Trajectory, follow
from forethought.policies.affine import TimeVarying
from forethought.problem import Problem

Pull = tuple[TimeVarying, Array, Scalar]
"""The linearised policy, multipliers `[time, action]`, and the weight."""


def bounded(
    problem: Problem,
    state: ILQGState,
    bound: float,
    pull: Pull | None = None,
    *,
    sweeps: int = 50,
    key: PRNGKeyArray,
) -> Improvement:
    r"""The best controller near an old one; under BADMM, pulled to the policy.

    $$\min_p \mathbb E_p\Big[\sum_t c_t - \lambda_t^\top u_t
      - \nu \log \bar\pi_t(u_t | x_t)\Big] - \nu H(p)$$

    Its entropy is left out of the search for the price, and counts in the covariance:
    that of a price $\eta$ is multiplied by $(\eta + \nu) / \eta$.
    """
    assert isinstance(problem.model, Local)
    linear = problem.model.linear
    inner = dataclasses.replace(problem, model=linear.dynamics)
    steps = state.policy.k.shape[0]
    keys = jax.random.split(key, steps)
    start = Stamped(problem.model.start.mean, jnp.asarray(0))
    box = require_box(problem.action, "Guided policy search")
    came = follow(inner, box, start, state.policy, keys)
    expansion = expand(inner, came.beliefs, came.actions, keys=keys)
    if pull is not None:
        expansion = pulled(expansion, came, *pull)
    found = improve(
        expansion,
        came.discounts,
        came.states[:-1],
        came.actions,
        state.policy,
        bound * steps * state.scale,
        noise=linear.W,
        start=problem.model.start.cov,
        price=state.price,
        sweeps=sweeps,
    )
    if pull is None:
        return found
    wider = (found.price + pull[2]) / jnp.maximum(found.price, 1e-8)
    good = found.result == Result.successful
    cov = found.policy.cov * jnp.where(good, wider, jnp.ones_like(wider))
    return eqx.tree_at(lambda found: found.policy.cov, found, cov)


def pulled(
    expansion: Expansion,
    came: Trajectory,
    line: TimeVarying,
    multipliers: Float[Array, "time action"],
    weight: Scalar,
) -> Expansion:
    r"""A cost with $-\lambda^\top u - \nu \log \bar\pi(u | x)$ added."""

    def step(C, c, K, k, x_bar, cov, x, u, push):
        m = u.shape[0]
        row = jnp.concatenate([-K, jnp.eye(m, dtype=u.dtype)], axis=1)
        gap = u - k - matvec(K, x - x_bar)
        both = jnp.concatenate([row, gap[:, None]], axis=1)
        white, _ = solve_positive(cov, both)
        C = C + weight * symmetrise(matmul(row.T, white[:, :-1]))
        still = jnp.zeros_like(x)
        slope = weight * matvec(row.T, white[:, -1])
        return C, c + slope - jnp.concatenate([still, push])

    C, c = jax.vmap(step)(
        *(expansion.C, expansion.c, line.K, line.k, line.x, line.cov),
        *(came.states[:-1], came.actions, multipliers),
    )
    return Expansion(expansion.F, C, c, expansion.V, expansion.v)
