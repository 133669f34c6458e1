"""Tables as models: known ones, and counted ones beside their posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from forethought.core.spaces import Discrete
from forethought.environments.tables.grids import stochastic_grid
from forethought.models.tables.tabular import Tabular, TabularCounts
from forethought.objectives.learned import Learned
from forethought.problem import Problem, evaluate

KEY = jax.random.key(0)
learn = jax.jit(lambda model, *row: model.learn(*row))


def seen(model, *rows):
    """The model once rows of (state, action, reward, next state, end) were met."""
    for s, a, r, after, end in rows:
        row = (jnp.asarray(s), jnp.asarray(a), jnp.asarray(float(r)))
        model = learn(model, *row, jnp.asarray(after), jnp.asarray(end))
    return model


def drawn(model, s, a, count=20_000):
    def draw(key):
        return model.draw(jnp.asarray(s), jnp.asarray(a), key=key)

    keys = jax.random.split(KEY, count)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(draw))(keys))


def test_a_known_table_predicts_what_its_table_draws():
    model = Tabular(stochastic_grid().table)
    belief = model.init(key=KEY)
    assert (belief.x, belief.reward, belief.discount) == (0, 0, 1)
    belief = model.observe(belief, jnp.asarray(98), key=KEY)
    after = model.predict(belief, jnp.asarray(1), key=KEY)
    drawn = model.table.draw(jnp.asarray(98), jnp.asarray(1), key=KEY)
    assert (after.x, after.reward) == (drawn.state, drawn.reward)
    assert bool(after.discount == 0) == bool(drawn.terminated)


def test_a_discount_multiplies_what_lies_after_a_step():
    """Two steps right along the bottom: certain to come unless a move goes astray."""
    model = Tabular(stochastic_grid().table)
    belief = model.observe(model.init(key=KEY), jnp.asarray(98), key=KEY)
    near = Problem(model, Learned(0.5), Discrete(4))
    far = Problem(model, Learned(1.0), Discrete(4))
    actions = jnp.asarray([3, 1, 1])
    values = [
        float(evaluate(each, belief, actions, key=KEY, particles=512))
        for each in (near, far)
    ]
    assert 0.5 < values[1] < 0.9
    assert 0.2 < values[0] / values[1] < 0.5
    with pytest.raises(ValueError, match=r"gamma in \(0, 1\], got 0"):
        Learned(0.0)


def test_outcomes_are_drawn_as_often_as_they_were_met(precision):
    """Three of four and one of four, never the most frequent alone; four sigma."""
    model = TabularCounts(3, 2, dtype=float)
    rows = [(0, 1, 1.0, 1, False)] * 3 + [(0, 1, 5.0, 2, True)]
    found = drawn(seen(model, *rows), 0, 1)
    share = (found.state == 1).mean()
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / len(found.state))
    assert set(found.state.tolist()) == {1, 2}
    np.testing.assert_array_equal(found.terminated, found.state == 2)
    np.testing.assert_array_equal(found.reward, np.where(found.state == 2, 5.0, 1.0))


def test_what_was_never_met_is_unknown_and_nothing_else():
    model = TabularCounts(3, 2, unvisited_reward=7.0)
    model = seen(model, (0, 1, 1.0, 1, True))
    for s, a in ((0, 0), (2, 1)):
        found = drawn(model, s, a, 50)
        assert set(found.state.tolist()) == {s}
        assert set(found.reward.tolist()) == {7.0}
        assert not found.terminated.any()
    assert model.visits.tolist() == [[0, 1], [0, 0], [0, 0]]


def test_the_mean_table_is_that_of_the_counts():
    model = TabularCounts(3, 1, prior=1.0, unvisited_reward=9.0)
    rows = [(0, 0, 2.0, 1, False), (0, 0, 4.0, 1, False), (0, 0, -1.0, 2, True)]
    table = seen(model, *rows).mean(start=2)
    dense = table.dense()
    np.testing.assert_allclose(dense.P[0, 0], [0.25, 0.5, 0.0])  # a quarter ends
    np.testing.assert_allclose(dense.R[0, 0], (3.0 + 3.0 - 1.0 + 9.0) / 4)
    np.testing.assert_allclose(dense.P[1, 0], [0, 1, 0])
    np.testing.assert_allclose(dense.R[1:, 0], 9.0)
    assert table.start.tolist() == [0, 0, 1]


def test_counts_come_to_the_table_that_was_met():
    """The maximum-likelihood table of 4,000 draws, within five sigma everywhere."""
    table = stochastic_grid().table
    states = jax.random.randint(KEY, (4000,), 0, 10)
    actions = jax.random.randint(jax.random.key(1), (4000,), 0, 4)

    @jax.jit
    def count(model):
        def step(model, row):
            s, a, key = row
            out = table.draw(s, a, key=key)
            return model.learn(s, a, out.reward, out.state, out.terminated), None

        rows = (states, actions, jax.random.split(KEY, 4000))
        return jax.lax.scan(step, model, rows)[0]

    model = count(TabularCounts(100, 4, 3))
    assert int(model.lost) == 0 and float(model.visits.sum()) == 4000
    visits = np.asarray(model.visits)[:10, :, None]
    found, true = (np.asarray(t.dense().P)[:10] for t in (model.mean(), table))
    sigma = np.sqrt(0.25 / visits)
    assert np.all(np.abs(found - true) < 5 * sigma)
    unmet = np.asarray(model.visits) == 0
    assert unmet[10:].all() and not unmet[:10].any()


@pytest.mark.parametrize("prior", [0.0, 1.5])
def test_drawn_tables_have_the_moments_of_the_posterior(prior, precision):
    """4,000 tables beside the closed form of a Dirichlet distribution; five sigma."""
    model = TabularCounts(3, 1, 2, prior=prior, dtype=float)
    model = seen(model, *[(0, 0, 1.0, 1, False)] * 4, *[(0, 0, 0.0, 2, True)] * 2)
    count = 4000
    sample = jax.jit(jax.vmap(lambda key: model.sample(key=key).probability))
    found = np.asarray(sample(jax.random.split(KEY, count)), float)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    weights = np.array([4.0, 2.0, prior])
    kept = weights > 0
    posterior = scipy.stats.dirichlet(weights[kept])
    sigma = np.sqrt(posterior.var() / count)
    np.testing.assert_array_less(
        np.abs(found[:, 0, 0, kept].mean(0) - posterior.mean()), 5 * sigma
    )
    np.testing.assert_allclose(found[:, 0, 0, kept].var(0), posterior.var(), rtol=0.2)
    assert not found[:, 0, 0, ~kept].any()
    # What was never met stays unknown for certain.
    np.testing.assert_allclose(found[:, 1:, 0, -1], 1)


def test_without_memory_the_last_outcome_is_all_there_is():
    """The table of the book's Dyna-Q, in a world that changed."""
    model = TabularCounts(3, 1, 1, memory=0.0)
    model = seen(model, (0, 0, 1.0, 1, False), (0, 0, 0.0, 2, True))
    found = drawn(model, 0, 0, 20)
    assert set(found.state.tolist()) == {2} and found.terminated.all()
    assert not found.reward.any()
    assert float(model.visits[0, 0]) == 1 and int(model.lost) == 0


def test_memory_fades_by_its_share():
    model = TabularCounts(3, 1, memory=0.5)
    model = seen(model, *[(0, 0, 0.0, 1, False)] * 2, (0, 0, 0.0, 2, False))
    np.testing.assert_allclose(model.mean().dense().P[0, 0], [0, 0.75 / 1.75, 1 / 1.75])


def test_the_rarest_outcome_gives_way_and_that_is_counted():
    model = TabularCounts(4, 1, 2)
    rows = [(0, 0, 0.0, 1, False)] * 2 + [(0, 0, 0.0, 2, False), (0, 0, 0.0, 3, False)]
    model = seen(model, *rows)
    assert int(model.lost) == 1
    np.testing.assert_allclose(model.mean().dense().P[0, 0], [0, 2 / 3, 0, 1 / 3])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"states": 0}, "states >= 1, got 0"),
        ({"outcomes": 0}, "outcomes >= 1, got 0"),
        ({"prior": -1.0}, "prior >= 0, got -1.0"),
        ({"memory": 1.5}, r"memory in \[0, 1\], got 1.5"),
        ({"unvisited_reward": float("inf")}, "finite unvisited_reward, got inf"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        TabularCounts(**({"states": 2, "actions": 2} | arguments))
