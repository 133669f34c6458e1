"""One table: what is doubted at a cliff that no data have shown, by class of model.

Observations of −1 to 1 were seen, but for a hole in their midst. A model that knows
what it does not know doubts more in the hole, and three widths of the data beyond them;
what it calls noise is noise there as well. With ten times the data it doubts less, and
finds the same noise.

Doubt and noise grow by factors of standard deviations, the harder measure of the two.
With ten times the data the *variance* of doubt halves at least: the members of an
ensemble also differ by where they began, which no data take away.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.spaces import Box
from forethought.environments.base import EnvironmentSpec
from forethought.models.gp.recipe import GaussianProcessRecipe
from forethought.models.learned.bayesian import BoundSettings
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import (
    AbstractRecipe,
    BayesianRecipe,
    EnsembleRecipe,
)
from forethought.models.learned.rows import Rows

HOLE, FAR, NOISE, PLACES = 0.35, 6.0, 0.1, 64
KEY = jax.random.key(0)


@dataclasses.dataclass
class Row:
    """A class of models, and by what factors its epistemic deviation grows at least."""

    recipe: AbstractRecipe
    far: float
    hole: float
    tiny: AbstractRecipe | None = None
    """Settings of the short suite, if not those of the long one."""


MEMBERS = FitSettings(epochs=40, patience=40, updates=40, learning_rate=5e-3)
BOUND = BoundSettings(epochs=1, updates=5000)
# One number is seen, and one is done: few units say what there is to be said.
BAYESIAN = {"samples": 30, "width": 20}
ROWS = {
    "network": Row(
        EnsembleRecipe(members=1, probabilistic=False, propagation="E"),
        5,
        2,
        EnsembleRecipe(
            members=1, probabilistic=False, propagation="E", width=32, fitting=MEMBERS
        ),
    ),
    # Members that stop early differ by where they began more than by their data.
    "ensemble": Row(
        EnsembleRecipe(fitting=FitSettings(patience=30, threshold=0.002)),
        5,
        2,
        EnsembleRecipe(width=32, fitting=MEMBERS),
    ),
    "bayesian": Row(
        BayesianRecipe(**BAYESIAN), 2, 2, BayesianRecipe(**BAYESIAN, fitting=BOUND)
    ),
    "gp": Row(
        GaussianProcessRecipe(),
        5,
        2,
        GaussianProcessRecipe(points=64, samples=2, waves=8),
    ),
}
KNOWS_NOTHING = {"network"}
"""Classes that have to fail: the negative control of this table."""


def data(count, seed=0):
    rng = np.random.default_rng(seed)
    obs = rng.uniform(HOLE, 1, (count, 1)) * rng.choice([-1, 1], (count, 1))
    action = rng.uniform(-1, 1, (count, 1))
    noise = NOISE * rng.normal(size=obs.shape)
    next_obs = obs + 0.5 * np.sin(5 * obs) + 0.3 * action + noise
    parts = obs, action, np.zeros(count), next_obs
    return Rows.pad(*(part.astype(np.float32) for part in parts))


def places():
    """Where data are, in the hole among them, and far beyond them."""
    sides = np.repeat([-1.0, 1.0], PLACES // 2)
    steps = np.tile(np.linspace(0, 1, PLACES // 2), 2)
    seen = sides * (HOLE + 0.05 + (0.9 - HOLE) * steps)
    return {"data": seen, "hole": 0.1 * sides * steps, "far": sides * FAR + seen}


def doubts(recipe, count, seed=0):
    """Both deviations at all places, root mean squares, by place."""
    spec = EnvironmentSpec(Box([-jnp.inf], [jnp.inf]), Box([-1.0], [1.0]), None)
    model = recipe.begin(spec, key=KEY)
    model, _ = model.fit(data(count, seed), key=jax.random.key(seed))

    @eqx.filter_jit
    def ask(model, obs):
        belief = model.observe(model.init(key=KEY), obs, key=KEY)
        return model.doubt(belief, jnp.zeros(1))

    def at(obs):
        parts = eqx.filter_vmap(ask, in_axes=(None, 0))(model, obs[:, None])
        return [float(jnp.sqrt(jnp.mean(part))) for part in parts]

    return {name: at(jnp.asarray(obs)) for name, obs in places().items()}


@pytest.mark.parametrize("long", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", ROWS)
def test_doubt_grows_in_a_hole_and_far_away_and_noise_does_not(name, long):
    row = ROWS[name]
    recipe = row.recipe if long or row.tiny is None else row.tiny
    found = doubts(recipe, 5000 if long else 1500)
    noise, doubt = found["data"]
    grows = [
        0 < doubt * factor <= found[place][1]
        for place, factor in (("far", row.far), ("hole", row.hole))
    ]
    assert grows == [name not in KNOWS_NOTHING] * 2, found
    for place in ("far", "hole"):
        assert found[place][0] <= 3 * noise, found


@pytest.mark.long
@pytest.mark.parametrize("name", ROWS)
def test_ten_times_the_data_halve_the_doubt_and_leave_the_noise(name):
    before, after = (doubts(ROWS[name].recipe, count) for count in (500, 5000))
    (noise, doubt), (same_noise, less) = before["data"], after["data"]
    knows = name not in KNOWS_NOTHING
    assert (0 < 2 * less**2 <= doubt**2) == knows, (before, after)
    assert (noise > 0 and abs(same_noise / noise - 1) < 0.2) == knows, (before, after)
