"""What planning will cost: counted by hand, counted by machine, and said in words."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.agents.planning.model_based import ModelBased
from forethought.core.spaces import Box
from forethought.environments.base import EnvironmentSpec
from forethought.models.learned.recipes import EnsembleRecipe
from forethought.objectives.learned import Learned
from forethought.planners import CEM
from forethought.runs.cost import Cost, duration, flops, foresee, measured

POPULATION, PARTICLES, HORIZON, ITERATIONS, WIDTH = 40, 4, 6, 3, 64


@pytest.fixture(scope="module")
def agent():
    """One network of two hidden layers, four observations, two actions."""
    return ModelBased(
        EnsembleRecipe(members=2, width=WIDTH, depth=2, reward=True),
        Learned(),
        CEM.plain(
            HORIZON,
            population=POPULATION,
            elites=4,
            iterations=ITERATIONS,
            particles=PARTICLES,
        ),
    )


@pytest.fixture(scope="module")
def spec():
    return EnvironmentSpec(
        observation=Box(-jnp.ones(4), jnp.ones(4)),
        action=Box(-jnp.ones(2), jnp.ones(2)),
        episode_length=10,
    )


def test_a_plan_of_a_network_needs_what_is_counted_by_hand(agent, spec):
    # Inputs 4 + 2; outputs: mean and log-variance of 4 differences and the reward.
    once = 2 * (6 * WIDTH + WIDTH * WIDTH + WIDTH * 10)
    by_hand = once * POPULATION * PARTICLES * HORIZON * ITERATIONS
    counted = foresee(agent, spec, plans=7)
    # Activations, noise and sorting come on top: some per cent of this small network.
    assert by_hand < counted.flops < 1.2 * by_hand
    assert counted.plans == 7 and counted.seconds is None
    assert counted.floor == counted.flops / counted.rate > 0
    assert 1e8 < counted.rate < 1e16


def test_an_agent_is_timed_once_it_is_compiled(agent, spec):
    cost = measured(Cost(1.0, 1.0, 3), agent, spec)
    assert cost.seconds is not None and 0 < cost.seconds < 60
    assert "(measured); 3 steps take about" in str(cost)


@pytest.mark.parametrize("batch", [1, 32])
def test_the_product_of_a_batch_is_counted_exactly(batch):
    def network(x):
        return jnp.tanh(x @ jnp.ones((8, 16))) @ jnp.ones((16, 3))

    counted = flops(jax.vmap(network), jnp.ones((batch, 8)))
    assert counted == batch * (2 * 8 * 16 + 16 + 2 * 16 * 3)


def test_loops_count_their_length_and_branches_the_costliest():
    square = jnp.ones((5, 5))
    product = 2 * 5**3

    def scanned(x):
        return jax.lax.scan(lambda x, _: (x @ x, None), x, None, length=7)[0]

    def chosen(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x, x)

    def until(x):
        return jax.lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x @ x, x)

    assert flops(scanned, square) == 7 * product
    assert flops(chosen, square) == pytest.approx(2 * product, abs=3)
    # Nobody knows how often: one pass, so that a floor stays a floor.
    assert flops(until, square) == pytest.approx(product, abs=3)
    assert flops(eqx.filter_jit(scanned), square) == 7 * product


def test_factorisations_and_solves_count_their_leading_term():
    n = 90
    matrix = jnp.eye(n)
    factorised = flops(
        lambda a: jax.lax.linalg.cholesky(a, symmetrize_input=False), matrix
    )
    assert factorised == pytest.approx(n**3 / 3, rel=0.15)
    solve = flops(
        lambda a, b: jax.lax.linalg.triangular_solve(a, b, left_side=True),
        matrix,
        jnp.ones((n, 3)),
    )
    assert solve == n * n * 3


def test_a_call_of_the_host_counts_nothing():
    shape = jax.ShapeDtypeStruct((3,), jnp.result_type(float))

    def called(x):
        return jax.pure_callback(np.sin, shape, x)

    assert flops(called, jnp.ones(3)) == 0


def test_the_cost_is_one_sentence():
    cost = Cost(flops=1.2e11, rate=1.1e11, plans=1000)
    assert str(cost) == (
        "acting needs 1.2e11 FLOP a step, at least 1.1 s here; 1,000 steps take at "
        "least 18 min"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 µs"),
        (3e-7, "0.3 µs"),
        (0.0123, "12 ms"),
        (1.13, "1.1 s"),
        (75.0, "75 s"),
        (1091.0, "18 min"),
        (9000.0, "2.5 h"),
        (4e5, "4.6 d"),
    ],
)
def test_times_are_told_in_the_unit_that_suits_them(seconds, words):
    assert duration(seconds) == words
