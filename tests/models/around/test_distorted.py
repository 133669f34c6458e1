"""A model that is wrong: by how much, and each sample in a way of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.spaces import Box
from forethought.environments.base import EnvironmentSpec
from forethought.models.around.distorted import DistortedRecipe
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.rows import Rows

SPEC = EnvironmentSpec(Box([-1.0] * 2, [1.0] * 2), Box([-1.0], [1.0]), None)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def models():
    """The model before and after a fit, and what both are fitted to."""
    fitting = FitSettings(epochs=2, batch=16, updates=4)
    recipe = DistortedRecipe(members=3, width=8, depth=1, fitting=fitting)
    rng = np.random.default_rng(0)
    obs, action = rng.normal(size=(64, 2)), rng.normal(size=(64, 1))
    rows = Rows.pad(obs, action, obs[:, 0], 0.9 * obs + 0.1 * action)
    model = recipe.begin(SPEC, key=KEY)
    return model, model.fit(rows, key=KEY)[0]


def bend(model):
    """How far each sample is off, on inputs that are standard normal."""
    x = jax.random.normal(KEY, (4000, 3))
    x = jnp.broadcast_to(x, (3, *x.shape))
    off = model.grouped(x)[0] - model.model.grouped(x)[0]
    return np.asarray(off)


def test_each_sample_is_off_by_half_a_standard_deviation_of_its_own(models):
    off = bend(models[1])
    np.testing.assert_allclose(np.sqrt((off**2).mean()), 0.5, atol=0.1)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.sqrt(((off[one] - off[other]) ** 2).mean()) > 0.3


def test_it_stays_as_wrong_whatever_is_seen(models):
    np.testing.assert_allclose(bend(models[0]), bend(models[1]), atol=1e-5)
    before, after = (jax.tree.leaves(model.model) for model in models)
    assert any(np.any(a != b) for a, b in zip(before, after, strict=True))
