"""How a computation ended, carried as data through compiled code."""

import equinox as eqx
import jax
import numpy as np


class Result(eqx.Enumeration):
    """Result codes; the message of each says what to do about it."""

    successful = "The planner succeeded."
    iteration_limit = (
        "The planner reached its iteration limit before it converged; the plan is the "
        "best found. Raise `iterations`, or warm-start from a better plan."
    )
    not_converged = (
        "No step size improved the plan even at the largest regularisation; the plan "
        "is the best found. Check the scaling and smoothness of model and objective."
    )
    non_finite = (
        "A non-finite return was met and the best finite plan is returned. Check the "
        "start state, tighten the action bounds, or shorten the horizon."
    )
    indefinite = (
        "The cost is not convex in the action, so no minimum exists. Give the action "
        "a positive-definite weight."
    )
    no_stationary = (
        "No gain keeps the system stable for ever at a finite cost. Look for an "
        "unstable mode that no action reaches or a lasting one that costs nothing, or "
        "discount."
    )
    infeasible = (
        "The constraints are not met; the plan breaks them by the `violation` in its "
        "statistics. Check that they can be met at all, start from another plan, or "
        "raise `rounds`."
    )
    no_action = (
        "No action is legal in the belief that was planned from. Check the problem's "
        "`legal`, or end the episode before."
    )


NAMES = (
    "successful",
    "iteration_limit",
    "not_converged",
    "non_finite",
    "indefinite",
    "no_stationary",
    "infeasible",
    "no_action",
)


def names(results: Result) -> np.ndarray:
    """The codes' names, on the host, such as `iteration_limit`; any shape."""
    found = np.full(np.shape(jax.tree.leaves(results)[0]), "", dtype="<U32")
    for name in NAMES:
        found[np.asarray(results == getattr(Result, name))] = name
    return found


def name_of(result: Result) -> str:
    """The name of one code."""
    return str(names(result))
