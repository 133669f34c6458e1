r"""Constraints on states and actions, by the method of multipliers.

Each round maximises the augmented Lagrangian, in which broken constraints cost what
their multipliers and a penalty say, with any planner that follows smooth objectives;
then the multipliers move to where the constraints pushed, and the penalty grows where
that did not help enough. Where multipliers are right no penalty need be large, so the
rounds end at the constrained optimum and not merely near it.

**Notation.** $g \le 0$ and $h = 0$ are the constraints, $\lambda \ge 0$ and $\nu$ their
multipliers, $\rho$ the penalty.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree, Scalar

from forethought.core.given.settings import Count, Factor, Positive, Range
from forethought.core.optimise import Record, iterate
from forethought.core.results import Result, Stats
from forethought.core.spaces import Box
from forethought.core.types import Stamped, blank, ravel
from forethought.models.around.clocked import Clocked, ClockedCloud
from forethought.objectives.constrained import Priced, Residuals, raised
from forethought.planners.around.optimality import along, require_constrained, residual
from forethought.planners.base import AbstractPlanner, shift_actions
from forethought.problem import Plan, Problem, rollout

LARGEST_PENALTY = 1e10
"""Beyond it rounding would drown the objective."""


class ConstrainedState(eqx.Module):
    """What is carried from one plan to the next."""

    inner: PyTree
    """Of the planner that solves each round."""
    running: Residuals
    """Multipliers of each step: arrays of shape `[horizon, constraint]`."""
    final: Residuals
    """Multipliers of the last state."""


class _Rounds(eqx.Module):
    """Where the rounds stand."""

    state: ConstrainedState
    plan: Plan
    penalty: Scalar
    miss: Scalar
    """How far the last round was from meeting the conditions of an optimum."""
    converged: Bool[Array, ""]
    finished: Bool[Array, ""]


class AugmentedLagrangian(AbstractPlanner[ConstrainedState]):
    r"""Holds the constraints of a `Constrained` objective with another planner.

    $$\lambda \leftarrow \max(\lambda + \rho g, 0), \qquad \nu \leftarrow \nu + \rho h$$

    ```python
    >>> import equinox as eqx, jax, jax.numpy as jnp
    >>> from forethought import tasks
    >>> from forethought.objectives.constrained import Constrained
    >>> from forethought.planners import ILQR, AugmentedLagrangian
    >>> from forethought.problem import Problem
    >>> easy = tasks.load("double-integrator").problem
    >>> slow = Constrained(easy.objective, lambda x, u: -x[1:] - 0.2)
    >>> problem = Problem(easy.model, slow, easy.action)
    >>> planner, x, key = AugmentedLagrangian(ILQR(20)), jnp.ones(2), jax.random.key(0)
    >>> state = planner.init(problem, x, key=key)
    >>> plan, _ = eqx.filter_jit(planner.plan)(problem, x, state, key=key)
    >>> round(float(plan.beliefs[:-1, 1].min()), 3)
    -0.2

    ```

    Args:
        inner: Solves each round. Its own tolerances bound how well the plan can meet
            the conditions of an optimum.
        rounds: At most so many.
        tolerance: Converged where no constraint is broken by more than this, nor
            pushed against while it has more room than this.
        penalty: $\rho$ of the first round.
        factor: How much $\rho$ grows after a round that missed by more than `share`
            of the round before.
        share: See there.

    Raises:
        ValueError: A number lies outside its range.

    References:
        Nocedal and Wright, Numerical Optimization, 2nd ed., 2006, §17.3 and algorithm
        17.4; Howell, Jackson and Manchester, ALTRO: a fast solver for constrained
        trajectory optimization, 2019, doi:10.1109/IROS40897.2019.8967788, §III-A.

    Note:
        One penalty serves all constraints, so they should be of like scale. A
        stochastic model is planned on under one draw of its noise. Values and gains in
        `plan.feedback` are those of the augmented Lagrangian.
    """

    inner: AbstractPlanner
    rounds: Count = eqx.field(static=True, default=20)
    tolerance: Positive = eqx.field(static=True, default=1e-6)
    penalty: Positive = eqx.field(static=True, default=10.0)
    factor: Factor = eqx.field(static=True, default=10.0)
    share: Annotated[float, Range(above=0, below=1)] = eqx.field(
        static=True, default=0.25
    )
    horizon: int = eqx.field(static=True, init=False)

    def __post_init__(self):
        self.horizon = self.inner.horizon

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> ConstrainedState:
        """What the planner inside begins with, and multipliers of zero.

        Raises:
            TypeError: The problem has no constraints, or the planner inside cannot work
                on it or begin with actions.
            ValueError: The actions have another shape.
        """
        constrained = require_constrained(problem, "AugmentedLagrangian")
        dtype = ravel(belief)[0].dtype

        def shapes(belief):
            x = problem.model.readout(belief).x
            action = jnp.zeros(problem.action.shape, dtype)
            return constrained.running(x, action), constrained.final(x)

        running, final = eqx.filter_eval_shape(shapes, belief)
        running = jax.tree.map(
            lambda leaf: jnp.zeros((self.horizon, *leaf.shape), leaf.dtype), running
        )
        final = blank(final)
        priced = _priced(problem, running, final, jnp.asarray(self.penalty, dtype))
        start = Stamped(belief, jnp.asarray(0))
        inner = self.inner.init(priced, start, actions, key=key)
        return ConstrainedState(inner, running, final)

    def shift(self, problem: Problem, state: ConstrainedState) -> ConstrainedState:
        """One step later, multipliers included."""
        running = jax.tree.map(shift_actions, state.running)
        inner = self.inner.shift(problem, state.inner)
        return ConstrainedState(inner, running, state.final)

    def plan(
        self,
        problem: Problem,
        belief: PyTree,
        state: ConstrainedState,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Plan, ConstrainedState]:
        """Rounds from the actions and multipliers that `state` remembers.

        An iteration of the plan's `stats` is a round. `violation` and the number
        `penalty` are those of every round; `kkt`, where actions are continuous, is the
        largest entry by which the plan misses a condition (see `optimality`). There is
        no `best`: what a round earns is not in the problem's currency, so that the last
        one's is `inside`; what it drew is told as it is.

        Raises:
            TypeError: The problem has no constraints.
        """
        require_constrained(problem, "AugmentedLagrangian")
        dtype = ravel(belief)[0].dtype
        penalty = jnp.asarray(self.penalty, dtype)
        shapes = eqx.filter_eval_shape(
            self._solve, problem, belief, state, penalty, key=key
        )
        no = jnp.asarray(False)
        rounds = _Rounds(
            state=state,
            plan=blank(shapes[0]),
            penalty=penalty,
            miss=jnp.full((), jnp.inf, dtype),
            converged=no,
            finished=no,
        )
        rounds, record = iterate(
            lambda rounds, _: self._round(problem, belief, rounds, key=key),
            rounds,
            Record.blank(self.rounds, (2,), dtype),
            unfinished=lambda rounds: ~rounds.finished,
        )
        plan = self._finish(rounds, record)
        if isinstance(problem.action, Box):
            multipliers = rounds.state.running, rounds.state.final
            kkt = residual(problem, belief, plan.actions, *multipliers, key=key)
            stats = dataclasses.replace(plan.stats, kkt=kkt)
            plan = eqx.tree_at(lambda plan: plan.stats, plan, stats)
        return plan, rounds.state

    def _solve(
        self,
        problem: Problem,
        belief: PyTree,
        state: ConstrainedState,
        penalty: Scalar,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Plan, PyTree]:
        """One round: the plan as the problem itself judges it, and what to carry on."""
        priced = _priced(problem, state.running, state.final, penalty)
        start = Stamped(belief, jnp.asarray(0))
        plan, inner = self.inner.plan(priced, start, state.inner, key=key)
        imagined = rollout(problem, belief, plan.actions, key=key)
        judged = imagined.beliefs, imagined.value
        plan = eqx.tree_at(lambda plan: (plan.beliefs, plan.value), plan, judged)
        return plan, inner

    def _round(
        self, problem: Problem, belief: PyTree, rounds: _Rounds, *, key: PRNGKeyArray
    ) -> tuple[_Rounds, Array]:
        """Solve, look how far constraints are met, move multipliers and penalty."""
        state, penalty = rounds.state, rounds.penalty
        plan, inner = self._solve(problem, belief, state, penalty, key=key)
        met = along(problem, plan.beliefs, plan.actions)
        running = raised(state.running, met.running, penalty)
        final = raised(state.final, met.final, penalty)
        violation, miss = met.violation, met.miss(running, final)
        lost = ~(jnp.isfinite(miss) & jnp.isfinite(plan.value))
        solved = plan.result == Result.successful
        converged = (miss <= self.tolerance) & solved & ~lost
        grown = jnp.where(miss > self.share * rounds.miss, self.factor, 1) * penalty
        after = _Rounds(
            state=ConstrainedState(inner, running, final),
            plan=plan,
            penalty=jnp.minimum(grown, LARGEST_PENALTY),
            miss=miss,
            converged=converged,
            finished=converged | lost,
        )
        return after, jnp.stack([violation, penalty])

    def _finish(self, rounds: _Rounds, record: Record) -> Plan:
        """The last round's plan, with how it ended and its multipliers."""
        plan, columns = rounds.plan, record.columns("violation", "penalty")
        violation = columns.pop("violation")
        multipliers = {
            "inequality_multipliers": rounds.state.running.inequality,
            "equality_multipliers": rounds.state.running.equality,
            "final_inequality_multipliers": rounds.state.final.inequality,
            "final_equality_multipliers": rounds.state.final.equality,
        }
        result = Result.where(
            rounds.converged,
            Result.successful,
            Result.where(
                ~jnp.isfinite(plan.value) | ~jnp.isfinite(rounds.miss),
                Result.non_finite,
                Result.where(
                    violation[-1] > self.tolerance,
                    Result.infeasible,
                    Result.where(
                        plan.result == Result.successful,
                        Result.iteration_limit,
                        plan.result,
                    ),
                ),
            ),
        )
        told = plan.stats
        stats = dataclasses.replace(
            told,
            best=None,
            mean=None,
            iterations=record.count,
            violation=violation,
            multipliers={key: each for key, each in multipliers.items() if each.size},
            numbers=columns,
            inside=Stats(told.best, told.mean, told.iterations, numbers=told.numbers),
        )
        return eqx.tree_at(
            lambda plan: (plan.result, plan.stats), plan, (result, stats)
        )


def _priced(
    problem: Problem, running: Residuals, final: Residuals, penalty: Scalar
) -> Problem:
    """The unconstrained problem of one round; its beliefs are `Stamped`."""
    objective = Priced(
        require_constrained(problem, "AugmentedLagrangian"), running, final, penalty
    )
    return dataclasses.replace(
        problem,
        model=Clocked(problem.model),
        objective=objective,
        cloud=ClockedCloud(problem.cloud),
        legal=None if problem.legal is None else _Legal(problem.legal),
    )


class _Legal(eqx.Module):
    """What a belief allows, asked of one that also knows the time."""

    legal: Callable[[PyTree], Bool[Array, " choice"]]

    def __call__(self, belief: Stamped) -> Bool[Array, " choice"]:
        return self.legal(belief.value)
