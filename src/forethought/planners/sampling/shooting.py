"""Random shooting: draw many sequences of actions, keep the best.

The simplest planner there is, and the yardstick of all others: it needs no gradient,
no distribution to adapt, and works on continuous and discrete actions alike.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.core.given.settings import Count, Steps
from forethought.core.results import Stats
from forethought.core.returns import Risk
from forethought.core.spaces import Box, Space
from forethought.core.types import ravel
from forethought.planners.base import (
    UNSAID,
    AbstractPlanner,
    require_shape,
    shift_actions,
)
from forethought.planners.sampling.scoring import SHOWN, report, scorer
from forethought.planners.sampling.spline import Degree, Spline
from forethought.problem import Plan, Problem


class RandomShootingState(eqx.Module):
    """The best sequence found so far, `[horizon, action]`."""

    actions: Array


class RandomShooting(AbstractPlanner[RandomShootingState]):
    r"""Draws many sequences of actions from a fixed distribution, keeps the best.

    $$A^* = \arg\max_{A_i} J(A_i), \qquad A_i \sim \mathcal U(\text{action space})$$

    Args:
        horizon: Steps to look ahead.
        population: Sequences drawn for each plan.
        hold: Steps from one drawn action to the next; it is held for so long. A longer
            hold reaches further with the same number of draws.
        degree: Of the spline through what is drawn (see `spline`): 0 holds it, 1 goes
            straight to the next, 3 smoothly past it.
        keep_best: Whether the last plan, shifted by a step, competes again.
        particles: Futures drawn for each sequence, where the model is stochastic.
        risk: How the returns of the particles become one score.

    Raises:
        ValueError: A setting lies outside its range.

    References:
        Nagabandi, Kahn, Fearing and Levine, Neural network dynamics for model-based
        deep reinforcement learning with model-free fine-tuning, 2018, §IV-C.
    """

    horizon: Steps = eqx.field(static=True, default=UNSAID)
    population: Count = eqx.field(static=True, default=1024)
    hold: Steps = eqx.field(static=True, default=1)
    degree: Degree = eqx.field(static=True, default=0)
    keep_best: bool = eqx.field(static=True, default=True)
    particles: Count = eqx.field(static=True, default=1)
    risk: Risk = Risk()

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> RandomShootingState:
        """Remember a first sequence: the one given, where the box rests, or a draw.

        Raises:
            TypeError: The actions are discrete, and the degree is not 0.
            ValueError: The actions given have another shape.
        """
        drawn = self._draw(problem.action, belief, 1, key)[0]
        box = problem.action
        if actions is None and isinstance(box, Box) and box.rest is not None:
            actions = jnp.broadcast_to(box.rest, drawn.shape)
        if actions is None:
            return RandomShootingState(drawn)
        require_shape("Random shooting", actions, drawn.shape)
        within = box.clip(actions) if isinstance(box, Box) else actions
        return RandomShootingState(within.astype(drawn.dtype))

    def plan(
        self,
        problem: Problem,
        belief: PyTree,
        state: RandomShootingState,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Plan, RandomShootingState]:
        """Draw, evaluate, keep the best."""
        draw_key, evaluate_key = jax.random.split(key)
        candidates = self._draw(problem.action, belief, self.population, draw_key)
        if self.keep_best:
            candidates = candidates.at[0].set(state.actions)
        score = scorer(problem, belief, self.particles, self.risk, key=evaluate_key)
        returns = score(candidates)
        best = jnp.argmax(returns)
        actions, value = candidates[best], returns[best]
        _, shown = jax.lax.top_k(returns, min(SHOWN, self.population))
        stats = Stats(
            best=value[None],
            non_finite=jnp.sum(~jnp.isfinite(returns))[None],
            candidates=candidates[shown][None],
            scores=returns[shown][None],
        )
        plan = report(
            problem, belief, actions, value, stats, self.particles, key=evaluate_key
        )
        return plan, RandomShootingState(actions)

    def shift(
        self, problem: Problem, state: RandomShootingState
    ) -> RandomShootingState:
        """One step later, the last action repeated."""
        return RandomShootingState(shift_actions(state.actions))

    def _draw(
        self, space: Space, belief: PyTree, count: int, key: PRNGKeyArray
    ) -> Array:
        """Sequences from the whole space, shape `[count, horizon, ...]`."""
        if self.degree > 0 and not isinstance(space, Box):
            raise TypeError(
                "Random shooting needs degree 0, which holds actions, where they are "
                f"discrete; got degree {self.degree} and {space}."
            )
        spline = Spline(self.horizon, self.hold, self.degree)
        draws = space.sample((count, spline.first_knots), key=key)
        if isinstance(space, Box):
            draws = draws.astype(ravel(belief)[0].dtype)
        return jax.vmap(spline)(draws)
