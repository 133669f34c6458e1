"""The loop of the cross-entropy method, whatever its distribution is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought import tasks
from forethought.core.tracing import is_program
from forethought.planners import CEM
from forethought.planners.sampling.elites import Family, Search, Sizes, cross_entropy


class Nothing(eqx.Module):
    """A distribution without a parameter that matters."""

    spread: jax.Array


def counted(sizes, scale=1.0):
    """Draws 0, 1, 2, ... and takes the largest for the best."""
    family = Family(
        draw=lambda now, population, key: jnp.arange(population, dtype=float),
        refit=lambda now, elites: now,
        centre=lambda now: jnp.zeros(()),
        spread=lambda now: now.spread,
    )
    start = Search(Nothing(jnp.ones(())), jnp.zeros(0), jnp.zeros(()), jnp.zeros(()))

    @jax.jit
    def found():
        return cross_entropy(
            family,
            lambda candidates: scale * candidates,
            start,
            sizes=sizes,
            elites=3,
            centre_competes=False,
            settled=None,
            key=jax.random.key(0),
        )[1]

    return found()


@pytest.mark.parametrize(
    ("decay", "iterations", "unrolled"),
    [
        (1.0, 30, 0),
        (1.0, 1, 1),
        (1.25, 4, 4),
        (1.25, 12, 8),
        (2.0, 12, 3),
        (1.05, 20, 8),
    ],
)
def test_each_iteration_draws_from_as_many_as_its_size(decay, iterations, unrolled):
    sizes = Sizes(40, decay, 5, iterations)
    rows = counted(sizes)
    drawn = np.asarray(rows["candidates"][:, 0]) + 1
    expected = [max(int(40 / decay**i), 5) for i in range(iterations)]
    assert drawn.tolist() == [sizes(i) for i in range(iterations)] == expected
    assert sizes.unrolled == unrolled


def test_candidates_that_are_too_many_are_no_failures():
    rows = counted(Sizes(40, 1.05, 5, 20), scale=jnp.inf)
    # Zero times infinity is one, and all others that were drawn are infinite.
    sizes = [max(int(40 / 1.05**i), 5) for i in range(20)]
    assert rows["non_finite"].tolist() == sizes


def equations(jaxpr):
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    parts = [
        part
        for equation in inner.eqns
        for part in jax.tree.leaves(equation.params, is_leaf=is_program)
        if is_program(part)
    ]
    return len(inner.eqns) + sum(map(equations, parts))


@pytest.mark.parametrize("decay", [1.0, 1.05, 1.25])
def test_the_program_does_not_grow_with_the_iterations(decay):
    task, key = tasks.load("double-integrator"), jax.random.key(0)

    def size(iterations):
        planner = CEM(5, 64, 4, iterations, population_decay=decay)

        def once(x):
            state = planner.init(task.problem, x, key=key)
            return planner.plan(task.problem, x, state, key=key)[0].actions

        return equations(jax.make_jaxpr(once)(jnp.ones(2)))

    few, many = size(50), size(200)
    assert many == few
    # Unrolled, each iteration was a program of its own.
    assert few < 12 * size(1)
