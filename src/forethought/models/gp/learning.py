"""From rows to Gaussian processes: kernels, regression, and functions drawn from it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from forethought.models.gp.draws import Draws, draw_waves
from forethought.models.gp.hyper import SearchSettings, search
from forethought.models.gp.kernels import Kernel
from forethought.models.gp.processes import Processes
from forethought.models.gp.regression import condition, left_out
from forethought.models.gp.sparse import centres, induce


class Learned(eqx.Module):
    """What was learned, and metrics of it."""

    processes: Processes
    draws: Draws
    """Of no functions, where none were wanted."""
    metrics: dict[str, Array]


def learn(
    before: Processes,
    x: Float[Array, "row input"],
    y: Float[Array, "row output"],
    valid: Bool[Array, " row"],
    settings: SearchSettings,
    *,
    line: bool = False,
    samples: int = 0,
    waves: int = 1,
    key: PRNGKeyArray,
) -> Learned:
    """Fit one Gaussian process for each output.

    Data of more rows than there is room for points are seen through as many inducing
    points.

    Args:
        before: Where the search for kernels begins, and how many points there may be.
        x: Inputs, standardised.
        y: Targets, standardised.
        valid: Which rows hold data.
        settings: How kernels are searched for.
        line: Whether a straight line goes before each process.
        samples: How many functions to draw of each.
        waves: Of how many waves their priors are.
        key: Consumed.

    Returns:
        The processes, functions drawn from them, and as metrics per output: `evidence`
        of the data in nats, or the bound below it; `holdout`, nats per row where each
        is left out in turn, without constants; and `evaluations` of the evidence.
    """
    room, rows = before.points.shape[0], x.shape[0]
    of_points, key = jax.random.split(key)
    exact = rows <= room
    if exact:
        more = ((0, room - rows), (0, 0))
        points = jnp.pad(jnp.where(valid[:, None], x, 0), more)
        inducing = None
    else:
        points, there = centres(x, valid, room, key=of_points)
        points = jnp.where(there[:, None], points, 0)
        inducing = points, there

    def one(each: tuple[Kernel, Array, PRNGKeyArray]) -> Any:
        kernel, y, key = each
        of_search, key = jax.random.split(key)
        found = search(
            kernel, x, y, valid, settings, inducing, line=line, key=of_search
        )
        kernel = found.kernel
        if inducing is None:
            known = condition(kernel, x, y, valid, line=line)
            gaps, variances = left_out(y, valid, known)
        else:
            known = induce(kernel, *inducing, x, y, valid, line=line)
            gaps, variances = known.gaps, known.variances
        size = known.weights.shape[0]

        def function(key: PRNGKeyArray) -> tuple:
            of_waves, of_noise = jax.random.split(key)
            prior = draw_waves(kernel, waves, key=of_waves)
            xi = jax.random.normal(of_noise, (size,), y.dtype)
            return prior, known.weights + known.wander(prior(points[:size]), xi)

        keys = jax.random.split(key, samples)
        drawn, weights = jax.vmap(function)(keys)
        count = jnp.maximum(jnp.sum(valid), 1).astype(y.dtype)
        errors = jnp.sum(jnp.where(valid, gaps**2 / variances, 0)) / count
        logs = jnp.sum(jnp.where(valid, jnp.log(variances), 0)) / count
        score = 0.5 * (jnp.log(jnp.maximum(errors, 1e-12)) + logs)
        more = room - size
        fitted = (
            kernel,
            known.line,
            jnp.pad(known.weights, (0, more)),
            jnp.pad(known.root, ((0, more), (0, more))),
        )
        told = (known.evidence, score, found.evaluations)
        return fitted, (drawn, jnp.pad(weights, ((0, 0), (0, more)))), told

    keys = jax.random.split(key, y.shape[1])
    # One output after another: each search ends when it is done.
    (kernel, lines, weights, root), drawn, told = jax.lax.map(
        one, (before.kernel, y.T, keys)
    )
    processes = eqx.tree_at(
        lambda each: (each.kernel, each.line, each.points, each.weights, each.root),
        before,
        (kernel, lines, points, weights, root),
    )
    drawn = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), drawn)
    names = ("evidence", "holdout", "evaluations")
    return Learned(processes, Draws(*drawn), dict(zip(names, told, strict=True)))
