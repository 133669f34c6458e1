r"""The cross-entropy method: sample, keep the elites, refit, repeat.

A Gaussian over action sequences is narrowed around what earned most. Plain CEM, iCEM
and the optimiser of PETS are three settings of one planner:

| part | field | iCEM | PETS | plain |
|---|---|---|---|---|
| colour of the noise | `noise_beta` | 2 | 0 | 0 |
| draws within the limits | `limits` | clip | truncate | clip |
| share of elites kept for later | `keep_fraction` | 0.3 | 0 | 0 |
| shrinking population | `population_decay` | 1.25 | 1 | 1 |
| what is executed | `execute` | best | mean | mean |
| the mean competes at last | `mean_competes` | True | False | False |
| momentum | `momentum` | 0.1 | 0.1 | 0 |
| momentum acts on | `momentum_of` | std | variance | std |
| spread that ends the search | `stop_std` | 0 | 0.03 | 0 |
| what a shifted mean ends with | `warm_start` | repeat | centre | repeat |

They are `CEM(...)`, `CEM.pets(...)` and `CEM.plain(...)`.
"""

from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from forethought.core.given.settings import (
    Count,
    Nonnegative,
    Positive,
    Range,
    Share,
    Steps,
)
from forethought.core.results import Stats
from forethought.core.returns import Risk
from forethought.core.spaces import Box, require_box
from forethought.core.types import ravel
from forethought.planners.base import UNSAID, AbstractPlanner, first_actions
from forethought.planners.sampling.elites import (
    Elites,
    Family,
    Search,
    Sizes,
    cross_entropy,
)
from forethought.planners.sampling.noise import Colour, coloured_noise
from forethought.planners.sampling.scoring import report, scorer
from forethought.planners.sampling.spline import Degree, Spline
from forethought.problem import Plan, Problem

TRUNCATION = 2.0
"""Standard deviations at which PETS cuts its normal."""


class CEMState(eqx.Module):
    """The mean of the last plan, and the elites worth trying again."""

    mean: Float[Array, "knot action"]
    kept: Float[Array, "kept knot action"]
    phase: Int[Array, ""]
    """Steps since the first knot."""


class Gaussian(eqx.Module):
    """Independent normal knots; with one a step, these are the actions."""

    mean: Float[Array, "knot action"]
    std: Float[Array, "knot action"]


class CEM(AbstractPlanner[CEMState]):
    r"""The cross-entropy method over action sequences, with iCEM's parts.

    $$A_i \sim \mathcal N(\mu, \sigma^2), \qquad
      \mu \leftarrow \alpha \mu + (1 - \alpha)\, \text{mean}(A_{\text{elite}}), \qquad
      \sigma \leftarrow \alpha \sigma + (1 - \alpha)\, \text{std}(A_{\text{elite}})$$

    Args:
        horizon: Steps to look ahead.
        population: Sequences drawn in the first iteration.
        elites: How many of them refit the distribution.
        iterations: Rounds of sampling and refitting in each plan.
        momentum: $\alpha$, the share of the old distribution that stays.
        initial_std: First standard deviation, in half widths of the action box (in
            units of the action where the box is free).
        min_std: Smallest standard deviation, in the same unit.
        noise_beta: Colour of the noise along the knots: 0 white, 2 red.
        hold: Steps from one knot of a sequence to the next.
        degree: Of the spline through them (see `spline`): 0 holds each, 1 is linear, 3
            cubic.
        keep_fraction: Share of the elites that competes again in the next iteration
            and, shifted by a step, in the next plan.
        population_decay: Factor by which the population shrinks in each iteration,
            never below twice the elites.
        execute: Whether the plan is the best sequence met, or the final mean.
        mean_competes: Whether the mean is a candidate in the last iteration.
        limits: How draws stay within the action box: "clip" them onto it, or
            "truncate" the noise at two standard deviations, none of which is longer
            than half the way from the mean to the nearer limit (PETS).
        momentum_of: What the momentum of the spread mixes, the "std" (iCEM) or the
            "variance" (PETS).
        stop_std: The search ends, after one iteration or more, where no standard
            deviation exceeds this (in the unit of `initial_std`); 0 never ends it.
        warm_start: What the next plan starts from: the mean shifted by a step and
            ended by its own last action ("repeat") or by the middle of the box
            ("centre", PETS), or "none" of it but the middle of the box (PlaNet).
        particles: Futures drawn for each sequence, where the model is stochastic.
        risk: How the returns of the particles become one score.

    Raises:
        ValueError: A setting lies outside its range, or the elites outnumber the
            population.

    References:
        Rubinstein, The cross-entropy method for combinatorial and continuous
        optimization, 1999. Pinneri et al., Sample-efficient cross-entropy method for
        real-time planning, 2020, arXiv 2008.06389, algorithm 1. Chua, Calandra,
        McAllister and Levine, Deep reinforcement learning in a handful of trials using
        probabilistic dynamics models, 2018, arXiv 1805.12114, §5; its truncation, caps,
        momentum and stop are those of the authors' program, not of the paper.

    Note:
        A kept elite is extended at its end by its own last action, where the paper
        draws a new one: repeating needs no randomness between plans. PETS ends a
        shifted mean with zeros; the middle of the box is the same where limits are
        symmetric. An early stop saves time in a single plan; in a batch of them every
        iteration is computed, and what comes after the stop is dropped.
    """

    horizon: Steps = eqx.field(static=True, default=UNSAID)
    population: Count = eqx.field(static=True, default=128)
    elites: Elites = eqx.field(static=True, default=10)
    iterations: Count = eqx.field(static=True, default=4)
    momentum: Share = 0.1
    initial_std: Positive = 0.5
    min_std: Nonnegative = 0.0
    noise_beta: Colour = eqx.field(static=True, default=2.0)
    hold: Steps = eqx.field(static=True, default=1)
    degree: Degree = eqx.field(static=True, default=0)
    keep_fraction: Share = eqx.field(static=True, default=0.3)
    population_decay: Annotated[float, Range(at_least=1)] = eqx.field(
        static=True, default=1.25
    )
    execute: Literal["best", "mean"] = eqx.field(static=True, default="best")
    mean_competes: bool = eqx.field(static=True, default=True)
    limits: Literal["clip", "truncate"] = eqx.field(static=True, default="clip")
    momentum_of: Literal["std", "variance"] = eqx.field(static=True, default="std")
    stop_std: Nonnegative = eqx.field(static=True, default=0.0)
    warm_start: Literal["repeat", "centre", "none"] = eqx.field(
        static=True, default="repeat"
    )
    particles: Count = eqx.field(static=True, default=1)
    risk: Risk = Risk()

    @classmethod
    def plain(cls, horizon: int = UNSAID, **settings: Any) -> "CEM":
        """CEM as of 1999: white noise, nothing kept, the mean is the plan."""
        off = {
            "momentum": 0.0,
            "noise_beta": 0.0,
            "keep_fraction": 0.0,
            "population_decay": 1.0,
            "execute": "mean",
            "mean_competes": False,
        }
        return cls(horizon, **(off | settings))

    @classmethod
    def pets(cls, horizon: int = UNSAID, **settings: Any) -> "CEM":
        """The optimiser of PETS, with the settings of its cart-pole."""
        parts = {
            "population": 400,
            "elites": 40,
            "iterations": 5,
            "momentum": 0.1,
            "momentum_of": "variance",
            "stop_std": 0.001**0.5,
            "limits": "truncate",
            "warm_start": "centre",
        }
        return cls.plain(horizon, **(parts | settings))

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> CEMState:
        """The middle of the action box at every step, or the actions given.

        Raises:
            TypeError: The actions are discrete.
            ValueError: The actions given have another shape.
        """
        box = require_box(problem.action, "CEM")
        dtype = ravel(belief)[0].dtype
        actions = first_actions("CEM", box, self.horizon, actions, dtype)
        mean = box.clip(self._spline.fit(actions))
        kept = jnp.broadcast_to(mean, (self._kept, *mean.shape))
        return CEMState(mean, kept, jnp.zeros((), jnp.int32))

    def plan(
        self, problem: Problem, belief: PyTree, state: CEMState, *, key: PRNGKeyArray
    ) -> tuple[Plan, CEMState]:
        """Narrow the distribution for a few iterations, all under the same futures."""
        search_key, evaluate_key = jax.random.split(key)
        box = require_box(problem.action, "CEM")
        _, scale = box.centre_and_scale(state.mean.dtype)
        score = scorer(problem, belief, self.particles, self.risk, key=evaluate_key)
        std = jnp.broadcast_to(self.initial_std * scale, state.mean.shape)
        worst = jnp.asarray(-jnp.inf, state.mean.dtype)

        def decode(knots: Float[Array, "knot action"]) -> Array:
            return self._spline(knots, state.phase)

        search, rows = cross_entropy(
            self._family(box, scale),
            lambda candidates: score(jax.vmap(decode)(candidates)),
            Search(Gaussian(state.mean, std), state.kept, state.mean, worst),
            sizes=self._sizes,
            elites=self.elites,
            centre_competes=self.mean_competes,
            settled=(
                (lambda now: jnp.all(now.std <= self.stop_std * scale[None]))
                if self.stop_std > 0
                else None
            ),
            key=search_key,
        )
        mean = search.distribution.mean
        if self.execute == "best":
            actions, value = decode(search.best), search.best_return
            moved = jnp.isfinite(value)
        else:
            actions = decode(mean)
            value = score(actions[None])[0]
            # Nothing is refitted to elites of which one earned no finite return.
            moved = jnp.any(jnp.isfinite(rows["mean"]))
        rows["candidates"] = jax.vmap(jax.vmap(decode))(rows["candidates"])
        stats = Stats(**rows)
        plan = report(
            problem,
            belief,
            actions,
            value,
            stats,
            self.particles,
            moved=moved,
            key=evaluate_key,
        )
        return plan, CEMState(mean, search.kept, state.phase)

    def shift(self, problem: Problem, state: CEMState) -> CEMState:
        """One step later: mean and kept elites move up, and get a last knot."""
        box = require_box(problem.action, "CEM")
        centre, _ = box.centre_and_scale(state.mean.dtype)
        if self.warm_start == "none":
            mean, kept = (
                jnp.broadcast_to(centre, knots.shape)
                for knots in (state.mean, state.kept)
            )
            return CEMState(mean, kept, state.phase)
        last = centre if self.warm_start == "centre" else None
        mean, phase = self._spline.shift(state.mean, state.phase, last)
        kept = jax.vmap(lambda knots: self._spline.shift(knots, state.phase, last)[0])(
            state.kept
        )
        return CEMState(mean, kept, phase)

    @property
    def _spline(self) -> Spline:
        return Spline(self.horizon, self.hold, self.degree)

    @property
    def _kept(self) -> int:
        return round(self.keep_fraction * self.elites)

    @property
    def _sizes(self) -> Sizes:
        least = min(2 * self.elites, self.population)
        return Sizes(self.population, self.population_decay, least, self.iterations)

    def _family(self, box: Box, scale: Array) -> Family[Gaussian]:
        """How sequences are drawn within the box, and refitted to."""
        old = self.momentum

        def draw(now: Gaussian, population: int, key: PRNGKeyArray) -> Array:
            noise = coloured_noise(
                self.noise_beta,
                (population, self._spline.knots, box.shape[0]),
                now.mean.dtype,
                truncation=None if self.limits == "clip" else TRUNCATION,
                key=key,
            )
            std = now.std
            if self.limits == "truncate":
                std = jnp.minimum(std, room(box, now.mean) / TRUNCATION)
            return box.clip(now.mean[None] + std[None] * noise)

        def refit(now: Gaussian, elites: Array) -> Gaussian:
            mean = old * now.mean + (1 - old) * jnp.mean(elites, axis=0)
            if self.momentum_of == "std":
                std = old * now.std + (1 - old) * jnp.std(elites, axis=0)
            else:
                variance = old * now.std**2 + (1 - old) * jnp.var(elites, axis=0)
                std = jnp.sqrt(variance)
            return Gaussian(mean, jnp.maximum(std, (self.min_std * scale)[None]))

        return Family(draw, refit, lambda now: now.mean, lambda now: jnp.mean(now.std))


def room(box: Box, mean: Float[Array, "knot action"]) -> Array:
    """The way from the mean to the nearer limit; at least one where there is one."""
    low, high = box.low.astype(mean.dtype)[None], box.high.astype(mean.dtype)[None]
    # At a single limit there is no other side to stay away from, and no way but one.
    least = jnp.where(jnp.isfinite(low) & jnp.isfinite(high), 0, 1)
    return jnp.maximum(jnp.minimum(mean - low, high - mean), least)
