r"""Model-predictive path integral control: every sample counts, by its return.

**The problem.** Noise $\varepsilon \sim \mathcal N(0, \Sigma)$ acts on a sequence of
actions. Of all ways to steer the noise, which earns most, if to leave the *passive*
distribution $p = \mathcal N(c, \Sigma)$ (actions in the middle of their limits) costs
$\lambda$ times the information gained?

$$\max_q \; \mathbb E_q[R(V)] - \lambda\, \mathrm{KL}(q \,\|\, p)
  \quad\Rightarrow\quad q^*(V) \propto e^{R(V) / \lambda}\, p(V)$$

MPPI moves its mean $U$ to that of $q^*$, by importance sampling from
$\mathcal N(U, \Sigma)$. The ratio of the two Gaussians leaves the term
$(U - c)^\top \Sigma^{-1} \varepsilon$ in the weights: without it, the price on leaving
$p$ would be forgotten, and $U$ drift to the maximum of the return alone.

$\lambda \to 0$ is predictive sampling, where the best sample is the plan;
$\lambda \to \infty$ is to stay at $c$.

**Notation.** $U$ mean, $V = U + \varepsilon$ sample, $R$ return, $w$ weight, $\lambda$
temperature, $\Sigma$ covariance of the noise, $c$ middle of the action box.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Scalar

from forethought.core.given.settings import Count, Positive, Steps
from forethought.core.results import Stats
from forethought.core.returns import Risk
from forethought.core.spaces import require_box
from forethought.core.types import ravel
from forethought.planners.base import UNSAID, AbstractPlanner, first_actions
from forethought.planners.sampling.noise import Colour, colour, whiten
from forethought.planners.sampling.scoring import SHOWN, report, scorer
from forethought.planners.sampling.spline import Degree, Spline
from forethought.problem import Plan, Problem


class MPPIState(eqx.Module):
    """The mean of the last plan."""

    mean: Float[Array, "knot action"]
    phase: Int[Array, ""]
    """Steps since the first knot."""


class MPPI(AbstractPlanner[MPPIState]):
    r"""Information-theoretic MPPI: the mean of samples, weighted by their returns.

    $$w_k \propto \exp \tfrac1\lambda \big(R(U + \varepsilon_k)
        - \lambda\, (U - c)^\top \Sigma^{-1} \varepsilon_k\big), \qquad
      U \leftarrow U + \sum_k w_k \varepsilon_k$$

    ```python
    >>> import equinox as eqx, jax, jax.numpy as jnp
    >>> from forethought import tasks
    >>> from forethought.planners import MPPI
    >>> task, x, key = tasks.load("pendulum"), jnp.array([3.0, 0.0]), jax.random.key(0)
    >>> planner = MPPI(horizon=20, population=64)
    >>> state = planner.init(task.problem, x, key=key)
    >>> plan, state = eqx.filter_jit(planner.plan)(task.problem, x, state, key=key)
    >>> plan.actions.shape, bool(1 <= plan.stats.numbers["effective_samples"][0] <= 64)
    ((20, 1), True)

    ```

    Args:
        horizon: Steps to look ahead.
        population: Sequences drawn in each iteration; the first of them is the mean.
        iterations: Rounds of sampling and averaging in each plan.
        temperature: $\lambda$, in units of return: how much worse a sample may be to
            weigh a share $1/e$.
        std: Of the noise, in half widths of the action box (in units of the action
            where the box is free).
        noise_beta: Colour of the noise along the knots: 0 white, 2 red.
        hold: Steps from one knot of a sequence to the next.
        degree: Of the spline through them (see `spline`): 0 holds each, 1 is linear, 3
            cubic.
        particles: Futures drawn for each sequence, where the model is stochastic.
        risk: How the returns of the particles become one score.

    Raises:
        ValueError: A setting lies outside its range.

    References:
        Williams, Wagener, Goldfain, Drews, Rehg, Boots and Theodorou, Information
        theoretic MPC for model-based reinforcement learning, 2017, eq. 6 (optimal
        distribution), algorithms 1 and 2. Williams, Drews, Goldfain, Rehg and
        Theodorou, Information-theoretic model predictive control, 2018, arXiv
        1707.02342, §III (weights) and §IV (limits inside the dynamics).

    Note:
        The papers' passive distribution has its mean at zero, here it is the middle of
        the box. As in the papers, samples are clipped to the box where they act, and
        weighted as they were drawn; the mean is then clipped too. Where a sequence is
        a spline, all of the above holds for its knots. The papers draw every sample;
        here the first has no noise, so that for $\lambda \to 0$ a plan never gets worse
        than the one before. The defaults are ours: the papers tune temperature and
        noise to each task, and so should you, by the effective samples.
    """

    horizon: Steps = eqx.field(static=True, default=UNSAID)
    population: Count = eqx.field(static=True, default=256)
    iterations: Count = eqx.field(static=True, default=1)
    temperature: Positive = 0.1
    std: Positive = 0.5
    noise_beta: Colour = eqx.field(static=True, default=0.0)
    hold: Steps = eqx.field(static=True, default=1)
    degree: Degree = eqx.field(static=True, default=0)
    particles: Count = eqx.field(static=True, default=1)
    risk: Risk = Risk()

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> MPPIState:
        """The middle of the action box at every step, or the actions given.

        Raises:
            TypeError: The actions are discrete.
            ValueError: The actions given have another shape.
        """
        box = require_box(problem.action, "MPPI")
        dtype = ravel(belief)[0].dtype
        actions = first_actions("MPPI", box, self.horizon, actions, dtype)
        mean = box.clip(self._spline.fit(actions))
        return MPPIState(mean, jnp.zeros((), jnp.int32))

    def plan(
        self, problem: Problem, belief: PyTree, state: MPPIState, *, key: PRNGKeyArray
    ) -> tuple[Plan, MPPIState]:
        """Weight and average a few times, all under the same futures."""
        noise_key, evaluate_key = jax.random.split(key)
        box = require_box(problem.action, "MPPI")
        _, scale = box.centre_and_scale(state.mean.dtype)
        std = (self.std * scale)[None]
        score = scorer(problem, belief, self.particles, self.risk, key=evaluate_key)
        shape = (self.population, *state.mean.shape)

        def decode(knots: Float[Array, "knot action"]) -> Array:
            return self._spline(knots, state.phase)

        def iterate(mean: Array, key: PRNGKeyArray) -> tuple[Array, dict[str, Any]]:
            white = jax.random.normal(key, shape, mean.dtype).at[0].set(0)
            noise = std[None] * jax.vmap(lambda w: colour(w, self.noise_beta))(white)
            candidates = jax.vmap(decode)(box.clip(mean[None] + noise))
            returns = score(candidates)
            # (U - c)' Sigma^-1 eps, where Sigma^-1/2 eps is the white noise.
            lean = whiten(box.in_half_widths(mean) / self.std, self.noise_beta)
            price = self.temperature * jnp.einsum("pka,ka->p", white, lean)
            weights = weigh(returns - price, self.temperature)
            moved = mean + jnp.einsum("p,pka->ka", weights, noise)
            _, shown = jax.lax.top_k(returns, min(SHOWN, self.population))
            row = {
                "candidates": candidates[shown],
                "best": returns[shown[0]],
                "mean": jnp.sum(weights * jnp.where(weights > 0, returns, 0)),
                "numbers": {"effective_samples": effective_samples(weights)},
                "non_finite": jnp.sum(~jnp.isfinite(returns)),
            }
            return box.clip(moved), row

        keys = jax.random.split(noise_key, self.iterations)
        mean, rows = jax.lax.scan(iterate, state.mean, keys)
        actions = decode(mean)
        value = score(actions[None])[0]
        stats = Stats(**rows)
        plan = report(
            problem,
            belief,
            actions,
            value,
            stats,
            self.particles,
            moved=jnp.any(rows["numbers"]["effective_samples"] > 0),
            key=evaluate_key,
        )
        return plan, MPPIState(mean, state.phase)

    def shift(self, problem: Problem, state: MPPIState) -> MPPIState:
        """One step later, the last knot repeated."""
        return MPPIState(*self._spline.shift(state.mean, state.phase))

    @property
    def _spline(self) -> Spline:
        return Spline(self.horizon, self.hold, self.degree)


def weigh(
    returns: Float[Array, " population"], temperature: float | Array
) -> Float[Array, " population"]:
    r"""Weights $\propto e^{R / \lambda}$ that add up to one.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.planners.sampling.mppi import weigh
    >>> [round(w, 6) for w in weigh(jnp.array([0.0, jnp.log(3.0)]), 1.0).tolist()]
    [0.25, 0.75]

    ```

    Args:
        returns: Shape `[population]`; minus infinity weighs nothing.
        temperature: $\lambda$, positive, in the units of the returns.

    Returns:
        Shape `[population]`; all zero where no return is finite.
    """
    finite = jnp.isfinite(returns)
    best = jnp.max(jnp.where(finite, returns, -jnp.inf))
    best = jnp.where(jnp.any(finite), best, jnp.zeros_like(best))
    gap = jnp.where(finite, returns - best, 0) / temperature
    weights = jnp.where(finite, jnp.exp(gap), 0)
    return weights / jnp.maximum(jnp.sum(weights), 1)


def effective_samples(weights: Float[Array, " population"]) -> Scalar:
    r"""How many equally weighted samples tell as much: $1 / \sum_k w_k^2$.

    Zero where nothing has weight.

    References:
        Kong, A note on importance sampling using standardized weights, 1992.
    """
    squares = jnp.sum(weights**2)
    return jnp.where(squares > 0, 1 / jnp.where(squares > 0, squares, 1), 0)
