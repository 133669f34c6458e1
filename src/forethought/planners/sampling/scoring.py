"""What planners that draw candidates have in common: how they score and report."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

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


def report(
    problem: Problem,
    belief: PyTree,
    actions: Array,
    value: Scalar,
    stats: Stats,
    *,
    key: PRNGKeyArray,
) -> Plan:
    """The plan that a search ended with, imagined in one future."""
    return Plan(
        actions,
        rollout(problem, belief, actions, key=key).beliefs,
        value,
        None,
        Result.where(jnp.isfinite(value), Result.successful, Result.non_finite),
        stats,
    )
