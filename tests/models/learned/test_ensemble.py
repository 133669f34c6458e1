"""Members that disagree, and the rules by which particles follow them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.readout import AbstractJudge
from forethought.core.spaces import Box
from forethought.environments.analytic.pendulum import Pendulum
from forethought.models.base import Independent
from forethought.models.known import Known
from forethought.models.learned.ensemble import Ensemble
from forethought.models.learned.mlp import MLP, silu
from forethought.models.learned.propagation import Particle, Propagation
from forethought.models.learned.transforms import Transform
from forethought.problem import Problem, evaluate, rollout

# Two members of a linear system: o' = o + GAIN o + PUSH u + NOISE * normal.
GAIN, PUSH = np.array([-0.8, 0.2]), np.array([1.0, 2.0])
NOISE = np.array([0.1, 0.3])
ACTION = jnp.array([0.5])
START = 2.0
PARTICLES = 20_000


def linear_member(gain, push, noise):
    """A network that is exactly linear, since silu(z) - silu(-z) = z."""
    network = MLP(2, 1, 4, 1, key=jax.random.key(0))
    eye = np.eye(2)
    out = np.array([[gain, 0.0], [push, 0.0]])
    return eqx.tree_at(
        lambda n: (n.weights, n.biases, n.max_log_variance, n.min_log_variance),
        network,
        (
            (
                jnp.asarray(np.hstack([eye, -eye]) * 1.0),
                jnp.asarray(np.vstack([out, -out])),
            ),
            (jnp.zeros(4), jnp.array([0.0, 2 * np.log(noise)])),
            # Bounds so wide that they do not bend.
            jnp.full((1,), 40.0),
            jnp.full((1,), -40.0),
        ),
    )


def linear_ensemble(rule):
    members = [linear_member(*each) for each in zip(GAIN, PUSH, NOISE, strict=True)]
    model = Ensemble(
        Transform(1, 1),
        size=2,
        width=4,
        depth=1,
        propagation=rule,
        key=jax.random.key(0),
    )
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves) * 1.0, *members)
    stacked = jax.tree.map(
        lambda leaf, like: leaf.astype(like.dtype), stacked, model.members
    )
    return eqx.tree_at(lambda m: m.members, model, stacked)


def noiseless(rule):
    return eqx.tree_at(
        lambda m: m.members.biases[1],
        linear_ensemble(rule),
        replace_fn=lambda bias: bias.at[:, 1].set(-30.0),
    )


def start():
    return Particle(jnp.array([START]), jnp.zeros(()), jnp.ones(()), jnp.array(0))


@pytest.fixture(scope="module")
def two_steps():
    """The cloud after one step and after two, by rule."""

    @eqx.filter_jit
    def run(model, key):
        spread_key, first, second = jax.random.split(key, 3)
        cloud = model.cloud.spread(model, start(), PARTICLES, key=spread_key)
        clouds = []
        for step_key in (first, second):
            keys = jax.random.split(step_key, PARTICLES)
            cloud = model.cloud.predict(model, cloud, ACTION, keys=keys)
            clouds.append(cloud)
        return clouds

    found = {}

    def of(rule):
        if rule not in found:
            clouds = run(linear_ensemble(rule), jax.random.key(1))
            found[rule] = [np.asarray(cloud.obs[:, 0], float) for cloud in clouds]
        return found[rule]

    return of


def exact_moments(rule):
    """Mean and variance after one step and two, by the laws of total moments."""
    u = float(ACTION[0])
    means = START + GAIN * START + PUSH * u
    gain, push, noise = GAIN.mean(), PUSH.mean(), (NOISE**2).mean()
    mean1 = means.mean()
    mean2 = mean1 + gain * mean1 + push * u
    if rule == "E":
        return (mean1, 0.0), (mean2, 0.0)
    var1 = noise + means.var()
    if rule == "TSinf":
        each = means + GAIN * means + PUSH * u
        var2 = ((1 + GAIN) ** 2 * NOISE**2 + NOISE**2).mean() + each.var()
        return (mean1, var1), (each.mean(), var2)
    # Half the members' gap is a linear function of what the particle is.
    slope, level = (GAIN[0] - GAIN[1]) / 2, (PUSH[0] - PUSH[1]) * u / 2
    between = (slope * mean1 + level) ** 2 + slope**2 * var1
    if rule == "MM":
        # The change was redrawn, so it no longer depends on the particle it moves.
        return (mean1, var1), (mean2, var1 + gain**2 * var1 + noise + between)
    return (mean1, var1), (mean2, (1 + gain) ** 2 * var1 + noise + between)


@pytest.mark.parametrize("rule", ["E", "DS", "MM", "TS1", "TSinf"])
def test_each_rule_has_the_moments_of_a_linear_ensemble(two_steps, rule):
    for obs, (mean, variance) in zip(two_steps(rule), exact_moments(rule), strict=True):
        # Five standard errors; the kurtosis of each of these clouds is at most 4.
        error = 5 * np.sqrt(variance / PARTICLES) + 1e-5
        np.testing.assert_allclose(obs.mean(), mean, atol=error)
        error = 5 * variance * np.sqrt(3 / PARTICLES) + 1e-9
        np.testing.assert_allclose(obs.var(), variance, atol=error)


def test_the_rules_differ_by_more_than_their_tests_tolerance():
    rules = ("E", "DS", "MM", "TSinf")
    variances = np.array([exact_moments(rule)[1][1] for rule in rules])
    gaps = np.abs(np.subtract.outer(variances, variances))
    tolerances = 5 * np.sqrt(3 / PARTICLES) * np.add.outer(variances, variances)
    assert np.all((gaps > tolerances) | np.eye(4, dtype=bool))


def test_sampled_members_keep_two_futures_apart_that_moments_blur(two_steps):
    middle = exact_moments("TS1")[0][0]

    def share_near(rule):
        return np.mean(np.abs(two_steps(rule)[0] - middle) < 0.3)

    assert share_near("TS1") < 0.02 and share_near("TSinf") < 0.02
    assert share_near("DS") > 0.15 and share_near("MM") > 0.15


@pytest.mark.parametrize("rule", ["TS1", "TSinf"])
def test_each_member_gets_the_same_number_of_particles(rule):
    model = linear_ensemble(rule)
    cloud = model.cloud.spread(model, start(), 6, key=jax.random.key(0))
    np.testing.assert_array_equal(cloud.sample, [0, 0, 0, 1, 1, 1])
    deals = []
    for seed in range(4):
        keys = jax.random.split(jax.random.key(seed), 6)
        cloud = model.cloud.predict(model, cloud, ACTION, keys=keys)
        deals.append(tuple(np.asarray(cloud.sample)))
        assert sorted(deals[-1]) == [0, 0, 0, 1, 1, 1]
    assert len(set(deals)) == (1 if rule == "TSinf" else len(set(deals)))
    assert rule == "TSinf" or len(set(deals)) > 1


def test_particles_follow_the_members_that_they_name():
    model = noiseless("TS1")
    cloud = model.cloud.spread(model, start(), 8, key=jax.random.key(0))
    cloud = eqx.tree_at(lambda c: c.obs, cloud, jnp.arange(8.0)[:, None])
    keys = jax.random.split(jax.random.key(3), 8)
    after = model.cloud.predict(model, cloud, ACTION, keys=keys)
    member, obs = np.asarray(after.sample), np.arange(8.0)
    np.testing.assert_allclose(
        after.obs[:, 0], obs * (1 + GAIN[member]) + 0.5 * PUSH[member], atol=1e-4
    )


def test_a_cloud_takes_the_step_that_its_particles_take_alone(precision):
    model = noiseless("TSinf")
    cloud = model.cloud.spread(model, start(), 4, key=jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 4)

    @eqx.filter_jit
    def steps(model, cloud, keys):
        together = model.cloud.predict(model, cloud, ACTION, keys=keys)
        alone = Independent().predict(model, cloud, ACTION, keys=keys)
        loop = [
            model.predict(jax.tree.map(lambda x, i=i: x[i], cloud), ACTION, key=keys[i])
            for i in range(4)
        ]
        return together, alone, loop

    together, alone, loop = steps(model, cloud, keys)
    np.testing.assert_allclose(together.obs, alone.obs, rtol=1e-6)
    np.testing.assert_allclose(together.obs, jnp.stack([p.obs for p in loop]), 1e-6)
    assert together.obs.dtype == cloud.obs.dtype


def test_a_particle_alone_follows_the_sample_that_it_is_dealt():
    model, particle = noiseless("TS1"), start()
    keys = jax.random.split(jax.random.key(1), 32)
    alone = eqx.filter_jit(
        jax.vmap(lambda key: model.predict(particle, ACTION, key=key))
    )(keys)
    sample = np.asarray(alone.sample)
    # A fair coin shows one side less than 6 or more than 26 times in one of 4,000.
    assert 6 <= sample.sum() <= 26
    expected = START * (1 + GAIN[sample]) + 0.5 * PUSH[sample]
    np.testing.assert_allclose(alone.obs[:, 0], expected, atol=1e-4)


class Reach(AbstractJudge):
    """Earns what was observed, or what the model predicts as reward."""

    def judge(self, before, action, after):
        reward = after.x[0] if after.reward is None else after.reward
        return reward, jnp.ones_like(reward)

    def beyond(self, seen):
        return jnp.zeros_like(seen.x[0])


def test_particles_that_members_cannot_share_are_refused():
    problem = Problem(
        linear_ensemble("TSinf"), Reach(), Box([-1.0], [1.0]), Propagation()
    )
    with pytest.raises(ValueError, match="2 members can share evenly, got 3"):
        evaluate(problem, start(), ACTION[None], key=jax.random.key(0), particles=3)


def test_the_expected_return_is_that_of_the_exact_means():
    problem = Problem(
        linear_ensemble("E"), Reach(), Box([-1.0], [1.0]), Propagation("E")
    )
    actions = jnp.stack([ACTION, ACTION])
    (mean1, _), (mean2, _) = exact_moments("E")
    found = evaluate(problem, start(), actions, key=jax.random.key(0))
    np.testing.assert_allclose(found, mean1 + mean2, rtol=1e-5)
    alone = rollout(problem, start(), actions, key=jax.random.key(0))
    np.testing.assert_allclose(alone.value, mean1 + mean2, rtol=1e-5)


def test_another_model_is_refused_by_name():
    with pytest.raises(TypeError, match="but the model is Known"):
        Propagation().spread(Known(Pendulum()), start(), 2, key=jax.random.key(0))


def test_an_objective_reads_the_predicted_reward():
    model = Ensemble(
        Transform(2, 1, reward=True), size=2, width=4, depth=1, key=jax.random.key(0)
    )
    belief = model.observe(
        model.init(key=jax.random.key(1)), jnp.ones(2), key=jax.random.key(2)
    )
    after = model.predict(belief, ACTION, key=jax.random.key(3))
    assert model.readout(after).discount is None
    assert float(model.readout(belief).reward) == 0.0
    assert float(model.readout(after).reward) != 0.0


def test_members_and_seeds_begin_with_different_weights():
    def first(seed):
        key = jax.random.key(seed)
        return Ensemble(Transform(2, 1), size=2, width=4, depth=1, key=key).members

    one, other = first(0).weights[0], first(1).weights[0]
    assert not np.allclose(one[0], one[1])
    assert not np.allclose(one, other)


def test_log_variances_stay_within_their_bounds():
    network = MLP(2, 3, 8, 1, key=jax.random.key(0))
    network = eqx.tree_at(
        lambda n: n.weights[-1], network, replace_fn=lambda W: 1e3 * W
    )
    found = jax.vmap(network)(jax.random.normal(jax.random.key(1), (64, 2)))[1]
    # At the top, the variance of the lower bound is added.
    assert float(jnp.max(jnp.log(found))) <= 0.5 + 1e-3
    assert float(jnp.min(jnp.log(found))) >= -10.0 - 1e-3


def test_bounds_are_the_two_softplus_functions_of_the_paper():
    network = MLP(1, 1, 1, 1, key=jax.random.key(0))
    raw = jnp.linspace(-100.0, 100.0, 201)

    def variance(raw):
        silent = jax.tree.map(jnp.zeros_like, network.weights)
        asked = eqx.tree_at(
            lambda n: (n.weights, n.biases[-1]),
            network,
            (silent, jnp.stack([0 * raw, raw])),
        )
        return asked(jnp.zeros(1))[1][0]

    found, slopes = jax.vmap(jax.value_and_grad(variance))(raw)
    softplus = jax.nn.softplus
    log_variance = -10 + softplus(0.5 - softplus(0.5 - raw) + 10)
    np.testing.assert_allclose(jnp.log(found), log_variance, atol=1e-5)
    assert np.all(np.isfinite(slopes))


def test_units_are_silu(precision):
    x = jnp.linspace(-30.0, 30.0, 121)
    np.testing.assert_allclose(silu(x), jax.nn.silu(x), atol=4e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda t, k: Ensemble(t, size=0, key=k), "size >= 1, got 0"),
        (lambda t, k: Ensemble(t, width=0, key=k), "width >= 1, got 0"),
    ],
)
def test_sizes_below_one_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build(Transform(2, 1), jax.random.key(0))
