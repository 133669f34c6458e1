"""Programs that call the host, or chance, and programs that do not."""

import jax
import jax.numpy as jnp
import pytest

from forethought.core.tracing import calls_host, depends_on_last

X = jnp.ones(2)


def twice_on_host(x):
    return jax.pure_callback(lambda x: 2 * x, x, x)


INSIDE = {
    "plain": twice_on_host,
    "jit": jax.jit(twice_on_host),
    "scan": lambda x: jax.lax.scan(lambda x, _: (twice_on_host(x), None), x, length=3),
    "cond": lambda x: jax.lax.cond(x[0] > 0, twice_on_host, lambda x: x, x),
    "while": lambda x: jax.lax.while_loop(lambda x: x[0] < 9, twice_on_host, x),
}


@pytest.mark.parametrize("where", INSIDE)
def test_a_callback_is_found_however_deep_it_lies(where):
    assert calls_host(INSIDE[where], X)


def test_a_loop_without_callbacks_calls_no_host():
    assert not calls_host(lambda x: jax.lax.fori_loop(0, 3, lambda _, x: 2 * x, x), X)


def test_a_result_depends_on_a_key_only_where_the_key_is_used():
    key = jax.random.key(0)
    assert depends_on_last(lambda x, key: x + jax.random.normal(key, x.shape), X, key)
    assert not depends_on_last(lambda x, key: 2 * x, X, key)


def test_a_number_that_is_drawn_and_thrown_away_does_not_matter():
    def idle(x, key):
        _ = jax.random.normal(key, x.shape)
        return x, jnp.zeros(())

    assert not depends_on_last(idle, X, jax.random.key(0))


def test_an_argument_handed_back_unchanged_is_needed():
    assert depends_on_last(lambda x, y: y, 1.0, 2.0)
