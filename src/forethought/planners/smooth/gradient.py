r"""Gradient ascent on the return: back-propagate through the model to choose actions.

A return is a function of the actions, and a differentiable model and objective make it
a differentiable one. This planner follows its gradient, by any optimiser of Optax, from
the last plan and from random starts. It is the planner of model-based RL v2: nothing of
the problem's structure is used, so that it works wherever a derivative exists, on
ensembles of networks and on simulators with finite differences alike.

**Limits are kept by projection**, not by squashing actions through a tanh: the best
action often lies *at* a limit, which projection reaches in finitely many steps, and
where a tanh puts it at infinity, with a gradient that vanishes on the way there and
leaves a warm start stuck. At a limit a projected step moves only where it may, whatever
the optimiser's weight on each coordinate; so its fixed points are exactly the
stationary points of the limited problem.

**Notation.** $J$ return or its risk, $A$ actions in half widths of the action box
(in units of the action where it is free), so that one learning rate suits all tasks;
$\Pi$ projection onto the box, $g = \nabla_A J$.
"""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray, PyTree, Scalar

from forethought.core.given.settings import (
    AbstractSettings,
    Count,
    Nonnegative,
    Part,
    Positive,
    Steps,
    Whole,
)
from forethought.core.optimise import Record, iterate, take_step
from forethought.core.results import Result, Stats
from forethought.core.returns import Risk
from forethought.core.spaces import Box, require_box
from forethought.core.types import ravel
from forethought.planners.base import (
    UNSAID,
    AbstractPlanner,
    first_actions,
    shift_actions,
)
from forethought.planners.sampling.noise import coloured_noise
from forethought.planners.sampling.scoring import first_future
from forethought.problem import Plan, Problem, evaluate, rollout

Rule = Literal["adam", "rmsprop", "momentum", "sgd", "lbfgs"]

RED, SPREAD = 2.0, 0.5
"""Colour and standard deviation, in half widths, of the random starts."""
MOMENTUM = 0.9
MEMORY, TRIALS = 20, 10
"""Of L-BFGS: how many steps it remembers, and how far its line searches look."""


class Optimiser(AbstractSettings):
    r"""An optimiser of Optax that can be named.

    Args:
        name: The rule: "adam", "rmsprop", "momentum" (Nesterov's, 0.9), "sgd", or
            "lbfgs" with a line search, best of all where actions are free.
        learning_rate: Size of a step. For "adam" and "rmsprop" about how far an action
            moves in an iteration, in half widths of the action box; for "momentum" and
            "sgd" in half widths squared per unit of return; for "lbfgs" the share of
            its step that is tried first.
        decay: Factor on the learning rate after each iteration, in (0, 1].

    Raises:
        ValueError: The name is unknown, or a number lies outside its range.
    """

    name: Rule = eqx.field(static=True, default="adam")
    learning_rate: Positive = 0.2
    decay: Part = 1.0

    @property
    def transformation(self) -> optax.GradientTransformation:
        """What Optax makes of it."""

        def rate(count: ArrayLike) -> Array:
            return self.learning_rate * self.decay ** jnp.asarray(count, float)

        rules = {
            "adam": lambda: optax.adam(rate),
            "rmsprop": lambda: optax.rmsprop(rate),
            "momentum": lambda: optax.sgd(rate, MOMENTUM, nesterov=True),
            "sgd": lambda: optax.sgd(rate),
            "lbfgs": lambda: optax.lbfgs(
                rate,
                memory_size=MEMORY,
                linesearch=optax.scale_by_zoom_linesearch(
                    TRIALS, initial_guess_strategy="one"
                ),
            ),
        }
        return rules[self.name]()


class GradientAscentState(eqx.Module):
    """The last plan."""

    actions: Float[Array, "horizon action"]


class _Climb(eqx.Module):
    """Where one ascent stands, and the best that it met."""

    A: Float[Array, "*start horizon action"]
    memory: PyTree
    """The optimiser's."""
    best: Float[Array, "*start horizon action"]
    best_return: Float[Array, "*start"]
    best_gradient: Float[Array, "*start"]
    """Largest entry of the projected gradient at `best`, relative to the return."""
    converged: Bool[Array, "*start"]
    """Whether the gradient vanishes at `best`."""
    finite: Bool[Array, "*start"]
    """Whether nothing but finite returns and gradients were met."""
    running: Bool[Array, "*start"]


class GradientAscent(AbstractPlanner[GradientAscentState]):
    r"""Gradient ascent on the return, over continuous actions.

    $$A \leftarrow \Pi\big(A + \text{step}(g)\big), \qquad
      \text{converged where } \Big\lVert \Pi\Big(A + \frac{g}{1 + |J|}\Big)
      - A \Big\rVert_\infty \le \epsilon$$

    ```python
    >>> import equinox as eqx, jax, jax.numpy as jnp, optax
    >>> from forethought.core.spaces import Box
    >>> from forethought.models.linear.dynamics import Linear
    >>> from forethought.objectives.quadratic import Quadratic
    >>> from forethought.planners import GradientAscent
    >>> from forethought.problem import Problem
    >>> model = Linear([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])
    >>> limits = Box(jnp.array([-0.5]), jnp.array([0.5]))
    >>> problem = Problem(model, Quadratic(jnp.eye(3)), limits)
    >>> planner = GradientAscent(horizon=50, optimiser=optax.adam(0.3))
    >>> x, key = jnp.array([1.0, 0.0]), jax.random.key(0)
    >>> state = planner.init(problem, x, key=key)
    >>> plan, _ = eqx.filter_jit(planner.plan)(problem, x, state, key=key)
    >>> float(plan.actions[0, 0]), round(float(plan.value), 1)
    (-0.5, -9.1)

    ```

    Args:
        horizon: Steps to look ahead.
        iterations: At most so many gradients from each start.
        optimiser: Its name and learning rate, or any transformation of Optax, which
            must minimise (its learning rate turns the sign). One that searches along a
            line is given what it needs for that.
        restarts: How many random starts are tried beside the last plan.
        tolerance: $\epsilon$, for a gradient as a share of the return plus one.
        particles: Futures drawn for each sequence, where the model is stochastic; the
            same for every iterate of a plan.
        risk: How the returns of the particles become one score.

    Raises:
        ValueError: A setting lies outside its range.

    References:
        Nocedal and Wright, Numerical Optimization, 2nd ed., 2006, §16.7 (projection).
        Kingma and Ba, Adam: a method for stochastic optimization, 2015,
        arXiv:1412.6980. As a planner: Levine, CS 285, lecture 11, model-based
        reinforcement learning v2.

    Note:
        An ascent need not be monotone, so the plan is the best sequence met. A start
        whose return or gradient is not finite stays at its best; the result tells of it
        where that is the plan. Where an optimiser mixes coordinates (L-BFGS), a
        projected step may stall at a limit; those that weigh each coordinate alone
        cannot.
    """

    horizon: Steps = eqx.field(static=True, default=UNSAID)
    iterations: Count = eqx.field(static=True, default=50)
    optimiser: Optimiser | optax.GradientTransformation = Optimiser()
    restarts: Whole = eqx.field(static=True, default=0)
    tolerance: Nonnegative = 1e-4
    particles: Count = eqx.field(static=True, default=1)
    risk: Risk = Risk()

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> GradientAscentState:
        """The middle of the action box at every step, or the actions given.

        Raises:
            TypeError: The actions are discrete.
            ValueError: The actions given have another shape.
        """
        box = require_box(problem.action, "GradientAscent")
        dtype = ravel(belief)[0].dtype
        return GradientAscentState(
            first_actions("GradientAscent", box, self.horizon, actions, dtype)
        )

    def shift(
        self, problem: Problem, state: GradientAscentState
    ) -> GradientAscentState:
        """Drop the first action and repeat the last."""
        return GradientAscentState(shift_actions(state.actions))

    def plan(
        self,
        problem: Problem,
        belief: PyTree,
        state: GradientAscentState,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Plan, GradientAscentState]:
        """Climb from the actions that `state` remembers, and from random ones."""
        start_key, evaluate_key = jax.random.split(key)
        box = require_box(problem.action, "GradientAscent")
        centre, scale = box.centre_and_scale(state.actions.dtype)

        def decode(A: Float[Array, "horizon action"]) -> Array:
            # The nearest actions in the box, with slope one up to its very edge, where
            # that of a clip is a half or, a rounding further, none.
            actions = centre[None] + scale[None] * A
            still = jax.lax.stop_gradient
            return still(box.clip(actions)) + (actions - still(actions))

        def cost(A: Float[Array, "horizon action"]) -> Scalar:
            return -evaluate(
                problem,
                belief,
                decode(A),
                key=evaluate_key,
                particles=self.particles,
                risk=self.risk,
            )

        first = box.in_half_widths(state.actions)
        climb, stats = self._climb(cost, box, first, key=start_key)
        best = jnp.argmax(climb.best_return)
        climb = jax.tree.map(lambda leaf: leaf[best], climb)
        actions = box.clip(centre[None] + scale[None] * climb.best)
        future = first_future(evaluate_key, self.particles)
        beliefs = rollout(problem, belief, actions, key=future).beliefs
        finite = climb.finite & jnp.isfinite(climb.best_return)
        result = Result.where(
            climb.converged,
            Result.successful,
            Result.where(finite, Result.iteration_limit, Result.non_finite),
        )
        plan = Plan(actions, beliefs, climb.best_return, None, result, stats)
        return plan, GradientAscentState(actions)

    def _climb(
        self,
        cost: Callable[[Array], Scalar],
        box: Box,
        first: Float[Array, "horizon action"],
        *,
        key: PRNGKeyArray,
    ) -> tuple[_Climb, Stats]:
        """All ascents side by side, until each has ended."""
        chosen = self.optimiser
        optimiser = optax.with_extra_args_support(
            chosen.transformation if isinstance(chosen, Optimiser) else chosen
        )
        low, high = (
            box.in_half_widths(bound.astype(first.dtype))
            for bound in (box.low, box.high)
        )

        def project(A: Array) -> Array:
            return jnp.clip(
                A, jnp.broadcast_to(low, A.shape), jnp.broadcast_to(high, A.shape)
            )

        def begin(A: Array) -> _Climb:
            yes, none = jnp.asarray(True), jnp.asarray(jnp.inf, A.dtype)
            return _Climb(A, optimiser.init(A), A, -none, none, ~yes, yes, yes)

        def step(climb: _Climb) -> _Climb:
            value, slope = jax.value_and_grad(cost)(climb.A)
            # Scaled before it is projected: within a box no step is longer than the
            # box is wide, however steep it is there.
            share = slope / (1 + jnp.abs(value))
            gradient = jnp.max(jnp.abs(project(climb.A - share) - climb.A))
            finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(slope))
            vanishing = gradient <= self.tolerance
            better = -value > climb.best_return
            searched = {"value": value, "grad": slope, "value_fn": cost}
            moved, memory = take_step(
                optimiser, climb.A, climb.memory, slope, **searched
            )
            ended = vanishing | ~finite
            return _Climb(
                jnp.where(ended, climb.A, project(moved)),
                memory,
                jnp.where(better, climb.A, climb.best),
                jnp.where(better, -value, climb.best_return),
                jnp.where(better, gradient, climb.best_gradient),
                jnp.where(better, vanishing & finite, climb.converged),
                finite,
                ~ended,
            )

        def advance(climb: _Climb) -> _Climb:
            after = step(climb)
            return jax.tree.map(
                lambda new, old: jnp.where(climb.running, new, old), after, climb
            )

        def step_all(climb: _Climb, _: Array) -> tuple[_Climb, Array]:
            climb = jax.vmap(advance)(climb)
            best = jnp.argmax(climb.best_return)
            failed = jnp.sum(~climb.finite).astype(first.dtype)
            row = [climb.best_return[best], climb.best_gradient[best], failed]
            return climb, jnp.stack(row)

        shape = (self.restarts, self.horizon, first.shape[1])
        noise = SPREAD * coloured_noise(RED, shape, first.dtype, key=key)
        starts = jnp.concatenate([first[None], project(noise)])
        climb, record = iterate(
            step_all,
            jax.vmap(begin)(starts),
            Record.blank(self.iterations, (3,), first.dtype),
            unfinished=lambda climb: jnp.any(climb.running),
        )
        # The last step of an ascent led somewhere that nobody has looked at yet.
        value = -jax.vmap(cost)(climb.A)
        better = value > climb.best_return
        climb = eqx.tree_at(
            lambda climb: (climb.best, climb.best_return, climb.converged),
            climb,
            (
                jnp.where(better[:, None, None], climb.A, climb.best),
                jnp.where(better, value, climb.best_return),
                climb.converged & ~better,
            ),
        )
        columns = record.columns("best", "gradient", "non_finite")
        stats = Stats(
            best=columns["best"],
            iterations=record.count,
            non_finite=columns["non_finite"].astype(int),
            numbers={"gradient": columns["gradient"]},
        )
        return climb, stats
