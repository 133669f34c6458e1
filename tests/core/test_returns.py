import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from forethought.core.returns import Risk

RETURNS = hnp.arrays(
    np.float32, st.sampled_from([1, 2, 7, 12]), elements=st.floats(-50, 50, width=32)
)


def test_cvar_is_the_mean_of_the_worst_share_with_the_last_one_counted_in_part():
    returns = jnp.array([4.0, 1.0, 3.0, 2.0])
    assert float(Risk("cvar", 0.5)(returns)) == 1.5
    np.testing.assert_allclose(
        Risk("cvar", 0.625)(returns), (1 + 2 + 0.5 * 3) / 2.5, rtol=1e-6
    )


@jax.jit
def three(returns):
    risks = Risk("cvar", 1.0), Risk("cvar", 1e-6), Risk("worst")
    return [risk(returns) for risk in risks]


@given(RETURNS)
def test_cvar_goes_from_the_mean_to_the_worst_case(returns):
    all_of_them, a_millionth, worst = three(returns)
    np.testing.assert_allclose(all_of_them, returns.mean(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(a_millionth, worst, rtol=1e-5, atol=1e-30)


def test_entropic_risk_of_a_gaussian_is_mean_minus_half_theta_variance():
    rng = np.random.default_rng(0)
    returns = jnp.asarray(rng.normal(2.0, 0.5, 200_000), jnp.float32)
    # Six sigma of the estimate are about 0.007.
    np.testing.assert_allclose(
        Risk("entropic", 1.5)(returns), 2.0 - 1.5 * 0.25 / 2, atol=0.01
    )


def test_an_infinite_loss_makes_every_measure_infinitely_bad():
    returns = jnp.array([1.0, -jnp.inf, 2.0])
    for risk in (Risk(), Risk("cvar", 0.5), Risk("worst"), Risk("entropic", 1.0)):
        assert float(risk(returns)) == -np.inf


@pytest.mark.parametrize(
    ("measure", "level", "words"),
    [("cvar", 0.0, r"\(0, 1\]"), ("entropic", -1.0, "> 0")],
)
def test_a_risk_without_meaning_is_refused(measure, level, words):
    with pytest.raises(ValueError, match=words):
        Risk(measure, level)
