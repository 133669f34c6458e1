"""One table: every model that learns keeps the same promises."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.spaces import Box
from forethought.environments.base import EnvironmentSpec
from forethought.models.gp.hyper import SearchSettings
from forethought.models.gp.recipe import GaussianProcessRecipe, MomentMatchingRecipe
from forethought.models.learned.bayesian import BoundSettings
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.propagation import AbstractPosterior, Propagation
from forethought.models.learned.recipes import (
    AbstractRecipe,
    BayesianRecipe,
    EnsembleRecipe,
)
from forethought.models.learned.rows import Rows
from forethought.models.learned.uncertainty import mixture_doubt
from forethought.models.linear.pieces import LocalLinearRecipe
from forethought.models.linear.regression import LinearGaussianRecipe
from forethought.runs.store import checkpoint

TINY = {"width": 8, "depth": 1, "reward": True}
MEMBERS = FitSettings(epochs=40, patience=40, batch=16, updates=8, learning_rate=1e-2)
BOUND = BoundSettings(epochs=40, batch=16, updates=20, learning_rate=1e-2)
OBSERVATION, PARTICLES = 2, 6


@dataclasses.dataclass
class Row:
    """A model that learns, and what may be asked of its kind."""

    recipe: AbstractRecipe
    doubts: bool
    """Whether it is one of several samples, which may disagree."""
    short: dict = dataclasses.field(default_factory=dict)
    """Settings by which a fit is too short for rounding to tell."""

    def begin(self, seed=0):
        unbounded = Box([-jnp.inf] * OBSERVATION, [jnp.inf] * OBSERVATION)
        spec = EnvironmentSpec(unbounded, Box([-1.0], [1.0]), None)
        return self.recipe.begin(spec, key=jax.random.key(seed))


# Long fits would take apart what rounding tells apart.
SHORT = {"fitting": FitSettings(epochs=2, batch=4, updates=2)}
SHORT_BOUND = {"fitting": BoundSettings(epochs=2, batch=4, updates=2)}
FEW = {"search": SearchSettings(evaluations=3)}
ROWS = {
    "ensemble": Row(EnsembleRecipe(members=3, fitting=MEMBERS, **TINY), True, SHORT),
    "network": Row(
        EnsembleRecipe(
            members=1, probabilistic=False, propagation="E", fitting=MEMBERS, **TINY
        ),
        False,
        SHORT,
    ),
    "bayesian": Row(
        BayesianRecipe(samples=3, fitting=BOUND, **TINY), True, SHORT_BOUND
    ),
    "linear-gaussian": Row(LinearGaussianRecipe(samples=6, reward=True), True),
    "local-linear": Row(LocalLinearRecipe(samples=6, pieces=2, reward=True), True),
    "gp": Row(
        GaussianProcessRecipe(samples=3, points=64, waves=32, reward=True), True, FEW
    ),
    "gp-moments": Row(MomentMatchingRecipe(points=64), True, FEW),
}
KEY = jax.random.key(1)


@pytest.fixture(scope="module", params=ROWS)
def row(request):
    return ROWS[request.param]


@pytest.fixture(scope="module")
def fitted(row):
    """The model and its metrics, fitted to observations between −1 and 1."""
    return row.begin().fit(data(60), key=KEY)


def data(count, seed=0):
    rng = np.random.default_rng(seed)
    obs = rng.uniform(-1, 1, (count, OBSERVATION))
    action = rng.uniform(-1, 1, (count, 1))
    next_obs = 0.8 * obs + 0.2 * action + 0.02 * rng.normal(size=obs.shape)
    dtype = jnp.zeros(()).dtype
    parts = obs, action, obs.sum(1), next_obs
    return Rows.pad(*(part.astype(dtype) for part in parts))


def seen(model, obs):
    """What it believes of an observation."""
    return model.observe(model.init(key=KEY), obs, key=KEY)


def same(one, other):
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_second_fit_compiles_nothing_and_the_same_key_fits_the_same(
    row, fitted, compilations
):
    less, model = data(40), row.begin()
    jax.block_until_ready((less, model))
    before = compilations.count
    again = model.fit(data(60), key=KEY)
    jax.block_until_ready(fitted[0].fit(less, key=KEY))
    assert compilations.count == before
    same(again, fitted)
    other, _ = model.fit(data(60), key=jax.random.key(2))
    assert not eqx.tree_equal(other, fitted[0])
    assert jax.tree.structure(other) == jax.tree.structure(model)


def test_fits_of_several_seeds_by_vmap_are_those_one_by_one(row):
    recipe = dataclasses.replace(row.recipe, **row.short)
    model = Row(recipe, row.doubts).begin()
    rows, keys = data(6), jax.random.split(KEY, 2)

    def one(key):
        found, _ = model.fit(rows, key=key)
        return found.doubt(seen(found, jnp.ones(OBSERVATION)), jnp.ones(1))

    together, alone = eqx.filter_jit(jax.vmap(one))(keys), eqx.filter_jit(one)
    for many, *each in zip(together, *map(alone, keys), strict=True):
        np.testing.assert_allclose(many, jnp.stack(each), rtol=1e-4, atol=1e-6)


def test_what_it_expects_and_doubts_is_finite_and_of_one_shape(row, precision):
    model, obs = row.begin(), jnp.array([0.3, -2.0])

    @eqx.filter_jit
    def asked(model, obs):
        belief = seen(model, obs)
        after = model.predict(belief, jnp.ones(1), key=KEY)
        return [model.expect(one) for one in (belief, after)], model.doubt(
            belief, jnp.ones(1)
        )

    (now, after), doubt = asked(model, obs)
    np.testing.assert_allclose(now[0], obs, rtol=1e-6)
    assert not np.allclose(jnp.stack(after), jnp.stack(now))
    sizes = [OBSERVATION] * 4 + [model.transform.outputs_shape] * 2
    for part, size in zip((*now, *after, *doubt), sizes, strict=True):
        assert part.shape == (size,) and part.dtype == obs.dtype
        assert np.all(np.isfinite(part))
    for variance in (now[1], after[1], *doubt):
        assert np.all(variance >= 0)


def doubt_shrinks(doubt):
    """Whether doubt among the data is far below what it is three widths further out."""
    places = jax.random.uniform(KEY, (32, OBSERVATION), minval=-1, maxval=1)
    ask = eqx.filter_jit(jax.vmap(lambda obs: doubt(obs, jnp.zeros(1))))
    near, far = (float(jnp.mean(ask(scale * places))) for scale in (1.0, 7.0))
    return near < far / 4


def test_epistemic_doubt_is_small_where_data_are_dense(row, fitted):
    model, _ = fitted

    def epistemic(obs, action):
        return model.doubt(seen(model, obs), action)[1]

    def of_one(obs, action):
        means, variances = model.outputs(obs, action)
        return mixture_doubt(means[:1], variances[:1])[1]

    assert doubt_shrinks(epistemic) == row.doubts
    if isinstance(model, AbstractPosterior):
        # Doubt that does not look at how far samples disagree is found out.
        assert not doubt_shrinks(of_one)
    if not row.doubts:
        np.testing.assert_array_equal(epistemic(jnp.ones(2), jnp.ones(1)), 0)


def test_what_its_particles_vary_by_is_noise_and_doubt_together(row, fitted):
    model, obs, many = fitted[0], jnp.array([0.5, -2.0]), 6000
    if not isinstance(model, AbstractPosterior):
        pytest.skip("has no particles that vary; see tests/models/gp/test_moments.py")
    # Functions that were drawn are too few to vary as all of them do; by rule DS a
    # particle knows what all of them say.
    few = type(model).__name__ == "GaussianProcess"

    @eqx.filter_jit
    def spread(model):
        belief, action = seen(model, obs), jnp.zeros(1)
        scale = model.transform.variance_scale
        parts = [scale * part for part in model.doubt(belief, action)]
        cloud = Propagation("DS" if few else "TS1")
        particles = cloud.spread(model, belief, many, key=KEY)
        keys = jax.random.split(KEY, many)
        after = cloud.predict(model, particles, action, keys=keys)
        found = jnp.column_stack([after.obs, after.reward])
        return jnp.var(found, axis=0), *parts

    variance, aleatoric, epistemic = spread(model)
    # Five standard errors; the kurtosis of mixtures of three is at most 4 here.
    error = 5 * np.sqrt(3 / many)
    np.testing.assert_allclose(aleatoric + epistemic, variance, rtol=error, atol=1e-9)
    if row.doubts:
        # Noise without doubt would be found out.
        assert np.any(aleatoric < (1 - error) * variance)


def test_it_comes_back_from_a_checkpoint(row, fitted, tmp_path):
    checkpoint.save(tmp_path, 1, fitted[0], {})
    loaded = checkpoint.load(tmp_path, row.begin(seed=9)).tree
    same(loaded, fitted[0])
    assert jax.tree.structure(loaded) == jax.tree.structure(fitted[0])


def test_particles_keep_their_sample_by_tsinf_and_are_dealt_anew_by_ts1(row, fitted):
    model, _ = fitted
    if not isinstance(model, AbstractPosterior):
        return  # Its belief is no particle.

    @eqx.filter_jit
    def samples(model, cloud):
        particles = cloud.spread(model, seen(model, jnp.ones(2)), PARTICLES, key=KEY)
        dealt = [particles.sample]
        for key in jax.random.split(KEY, 4):
            keys = jax.random.split(key, PARTICLES)
            particles = cloud.predict(model, particles, jnp.ones(1), keys=keys)
            dealt.append(particles.sample)
        return jnp.stack(dealt)

    kept, dealt = (
        np.asarray(samples(model, Propagation(rule))) for rule in ("TSinf", "TS1")
    )
    assert np.all(kept == kept[0])
    # Each sample has as many particles as any other, whatever the deal.
    np.testing.assert_array_equal(np.sort(dealt, axis=1), np.sort(kept, axis=1))
    assert np.any(dealt != dealt[0]) == (model.size > 1)
    assert model.cloud.enough(model, PARTICLES + 1) % model.size == 0
