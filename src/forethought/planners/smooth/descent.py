"""Where the iterations of iLQR stand, and the plan that they amount to."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Scalar

from forethought.core.linalg import matmul, matvec
from forethought.core.optimise import Record
from forethought.core.results import Result, Stats
from forethought.core.spaces import Box
from forethought.planners.smooth.expansion import Expansion, bend, expand
from forethought.planners.smooth.line_search import open_gaps
from forethought.planners.smooth.recursions import (
    Sweep,
    Trajectory,
    backward,
    blank,
    forward,
)
from forethought.policies.affine import TimeVarying, maximum_entropy
from forethought.problem import Feedback, Plan, Problem

STATS: tuple[str, ...] = ("cost", "step_size", "regularisation", "gradient")
"""What is noted of every iteration."""


class Descent(eqx.Module):
    """A trajectory, the expansion and the sweep that were made of it, and the record.

    Where it `converged`, `expansion` and `sweep` are those of `nominal`.
    """

    nominal: Trajectory
    expansion: Expansion
    sweep: Sweep
    regularisation: Scalar
    growth: Scalar
    moved: Bool[Array, ""]
    """Whether the nominal trajectory is newer than its expansion."""
    near: Bool[Array, ""]
    """Whether a step gained little: second derivatives count from then on."""
    stalled: Int[Array, ""]
    converged: Bool[Array, ""]
    finished: Bool[Array, ""]
    record: Record
    """A row of `STATS` for every iteration."""

    def possible(
        self, problem: Problem, box: Box, keys: Key[Array, " horizon"]
    ) -> "Descent":
        """With gaps that are left, if any, closed by the feedback of the last sweep."""
        nominal = self.nominal
        if nominal.gaps is None:
            return self
        none = jnp.zeros_like(nominal.cost)
        closed = jax.lax.cond(
            open_gaps(nominal) > 0,
            lambda: forward(
                problem, box, keys, nominal, self.sweep, none, closing=none + 1
            ),
            lambda: nominal,
        )
        return eqx.tree_at(lambda descent: descent.nominal, self, closed)

    def action_hessian(
        self, problem: Problem, keys: Key[Array, " horizon"], *, second_order: bool
    ) -> Float[Array, "horizon action action"]:
        r"""$Q_{uu}$ of every step, not regularised.

        It is made anew from expansion and sweep: the loop of iterations is faster for
        not carrying it.
        """
        nominal, expansion, sweep = self.nominal, self.expansion, self.sweep
        n = expansion.F.shape[1]
        V = jnp.concatenate([sweep.V[1:], expansion.V[None]])

        def step(F, C, discount, V):
            B = F[:, n:]
            return C[n:, n:] + discount * matmul(B.T, matmul(V, B))

        Q_uu = jax.vmap(step)(expansion.F, expansion.C, nominal.discounts, V)
        if not second_order:
            return Q_uu
        v = jnp.concatenate([sweep.v[1:], expansion.v[None]])
        if nominal.gaps is not None:
            v = v + jax.vmap(matvec)(V, nominal.gaps)
        before = jax.tree.map(lambda leaf: leaf[:-1], nominal.beliefs)

        def bent():
            curve = jax.vmap(functools.partial(bend, problem))
            bends = curve(before, nominal.actions, keys, v)[:, n:, n:]
            return Q_uu + nominal.discounts[:, None, None] * bends

        return jax.lax.cond(self.near, bent, lambda: Q_uu)

    def plan(
        self,
        first: Float[Array, "horizon action"],
        Q_uu: Float[Array, "horizon action action"],
    ) -> Plan:
        """The best trajectory as a plan.

        Args:
            first: The actions that it began with.
            Q_uu: What an action costs, now and later.
        """
        nominal, sweep, count = self.nominal, self.sweep, self.record.count
        # An expansion with a NaN has no positive sweep, nor has one whose cost to go
        # overflowed, so either ends the search; they are looked for only there, because
        # looking takes as long as a roll-out.
        finite = jnp.isfinite(nominal.cost)
        smooth = jax.lax.cond(
            sweep.positive,
            lambda: jnp.asarray(True),
            lambda: self.expansion.finite & jnp.all(jnp.isfinite(sweep.V)),
        )
        # A sweep that failed, or none at all, leaves no controller.
        K, V, v, cov = (
            jnp.where(sweep.positive, array, jnp.zeros_like(array))
            for array in (sweep.K, sweep.V, sweep.v, maximum_entropy(Q_uu))
        )
        actions = jnp.where(jnp.isfinite(first), first, jnp.zeros_like(first))
        actions = jnp.where(finite, nominal.actions, actions)
        policy = TimeVarying(K, actions, nominal.states[:-1], cov)
        feedback = Feedback(policy, nominal.values, -v, -V)
        columns = self.record.columns(*STATS)
        cost = jnp.where(count > 0, columns.pop("cost"), nominal.cost)
        stats = Stats(best=-cost, iterations=count, numbers={**columns})
        result = Result.where(
            self.converged,
            Result.successful,
            Result.where(
                ~(finite & smooth),
                Result.non_finite,
                Result.where(
                    sweep.positive & self.record.full,
                    Result.iteration_limit,
                    Result.not_converged,
                ),
            ),
        )
        return Plan(actions, nominal.beliefs, -nominal.cost, feedback, result, stats)


def look_back(
    problem: Problem,
    box: Box,
    keys: Key[Array, " horizon"],
    descent: Descent,
    *,
    second_order: bool,
) -> tuple[Expansion, Sweep]:
    """Expand along the nominal trajectory where it is new, and sweep backwards.

    Far from an optimum second derivatives point anywhere; so they count, where they
    do, once a step gained little.
    """
    nominal = descent.nominal

    def sweep_back(second_order: bool):
        expansion = jax.lax.cond(
            descent.moved,
            lambda: expand(
                problem,
                nominal.beliefs,
                nominal.actions,
                keys=keys,
                landings=nominal.landings,
                second_order=second_order,
            ),
            lambda: descent.expansion,
        )
        curve = functools.partial(bend, problem) if second_order else None
        strength = descent.regularisation
        return expansion, backward(expansion, nominal, box, strength, keys, curve)

    if not second_order:
        return sweep_back(False)
    return jax.lax.cond(
        descent.near, lambda: sweep_back(True), lambda: sweep_back(False)
    )


def largest_change(sweep: Sweep, nominal: Trajectory) -> Scalar:
    """The largest change of an action that a sweep wants, relative to the action."""
    return jnp.max(jnp.abs(sweep.k) / (1 + jnp.abs(nominal.actions)))


def begin(start: Trajectory, regularisation: Array, iterations: int) -> Descent:
    """Before the first iteration: the warm start, yet to be expanded."""
    expansion, sweep = blank(start)
    regularisation = regularisation.astype(start.cost.dtype)
    no, none = jnp.asarray(False), jnp.zeros((), jnp.int32)
    return Descent(
        nominal=start,
        expansion=expansion,
        sweep=sweep,
        regularisation=regularisation,
        growth=jnp.ones_like(regularisation),
        moved=~no,
        near=no,
        stalled=none,
        converged=no,
        finished=~jnp.isfinite(start.cost),
        record=Record.blank(iterations, (len(STATS),), start.cost.dtype),
    )
