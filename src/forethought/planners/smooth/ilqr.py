r"""The iterative linear-quadratic regulator, regularised, with limits on the action.

Each iteration expands the problem around the best trajectory so far, solves the
linear-quadratic problem that results by a backward recursion, and rolls its controller
forward through the real model; a line search keeps what was gained.

**Notation.** $\hat x, \hat u$ is the nominal trajectory; $F, C, c$ its expansion
(`expansion`); $\gamma_t$ the discount of step $t$; $\lambda$ the regularisation;
$\alpha$ a step size; the remaining letters are those of `lqr`.

**Settings of one method.** $\lambda = 0$ and one step size of one is plain iLQR (Li and
Todorov, 2004); $\lambda$ on the action Hessian with a schedule is Levenberg–Marquardt
(Tassa, Erez and Todorov, 2012); second-order terms of the dynamics make it differential
dynamic programming (Jacobson and Mayne, 1970), and limits the control-limited one
(Tassa, Mansard and Todorov, 2014); guessed states make it multiple shooting (Giftthaler
et al., 2018).
"""

from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from forethought.core.given.settings import (
    Count,
    Factor,
    Nonnegative,
    Part,
    Positive,
    Range,
    Steps,
)
from forethought.core.spaces import Box, require_box
from forethought.core.types import ravel
from forethought.planners.base import (
    UNSAID,
    AbstractPlanner,
    first_actions,
    shift_actions,
)
from forethought.planners.smooth.descent import (
    Descent,
    begin,
    largest_change,
    look_back,
)
from forethought.planners.smooth.expansion import require_second_order
from forethought.planners.smooth.line_search import (
    adapt,
    search_line,
    sufficient,
    weigh,
)
from forethought.planners.smooth.recursions import forward, imagine
from forethought.problem import Plan, Problem

SMALL_REGULARISATION = 1e-5
"""Below it a vanishing step means a vanishing gradient (the value of iLQG) …"""
SMALL_SHARE = 1e-2
"""… and so it does below this share of the cost's own weight on the action."""
NEAR = 0.1
"""Second derivatives count once a step gains less than this share of the cost."""
STALLED = 3
"""So many accepted steps in a row that gain nothing mean convergence as well."""


class ILQRState(eqx.Module):
    """What is carried from one plan to the next."""

    actions: Float[Array, "horizon action"]
    regularisation: Scalar
    states: Float[Array, "horizon state"] | None = None
    """Where the actions are meant to lead, if that was guessed: multiple shooting."""


class ILQR(AbstractPlanner[ILQRState]):
    r"""Plans on any differentiable problem with continuous actions.

    $$u_t = \hat u_t + \alpha k_t + K_t (x_t - \hat x_t), \qquad
      [K_t, k_t] = -(Q_{uu} + \lambda I)^{-1} [Q_{ux}, q_u]$$

    where the action has no limits; where it has, $k_t$ minimises the same quadratic
    within them, and the gains of actions that lie at a limit are zero.

    ```python
    >>> import equinox as eqx, jax, jax.numpy as jnp
    >>> from forethought.core.spaces import Box
    >>> from forethought.models.linear.dynamics import Linear
    >>> from forethought.objectives.quadratic import Quadratic
    >>> from forethought.planners.smooth.ilqr import ILQR
    >>> from forethought.problem import Problem
    >>> model = Linear([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])
    >>> limits = Box(jnp.array([-0.5]), jnp.array([0.5]))
    >>> problem = Problem(model, Quadratic(jnp.eye(3)), limits)
    >>> planner, x, key = ILQR(horizon=50), jnp.array([1.0, 0.0]), jax.random.key(0)
    >>> state = planner.init(problem, x, key=key)
    >>> plan, _ = eqx.filter_jit(planner.plan)(problem, x, state, key=key)
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
        second_order: Whether the dynamics' second derivatives count (DDP): fewer
            iterations near the optimum, where convergence is quadratic, for a dearer
            sweep.

    Raises:
        ValueError: A setting lies outside its range.

    References:
        Li and Todorov, Iterative linear quadratic regulator design for nonlinear
        biological movement systems, 2004. Tassa, Erez and Todorov, Synthesis and
        stabilization of complex behaviors through online trajectory optimization, 2012,
        §II.F (schedule), eq. 11 (recursion under regularisation), eq. 12 and 13
        (expected decrease). Tassa, Mansard and Todorov, Control-limited differential
        dynamic programming, 2014, §III. Jacobson and Mayne, Differential Dynamic
        Programming, 1970, §2.2. Giftthaler, Neunert, Stäuble, Buchli and Diehl, A
        family of iterative Gauss-Newton shooting methods for nonlinear optimal control,
        2018, arXiv:1711.11006. Mastalli et al., Crocoddyl, 2020, arXiv:1909.04947, §II
        (how gaps close with the step).

    Note:
        $\lambda$ acts on the action Hessian, not on the state's as in Tassa 2012, and
        range, factor and tolerances are those of the authors' program iLQG. Discounts
        are held at their values along the nominal trajectory. A stochastic model is
        planned on under one draw of its noise, the same for every roll-out.
        A warm start is improved from where it is; it is not compared with a cold one.
    """

    horizon: Steps = eqx.field(static=True, default=UNSAID)
    iterations: Count = eqx.field(static=True, default=100)
    step_sizes: Annotated[int, Range(at_least=1, limit=1000)] = eqx.field(
        static=True, default=11
    )
    smallest_step: Part = eqx.field(static=True, default=1e-3)
    tolerance: Nonnegative = eqx.field(static=True, default=1e-7)
    gradient_tolerance: Nonnegative = eqx.field(static=True, default=1e-4)
    regularisation: Annotated[
        float, Range(at_least=0, at_most="largest_regularisation")
    ] = eqx.field(static=True, default=0.0)
    factor: Factor = eqx.field(static=True, default=1.6)
    smallest_regularisation: Annotated[
        float, Range(above=0, at_most="largest_regularisation")
    ] = eqx.field(static=True, default=1e-6)
    largest_regularisation: Positive = eqx.field(static=True, default=1e10)
    second_order: bool = eqx.field(static=True, default=False)

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        states: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> ILQRState:
        """What is given, else the middle of the limits (zero where there are none).

        Args:
            problem: What will be planned for.
            belief: Where the first plan will start.
            actions: What to begin with, shape `[horizon, action]`.
            states: Where to go, one state after each action, shape
                `[horizon, state]` in the coordinates of `ravel(belief)`. They need
                not be reachable: the gaps close during the plan.
            key: Consumed.

        Raises:
            TypeError: The actions are discrete, or `second_order` is asked of a model
                without second derivatives.
            ValueError: Actions or states have another shape.
        """
        box = require_box(problem.action, "ILQR")
        if self.second_order:
            require_second_order("ILQR(second_order=True)", problem, belief)
        x = ravel(belief)[0]
        actions = first_actions("ILQR", box, self.horizon, actions, x.dtype)
        if states is not None:
            if states.shape != (self.horizon, *x.shape):
                raise ValueError(
                    f"ILQR needs states of shape {[self.horizon, *x.shape]}, one "
                    f"after each action, got {list(states.shape)}."
                )
            states = states.astype(x.dtype)
        return ILQRState(actions, jnp.asarray(self.regularisation, x.dtype), states)

    def shift(self, problem: Problem, state: ILQRState) -> ILQRState:
        """Drop the first action and repeat the last; so with states, if guessed."""
        states = None if state.states is None else shift_actions(state.states)
        return ILQRState(shift_actions(state.actions), state.regularisation, states)

    def plan(
        self, problem: Problem, belief: PyTree, state: ILQRState, *, key: PRNGKeyArray
    ) -> tuple[Plan, ILQRState]:
        """Iterate from the actions, and the states, that `state` remembers.

        Raises:
            TypeError: The actions are discrete, or `second_order` is asked of a model
                without second derivatives.
        """
        box = require_box(problem.action, "ILQR")
        descent = self.descend(problem, belief, state, key=key)
        dtype = descent.nominal.cost.dtype
        Q_uu = descent.action_hessian(
            problem,
            jax.random.split(key, self.horizon),
            second_order=self.second_order,
        )
        plan = descent.plan(_within(box, state.actions.astype(dtype)), Q_uu)
        # A regularisation at which the search gave up would hold the next one back.
        strength = descent.regularisation
        start = jnp.asarray(self.regularisation, strength.dtype)
        strength = jnp.where(strength > self.largest_regularisation, start, strength)
        states = None if state.states is None else descent.nominal.states[1:]
        return plan, ILQRState(plan.actions, strength, states)

    def descend(
        self, problem: Problem, belief: PyTree, state: ILQRState, *, key: PRNGKeyArray
    ) -> Descent:
        """All iterations: the last trajectory with its expansion and its sweep.

        Raises:
            TypeError: As `plan` does.
        """
        box = require_box(problem.action, "ILQR")
        if self.second_order:
            require_second_order("ILQR(second_order=True)", problem, belief)
        keys = jax.random.split(key, self.horizon)
        dtype = ravel(belief)[0].dtype
        actions = _within(box, state.actions.astype(dtype))
        states = None if state.states is None else state.states.astype(dtype)
        start = imagine(problem, belief, actions, keys, states)
        descent = jax.lax.while_loop(
            lambda descent: ~descent.finished,
            lambda descent: self._iterate(problem, box, keys, descent),
            begin(start, state.regularisation, self.iterations),
        )
        return descent.possible(problem, box, keys)

    def _iterate(
        self, problem: Problem, box: Box, keys: Array, descent: Descent
    ) -> Descent:
        """One backward sweep and, unless it shows convergence, one line search."""
        nominal, strength = descent.nominal, descent.regularisation

        expansion, sweep = look_back(
            problem, box, keys, descent, second_order=self.second_order
        )
        gradient = largest_change(sweep, nominal)
        weight = SMALL_SHARE * expansion.action_weight
        gentle = strength <= jnp.maximum(weight, SMALL_REGULARISATION)
        # A sum of T terms is known to within T roundings.
        rounding = jnp.finfo(strength.dtype).eps * jnp.abs(nominal.cost)
        merit = weigh(nominal, sweep)
        promise = merit.expected(1.0)
        vanishing = (gradient <= self.gradient_tolerance) | (promise <= 4 * rounding)
        closed = merit.worth <= 4 * rounding
        converged = (
            sweep.positive
            & closed
            & ((vanishing & gentle) | (descent.stalled >= STALLED))
        )
        exhausted = sweep.positive & descent.record.full
        stop = converged | exhausted

        def attempt():
            candidate, alpha = search_line(
                lambda alpha: forward(problem, box, keys, nominal, sweep, alpha),
                merit,
                step_sizes=self.step_sizes,
                smallest_step=self.smallest_step,
            )
            return jax.lax.cond(
                sufficient(merit.decrease(candidate), merit.expected(alpha)),
                lambda: (candidate, alpha),
                stay,
            )

        def stay():
            return nominal, jnp.zeros_like(strength)

        trajectory, alpha = jax.lax.cond(sweep.positive & ~stop, attempt, stay)
        accepted = alpha > 0
        decrease = merit.decrease(trajectory)
        regularisation, growth = adapt(
            strength,
            descent.growth,
            accepted,
            decrease / promise,
            factor=self.factor,
            smallest=self.smallest_regularisation,
        )
        regularisation = jnp.where(stop, strength, regularisation)
        small = decrease <= self.tolerance * jnp.abs(nominal.cost)
        calm = jnp.where(gentle, STALLED, 1)
        stalled = jnp.where(small, descent.stalled + calm, 0)
        stalled = jnp.where(accepted, stalled, descent.stalled)
        lost = regularisation > self.largest_regularisation
        counted = sweep.positive & ~stop
        unseen = gentle & closed & (promise <= self.horizon * rounding)
        invisible = counted & ~accepted & unseen
        row = jnp.stack([trajectory.cost, alpha, strength, gradient])
        return Descent(
            nominal=trajectory,
            expansion=expansion,
            sweep=sweep,
            regularisation=regularisation,
            growth=growth,
            moved=accepted,
            near=descent.near | (accepted & (decrease <= NEAR * jnp.abs(nominal.cost))),
            stalled=stalled,
            converged=converged | invisible,
            finished=stop | lost | invisible,
            record=descent.record.add(row, counted),
        )


def _within(box: Box, actions: Array) -> Array:
    return box.clip(actions) if box.bounded else actions
