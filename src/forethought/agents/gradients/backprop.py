r"""A policy improved by gradients of the return that it earns in imagination.

$$\theta \leftarrow \theta + \text{step}\Big(\nabla_\theta\, \frac1B \sum_{i=1}^B
  J(\theta; b_i, \epsilon_i)\Big)$$

Any problem will do whose model has derivatives: learned networks, ensembles and
Gaussian processes, systems that are written down, simulators with finite differences.

Futures begin in what was *seen*, drawn uniformly from all of it (the beginnings of
episodes among it): a policy acts in all states of an episode, and with a horizon that
is shorter than an episode, those that begin late teach what the others never reach.

Gradients through many steps vanish or explode. The remedies are settings: a shorter
horizon, with a value learned for what lies beyond it; truncated back-propagation;
gradients clipped by their norm; likelihood ratios, alone or mixed in.

**Notation.** $\theta$ parameters, $b_i$ beliefs to begin with, $\epsilon_i$ what is
drawn, $J$ imagined return; $V$ the value beyond the horizon, $\gamma$ its discount.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from forethought.agents.base import Metrics
from forethought.agents.gradients import terminal
from forethought.agents.gradients.estimators import (
    Estimator,
    Way,
    estimate,
    norm,
    scaled,
)
from forethought.core.given.settings import (
    AbstractSettings,
    Count,
    Nonnegative,
    Range,
    Share,
    Steps,
)
from forethought.core.optimise import take_step
from forethought.core.spaces import Box, Space
from forethought.planners.smooth.gradient import Optimiser
from forethought.policies.base import AbstractPolicy
from forethought.policies.follow import AbstractFollow
from forethought.problem import Problem

Policy = TypeVar("Policy", bound=AbstractPolicy)
Clip = Annotated[float, Range(above=0, endless=True)]
Discount = Annotated[float, Range(above=0, below=1)]
TENTH = 10
"""Imagined returns are told of the first and the last of so many parts."""


class Improvement(AbstractSettings):
    r"""How a policy is improved in imagination.

    Args:
        horizon: Steps of an imagined future.
        updates: Gradients that are followed.
        batch: Beliefs that each gradient's futures begin in.
        particles: Futures from each of them; as many more as samples of the model need
            to share them evenly.
        estimator: Which kind of gradient.
        noise: Standard deviation of the noise on imagined actions, in half widths of
            the action box (in units of the action where it is free).
        optimiser: Who chooses the steps.
        clip: The longest gradient; longer ones are shortened to it. Infinity for any.
        decay: Share of every parameter that is taken off at each update, so that a
            squashed policy is not driven where it has no slope left.
        truncate: Back-propagation ends at every so many steps; None for never.
        terminal: Whether a value is learned for what lies beyond the horizon; without
            one the objective's own counts.
        gamma: What a reward one step later is worth where a value is learned.

    Raises:
        ValueError: A setting lies outside its range, or the estimator needs noise.

    References:
        Heess et al., Learning continuous control policies by stochastic value
        gradients, 2015, arXiv:1510.09142, equations 9 and 10, SVG(∞). Pascanu,
        Mikolov and Bengio, On the difficulty of training recurrent neural networks,
        2013, arXiv:1211.5063, algorithm 1 (clipping by the norm).
    """

    horizon: Steps = eqx.field(static=True, default=40)
    updates: Count = eqx.field(static=True, default=200)
    batch: Count = eqx.field(static=True, default=32)
    particles: Count = eqx.field(static=True, default=1)
    estimator: Estimator = eqx.field(static=True, default="reparametrised")
    noise: Nonnegative = eqx.field(static=True, default=0.0)
    optimiser: Optimiser = Optimiser("adam", 0.003)
    clip: Clip = 1.0
    decay: Share = 3e-3
    truncate: Count | None = eqx.field(static=True, default=None)
    terminal: bool = eqx.field(static=True, default=False)
    gamma: Discount = eqx.field(static=True, default=0.99)

    def __check_init__(self):
        if self.estimator != "reparametrised" and not self.noise:
            raise ValueError(
                f"Improvement by the estimator {self.estimator} needs noise > 0, got "
                f"{self.noise}."
            )


class _Ascent(NamedTuple):
    """Where an improvement stands."""

    params: PyTree
    memory: PyTree
    """The optimiser's."""
    value: PyTree
    """The arrays of the value; None where none is learned."""
    value_memory: PyTree


def improve(
    problem: Problem,
    policy: Policy,
    start: Callable[[PRNGKeyArray], PyTree],
    settings: Improvement,
    *,
    value: terminal.Value | None = None,
    follow: AbstractFollow | None = None,
    key: PRNGKeyArray,
) -> tuple[Policy, terminal.Value | None, Metrics]:
    """Follow the gradient of the imagined return.

    Args:
        problem: Model and objective.
        policy: Where to begin; its real numbers are the parameters.
        start: Draws a belief that a future begins in.
        settings: How.
        value: What was learned of what lies beyond the horizon, if it is.
        follow: How policy and model step together; by actions that are drawn if not
            given.
        key: Consumed.

    Returns:
        The policy, the value, and metrics: `imagined_before` and `imagined`, the return
        in the first and the last tenth of the updates; `gradient`, its norm before it
        was clipped; `clipped`, how often it was; `path_share`, the weight of
        back-propagation; `non_finite`, in how many updates return or gradient was no
        number. These are skipped: the last good policy stays.

    Raises:
        TypeError: Actions are discrete, or the model has no derivatives.
        ValueError: A value is to be learned, but there is none to begin with.
    """
    box = require_derivatives(problem, key=key)
    if settings.terminal and value is None:
        raise ValueError("Improvement with terminal=True needs a Value, got None.")
    params, rest = eqx.partition(policy, eqx.is_inexact_array)
    dtype = jax.tree.leaves(params)[0].dtype
    _, half = box.centre_and_scale(dtype)
    std = settings.noise * half if settings.noise else None
    way = Way(settings.horizon, std, settings.truncate, follow)
    optimiser = settings.optimiser.transformation
    particles = problem.cloud.enough(problem.model, settings.particles)
    learned, shell = eqx.partition(value if settings.terminal else None, eqx.is_array)

    def clouds(key: PRNGKeyArray) -> PyTree:
        begin_key, spread_key = jax.random.split(key)
        beliefs = jax.vmap(start)(jax.random.split(begin_key, settings.batch))
        spread = jax.vmap(
            lambda belief, key: problem.cloud.spread(
                problem.model, belief, particles, key=key
            )
        )(beliefs, jax.random.split(spread_key, settings.batch))
        return jax.tree.map(lambda leaf: jax.lax.collapse(leaf, 0, 2), spread)

    def update(ascent: _Ascent, key: PRNGKeyArray) -> tuple[_Ascent, Metrics]:
        begin_key, key = jax.random.split(key)
        wanted, value = problem, eqx.combine(ascent.value, shell)
        if value is not None:
            wanted = terminal.judged(problem, value, settings.gamma)
        found = estimate(
            settings.estimator,
            wanted,
            eqx.combine(ascent.params, rest),
            clouds(begin_key),
            way,
            keys=jax.random.split(key, settings.batch * particles),
        )
        length = norm(found.gradient)
        finite = jnp.isfinite(found.value) & jnp.isfinite(length)
        shorter = jnp.minimum(1, settings.clip / jnp.maximum(length, 1e-30))
        uphill = scaled(found.gradient, -shorter.astype(dtype))
        params, memory = take_step(optimiser, ascent.params, ascent.memory, uphill)
        params = jax.tree.map(
            lambda new, old: new - settings.decay * old, params, ascent.params
        )
        told = {
            "imagined": found.value,
            "gradient": length,
            "clipped": (shorter < 1).astype(dtype),
            "path_share": found.share,
        }
        valued: Any = (None, None)
        if value is not None:
            value, value_memory, told["value_error"] = terminal.fit(
                wanted,
                value,
                found.futures,
                settings.gamma,
                optimiser,
                ascent.value_memory,
            )
            valued = (eqx.filter(value, eqx.is_array), value_memory)
        after = _Ascent(params, memory, *valued)
        kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, ascent)
        return kept, told | {"non_finite": ~finite}

    begun = _Ascent(params, optimiser.init(params), None, None)
    if settings.terminal and value is not None:
        memory = terminal.memory_of(value, optimiser)
        begun = begun._replace(value=learned, value_memory=memory)
    ended, told = jax.lax.scan(update, begun, jax.random.split(key, settings.updates))
    if settings.terminal:
        value = eqx.combine(ended.value, shell)
    return eqx.combine(ended.params, rest), value, _summary(told)


def _summary(told: Metrics) -> Metrics:
    """Numbers of all updates in one for each name."""
    imagined, wrong = told["imagined"], told["non_finite"]
    part = -(-imagined.shape[0] // TENTH)
    means = {
        name: jnp.nanmean(each) for name, each in told.items() if each is not wrong
    }
    return means | {
        "imagined_before": jnp.nanmean(imagined[:part]),
        "imagined": jnp.nanmean(imagined[-part:]),
        "non_finite": jnp.sum(wrong),
    }


def require_vectors(space: Space) -> Box:
    """The box of actions that a policy can be improved over by gradients.

    Raises:
        TypeError: Actions are discrete.
    """
    if not isinstance(space, Box):
        raise TypeError(
            "Improving a policy by gradients needs actions that are vectors of real "
            f"numbers, got {space}."
        )
    return space


def require_derivatives(problem: Problem, *, key: PRNGKeyArray) -> Box:
    """The box of actions of a problem whose model has derivatives.

    Raises:
        TypeError: Actions are discrete, or nothing that is read out is a real number.
    """

    def seen(key: PRNGKeyArray) -> PyTree:
        return problem.model.readout(problem.model.init(key=key)).x

    leaves = jax.tree.leaves(eqx.filter_eval_shape(seen, key))
    if not any(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves):
        raise TypeError(
            "Improving a policy by gradients needs a model with derivatives, but what "
            f"{type(problem.model).__name__} reads out has no real numbers."
        )
    return require_vectors(problem.action)
