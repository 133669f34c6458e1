r"""Iterative LQG under a KL bound: a controller that changes only so much at a time.

Each iteration expands the problem along the mean trajectory of the controller so far,
and takes the best linear-Gaussian controller whose trajectories lie within a bound of
the old one's (`kl_bound`). The bound is a trust region in which an expansion, or a
model that was fitted around the old trajectories, is believed; it widens where what was
promised came true, and narrows where it did not.

| model | what is expanded |
|---|---|
| fitted `Local`, or `LinearGaussian` whose state is seen | its mean; its noise counts |
| any other that iLQR takes | the model along the trajectory, without noise |

**Notation.** $\epsilon$ is the bound, in nats a step; $T$ the horizon; $\eta$ its
price.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Scalar

from forethought.core.gaussian import moments
from forethought.core.given.settings import Count, Positive, Range, Steps
from forethought.core.linalg import matmul, matvec, symmetrise
from forethought.core.results import Result, Stats
from forethought.core.spaces import require_box
from forethought.core.types import Stamped, ravel
from forethought.models.linear.dynamics import at
from forethought.models.linear.kalman import LinearGaussian
from forethought.models.linear.local import Local
from forethought.planners.base import (
    UNSAID,
    AbstractPlanner,
    first_actions,
    shift_actions,
)
from forethought.planners.smooth.expansion import Expansion, expand
from forethought.planners.smooth.kl_bound import Improvement, improve
from forethought.planners.smooth.recursions import Trajectory, follow
from forethought.policies.affine import TimeVarying
from forethought.problem import Feedback, Plan, Problem, rollout

WIDEST, NARROWEST = 10.0, 0.01
"""How many times the bound that was asked for it becomes, at most and at least."""
RISE, FALL = 5.0, 0.1
"""By what factor it changes at most."""


class ILQGState(eqx.Module):
    """What is carried from one plan to the next."""

    policy: TimeVarying
    """The controller so far, over the coordinates of the state."""
    scale: Scalar
    """How many times the planner's bound is allowed."""
    price: Scalar
    """Where the next search for the price begins."""


Change = Callable[[Expansion, Trajectory], Expansion]


def _unchanged(expansion: Expansion, came: Trajectory) -> Expansion:
    """The costs as they are."""
    return expansion


class ILQG(AbstractPlanner[ILQGState]):
    r"""Plans controllers within a KL bound of one another.

    ```python
    >>> import equinox as eqx, jax, jax.numpy as jnp
    >>> from forethought.core.spaces import free_box
    >>> from forethought.models.linear.dynamics import Linear
    >>> from forethought.objectives.quadratic import Quadratic
    >>> from forethought.planners.smooth.ilqg import ILQG
    >>> from forethought.problem import Problem
    >>> model = Linear([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])
    >>> problem = Problem(model, Quadratic(jnp.eye(3)), free_box(1))
    >>> x, key = jnp.array([1.0, 0.0]), jax.random.key(0)
    >>> planner = ILQG(horizon=50, bound=float("inf"), iterations=1)
    >>> state = planner.init(problem, x, key=key)
    >>> plan, _ = eqx.filter_jit(planner.plan)(problem, x, state, key=key)
    >>> round(float(plan.value), 3)
    -8.911

    ```

    Args:
        horizon: Steps that it looks ahead.
        iterations: At most so many improvements.
        bound: $\epsilon$ at first, in nats a step, so that a whole controller may
            change by $\epsilon T$; infinite for none.
        spread: Standard deviation of the first controller's actions, in half widths of
            the action's limits (in its own units where it has none).
        tolerance: Converged where the return would rise by less than this share.
        sweeps: The most prices that are tried in an iteration.
        smallest_price: The least price of the bound.
        largest_price: The greatest.

    Raises:
        ValueError: A setting lies outside its range.

    References:
        Todorov and Li, A generalized iterative LQG method, 2005. Levine and Abbeel,
        Learning neural network policies with guided policy search under unknown
        dynamics, 2014, §3.2. Levine, Finn, Darrell and Abbeel, End-to-end training of
        deep visuomotor policies, 2016, appendix A.3 (how the bound adapts).

    Note:
        Limits of the action hold for mean trajectories; of the controller they are no
        part, as whoever follows it clips what it asks for. So where many actions lie
        at a limit less comes true than was hoped for, the bound narrows, and `ILQR`,
        whose sweep knows limits, is faster. A controller that earns less than the last
        one is not kept, which matters only where the model is not linear or the cost
        not quadratic.
    """

    horizon: Steps = eqx.field(static=True, default=UNSAID)
    iterations: Count = eqx.field(static=True, default=100)
    bound: Annotated[float, Range(above=0, endless=True)] = 1.0
    spread: Positive = 1.0
    tolerance: Annotated[float, Range(at_least=0, at_most=1)] = 1e-5
    sweeps: Count = eqx.field(static=True, default=50)
    smallest_price: Annotated[float, Range(above=0, at_most="largest_price")] = (
        eqx.field(static=True, default=1e-8)
    )
    largest_price: Positive = eqx.field(static=True, default=1e16)

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> ILQGState:
        """A controller without gains, around what is given or the limits' middle.

        Raises:
            TypeError: The actions are discrete.
            ValueError: The actions have another shape.
        """
        box = require_box(problem.action, "ILQG")
        x, _ = _seen(problem, belief)
        actions = first_actions("ILQG", box, self.horizon, actions, x.dtype)
        (m,), n = box.shape, x.shape[0]
        half = jnp.broadcast_to(box.centre_and_scale(x.dtype)[1], (m,))
        one = jnp.ones((self.horizon, 1, 1), x.dtype)
        policy = TimeVarying(
            K=jnp.zeros((self.horizon, m, n), x.dtype),
            k=actions,
            x=jnp.zeros((self.horizon, n), x.dtype),
            cov=one * jnp.diag((self.spread * half) ** 2)[None],
        )
        return ILQGState(policy, jnp.ones((), x.dtype), jnp.ones((), x.dtype))

    def shift(self, problem: Problem, state: ILQGState) -> ILQGState:
        """Drop the first step of the controller and repeat the last."""
        policy = jax.tree.map(shift_actions, state.policy)
        return ILQGState(policy, state.scale, state.price)

    def improved(
        self,
        problem: Problem,
        belief: PyTree,
        state: ILQGState,
        *,
        change: Change = _unchanged,
        key: PRNGKeyArray,
    ) -> tuple[Improvement, Trajectory]:
        """One improvement of the state's controller, and the trajectory it was around.

        Args:
            problem: Model and objective.
            belief: Where it starts.
            state: The controller, the scale of its bound, and its price.
            change: Adds to the costs of what is expanded.
            key: Consumed.

        Raises:
            TypeError: The actions are discrete.
        """
        box = require_box(problem.action, "ILQG")
        keys = jax.random.split(key, self.horizon)
        inner, start, noise, cov = _mean_problem(problem, belief, self.horizon)
        came = follow(inner, box, start, state.policy, keys)
        found = self._better(inner, came, state, noise, cov, keys, change)
        return found, came

    def plan(
        self, problem: Problem, belief: PyTree, state: ILQGState, *, key: PRNGKeyArray
    ) -> tuple[Plan, ILQGState]:
        """Improve on the controller that `state` remembers.

        Raises:
            TypeError: The actions are discrete.
        """
        box = require_box(problem.action, "ILQG")
        keys = jax.random.split(key, self.horizon)
        inner, start, noise, cov = _mean_problem(problem, belief, self.horizon)
        first = follow(inner, box, start, state.policy, keys)
        dtype = first.rewards.dtype
        blank = jnp.zeros((self.iterations, 4), dtype)

        def iterate(carry: _Search) -> _Search:
            state, came = carry.state, carry.came
            found = self._better(inner, came, state, noise, cov, keys)
            after = follow(inner, box, start, found.policy, keys)
            gain, hoped = came.cost - after.cost, found.mean_predicted
            good = found.result == Result.successful
            better = good & (gain >= 0) & jnp.isfinite(after.cost)
            scale = adapted(state.scale, hoped, gain)
            policy, came = jax.tree.map(
                lambda new, old: jnp.where(better, new, old),
                (found.policy, after),
                (state.policy, came),
            )
            price = jnp.where(good & (found.price > 0), found.price, state.price)
            # Beyond limits more is hoped for than there is: what came decides.
            small = better & (gain <= self.tolerance * jnp.abs(came.cost))
            row = jnp.stack(
                [-came.cost, found.kl, found.price, found.sweeps.astype(dtype)]
            )
            at = jnp.arange(self.iterations, dtype=jnp.int32)[:, None]
            return _Search(
                state=ILQGState(policy, scale, price),
                came=came,
                result=found.result,
                count=carry.count + 1,
                calm=jnp.where(small, carry.calm + 1, 0),
                stuck=~good,
                rows=jnp.where(at >= carry.count, row[None], carry.rows),
            )

        none = jnp.zeros((), jnp.int32)
        bad = ~jnp.isfinite(first.cost)
        search = jax.lax.while_loop(
            lambda c: ~(c.stuck | (c.calm >= 2) | (c.count >= self.iterations)),
            iterate,
            _Search(state, first, Result.non_finite, none, none, bad, blank),
        )
        return self._plan(problem, belief, inner, search, keys, key), search.state

    def _plan(
        self,
        problem: Problem,
        belief: PyTree,
        inner: Problem,
        search: "_Search",
        keys: Array,
        key: PRNGKeyArray,
    ) -> Plan:
        """What was found, as the problem's own beliefs see it."""
        policy, came = search.state.policy, search.came
        fine = jnp.isfinite(came.cost)
        actions = jnp.where(fine, came.actions, jnp.zeros_like(came.actions))
        told = rollout(problem, belief, actions, key=key)
        slopes, curves = _worth(inner, came, policy, keys)
        states = jax.vmap(lambda each: ravel(each)[0])(told.beliefs)[:-1]
        # Coordinates after those of the state are no matter to it.
        more = states.shape[1] - policy.x.shape[1]
        wide = TimeVarying(
            jnp.pad(policy.K, ((0, 0), (0, 0), (0, more))),
            actions,
            states,
            policy.cov,
        )
        feedback = Feedback(
            wide,
            came.values,
            jnp.pad(slopes, ((0, 0), (0, more))),
            jnp.pad(curves, ((0, 0), (0, more), (0, more))),
        )
        once = self.iterations == 1
        done = jnp.where(once, search.count >= 1, search.calm >= 2)
        result = Result.where(
            search.stuck | done, search.result, Result.iteration_limit
        )
        value, kl, price, sweeps = jnp.moveaxis(search.rows, 1, 0)
        best = jnp.where(search.count > 0, value, told.value)
        numbers = {"kl": kl, "price": price, "sweeps": sweeps}
        stats = Stats(best=best, iterations=search.count, numbers=numbers)
        return Plan(actions, told.beliefs, told.value, feedback, result, stats)

    def _better(
        self,
        inner: Problem,
        came: Trajectory,
        state: ILQGState,
        noise: Array,
        cov: Array,
        keys: Array,
        change: Change = _unchanged,
    ) -> Improvement:
        """The best controller within the bound, around a trajectory."""
        return improve(
            change(expand(inner, came.beliefs, came.actions, keys=keys), came),
            came.discounts,
            came.states[:-1],
            came.actions,
            state.policy,
            self.bound * self.horizon * state.scale,
            noise=noise,
            start=cov,
            price=state.price,
            smallest=self.smallest_price,
            largest=self.largest_price,
            sweeps=self.sweeps,
        )


class _Search(eqx.Module):
    state: ILQGState
    came: Trajectory
    result: Result
    count: Int[Array, ""]
    calm: Int[Array, ""]
    stuck: Bool[Array, ""]
    rows: Float[Array, "iteration column"]


def adapted(scale: Scalar, predicted: Scalar, realised: Scalar) -> Scalar:
    r"""How wide the bound may be, after it was seen what came of a step.

    $$\epsilon' = \epsilon \, \frac{\Delta_\text{predicted}}
      {2 (\Delta_\text{predicted} - \Delta_\text{realised})}$$

    within factors of `FALL` and `RISE`: the step at which gain less error is largest,
    where the gain is linear in it and the error quadratic.

    Args:
        scale: Of the bound, in units of the one that was asked for.
        predicted: By how much the cost was to fall.
        realised: By how much it fell.

    References:
        Levine, Finn, Darrell and Abbeel, 2016, appendix A.3.
    """
    error = jnp.maximum(predicted - realised, 1e-4 * jnp.abs(predicted))
    factor = predicted / (2 * jnp.where(error > 0, error, jnp.ones_like(error)))
    factor = jnp.clip(jnp.where(error > 0, factor, RISE), FALL, RISE)
    factor = jnp.where(jnp.isfinite(realised), factor, FALL)
    return jnp.clip(scale * factor, NARROWEST, WIDEST)


def _seen(problem: Problem, belief: PyTree) -> tuple[Array, Array | None]:
    """The coordinates that a controller acts on, and how uncertain they are."""
    if isinstance(problem.model, Local | LinearGaussian):
        return moments(problem.model.readout(belief).x)
    return ravel(belief)[0], None


def _mean_problem(
    problem: Problem, belief: PyTree, horizon: int
) -> tuple[Problem, PyTree, Array, Array]:
    """What is expanded, where it starts, its noise, and the start's covariance."""
    x, cov = _seen(problem, belief)
    n = x.shape[0]
    model = problem.model
    if isinstance(model, Local):
        model = model.linear
    if not isinstance(model, LinearGaussian):
        still = jnp.zeros((horizon, n, n), x.dtype)
        return problem, belief, still, jnp.zeros((n, n), x.dtype)
    time = problem.model.readout(belief).time
    time = jnp.asarray(0) if time is None else time
    W = at(model.W, 2, time + jnp.arange(horizon)).astype(x.dtype)
    noise = jnp.broadcast_to(W, (horizon, n, n))
    inner = dataclasses.replace(problem, model=model.dynamics)
    start = Stamped(x, time) if model.dynamics.time_varying else x
    return inner, start, noise, jnp.zeros((n, n), x.dtype) if cov is None else cov


def _worth(
    inner: Problem, came: Trajectory, policy: TimeVarying, keys: Array
) -> tuple[Array, Array]:
    """Slope and curvature of the return from each step on, under the controller."""
    expansion = expand(inner, came.beliefs, came.actions, keys=keys)
    one = jnp.eye(expansion.F.shape[1], dtype=expansion.F.dtype)

    def back(carry, inputs):
        v, V = carry
        F, C, c, K, discount = inputs
        M = jnp.concatenate([one, K])
        Q = C + discount * matmul(F.T, matmul(V, F))
        q = c + discount * matvec(F.T, v)
        carry = (matvec(M.T, q), symmetrise(matmul(M.T, matmul(Q, M))))
        return carry, carry

    inputs = (expansion.F, expansion.C, expansion.c, policy.K, came.discounts)
    carry = (expansion.v, expansion.V)
    _, (v, V) = jax.lax.scan(back, carry, inputs, reverse=True)
    return -v, -V
