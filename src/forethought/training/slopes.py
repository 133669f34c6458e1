"""Gradients through time of an agent that back-propagates, from states that it visited.

An agent is looked at through what it imagines in and who plans there: a policy that is
improved by gradients (`Following`), or actions that are (`GradientAscent`).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from forethought.agents.gradients.through_time import Growth, growth
from forethought.core.types import ravel
from forethought.data.replay import Replay, ReplayState
from forethought.planners.around.following import Following
from forethought.planners.base import AbstractPlanner
from forethought.planners.smooth.gradient import GradientAscent
from forethought.policies.affine import TimeVarying
from forethought.policies.base import AbstractPolicy
from forethought.problem import Problem

STARTS = 8
"""States, among the newest, that futures begin in."""


def slopes(
    problem: Problem,
    planner: AbstractPlanner,
    memory: ReplayState,
    new: int,
    *,
    key: PRNGKeyArray,
) -> Growth | None:
    """How gradients grow with the horizon: the medians over some futures.

    Args:
        problem: What is imagined in.
        planner: Who acts there.
        memory: What was seen, the newest last.
        new: How many steps are news; futures begin in them.
        key: Consumed.

    Returns:
        The medians, or None where nobody back-propagates.
    """
    if not isinstance(planner, Following | GradientAscent):
        return None
    if isinstance(planner, Following) and not planner.climbs:
        return None
    return _slopes(problem, planner, memory, jnp.asarray(new), key)


@eqx.filter_jit
def _slopes(
    problem: Problem,
    planner: AbstractPlanner,
    memory: ReplayState,
    new: Int[Array, ""],
    key: PRNGKeyArray,
) -> Growth:
    rows, _ = Replay(memory.capacity, memory.lanes).ordered(memory)
    first = jnp.maximum(memory.size - new, 0)
    places = first + jnp.arange(STARTS) * (memory.size - first) // STARTS

    def one(obs: Array, key: PRNGKeyArray) -> Growth:
        init_key, see_key, plan_key, key = jax.random.split(key, 4)
        model = problem.model
        belief = model.observe(model.init(key=init_key), obs, key=see_key)
        policy = _policy(problem, planner, belief, plan_key)
        return growth(problem, policy, belief, planner.horizon, key=key)

    found = jax.vmap(one)(rows.obs[places], jax.random.split(key, STARTS))
    return jax.tree.map(lambda leaf: jnp.nanmedian(leaf, axis=0), found)


def _policy(
    problem: Problem, planner: AbstractPlanner, belief: PyTree, key: PRNGKeyArray
) -> AbstractPolicy:
    """Who acts: the policy, or one that plays the planner's actions."""
    if isinstance(planner, Following):
        return planner.policy
    init_key, plan_key = jax.random.split(key)
    state = planner.init(problem, belief, key=init_key)
    actions = planner.plan(problem, belief, state, key=plan_key)[0].actions
    size = ravel(problem.model.readout(belief).x)[0].shape[0]
    horizon, count = actions.shape
    return TimeVarying(
        K=jnp.zeros((horizon, count, size), actions.dtype),
        k=actions,
        x=jnp.zeros((horizon, size), actions.dtype),
        cov=jnp.zeros((horizon, count, count), actions.dtype),
    )
