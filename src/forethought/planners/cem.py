r"""The cross-entropy method: sample, keep the elites, refit, repeat.

A Gaussian over action sequences is narrowed around what earned most. Plain CEM and
iCEM are two settings of one planner:

| part of iCEM | field | off |
|---|---|---|
| coloured noise | `noise_beta` | 0 |
| elites kept between iterations, and shifted between plans | `keep_fraction` | 0 |
| smaller population in each iteration | `population_decay` | 1 |
| the best sequence is executed, not the mean | `execute` | "mean" |
| the mean competes in the last iteration | `mean_competes` | False |
| momentum | `momentum` | 0 |

`CEM(...)` has iCEM's parts on; `CEM.plain(...)` switches them off.
"""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from forethought.core.results import Result
from forethought.core.returns import Risk
from forethought.core.spaces import require_box
from forethought.core.types import ravel
from forethought.planners.base import AbstractPlanner, require_positive, shift_actions
from forethought.planners.noise import coloured_noise
from forethought.problem import Plan, Problem, evaluate, rollout


class CEMState(eqx.Module):
    """The mean of the last plan, and the elites worth trying again."""

    mean: Float[Array, "horizon action"]
    kept: Float[Array, "kept horizon action"]


class _Search(eqx.Module):
    """What one iteration hands to the next."""

    mean: Float[Array, "horizon action"]
    std: Float[Array, "horizon action"]
    kept: Float[Array, "kept horizon action"]
    best: Float[Array, "horizon action"]
    best_return: Scalar


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
        noise_beta: Colour of the noise along time: 0 white, 2 red.
        keep_fraction: Share of the elites that competes again in the next iteration
            and, shifted by a step, in the next plan.
        population_decay: Factor by which the population shrinks in each iteration,
            never below twice the elites.
        execute: Whether the plan is the best sequence met, or the final mean.
        mean_competes: Whether the mean is a candidate in the last iteration.
        particles: Futures drawn for each sequence, where the model is stochastic.
        risk: How the returns of the particles become one score.

    Raises:
        ValueError: A count is below one, the elites outnumber the population, or a
            share lies outside its range.

    References:
        Rubinstein, The cross-entropy method for combinatorial and continuous
        optimization, 1999. Pinneri et al., Sample-efficient cross-entropy method for
        real-time planning, 2020, arXiv 2008.06389, algorithm 1.

    Note:
        A kept elite is extended at its end by its own last action, where the paper
        draws a new one: repeating needs no randomness between plans. Sequences are
        clipped to the action box.
    """

    horizon: int = eqx.field(static=True)
    population: int = eqx.field(static=True, default=128)
    elites: int = eqx.field(static=True, default=10)
    iterations: int = eqx.field(static=True, default=4)
    momentum: float = 0.1
    initial_std: float = 0.5
    min_std: float = 0.0
    noise_beta: float = eqx.field(static=True, default=2.0)
    keep_fraction: float = eqx.field(static=True, default=0.3)
    population_decay: float = eqx.field(static=True, default=1.25)
    execute: Literal["best", "mean"] = eqx.field(static=True, default="best")
    mean_competes: bool = eqx.field(static=True, default=True)
    particles: int = eqx.field(static=True, default=1)
    risk: Risk = Risk()

    def __check_init__(self):
        require_positive(
            "CEM",
            horizon=self.horizon,
            population=self.population,
            elites=self.elites,
            iterations=self.iterations,
            particles=self.particles,
        )
        if self.elites > self.population:
            raise ValueError(
                f"CEM needs elites <= population, got {self.elites} elites of "
                f"{self.population}."
            )
        if not 0 <= self.keep_fraction <= 1:
            raise ValueError(
                f"CEM needs keep_fraction in [0, 1], got {self.keep_fraction}."
            )
        if not self.population_decay >= 1:
            raise ValueError(
                f"CEM needs population_decay >= 1, got {self.population_decay}."
            )
        if self.execute not in ("best", "mean"):
            raise ValueError(f"CEM executes 'best' or 'mean', got {self.execute!r}.")

    @classmethod
    def plain(cls, horizon: int, **settings: Any) -> "CEM":
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

    def init(self, problem: Problem, belief: PyTree, *, key: PRNGKeyArray) -> CEMState:
        """The middle of the action box, at every step."""
        box = require_box(problem.action, "CEM")
        centre, _ = box.centre_and_scale(ravel(belief)[0].dtype)
        mean = jnp.broadcast_to(centre, (self.horizon, *centre.shape))
        return CEMState(mean, jnp.broadcast_to(mean, (self._kept, *mean.shape)))

    def plan(
        self, problem: Problem, belief: PyTree, state: CEMState, *, key: PRNGKeyArray
    ) -> tuple[Plan, CEMState]:
        """Narrow the distribution for a few iterations, all under the same futures."""
        search_key, evaluate_key = jax.random.split(key)
        _, scale = require_box(problem.action, "CEM").centre_and_scale(state.mean.dtype)
        search = _Search(
            state.mean,
            jnp.broadcast_to(self.initial_std * scale, state.mean.shape),
            state.kept,
            state.mean,
            jnp.asarray(-jnp.inf, state.mean.dtype),
        )

        def score(actions: Float[Array, "horizon action"]) -> Scalar:
            return evaluate(
                problem,
                belief,
                actions,
                key=evaluate_key,
                particles=self.particles,
                risk=self.risk,
            )

        keys = jax.random.split(search_key, self.iterations)
        last = jnp.arange(self.iterations) == self.iterations - 1

        def iterate(search: _Search, inputs, population: int):
            return self._iterate(problem, score, search, population, *inputs)

        if self.population_decay == 1:
            search, stats = jax.lax.scan(
                lambda search, inputs: iterate(search, inputs, self.population),
                search,
                (last, keys),
            )
        else:
            rows = []
            for i in range(self.iterations):
                size = int(self.population * self.population_decay**-i)
                size = max(size, min(2 * self.elites, self.population))
                search, row = iterate(search, (last[i], keys[i]), size)
                rows.append(row)
            stats = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)

        if self.execute == "best":
            actions, value = search.best, search.best_return
        else:
            actions, value = search.mean, score(search.mean)
        plan = Plan(
            actions,
            rollout(problem, belief, actions, key=evaluate_key).beliefs,
            value,
            None,
            Result.where(jnp.isfinite(value), Result.successful, Result.non_finite),
            stats,
        )
        return plan, CEMState(search.mean, search.kept)

    def shift(self, problem: Problem, state: CEMState) -> CEMState:
        """One step later: mean and kept elites move up, their last action repeated."""
        return CEMState(shift_actions(state.mean), jax.vmap(shift_actions)(state.kept))

    @property
    def _kept(self) -> int:
        return round(self.keep_fraction * self.elites)

    def _iterate(
        self,
        problem: Problem,
        score: Any,
        search: _Search,
        population: int,
        last: Array,
        key: PRNGKeyArray,
    ) -> tuple[_Search, dict[str, Array]]:
        """Sample, evaluate, keep the elites, refit."""
        box = require_box(problem.action, "CEM")
        noise = coloured_noise(
            self.noise_beta,
            (population, self.horizon, box.shape[0]),
            search.mean.dtype,
            key=key,
        )
        candidates = box.clip(search.mean[None] + search.std[None] * noise)
        if self.mean_competes:
            candidates = candidates.at[0].set(
                jnp.where(last, search.mean, candidates[0])
            )
        candidates = jnp.concatenate([candidates, search.kept])
        returns = jax.vmap(score)(candidates)
        elite_returns, chosen = jax.lax.top_k(returns, self.elites)
        elites = candidates[chosen]

        old = self.momentum
        _, scale = box.centre_and_scale(search.mean.dtype)
        mean = old * search.mean + (1 - old) * jnp.mean(elites, axis=0)
        std = old * search.std + (1 - old) * jnp.std(elites, axis=0)
        std = jnp.maximum(std, (self.min_std * scale)[None])
        usable = jnp.isfinite(elite_returns[-1])
        mean = jnp.where(usable, mean, search.mean)
        std = jnp.where(usable, std, search.std)

        better = elite_returns[0] > search.best_return
        best = jnp.where(better, elites[0], search.best)
        best_return = jnp.maximum(elite_returns[0], search.best_return)
        stats = {
            "elites": elites,
            "elite_return": jnp.mean(elite_returns),
            "best_return": best_return,
            "spread": jnp.mean(std),
            "non_finite": jnp.sum(~jnp.isfinite(returns)),
        }
        return _Search(mean, std, elites[: self._kept], best, best_return), stats
