r"""A controller near an old one, and under BADMM pulled to a policy.

The cost that a controller is improved on may have two more terms: multipliers that push
its mean actions to those of the policy, and a weight on how far it diverges from it.

**Notation.** $p$ the controller, $\bar\pi$ the linearised policy, $\lambda_t$ the
multipliers, $\nu$ the weight, $\eta$ the price of the bound, $H$ an entropy.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from forethought.core.linalg import matmul, matvec, solve_positive, symmetrise
from forethought.core.results import Result
from forethought.core.types import Stamped
from forethought.models.linear.local import Local
from forethought.planners.smooth.expansion import Expansion
from forethought.planners.smooth.ilqg import ILQG, ILQGState
from forethought.planners.smooth.kl_bound import Improvement
from forethought.planners.smooth.recursions import Trajectory
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
    planner = ILQG(state.policy.k.shape[0], 1, bound=bound, sweeps=sweeps)
    start = Stamped(problem.model.start, jnp.asarray(0))
    if pull is None:
        return planner.improved(problem, start, state, key=key)[0]

    def change(expansion: Expansion, came: Trajectory) -> Expansion:
        return pulled(expansion, came, *pull)

    found, _ = planner.improved(problem, start, state, change=change, key=key)
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
