"""Studies of targets: values of a chain, learned with a model of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.runs.claims.values import LEAST, Tables, errors, target
from forethought.runs.entries.studies.chain import CHAIN

LAST = 20
SHORT = dataclasses.replace(CHAIN, last=LAST, updates=2000, every=500)
aimed = jax.jit(target, static_argnums=0)
TRUTH = jnp.concatenate([jnp.arange(LAST + 1.0), jnp.zeros(1)])


def drawn(tables):
    values = jax.random.uniform(jax.random.key(3), (tables, LAST + 1), maxval=LAST)
    return jnp.concatenate([values, jnp.zeros((tables, 1))], axis=1)


@pytest.mark.parametrize("name", ["one step", "mve", "steve"])
def test_with_the_perfect_model_the_truth_stays_the_truth(name):
    arm = Tables(name, tables=2, samples=2)
    tables = jnp.stack([TRUTH, TRUTH])
    for state in range(LAST + 1):
        found = aimed(arm, tables, jnp.asarray(state), key=jax.random.key(0))
        assert float(found) == pytest.approx(state, abs=1e-4)


@pytest.mark.parametrize("state", [3, LAST - 2, LAST])
def test_targets_equal_plain_loops(state):
    tables = drawn(3)
    values, earned, at, total = np.asarray(tables, float), 0.0, state, []
    for _ in range(6):
        if at <= LAST:
            earned += LAST if at == LAST else -1
            at += 1
        total.append(earned + values[:, at])
    mean, variance = np.mean(total, axis=1), np.var(total, axis=1)
    weight = 1 / (variance + LEAST)
    wanted = {
        "one step": mean[0],
        "mve": mean[-1],
        "steve": np.sum(weight * mean) / np.sum(weight),
    }
    for name, value in wanted.items():
        arm = Tables(name, tables=3, samples=4)
        found = aimed(arm, tables, jnp.asarray(state), key=jax.random.key(1))
        assert float(found) == pytest.approx(value, rel=1e-4, abs=1e-4)


def test_a_model_that_errs_misleads_mve_and_not_steve():
    found = {
        name: np.asarray(
            errors(SHORT, Tables(name, noise=0.1), key=jax.random.key(0)), float
        )
        for name in ("mve", "steve")
    }
    assert found["steve"][-1] < 1e-2
    assert found["mve"][-1] > 3
