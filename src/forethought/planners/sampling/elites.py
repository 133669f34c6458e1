r"""The loop of the cross-entropy method, over any family of distributions.

Draw candidates, keep the elites, refit the distribution to them, repeat. What is drawn
(Gaussian action sequences, categorical ones) and how it is refitted is given by the
planner; what is the same for all is written here once: candidates kept from earlier
iterations, the centre as a candidate, the best sequence ever met, and the rule that
nothing is refitted to elites whose returns are not all finite.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, Scalar

from forethought.core.types import blank

Distribution = TypeVar("Distribution", bound=eqx.Module)
Row = dict[str, Any]
"""Fields of `Stats` by name: of one iteration, or with all of them in front."""


class Search(eqx.Module, Generic[Distribution]):
    """What one iteration hands to the next, and the last one to the planner."""

    distribution: Distribution
    kept: Array
    """Elites that compete again."""
    best: Array
    best_return: Scalar


class Family(eqx.Module, Generic[Distribution]):
    """What a family of distributions can do, as functions of its parameters."""

    draw: Callable[[Distribution, int, PRNGKeyArray], Array]
    """So many candidates."""
    refit: Callable[[Distribution, Array], Distribution]
    """To the elites, mixed with what it was."""
    centre: Callable[[Distribution], Array]
    """The candidate that stands for the whole."""
    spread: Callable[[Distribution], Scalar]
    """A number to be looked at: how wide it is."""


def require_elites(
    planner: str, *, population: int, elites: int, keep_fraction: float
) -> None:
    """Refuse elites that no population holds, and a share of them that is none.

    Raises:
        ValueError: The elites outnumber the population, or the share that is kept
            lies outside [0, 1].
    """
    if elites > population:
        raise ValueError(
            f"{planner} needs elites <= population, got {elites} elites of "
            f"{population}."
        )
    if not 0 <= keep_fraction <= 1:
        raise ValueError(
            f"{planner} needs keep_fraction in [0, 1], got {keep_fraction}."
        )


def cross_entropy(
    family: Family[Distribution],
    score: Callable[[Array], Array],
    search: Search[Distribution],
    *,
    populations: Sequence[int],
    elites: int,
    centre_competes: bool,
    settled: Callable[[Distribution], Array] | None,
    key: PRNGKeyArray,
) -> tuple[Search[Distribution], Row]:
    """Narrow a distribution around what earns most.

    Args:
        family: How to draw and to refit.
        score: Returns of candidates, shape `[population]`.
        search: Where to start; it sets how many elites are kept.
        populations: Candidates drawn in each iteration; one compiled loop where they
            are equal.
        elites: How many refit the distribution.
        centre_competes: Whether the centre is a candidate in the last iteration.
        settled: Whether there is nothing left to narrow; asked before each iteration
            but the first. None never asks.
        key: Consumed.

    Returns:
        Where the search ended, and one row of statistics an iteration; an iteration
        that did not take place repeats the row before it, and counts nothing.
    """
    count = len(populations)
    keys = jax.random.split(key, count)
    index = jnp.arange(count)

    def iterate(search: Search, index: Array, key: PRNGKeyArray, population: int):
        candidates = family.draw(search.distribution, population, key)
        if centre_competes:
            centre = family.centre(search.distribution)
            last = index == count - 1
            candidates = candidates.at[0].set(jnp.where(last, centre, candidates[0]))
        candidates = jnp.concatenate([candidates, search.kept])
        returns = score(candidates)
        elite_returns, chosen = jax.lax.top_k(returns, elites)
        best = candidates[chosen]

        usable = jnp.isfinite(elite_returns[-1])
        distribution = jax.tree.map(
            lambda new, old: jnp.where(usable, new, old),
            family.refit(search.distribution, best),
            search.distribution,
        )
        better = elite_returns[0] > search.best_return
        found = Search(
            distribution,
            best[: search.kept.shape[0]],
            jnp.where(better, best[0], search.best),
            jnp.maximum(elite_returns[0], search.best_return),
        )
        row = {
            "candidates": best,
            "mean": jnp.mean(elite_returns),
            "best": found.best_return,
            "numbers": {"spread": family.spread(distribution)},
            "non_finite": jnp.sum(~jnp.isfinite(returns)),
        }
        return found, row

    def step(carry: tuple[Search, Row], inputs, population: int):
        search, row = carry
        index, key = inputs
        if settled is None:
            carry = iterate(search, index, key, population)
        else:
            carry = jax.lax.cond(
                (index > 0) & settled(search.distribution),
                lambda: (search, row | {"non_finite": jnp.zeros((), int)}),
                lambda: iterate(search, index, key, population),
            )
        return carry, carry[1]

    _, shapes = jax.eval_shape(
        lambda search: iterate(search, index[0], keys[0], populations[0]), search
    )
    carry = (search, blank(shapes))
    if len(set(populations)) == 1:
        (search, _), found = jax.lax.scan(
            lambda carry, inputs: step(carry, inputs, populations[0]),
            carry,
            (index, keys),
        )
        return search, found
    rows = []
    for i, population in enumerate(populations):
        carry, row = step(carry, (index[i], keys[i]), population)
        rows.append(row)
    return carry[0], jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
