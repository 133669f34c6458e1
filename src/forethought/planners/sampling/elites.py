r"""The loop of the cross-entropy method, over any family of distributions.

Draw candidates, keep the elites, refit the distribution to them, repeat. What is drawn
(Gaussian action sequences, categorical ones) and how it is refitted is given by the
planner; what is the same for all is written here once: candidates kept from earlier
iterations, the centre as a candidate, the best sequence ever met, and the rule that
nothing is refitted to elites whose returns are not all finite.
"""

from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, Scalar

from forethought.core.given.settings import Range
from forethought.core.types import blank

Elites = Annotated[int, Range(at_least=1, at_most="population")]
"""How many candidates of a population a distribution is refitted to."""
Distribution = TypeVar("Distribution", bound=eqx.Module)
Row = dict[str, Any]
"""Fields of `Stats` by name: of one iteration, or with all of them in front."""
UNROLLED = 8
"""So many iterations may have a size of their own; all that follow are one loop."""


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


class Sizes(eqx.Module):
    r"""How many candidates each iteration draws: $\max(\lfloor P d^{-i} \rfloor, p)$.

    Args:
        first: $P$, of the first iteration.
        decay: $d$, by which they become fewer in each.
        least: $p$, below which they never fall.
        iterations: How many there are.
    """

    first: int = eqx.field(static=True)
    decay: float = eqx.field(static=True)
    least: int = eqx.field(static=True)
    iterations: int = eqx.field(static=True)

    def __call__(self, iteration: int) -> int:
        """Of one iteration."""
        return max(int(self.first * self.decay**-iteration), self.least)

    def traced(self, iteration: Array) -> Array:
        """The same in compiled code."""
        power = jnp.asarray(self.decay, float) ** -iteration.astype(float)
        return jnp.maximum((self.first * power).astype(int), self.least)

    @property
    def unrolled(self) -> int:
        """So many have a program of their own, before a loop does the rest."""
        last = self(self.iterations - 1)
        few = range(min(UNROLLED, self.iterations))
        own = next((i for i in few if self(i) == last), len(few))
        return self.iterations if self.iterations == own + 1 else own


def cross_entropy(
    family: Family[Distribution],
    score: Callable[[Array], Array],
    search: Search[Distribution],
    *,
    sizes: Sizes,
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
        sizes: How many candidates each iteration draws. Those of the loop are drawn
            in the number of its first; what is too many of them is never an elite.
        elites: How many refit the distribution.
        centre_competes: Whether the centre is a candidate in the last iteration.
        settled: Whether there is nothing left to narrow; asked before each iteration
            but the first. None never asks.
        key: Consumed.

    Returns:
        Where the search ended, and one row of statistics an iteration; an iteration
        that did not take place repeats the row before it, and counts nothing.
    """
    count, own = sizes.iterations, sizes.unrolled
    keys = jax.random.split(key, count)
    index = jnp.arange(count)

    def iterate(
        search: Search, index: Array, key: PRNGKeyArray, population: int, shrinks: bool
    ):
        candidates = family.draw(search.distribution, population, key)
        if centre_competes:
            centre = family.centre(search.distribution)
            last = index == count - 1
            candidates = candidates.at[0].set(jnp.where(last, centre, candidates[0]))
        candidates = jnp.concatenate([candidates, search.kept])
        returns = score(candidates)
        place = jnp.arange(len(candidates))
        spare = shrinks & (place >= sizes.traced(index)) & (place < population)
        returns = jnp.where(spare, -jnp.inf, returns)
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
            "non_finite": jnp.sum(~(jnp.isfinite(returns) | spare)),
        }
        return found, row

    def step(carry: tuple[Search, Row], inputs, population: int, shrinks: bool = False):
        search, row = carry
        index, key = inputs
        if settled is None:
            carry = iterate(search, index, key, population, shrinks)
        else:
            carry = jax.lax.cond(
                (index > 0) & settled(search.distribution),
                lambda: (search, row | {"non_finite": jnp.zeros((), int)}),
                lambda: iterate(search, index, key, population, shrinks),
            )
        return carry, carry[1]

    _, shapes = jax.eval_shape(
        lambda search: iterate(search, index[0], keys[0], sizes(0), False), search
    )
    carry = (search, blank(shapes))
    rows = []
    for i in range(own):
        carry, row = step(carry, (index[i], keys[i]), sizes(i))
        rows.append(row)
    found = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)] if rows else []
    if own < count:
        population = sizes(own)
        shrinks = population > sizes(count - 1)
        carry, row = jax.lax.scan(
            lambda carry, inputs: step(carry, inputs, population, shrinks),
            carry,
            (index[own:], keys[own:]),
        )
        found.append(row)
    return carry[0], jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *found)
