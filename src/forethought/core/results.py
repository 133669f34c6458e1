"""How a computation ended, carried as data through compiled code."""

import equinox as eqx


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


NAMES = (
    "successful",
    "iteration_limit",
    "not_converged",
    "non_finite",
    "indefinite",
)


def name_of(result: Result) -> str:
    """The code's name, on the host, such as `iteration_limit`."""
    return next(name for name in NAMES if bool(result == getattr(Result, name)))
