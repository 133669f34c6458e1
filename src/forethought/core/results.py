"""How a computation ended and what it told, carried as data through compiled code."""

import dataclasses

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

Either = Array | np.ndarray
"""On the device, or on the host once it was recorded."""


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
    no_price = (
        "No price of the KL bound meets it, from the least to the greatest; the old "
        "controller is kept. Look for a covariance of almost nothing, or for costs "
        "and data of extreme scale."
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
    "no_price",
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


class SearchTree(eqx.Module):
    """A search tree to be drawn: a row a node, parents before children, the root 0."""

    size: Int[Either, ""]
    """Rows in use."""
    parent: Int[Either, " node"]
    """-1 where there is none."""
    slot: Int[Either, " node"]
    """Which action of the parent leads here."""
    depth: Int[Either, " node"]
    visits: Int[Either, " node"]
    values: Float[Either, " node"]
    """Mean return of the action that leads here; at the root, of all simulations."""
    chosen: Bool[Either, " node"]
    """Whether it lies on the line that became the plan."""
    root_visits: Int[Either, " slot"]
    root_values: Float[Either, " slot"]
    """Mean return of each action at the root; it means nothing without visits."""
    root_actions: Float[Either, "slot action"] | None = None
    """What they are, where they are continuous."""


class Stats(eqx.Module):
    """What a planner tells of itself, to be looked at; None where it has no such thing.

    An iteration is a turn of the planner's own loop, a draw a set of candidates that
    was compared. Rows of iterations that were not needed repeat the last one.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.core.results import Stats
    >>> stats = Stats(best=jnp.array([-3.0, -1.0]), candidates=jnp.zeros((2, 8, 5, 1)))
    >>> stats.small().best.tolist(), stats.small().candidates
    ([-3.0, -1.0], None)

    ```
    """

    best: Float[Either, " iteration"] | None = None
    """The best return at each iteration, of all so far or, where the planner forgets,
    of its own candidates."""
    mean: Float[Either, " iteration"] | None = None
    """Mean return of the candidates that the next iteration is made of, weighted as
    they are for that."""
    iterations: Int[Either, ""] | None = None
    """How many were taken; all that there are rows for where it is None."""
    non_finite: Int[Either, " draw"] | None = None
    """How many returns were not finite."""
    candidates: Shaped[Either, "draw line horizon *action"] | None = None
    """Some of the sequences that were considered, best first."""
    scores: Float[Either, "draw line"] | None = None
    """What they earned, from a planner that draws once."""
    tree: SearchTree | None = None
    violation: Float[Either, " iteration"] | None = None
    """By how much constraints were broken at most."""
    kkt: Float[Either, ""] | None = None
    """By how much the plan misses the conditions of Karush, Kuhn and Tucker."""
    multipliers: dict[str, Either] = dataclasses.field(default_factory=dict)
    """What constraints cost, by kind; the last axis is that of constraints."""
    numbers: dict[str, Either] = dataclasses.field(default_factory=dict)
    """Whatever else it tells, under names of its own: a number, or one an iteration."""
    inside: "Stats | None" = None
    """What the planner inside of this one told last, in its own currency."""

    def small(self) -> "Stats":
        """Without what is larger than one number an iteration."""
        inside = None if self.inside is None else self.inside.small()
        return dataclasses.replace(
            self, candidates=None, scores=None, tree=None, multipliers={}, inside=inside
        )
