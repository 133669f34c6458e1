r"""The cross-entropy method where actions are discrete.

As `cem`, with a categorical distribution at each step in the place of the Gaussian: the
elites' shares of each action become its probability, smoothed by what it was, so that
no action is ruled out by one unlucky draw.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Scalar

from forethought.core.given.settings import Count, Share, Steps
from forethought.core.results import Stats
from forethought.core.returns import Risk
from forethought.core.spaces import Discrete, Space
from forethought.core.types import ravel
from forethought.planners.base import UNSAID, AbstractPlanner, require_shape
from forethought.planners.sampling.elites import (
    Elites,
    Family,
    Search,
    Sizes,
    cross_entropy,
)
from forethought.planners.sampling.scoring import report, scorer
from forethought.planners.sampling.spline import Spline
from forethought.problem import Plan, Problem


class CategoricalCEMState(eqx.Module):
    """The distribution of the last plan, and the elites worth trying again."""

    probabilities: Float[Array, "knot choice"]
    kept: Int[Array, "kept knot"]
    phase: Int[Array, ""]
    """Steps since the first knot."""


class Categorical(eqx.Module):
    """Independent choices, one a knot."""

    probabilities: Float[Array, "knot choice"]


class CategoricalCEM(AbstractPlanner[CategoricalCEMState]):
    r"""The cross-entropy method over sequences of discrete actions.

    $$a_{i, t} \sim p_t, \qquad
      p_t(a) \leftarrow \alpha\, p_t(a) + (1 - \alpha)\,
      \text{share of the elites with } a_{i, t} = a$$

    The plan is the best sequence met; the most probable one competes at last.

    Args:
        horizon: Steps to look ahead.
        population: Sequences drawn in each iteration.
        elites: How many of them refit the distribution.
        iterations: Rounds of sampling and refitting in each plan.
        momentum: $\alpha$, the share of the old distribution that stays.
        warm_share: Share of the last plan's distribution, shifted by a step, in the
            first one of the next; the rest is uniform.
        keep_fraction: Share of the elites that competes again in the next iteration
            and, shifted by a step, in the next plan.
        hold: Steps that each drawn action is held for.
        particles: Futures drawn for each sequence, where the model is stochastic.
        risk: How the returns of the particles become one score.

    Raises:
        ValueError: A setting lies outside its range, or the elites outnumber the
            population.

    References:
        Rubinstein, The cross-entropy method for combinatorial and continuous
        optimization, 1999. De Boer, Kroese, Mannor and Rubinstein, A tutorial on the
        cross-entropy method, 2005, §2.2 (shares of the elites) and remark 2.3
        (smoothing). Kept elites as in Pinneri et al., 2020 (see `CEM`).
    """

    horizon: Steps = eqx.field(static=True, default=UNSAID)
    population: Count = eqx.field(static=True, default=128)
    elites: Elites = eqx.field(static=True, default=16)
    iterations: Count = eqx.field(static=True, default=4)
    momentum: Share = 0.2
    warm_share: Share = 0.5
    keep_fraction: Share = eqx.field(static=True, default=0.3)
    hold: Steps = eqx.field(static=True, default=1)
    particles: Count = eqx.field(static=True, default=1)
    risk: Risk = Risk()

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> CategoricalCEMState:
        """Every action as probable as another, or a lean to the actions given.

        Raises:
            TypeError: The actions are continuous.
            ValueError: The actions given have another shape.
        """
        n = require_discrete(problem.action, "CategoricalCEM").n
        dtype, count = ravel(belief)[0].dtype, self._spline.knots
        if actions is None:
            knots = jnp.zeros((count,), int)
            probabilities = jnp.full((count, n), 1 / n, dtype)
        else:
            require_shape("CategoricalCEM", actions, (self.horizon,))
            first = jnp.minimum(jnp.arange(count) * self.hold, self.horizon - 1)
            knots = actions[first].astype(int)
            probabilities = jax.nn.one_hot(knots, n, dtype=dtype)
        kept = jnp.broadcast_to(knots, (self._kept, count))
        return CategoricalCEMState(probabilities, kept, jnp.zeros((), jnp.int32))

    def plan(
        self,
        problem: Problem,
        belief: PyTree,
        state: CategoricalCEMState,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Plan, CategoricalCEMState]:
        """Narrow the distribution for a few iterations, all under the same futures."""
        search_key, evaluate_key = jax.random.split(key)
        score = scorer(problem, belief, self.particles, self.risk, key=evaluate_key)
        n = require_discrete(problem.action, "CategoricalCEM").n
        share = self.warm_share
        start = Categorical(share * state.probabilities + (1 - share) / n)
        worst = jnp.asarray(-jnp.inf, state.probabilities.dtype)

        def decode(knots: Int[Array, " knot"]) -> Int[Array, " horizon"]:
            return self._spline(knots, state.phase)

        search, rows = cross_entropy(
            self._family(n),
            lambda candidates: score(jax.vmap(decode)(candidates)),
            Search(start, state.kept, _most_probable(start), worst),
            sizes=Sizes(self.population, 1.0, self.population, self.iterations),
            elites=self.elites,
            centre_competes=True,
            settled=None,
            key=search_key,
        )
        rows["candidates"] = jax.vmap(jax.vmap(decode))(rows["candidates"])
        actions, value = decode(search.best), search.best_return
        stats = Stats(**rows)
        plan = report(
            problem, belief, actions, value, stats, self.particles, key=evaluate_key
        )
        probabilities = search.distribution.probabilities
        return plan, CategoricalCEMState(probabilities, search.kept, state.phase)

    def shift(
        self, problem: Problem, state: CategoricalCEMState
    ) -> CategoricalCEMState:
        """One step later: all moves up, and the last knot is repeated."""
        probabilities, phase = self._spline.shift(state.probabilities, state.phase)
        kept = jax.vmap(lambda knots: self._spline.shift(knots, state.phase)[0])(
            state.kept
        )
        return CategoricalCEMState(probabilities, kept, phase)

    @property
    def _spline(self) -> Spline:
        return Spline(self.horizon, self.hold)

    @property
    def _kept(self) -> int:
        return round(self.keep_fraction * self.elites)

    def _family(self, n: int) -> Family[Categorical]:
        """How sequences are drawn, and refitted to."""
        old = self.momentum

        def draw(now: Categorical, population: int, key: PRNGKeyArray) -> Array:
            shape = (population, now.probabilities.shape[0])
            return jax.random.categorical(key, jnp.log(now.probabilities), shape=shape)

        def refit(now: Categorical, elites: Array) -> Categorical:
            chosen = jax.nn.one_hot(elites, n, dtype=now.probabilities.dtype)
            shares = jnp.mean(chosen, axis=0)
            return Categorical(old * now.probabilities + (1 - old) * shares)

        return Family(draw, refit, _most_probable, _entropy)


def _most_probable(now: Categorical) -> Int[Array, " knot"]:
    return jnp.argmax(now.probabilities, axis=1)


def _entropy(now: Categorical) -> Scalar:
    """In nats, the mean over the knots."""
    return jnp.mean(jnp.sum(jax.scipy.special.entr(now.probabilities), axis=1))


def require_discrete(space: Space, planner: str) -> Discrete:
    """Narrow `space` to a `Discrete`, or say which planner needs one.

    Raises:
        TypeError: The space is a box.
    """
    if not isinstance(space, Discrete):
        raise TypeError(
            f"{planner} plans over discrete actions, but the problem's action space is "
            f"continuous: {space}."
        )
    return space
