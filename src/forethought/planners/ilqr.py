r"""The iterative linear-quadratic regulator, regularised, with limits on the action.

Each iteration expands the problem around the best trajectory so far, solves the
linear-quadratic problem that results by a backward recursion, and rolls its controller
forward through the real model; a line search keeps what was gained.

**Notation.** $\hat x, \hat u$ is the nominal trajectory; $F, C, c$ its expansion
(`expansion`); $\gamma_t$ the discount of step $t$; $\lambda$ the regularisation;
$\alpha$ a step size; the remaining letters are those of `lqr`.

**Settings of one method.** $\lambda = 0$ and one step size of one is plain iLQR (Li and
Todorov, 2004); $\lambda$ on the action Hessian with a schedule is Levenberg–Marquardt
(Tassa, Erez and Todorov, 2012); limits make it control-limited DDP without second-order
terms of the dynamics (Tassa, Mansard and Todorov, 2014).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Scalar

from forethought.core.results import Result
from forethought.core.spaces import Box, require_box
from forethought.core.types import ravel
from forethought.planners.base import (
    AbstractPlanner,
    first_actions,
    require_positive,
    shift_actions,
)
from forethought.planners.expansion import Expansion, expand
from forethought.planners.recursions import (
    Sweep,
    Trajectory,
    backward,
    blank,
    forward,
    imagine,
)
from forethought.problem import Feedback, Plan, Problem

SMALL_REGULARISATION = 1e-5
"""Below it a vanishing step means a vanishing gradient (the value of iLQG) …"""
SMALL_SHARE = 1e-2
"""… and so it does below this share of the cost's own weight on the action."""
GOOD, POOR = 0.25, 0.05
"""Shares of a full step's promise above and below which regularisation changes."""
STATS: tuple[str, ...] = ("cost", "step_size", "regularisation", "gradient")
STALLED = 3
"""So many accepted steps in a row that gain nothing mean convergence as well."""


class ILQRState(eqx.Module):
    """What is carried from one plan to the next."""

    actions: Float[Array, "horizon action"]
    regularisation: Scalar


class _Search(eqx.Module):
    """Where the iterations stand."""

    nominal: Trajectory
    expansion: Expansion
    sweep: Sweep
    regularisation: Scalar
    growth: Scalar
    moved: Bool[Array, ""]
    """Whether the nominal trajectory is newer than its expansion."""
    iteration: Int[Array, ""]
    stalled: Int[Array, ""]
    converged: Bool[Array, ""]
    finished: Bool[Array, ""]
    stats: Float[Array, "iterations 4"]
    """One row of `STATS` an iteration."""


class ILQR(AbstractPlanner[ILQRState]):
    r"""Plans on any differentiable problem with continuous actions.

    $$u_t = \hat u_t + \alpha k_t + K_t (x_t - \hat x_t), \qquad
      [K_t, k_t] = -(Q_{uu} + \lambda I)^{-1} [Q_{ux}, q_u]$$

    where the action has no limits; where it has, $k_t$ minimises the same quadratic
    within them, and the gains of actions that lie at a limit are zero.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.spaces import Box
    >>> from forethought.models.linear import Linear
    >>> from forethought.objectives.quadratic import Quadratic
    >>> from forethought.planners.ilqr import ILQR
    >>> from forethought.problem import Problem
    >>> model = Linear([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])
    >>> limits = Box(jnp.array([-0.5]), jnp.array([0.5]))
    >>> problem = Problem(model, Quadratic(jnp.eye(3)), limits)
    >>> planner, x, key = ILQR(horizon=50), jnp.array([1.0, 0.0]), jax.random.key(0)
    >>> plan, _ = planner.plan(problem, x, planner.init(problem, x, key=key), key=key)
    >>> float(plan.actions[0, 0]), round(float(plan.value), 2)
    (-0.5, -9.13)

    ```

    Args:
        horizon: Steps that it looks ahead.
        iterations: At most so many backward sweeps that end in a line search.
        step_sizes: How many step sizes, from 1 down to `smallest_step` evenly in the
            logarithm. The first is tried alone, the others side by side.
        smallest_step: The last of them.
        tolerance: Converged where the cost falls by less than this share.
        gradient_tolerance: Converged where no action would change by more than this
            share of its size plus one.
        regularisation: $\lambda$ of the first plan; later ones start with the last.
        factor: How fast $\lambda$ grows and shrinks; it does so ever faster while the
            direction stays.
        smallest_regularisation: Below it $\lambda$ is zero.
        largest_regularisation: Above it the search gives up.

    Raises:
        ValueError: A count is below one, or a number lies outside its range.

    References:
        Li and Todorov, Iterative linear quadratic regulator design for nonlinear
        biological movement systems, 2004. Tassa, Erez and Todorov, Synthesis and
        stabilization of complex behaviors through online trajectory optimization, 2012,
        §II.F (schedule), eq. 11 (recursion under regularisation), eq. 12 and 13
        (expected decrease). Tassa, Mansard and Todorov, Control-limited differential
        dynamic programming, 2014, §III.

    Note:
        $\lambda$ acts on the action Hessian, not on the state's as in Tassa 2012, and
        range, factor and tolerances are those of the authors' program iLQG. Discounts
        are held at their values along the nominal trajectory. A stochastic model is
        planned on under one draw of its noise, the same for every roll-out.
        A warm start is improved from where it is; it is not compared with a cold one.
    """

    horizon: int = eqx.field(static=True)
    iterations: int = eqx.field(static=True, default=100)
    step_sizes: int = eqx.field(static=True, default=11)
    smallest_step: float = eqx.field(static=True, default=1e-3)
    tolerance: float = eqx.field(static=True, default=1e-7)
    gradient_tolerance: float = eqx.field(static=True, default=1e-4)
    regularisation: float = eqx.field(static=True, default=0.0)
    factor: float = eqx.field(static=True, default=1.6)
    smallest_regularisation: float = eqx.field(static=True, default=1e-6)
    largest_regularisation: float = eqx.field(static=True, default=1e10)

    def __check_init__(self):
        require_positive(
            "ILQR",
            horizon=self.horizon,
            iterations=self.iterations,
            step_sizes=self.step_sizes,
        )
        if not 0 < self.smallest_step <= 1:
            raise ValueError(
                f"ILQR needs smallest_step in (0, 1], got {self.smallest_step}."
            )
        if not self.factor > 1:
            raise ValueError(f"ILQR needs factor > 1, got {self.factor}.")
        if not 0 <= self.regularisation <= self.largest_regularisation:
            raise ValueError(
                "ILQR needs regularisation between 0 and largest_regularisation, got "
                f"{self.regularisation} and {self.largest_regularisation}."
            )

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> ILQRState:
        """What is given, else the middle of the limits (zero where there are none).

        Raises:
            TypeError: The actions are discrete.
            ValueError: The actions given have another shape.
        """
        box = require_box(problem.action, "ILQR")
        x = ravel(belief)[0]
        actions = first_actions("ILQR", box, self.horizon, actions, x.dtype)
        return ILQRState(actions, jnp.asarray(self.regularisation, x.dtype))

    def shift(self, problem: Problem, state: ILQRState) -> ILQRState:
        """Drop the first action and repeat the last."""
        return ILQRState(shift_actions(state.actions), state.regularisation)

    def plan(
        self, problem: Problem, belief: PyTree, state: ILQRState, *, key: PRNGKeyArray
    ) -> tuple[Plan, ILQRState]:
        """Iterate from the actions that `state` remembers.

        Raises:
            TypeError: The actions are discrete.
        """
        box = require_box(problem.action, "ILQR")
        keys = jax.random.split(key, self.horizon)
        dtype = ravel(belief)[0].dtype
        actions = (
            box.clip(state.actions.astype(dtype)) if box.bounded else state.actions
        )
        start = imagine(problem, belief, actions, keys)
        search = jax.lax.while_loop(
            lambda search: ~search.finished,
            lambda search: self._iterate(problem, box, keys, search),
            self._begin(start, state.regularisation),
        )
        return self._finish(search, actions)

    def _begin(self, start: Trajectory, regularisation: Array) -> _Search:
        """Before the first iteration: the warm start, yet to be expanded."""
        expansion, sweep = blank(start)
        regularisation = regularisation.astype(start.cost.dtype)
        no, none = jnp.asarray(False), jnp.zeros((), jnp.int32)
        return _Search(
            nominal=start,
            expansion=expansion,
            sweep=sweep,
            regularisation=regularisation,
            growth=jnp.ones_like(regularisation),
            moved=~no,
            iteration=none,
            stalled=none,
            converged=no,
            finished=~jnp.isfinite(start.cost),
            stats=jnp.zeros((self.iterations, len(STATS)), start.cost.dtype),
        )

    def _iterate(
        self, problem: Problem, box: Box, keys: Array, search: _Search
    ) -> _Search:
        """One backward sweep and, unless it shows convergence, one line search."""
        nominal, strength = search.nominal, search.regularisation
        expansion = jax.lax.cond(
            search.moved,
            lambda: expand(problem, nominal.beliefs, nominal.actions, keys=keys),
            lambda: search.expansion,
        )
        sweep = backward(expansion, nominal, box, strength)
        gradient = jnp.max(jnp.abs(sweep.k) / (1 + jnp.abs(nominal.actions)))
        weight = jnp.mean(jnp.abs(_action_weights(expansion)))
        gentle = strength <= jnp.maximum(SMALL_SHARE * weight, SMALL_REGULARISATION)
        # A sum of T terms is known to within T roundings.
        rounding = jnp.finfo(strength.dtype).eps * jnp.abs(nominal.cost)
        promise = sweep.expected(1.0)
        vanishing = (gradient <= self.gradient_tolerance) | (promise <= 4 * rounding)
        converged = sweep.positive & (
            (vanishing & gentle) | (search.stalled >= STALLED)
        )
        exhausted = sweep.positive & (search.iteration >= self.iterations)
        stop = converged | exhausted

        def attempt():
            candidate, alpha = self._search_line(problem, box, keys, nominal, sweep)
            decrease = nominal.cost - candidate.cost
            return jax.lax.cond(
                sufficient(decrease, sweep.expected(alpha)),
                lambda: (candidate, alpha),
                stay,
            )

        def stay():
            return nominal, jnp.zeros_like(strength)

        trajectory, alpha = jax.lax.cond(sweep.positive & ~stop, attempt, stay)
        accepted = alpha > 0
        decrease = nominal.cost - trajectory.cost
        regularisation, growth = self._adapt(
            strength, search.growth, accepted, decrease / promise
        )
        regularisation = jnp.where(stop, strength, regularisation)
        small = decrease <= self.tolerance * jnp.abs(nominal.cost)
        calm = jnp.where(gentle, STALLED, 1)
        stalled = jnp.where(small, search.stalled + calm, 0)
        stalled = jnp.where(accepted, stalled, search.stalled)
        lost = regularisation > self.largest_regularisation
        counted = sweep.positive & ~stop
        invisible = counted & ~accepted & gentle & (promise <= self.horizon * rounding)
        row = jnp.minimum(search.iteration, self.iterations - 1)
        news = jnp.stack([trajectory.cost, alpha, strength, gradient])
        news = jnp.where(counted, news, search.stats[row])
        stats = search.stats.at[row].set(news)
        return _Search(
            nominal=trajectory,
            expansion=expansion,
            sweep=sweep,
            regularisation=regularisation,
            growth=growth,
            moved=accepted,
            iteration=search.iteration + counted.astype(jnp.int32),
            stalled=stalled,
            converged=converged | invisible,
            finished=stop | lost | invisible,
            stats=stats,
        )

    def _finish(self, search: _Search, first: Array) -> tuple[Plan, ILQRState]:
        """The best trajectory as a plan, and what to remember of it."""
        nominal, sweep = search.nominal, search.sweep
        # An expansion with a NaN has no positive sweep, so it ends the search; it is
        # looked for only there, because looking takes as long as a roll-out.
        finite = jnp.isfinite(nominal.cost)
        smooth = jax.lax.cond(
            sweep.positive,
            lambda: jnp.asarray(True),
            lambda: search.expansion.finite,
        )
        # A sweep that failed, or none at all, leaves no controller.
        K, V, v = (
            jnp.where(sweep.positive, array, jnp.zeros_like(array))
            for array in (sweep.K, sweep.V, sweep.v)
        )
        actions = jnp.where(jnp.isfinite(first), first, jnp.zeros_like(first))
        actions = jnp.where(finite, nominal.actions, actions)
        feedback = Feedback(K, nominal.states[:-1], actions, nominal.values, -v, -V)
        steps = jnp.arange(self.iterations, dtype=jnp.int32)
        last = jnp.maximum(search.iteration - 1, 0)
        stats = search.stats
        stats = jnp.where((steps < search.iteration)[:, None], stats, stats[last][None])
        stats = dict(zip(STATS, stats.T, strict=True))
        stats["cost"] = jnp.where(search.iteration > 0, stats["cost"], nominal.cost)
        stats["iterations"] = search.iteration
        result = Result.where(
            search.converged,
            Result.successful,
            Result.where(
                ~(finite & smooth),
                Result.non_finite,
                Result.where(
                    sweep.positive & (search.iteration >= self.iterations),
                    Result.iteration_limit,
                    Result.not_converged,
                ),
            ),
        )
        plan = Plan(actions, nominal.beliefs, -nominal.cost, feedback, result, stats)
        # A regularisation at which the search gave up would hold the next one back.
        strength = search.regularisation
        start = jnp.asarray(self.regularisation, strength.dtype)
        strength = jnp.where(strength > self.largest_regularisation, start, strength)
        return plan, ILQRState(actions, strength)

    def _adapt(
        self, strength: Array, growth: Array, accepted: Array, quality: Array
    ) -> tuple[Array, Array]:
        """Raise the regularisation after a failure or a poor step, lower it otherwise.

        `quality` is the share of the full step's promise that was kept.
        """
        lower, higher = accepted & (quality > GOOD), ~accepted | (quality < POOR)
        growth = jnp.where(
            lower,
            jnp.minimum(growth, 1) / self.factor,
            jnp.where(higher, jnp.maximum(growth, 1) * self.factor, 1.0),
        )
        scaled = strength * growth
        least = self.smallest_regularisation
        raised = jnp.maximum(scaled, least)
        lowered = jnp.where(scaled < least, jnp.zeros_like(scaled), scaled)
        return jnp.where(higher, raised, lowered), growth

    def _search_line(
        self, problem: Problem, box: Box, keys: Array, nominal: Trajectory, sweep: Sweep
    ) -> tuple[Trajectory, Array]:
        """The full step if it is good enough, else the best of the shorter ones."""

        def attempt(alpha):
            return forward(problem, box, keys, nominal, sweep, alpha)

        one = jnp.ones_like(nominal.cost)
        full = attempt(one)
        if self.step_sizes == 1:
            return full, one
        sizes = np.geomspace(1, self.smallest_step, self.step_sizes)[1:]
        alphas = jnp.asarray(sizes, one.dtype)

        def shorter():
            candidates = jax.vmap(attempt)(alphas)
            decreases = nominal.cost - candidates.cost
            good = jax.vmap(sufficient)(decreases, jax.vmap(sweep.expected)(alphas))
            best = jnp.argmax(jnp.where(good, decreases, -jnp.inf))
            return jax.tree.map(lambda leaf: leaf[best], candidates), alphas[best]

        enough = sufficient(nominal.cost - full.cost, sweep.expected(one))
        return jax.lax.cond(enough, lambda: (full, one), shorter)


def _action_weights(expansion: Expansion) -> Float[Array, "horizon action"]:
    """The diagonal of the cost's Hessian in the action."""
    n = expansion.F.shape[1]
    return jnp.diagonal(expansion.C, axis1=1, axis2=2)[:, n:]


def sufficient(decrease: Array, expected: Array) -> Bool[Array, ""]:
    """Whether a step gained a fair share of what was promised; false for NaN."""
    return (decrease > 1e-4 * expected) & (expected > 0)
