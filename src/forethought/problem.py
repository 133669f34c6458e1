"""The one problem that every planner solves, and what they all return.

A `Problem` is a model (what would happen), an objective (how good would it be) and an
action space (what may be chosen). `rollout` imagines one sequence of actions, and
`evaluate` gives it a score, over many particles where the future is uncertain.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Scalar

from forethought.core.readout import AbstractJudge
from forethought.core.results import Result
from forethought.core.returns import Risk
from forethought.core.spaces import Space
from forethought.core.types import Action, ravel
from forethought.models.base import AbstractCloud, AbstractModel, Independent

Belief = TypeVar("Belief")


class Problem(eqx.Module, Generic[Belief]):
    """What a planner is given.

    Args:
        model: What would happen.
        objective: How good it would be.
        action: What may be chosen at each step.
        cloud: How particles are drawn and carried, where there are several.
        legal: Which discrete actions a belief allows, shape `[choice]`; all by default.
            A sequence with one that is not allowed scores minus infinity.
    """

    model: AbstractModel[Belief]
    objective: AbstractJudge
    action: Space
    cloud: AbstractCloud = Independent()
    legal: Callable[[Belief], Bool[Array, " choice"]] | None = None

    def step(
        self, belief: Belief, action: Action, *, key: PRNGKeyArray
    ) -> tuple[Belief, Scalar, Scalar]:
        """Imagine one step: the next belief, its reward, and the discount after it."""
        next_belief = self.model.predict(belief, action, key=key)
        return next_belief, *self.judge(belief, action, next_belief)

    def judge(
        self, belief: Belief, action: Action, next_belief: Belief
    ) -> tuple[Scalar, Scalar]:
        """The reward of a transition, and the discount after it."""
        before, after = self.model.readout(belief), self.model.readout(next_belief)
        return self.objective.judge(before, action, after)

    def value(self, belief: Belief) -> Scalar:
        """The return to expect beyond the horizon."""
        return self.objective.beyond(self.model.readout(belief))


class Feedback(eqx.Module):
    r"""A plan as a controller, with its local value expansion.

    $$u = \hat u_t + K_t (x - \hat x_t), \qquad
      V(\hat x_t + \delta) \approx V_t + V_{x,t}^\top \delta
      + \tfrac12 \delta^\top V_{xx,t} \delta$$

    Values are returns (they are maximised), states are `ravel(belief)`.
    """

    gains: Float[Array, "horizon action state"]
    states: Float[Array, "horizon state"]
    actions: Float[Array, "horizon action"]
    V: Float[Array, " horizon"]
    V_x: Float[Array, "horizon state"]
    V_xx: Float[Array, "horizon state state"]

    def __call__(self, t: Array | int, belief: PyTree) -> Float[Array, " action"]:
        """The action at step `t` of the plan, in the belief met there."""
        deviation = ravel(belief)[0] - self.states[t]
        return self.actions[t] + self.gains[t] @ deviation


class Plan(eqx.Module):
    """What a planner returns.

    `stats` holds what is only looked at, such as the cost of each iteration. A plan
    whose `result` is not successful still holds the best finite actions found.
    """

    actions: Array
    """Shape `[horizon, action]`, or `[horizon]` for discrete actions."""
    beliefs: PyTree
    """What the model expects to happen: leaves of shape `[horizon + 1, ...]`."""
    value: Scalar
    """Expected return under the model."""
    feedback: Feedback | None
    result: Result
    stats: dict[str, Array]


class Rollout(eqx.Module):
    """One imagined future under a sequence of actions."""

    beliefs: PyTree
    """Leaves of shape `[horizon + 1, ...]`, the first being where it started."""
    rewards: Float[Array, " horizon"]
    """Each discounted, so that they add up."""
    final: Scalar
    """Discounted value of what lies beyond the horizon."""

    @property
    def value(self) -> Scalar:
        """The return: all rewards and what lies beyond."""
        return jnp.sum(self.rewards) + self.final


def rollout(
    problem: Problem, belief: PyTree, actions: Array, *, key: PRNGKeyArray
) -> Rollout:
    """Imagine what a sequence of actions would do.

    Args:
        problem: Model and objective.
        belief: Where to start.
        actions: Shape `[horizon, action]`, or `[horizon]` for discrete actions.
        key: Consumed by a stochastic model; the same key gives the same future.

    Returns:
        Beliefs, discounted rewards, and the value beyond the horizon.

    Raises:
        ValueError: The actions do not have the shape of the problem's action space.
    """
    shape = problem.action.shape
    if actions.ndim != 1 + len(shape) or actions.shape[1:] != shape:
        raise ValueError(
            f"A rollout needs actions of shape [horizon, {', '.join(map(str, shape))}]"
            f", got {list(actions.shape)}."
        )

    def step(carry, inputs):
        belief, discount = carry
        action, key = inputs
        next_belief, reward, factor = problem.step(belief, action, key=key)
        return (next_belief, discount * factor), (next_belief, discount * reward)

    keys = jax.random.split(key, actions.shape[0])
    one = jnp.ones_like(problem.value(belief))
    (last, discount), (beliefs, rewards) = jax.lax.scan(
        step, (belief, one), (actions, keys)
    )
    beliefs = jax.tree.map(
        lambda first, rest: jnp.concatenate([first[None], rest]), belief, beliefs
    )
    return Rollout(beliefs, rewards, discount * problem.value(last))


def evaluate(
    problem: Problem,
    belief: PyTree,
    actions: Array,
    *,
    key: PRNGKeyArray,
    particles: int = 1,
    risk: Risk = Risk(),  # noqa: B008  (a frozen setting)
) -> Scalar:
    """The score of a sequence of actions: a risk measure of its return.

    Candidates that are compared must be evaluated under the same key: they then face
    the same noise (common random numbers), and differ by their actions alone.

    Args:
        problem: Model and objective.
        belief: Where to start.
        actions: Shape `[horizon, action]`, or `[horizon]` for discrete actions.
        key: Consumed; one key is one set of futures.
        particles: How many futures to draw.
        risk: How their returns become one number.

    Returns:
        The score; minus infinity where any return is not finite.
    """
    horizon = actions.shape[0]
    keys = jax.vmap(lambda key: jax.random.split(key, horizon), out_axes=1)(
        jax.random.split(key, particles)
    )

    def step(carry, inputs):
        cloud, returns, discounts = carry
        action, keys = inputs
        if problem.legal is not None:
            legal = jax.vmap(problem.legal)(cloud)[:, action]
            returns = jnp.where(legal | (discounts == 0), returns, -jnp.inf)
        after = problem.cloud.predict(problem.model, cloud, action, keys=keys)
        rewards, factors = jax.vmap(
            lambda belief, next_belief: problem.judge(belief, action, next_belief)
        )(cloud, after)
        return (after, returns + discounts * rewards, discounts * factors), None

    cloud = problem.cloud.spread(
        problem.model, belief, particles, key=jax.random.fold_in(key, particles)
    )
    ones = jnp.ones_like(jax.vmap(problem.value)(cloud))
    (cloud, returns, discounts), _ = jax.lax.scan(
        step, (cloud, 0 * ones, ones), (actions, keys)
    )
    returns = returns + discounts * jax.vmap(problem.value)(cloud)
    return jnp.where(jnp.all(jnp.isfinite(returns)), risk(returns), -jnp.inf)
