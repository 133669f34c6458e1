"""What planners that draw candidates have in common: how they score and report."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree, Scalar

from forethought.core.results import Result, Stats
from forethought.core.returns import Risk
from forethought.problem import Plan, Problem, evaluate, rollout

SHOWN = 64
"""Candidates that a plan keeps to be looked at."""


def scorer(
    problem: Problem, belief: PyTree, particles: int, risk: Risk, *, key: PRNGKeyArray
) -> Callable[[Array], Float[Array, " population"]]:
    """A function that scores candidates, all under the same futures.

    Args:
        problem: Model and objective.
        belief: Where every candidate starts.
        particles: Futures drawn for each of them.
        risk: How their returns become one score.
        key: Consumed; it fixes the futures.

    Returns:
        From candidates `[population, horizon, ...]` to scores, minus infinity where a
        return is not finite.
    """

    def score(actions: Array) -> Scalar:
        return evaluate(
            problem, belief, actions, key=key, particles=particles, risk=risk
        )

    return jax.vmap(score)


def first_future(key: PRNGKeyArray, particles: int) -> PRNGKeyArray:
    """The key under which a `rollout` is the first of the futures of a score."""
    return jax.random.split(key, particles)[0]


def report(
    problem: Problem,
    belief: PyTree,
    actions: Array,
    value: Scalar,
    stats: Stats,
    particles: int,
    *,
    moved: ArrayLike = True,
    key: PRNGKeyArray,
) -> Plan:
    """The plan that a search ended with, imagined in the first of its futures.

    Args:
        problem: Model and objective.
        belief: Where it starts.
        actions: Shape `[horizon, ...]`.
        value: Their score.
        stats: What is only looked at.
        particles: Futures that it was scored in.
        moved: Whether any candidate had a say in it; without one nothing was found.
        key: The one that fixed them (see `scorer`).
    """
    return Plan(
        actions,
        rollout(problem, belief, actions, key=first_future(key, particles)).beliefs,
        value,
        None,
        Result.where(jnp.isfinite(value) & moved, Result.successful, Result.non_finite),
        stats,
    )
