"""Fits of ensembles to a noisy linear system whose law is known."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.models.learned.ensemble import Ensemble
from forethought.models.learned.fitting import (
    FitSettings,
    negative_log_likelihood,
    score,
)
from forethought.models.learned.mlp import MLP
from forethought.models.learned.rows import Rows, bootstrap_counts, split
from forethought.models.learned.transforms import Transform
from forethought.models.learned.uncertainty import (
    coverage,
    mixture_cdf,
    mixture_moments,
)

A = np.array([[0.9, 0.2], [-0.1, 0.8]])
B = np.array([0.0, 0.5])
NOISE = np.array([0.02, 0.1])
SETTINGS = FitSettings(epochs=100, patience=20, batch=32, learning_rate=3e-3)
SEED = 5
BOOTSTRAP = jax.random.key(SEED)


def system(count, seed=0):
    rng = np.random.default_rng(seed)
    obs, action = rng.normal(size=(count, 2)), rng.normal(size=(count, 1))
    mean = obs @ A.T + action * B
    next_obs = mean + NOISE * rng.normal(size=(count, 2))
    return obs, action, -(obs**2).sum(1), next_obs


def rows(count, seed=0):
    dtype = jnp.zeros(()).dtype
    return Rows.pad(*(part.astype(dtype) for part in system(count, seed)))


def ensemble(**changes):
    kind = {"size": 3, "width": 16, "depth": 1, "seed": SEED} | changes
    return Ensemble(Transform(2, 1), key=jax.random.key(0), **kind)


def with_settings(model, settings):
    """The same networks, to be fitted otherwise."""
    like = ensemble(fitting=settings)
    return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(model))


@pytest.fixture(scope="module")
def fitted():
    return ensemble(fitting=SETTINGS).fit(rows(900), key=jax.random.key(1))


def test_a_fit_recovers_the_system_within_its_own_band(fitted):
    model, _ = fitted
    fresh = rows(1000, seed=9)
    means, variances = jax.vmap(model.outputs)(fresh.obs, fresh.action)
    y = jax.vmap(model.transform.targets)(fresh.obs, fresh.next_obs, fresh.reward)

    def covered(scale):
        cdf = jax.vmap(mixture_cdf)(means, scale * variances, y)[:1000]
        return np.asarray(coverage(cdf, jnp.array([0.95])))[0]

    # Standard error of a share of 1000 rows: 0.007; what is beyond is the fit's own.
    assert np.all(covered(1) > 0.9) and np.all(covered(1) < 0.995)
    assert np.all(covered(0.1) < 0.8)
    mean, variance = jax.vmap(mixture_moments)(means, variances)
    change = (
        model.transform.output_mean[None] + model.transform.output_scale[None] * mean
    )
    true = fresh.obs @ jnp.asarray(A.T, fresh.obs.dtype) - fresh.obs
    true = true + fresh.action * jnp.asarray(B, fresh.obs.dtype)[None]
    band = 1.96 * jnp.sqrt(variance * model.transform.variance_scale[None])
    assert float(jnp.mean((jnp.abs(change - true) < band)[:1000])) > 0.95
    noise = np.sqrt(np.mean(variance * model.transform.variance_scale[None], axis=0))
    np.testing.assert_allclose(noise, NOISE, rtol=0.5)


def test_members_keep_the_weights_that_were_best_when_held_out(fitted):
    model, metrics = fitted
    data = rows(900)
    curve = np.asarray(metrics["curve"])
    np.testing.assert_allclose(metrics["holdout"], np.nanmin(curve, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(np.sum(~np.isnan(curve), axis=0), metrics["epochs"])
    x = jax.vmap(model.transform.inputs)(data.obs, data.action)
    y = jax.vmap(model.transform.targets)(data.obs, data.next_obs, data.reward)
    _, held = split(data.valid, 3, SETTINGS.holdout, key=BOOTSTRAP)
    first = jnp.argsort(~held)
    judged = (x[first], y[first], jnp.sum(held))
    again = eqx.filter_vmap(lambda member: score(member, *judged))(model.members)
    np.testing.assert_allclose(again, metrics["holdout"], rtol=1e-3, atol=1e-4)
    last = curve[np.asarray(metrics["epochs"]) - 1, np.arange(3)]
    assert np.any(last > np.asarray(metrics["holdout"]))


def test_one_strange_row_among_those_held_out_does_not_end_a_fit_early(fitted):
    data = rows(900)
    _, held = split(data.valid, 3, SETTINGS.holdout, key=BOOTSTRAP)
    strange = data.next_obs.at[int(jnp.argmax(held))].add(10)
    data = eqx.tree_at(lambda rows: rows.next_obs, data, strange)
    model, _ = fitted[0].fit(data, key=jax.random.key(1))
    fresh = rows(200, seed=9)
    means, _ = jax.vmap(model.outputs)(fresh.obs, fresh.action)
    y = jax.vmap(model.transform.targets)(fresh.obs, fresh.next_obs, fresh.reward)
    scale = np.asarray(model.transform.output_scale)
    errors = (np.asarray(means) - np.asarray(y)[:, None])[:200] * scale
    # Networks that stopped in their first epochs miss by ten times the noise.
    assert np.all(np.sqrt((errors**2).mean(axis=(0, 1))) < 3 * NOISE)


def test_fitted_members_differ(fitted):
    model, _ = fitted
    weights = np.asarray(model.members.weights[0])
    assert not np.allclose(weights[0], weights[1])


def test_more_rows_within_the_capacity_do_not_recompile(fitted, compilations):
    data, key = rows(700), jax.random.key(1)
    jax.block_until_ready(data)
    before = compilations.count
    model, _ = fitted[0].fit(data, key=key)
    jax.block_until_ready(model)
    assert compilations.count == before


def test_what_a_row_counts_does_not_change_as_data_grow():
    few = bootstrap_counts(64, 3, key=BOOTSTRAP)
    many = bootstrap_counts(256, 3, key=BOOTSTRAP)
    np.testing.assert_array_equal(few, many[:, :64])
    valid = jnp.arange(64) < 40
    counts, held = split(valid, 3, 0.2, key=BOOTSTRAP)
    more, also = split(jnp.arange(256) < 200, 3, 0.2, key=BOOTSTRAP)
    np.testing.assert_array_equal(counts[:, :40], more[:, :40])
    np.testing.assert_array_equal(held[:40], also[:40])
    assert not np.any(held & np.any(counts > 0, axis=0))
    assert not np.any(counts[:, 40:])


def test_members_draw_rows_apart_with_mean_and_variance_one(precision):
    counts = np.asarray(bootstrap_counts(4096, 3, key=BOOTSTRAP))
    # Standard errors: 1 / 64 = 0.016 and sqrt(3) / 64 = 0.027; five of them.
    np.testing.assert_allclose(counts.mean(axis=1), 1, atol=0.08)
    np.testing.assert_allclose(counts.var(axis=1), 1, atol=0.14)
    correlation = np.corrcoef(counts)
    assert np.abs(correlation - np.eye(3)).max() < 0.08


def test_the_loss_is_that_of_the_paper():
    network = MLP(2, 2, 4, 1, key=jax.random.key(0))
    x, y = jnp.ones((1, 2)), jnp.array([[0.3, -0.2]])
    mean, variance = (np.asarray(v) for v in network(x[0]))
    by_hand = np.mean((mean - y[0]) ** 2 / variance + np.log(variance))
    by_hand += 0.01 * 2 * (0.5 + 10)
    found = negative_log_likelihood(network, x, y, jnp.ones(1))
    np.testing.assert_allclose(found, by_hand, rtol=1e-5)


QUICK = FitSettings(epochs=2, batch=4, updates=2)


def test_a_fit_is_finite_with_constant_dimensions_and_few_rows(precision):
    data = rows(6)
    data = eqx.tree_at(lambda r: (r.obs, r.next_obs), data, (0 * data.obs + 1,) * 2)
    model = ensemble(width=4, fitting=QUICK)
    model, metrics = model.fit(data, key=jax.random.key(1))
    for leaf in jax.tree.leaves((model, metrics["holdout"])):
        assert bool(jnp.all(jnp.isfinite(leaf)))
    assert model.members.weights[0].dtype == data.obs.dtype


def test_fits_of_several_seeds_are_the_same_by_vmap_as_one_by_one():
    data, keys = rows(6), jax.random.split(jax.random.key(1), 2)

    def one(key):
        model, _ = ensemble(width=4, fitting=QUICK).fit(data, key=key)
        return model.members.weights[0]

    together = jax.vmap(one)(keys)
    np.testing.assert_allclose(together[1], one(keys[1]), rtol=1e-4, atol=1e-6)
    assert not np.allclose(together[0], together[1])


def test_members_fitted_all_at_once_are_those_fitted_one_by_one(monkeypatch):
    def weights(patience):
        # Two epochs end before either patience, which only makes JAX trace again.
        settings = FitSettings(epochs=2, batch=4, updates=2, patience=patience)
        model = ensemble(width=4, fitting=settings)
        model, _ = model.fit(rows(6), key=jax.random.key(1))
        return model.members.weights[0]

    one_by_one = weights(QUICK.patience)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    np.testing.assert_allclose(weights(11), one_by_one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("probabilistic", [True, False])
def test_a_network_means_the_same_under_another_transform(probabilistic):
    old = Transform(2, 1, reward=True, angles=(1,))
    new = eqx.tree_at(
        lambda t: (t.input_mean, t.input_scale, t.output_mean, t.output_scale),
        old,
        tuple(
            jax.random.uniform(key, shape, minval=0.3, maxval=3.0)
            for key, shape in zip(
                jax.random.split(jax.random.key(3), 4), [4, 4, 3, 3], strict=True
            )
        ),
    )
    model = Ensemble(
        old,
        size=2,
        width=8,
        depth=1,
        probabilistic=probabilistic,
        termination="learned",
        key=jax.random.key(0),
    )
    model = eqx.tree_at(lambda m: m.termination.seen, model, jnp.ones(2, bool))
    moved = model.under(new)
    obs, action = jax.random.normal(jax.random.key(1), (2, 16, 2))

    @eqx.filter_jit
    def raw(model):
        means, variances = jax.vmap(model.outputs)(obs, action[:, :1])
        scale = model.transform.output_scale
        ends = model.ends(jnp.broadcast_to(obs, (2, *obs.shape)))
        mean = model.transform.output_mean + scale * means
        return mean, variances * model.transform.variance_scale, ends

    with jax.numpy_rank_promotion("allow"):
        for one, other in zip(raw(model), raw(moved), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert moved.transform.input_mean[0] == new.input_mean[0]


def test_the_first_warm_fit_of_a_model_is_one_from_scratch():
    data, key = rows(6), jax.random.key(1)
    models = [
        ensemble(width=4, fitting=settings).fit(data, key=key)[0]
        for settings in (QUICK, dataclasses.replace(QUICK, warm=True))
    ]
    for one, other in zip(*map(jax.tree.leaves, models), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_warm_fit_begins_at_the_function_that_it_stopped_at(fitted, compilations):
    model, metrics = fitted
    still = FitSettings(epochs=1, batch=32, learning_rate=1e-30, warm=True)

    def go_on(model, count):
        data = rows(count)
        jax.block_until_ready(data)
        before = compilations.count
        again, found = model.fit(data, key=jax.random.key(2))
        jax.block_until_ready(again)
        return again, found, compilations.count - before

    moved, found, _ = go_on(with_settings(model, still), 900)
    np.testing.assert_allclose(found["holdout"], metrics["holdout"], atol=1e-4)
    # Other rows move the transform, but not what the networks mean by it.
    moved, _, compiled = go_on(moved, 600)
    assert compiled == 0
    assert not np.allclose(moved.transform.input_mean, model.transform.input_mean)
    next_obs = [
        jax.vmap(each.transform.restore)(
            rows(64).obs, jax.vmap(each.outputs)(rows(64).obs, rows(64).action)[0][:, 0]
        )[0]
        for each in (model, moved)
    ]
    np.testing.assert_allclose(*next_obs, atol=1e-4)


def test_particles_follow_the_members_that_did_best_on_held_out_rows(fitted):
    """One that was spoilt is left out, though it keeps its place."""
    still = FitSettings(epochs=1, batch=32, learning_rate=1e-30, warm=True)
    model, data = fitted[0], rows(900)
    spoilt = eqx.tree_at(
        lambda m: m.members.biases[-1],
        model,
        replace_fn=lambda bias: bias.at[0].add(50.0),
    )

    def refitted(**changes):
        like = ensemble(fitting=still, **changes)
        like = eqx.tree_at(
            lambda m: (m.members, m.transform), like, (spoilt.members, spoilt.transform)
        )
        return like.fit(data, key=jax.random.key(2))

    chosen, metrics = refitted(elites=2)
    ranks = np.argsort(metrics["holdout"])
    assert ranks[-1] == 0
    np.testing.assert_array_equal(chosen.best, ranks[:2])
    means, _ = chosen.outputs(data.obs[0], data.action[0])
    everyone, _ = refitted()[0].outputs(data.obs[0], data.action[0])
    np.testing.assert_allclose(means, everyone[ranks[:2]], rtol=1e-5)
    # Without elites a third of all particles would follow it.
    assert np.abs(everyone[0]).max() > 10 > np.abs(means).max()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"elites": 4}, "elites among its 3 members, got 4"),
        ({"elites": 0}, "elites among its 3 members, got 0"),
        ({"elites": 2, "fitting": FitSettings(holdout=0.0)}, "rows that are held out"),
    ],
)
def test_elites_that_there_cannot_be_are_refused(changes, told):
    with pytest.raises(ValueError, match=f"Ensemble needs {told}"):
        ensemble(**changes)


def test_deterministic_members_learn_too():
    settings = FitSettings(epochs=20, batch=32, learning_rate=3e-3)
    model = ensemble(probabilistic=False, fitting=settings)
    model, metrics = model.fit(rows(500), key=jax.random.key(1))
    # Half the logarithm of the unexplained share of the variance.
    assert np.all(metrics["holdout"] < -0.5)
    _, variances = model.outputs(jnp.ones(2), jnp.ones(1))
    np.testing.assert_array_equal(variances, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs >= 1, got 0"),
        ({"holdout": 1.0}, r"holdout in \[0, 1\), got 1"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FitSettings(**changes)


def test_weight_decays_of_the_wrong_number_are_refused():
    with pytest.raises(ValueError, match="each of 2 layers, got 3"):
        ensemble(fitting=FitSettings(weight_decay=(0.0, 0.0, 0.0)))


def test_rows_of_different_counts_are_refused_and_others_padded():
    obs, action, reward, next_obs = system(5)
    assert (
        Rows.pad(obs, action, reward, next_obs).valid.tolist()
        == [True] * 5 + [False] * 3
    )
    with pytest.raises(ValueError, match="as many of each part"):
        Rows.pad(obs, action[:3], reward, next_obs)
