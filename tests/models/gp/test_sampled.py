"""What a Gaussian process does not know: off the data, between them, and with more."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import KEY

from forethought.models.gp.sampled import GaussianProcess
from forethought.models.learned.propagation import Propagation
from forethought.models.learned.rows import Rows
from forethought.models.learned.transforms import Transform

NOISE = 0.1
pytestmark = pytest.mark.long


def wave(count, seed=0):
    """A wave with a hole in its middle, whose change is seen through noise."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.4, 1.5, (count, 1)) * rng.choice([-1.0, 1.0], (count, 1))
    after = x + np.sin(3 * x) + NOISE * rng.normal(size=x.shape)
    return Rows.pad(x, rng.uniform(-1, 1, (count, 1)), np.zeros(count), after)


@pytest.fixture(scope="module")
def fitted():
    """The same model, fitted to few rows and to ten times as many."""
    with jax.enable_x64(True):
        model = GaussianProcess(
            Transform(1, 1), size=4, points=64, waves=32, propagation="DS", key=KEY
        )
        return [model.fit(wave(count), key=KEY)[0] for count in (50, 500)]


def doubts(model, places):
    """Aleatoric and epistemic variance at some places, in squared units, on average."""

    @eqx.filter_jit
    def ask(model, x):
        belief = model.observe(model.init(key=KEY), x, key=KEY)
        parts = model.doubt(belief, jnp.zeros(1))
        return jnp.stack(parts)[:, 0] * model.transform.variance_scale[0]

    return np.mean([ask(model, jnp.array([x])) for x in places], axis=0)


def test_doubt_grows_off_the_data_and_in_a_hole_and_falls_with_more(fitted, x64):
    few, many = fitted
    amid, hole, far = [-1.2, -0.8, 0.8, 1.2], [-0.05, 0.0, 0.05], [-4.5, 4.5]
    noise, unknown = doubts(few, amid)
    assert doubts(few, far)[1] > 5 * unknown and doubts(few, hole)[1] > 2 * unknown
    np.testing.assert_allclose(doubts(few, far)[0], noise, rtol=1e-6)
    noise_of_many, unknown_of_many = doubts(many, amid)
    assert unknown_of_many < unknown / 2
    np.testing.assert_allclose(noise_of_many, NOISE**2, rtol=0.2)
    np.testing.assert_allclose(noise, noise_of_many, rtol=0.5)


def test_a_gaussian_rule_answers_by_the_whole_posterior_not_by_some_draws(fitted, x64):
    model = fitted[0]
    particle = model.observe(model.init(key=KEY), jnp.array([4.5]), key=KEY)

    @eqx.filter_jit
    def spread(model, rule):
        keys = jax.random.split(KEY, 4000)
        cloud = Propagation(rule)
        many = cloud.spread(model, particle, 4000, key=KEY)
        after = cloud.predict(model, many, jnp.zeros(1), keys=keys)
        return jnp.var(after.obs, axis=0)[0]

    noise, unknown = doubts(model, [4.5])
    np.testing.assert_allclose(spread(model, "DS"), noise + unknown, rtol=0.1)
    np.testing.assert_allclose(spread(model, "E"), 0, atol=1e-12)
    # Of four functions the spread is a matter of luck.
    assert abs(spread(model, "TSinf") / (noise + unknown) - 1) > 0.1


def test_ends_are_learned_beside_functions(x64):
    data = wave(30)
    data = eqx.tree_at(lambda d: d.terminated, data, data.valid & (data.obs[:, 0] > 1))
    model = GaussianProcess(
        Transform(1, 1), size=2, points=32, waves=8, termination="learned", key=KEY
    )
    found, metrics = model.fit(data, key=KEY)
    assert metrics["end_nats"].shape == (2,)
    high, low = (
        found.ends(jnp.full((2, 1, 1), end)) for end in (float(np.sin(4) + 1.3), -1.5)
    )
    assert jnp.all(high > low)
