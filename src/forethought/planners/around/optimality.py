r"""How far a plan is from what an optimum under constraints must be.

With the Lagrangian of the actions $u$, whose states follow from the model,

$$L(u) = -J(u) + \sum_t D_t \big(\lambda_t^\top g_t + \nu_t^\top h_t\big),$$

$D$ the discount, the conditions of Karush, Kuhn and Tucker within the limits of the
actions are

$$\Pi(u - \nabla L) = u, \qquad \min(\lambda, -g) = 0, \qquad h = 0$$

where $\Pi$ projects onto the limits. The largest entry by which one of them is missed
is the *residual*.

References:
    Nocedal and Wright, Numerical Optimization, 2nd ed., 2006, theorem 12.1 and eq.
    17.47 (limits by projection).
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from forethought.core.spaces import Box
from forethought.objectives.constrained import Constrained, Residuals
from forethought.problem import Problem, rollout


class Along(eqx.Module):
    """The constraints along a plan; those beyond the end of an episode count as met."""

    running: Residuals
    """Arrays of shape `[horizon, constraint]`."""
    final: Residuals
    """Of the last state."""
    discounts: Float[Array, " time"]
    """$D$: how much a step still counts."""

    @property
    def violation(self) -> Scalar:
        """By how much the worst of them is broken."""
        return largest(self.running.broken, self.final.broken)

    def miss(self, running: Residuals, final: Residuals) -> Scalar:
        """How far from an optimum under these multipliers, $L$ left aside."""
        return largest(self.running.miss(running), self.final.miss(final))


def require_constrained(problem: Problem, who: str) -> Constrained:
    """The problem's objective, which must have constraints.

    Raises:
        TypeError: It has none; naming who asks.
    """
    objective = problem.objective
    if not isinstance(objective, Constrained):
        raise TypeError(
            f"{who} needs an objective of type Constrained, which says "
            f"what to hold, but the problem's is {type(objective).__name__}."
        )
    return objective


def along(problem: Problem, beliefs: PyTree, actions: Array) -> Along:
    """The constraints at each step of a plan, or of what happened.

    Args:
        problem: Its objective is `Constrained`.
        beliefs: Leaves of shape `[horizon + 1, ...]`.
        actions: Shape `[horizon, ...]`.

    Raises:
        TypeError: There are no constraints.
    """
    constrained = require_constrained(problem, "A violation")
    before = jax.tree.map(lambda leaf: leaf[:-1], beliefs)
    after = jax.tree.map(lambda leaf: leaf[1:], beliefs)
    _, discounts = jax.vmap(problem.judge)(before, actions, after)
    weights = jnp.concatenate([jnp.ones_like(discounts[:1]), jnp.cumprod(discounts)])
    last = jax.tree.map(lambda leaf: leaf[-1], beliefs)
    running = jax.vmap(
        lambda belief, action: constrained.running(
            problem.model.readout(belief).x, action
        )
    )(before, actions)
    final = constrained.final(problem.model.readout(last).x)

    def reached(values: Array, weight: Array) -> Array:
        return jnp.where(weight > 0, values, jnp.zeros_like(values))

    running = jax.tree.map(lambda leaf: reached(leaf, weights[:-1, None]), running)
    final = jax.tree.map(lambda leaf: reached(leaf, weights[-1]), final)
    return Along(running, final, weights)


def residual(
    problem: Problem,
    belief: PyTree,
    actions: Array,
    running: Residuals,
    final: Residuals,
    *,
    key: PRNGKeyArray,
) -> Scalar:
    """The largest entry by which an optimality condition is missed.

    Args:
        problem: Its objective is `Constrained`, its actions are continuous.
        belief: Where the plan starts.
        actions: The plan, shape `[horizon, action]`.
        running: Multipliers of each step: arrays of shape `[horizon, constraint]`.
        final: Those of the last state's constraints.
        key: Consumed by a stochastic model.

    Returns:
        In the units of the constraints, or of the return per unit of an action.

    Raises:
        TypeError: There are no constraints, or the actions are discrete.
    """
    constrained = require_constrained(problem, "A residual of optimality")
    box = problem.action
    if not isinstance(box, Box):
        raise TypeError("A residual of optimality needs continuous actions.")
    bare = dataclasses.replace(problem, objective=constrained.objective)

    def lagrangian(actions: Array) -> tuple[Scalar, Along]:
        imagined = rollout(bare, belief, actions, key=key)
        found = along(problem, imagined.beliefs, actions)
        steps = _prices(running, found.running)
        price = jnp.sum(found.discounts[:-1] * steps)
        price += found.discounts[-1] * _prices(final, found.final)
        return price - imagined.value, found

    slope, found = jax.grad(lagrangian, has_aux=True)(actions)
    moved = jnp.abs(box.clip(actions - slope) - actions)
    return jnp.maximum(jnp.max(moved), found.miss(running, final))


def _prices(multipliers: Residuals, residuals: Residuals) -> Array:
    """Multipliers times constraints, summed over the constraints."""
    inequality = jnp.sum(multipliers.inequality * residuals.inequality, axis=-1)
    return inequality + jnp.sum(multipliers.equality * residuals.equality, axis=-1)


def largest(*arrays: Array) -> Scalar:
    """The largest entry of all."""
    return jnp.max(jnp.concatenate([array.reshape(-1) for array in arrays]))
