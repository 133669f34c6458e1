"""Local models: against formulas in NumPy, and on roll-outs that were held out."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from forethought.core.gaussian import Gaussian, Response
from forethought.core.spaces import free_box
from forethought.core.types import Stamped
from forethought.environments.analytic import CartPole
from forethought.models.learned.transforms import Transform
from forethought.models.linear.local import Local, LocalSettings, condition
from forethought.models.linear.rollouts import Rollouts
from forethought.planners import ILQR, LQR
from forethought.problem import Problem, rollout
from forethought.runs.store import checkpoint

STEPS, STATE, ACTION, NOISE = 20, 4, 1, 0.01
KEY = jax.random.key(0)
SETTINGS = LocalSettings(clusters=5)


def controller():
    """Actions that push a cart about, and feedback that keeps it near."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(STEPS, ACTION)).cumsum(0), np.array(
        [[-1.0, 2.0, -1.0, 0.3]]
    )


@jax.jit
def roll(keys):
    """Roll-outs of a cart-pole under noise, one for each key."""
    system, (nominal, K) = CartPole(), controller()

    def one(key):
        start_key, key = jax.random.split(key)
        x = 0.1 * jax.random.normal(start_key, (STATE,))

        def step(x, inputs):
            u, key = inputs
            action_key, noise_key = jax.random.split(key)
            u = u + jnp.asarray(K, x.dtype) @ x
            u = u + jax.random.normal(action_key, u.shape)
            after = system.step(x, u, key=noise_key)
            after = after + NOISE * jax.random.normal(noise_key, x.shape)
            return after, (x, u)

        inputs = jnp.asarray(nominal, x.dtype), jax.random.split(key, STEPS)
        last, (xs, us) = jax.lax.scan(step, x, inputs)
        return jnp.concatenate([xs, last[None]]), us

    return jax.vmap(one)(keys)


def rollouts(count, seed):
    obs, action = roll(jax.random.split(jax.random.key(seed), count))
    return Rollouts(obs, action, jnp.ones((count, STEPS), bool))


def begin(steps=STEPS, **settings):
    settings = SETTINGS if not settings else LocalSettings(clusters=5, **settings)
    return Local(Transform(STATE, ACTION), steps, settings=settings)


@pytest.fixture(scope="module")
def held():
    return rollouts(100, 99)


def miss(F, f, held):
    """The error of predictions, in standard deviations of a step's change."""
    obs, action = np.asarray(held.obs), np.asarray(held.action)
    z = np.concatenate([obs[:, :-1], action], axis=2)
    gaps = np.einsum("tij,ntj->nti", F, z) + f - obs[:, 1:]
    scale = np.std(np.diff(obs, axis=1), axis=(0, 1))
    return np.sqrt(np.mean((gaps / scale) ** 2))


mean_of = eqx.filter_jit(lambda model: model.linear.dynamics)
fit_step = jax.jit(condition, static_argnums=3, static_argnames=("strength", "floor"))


def miss_of(model, held):
    linear = mean_of(model)
    return miss(np.asarray(linear.F), np.asarray(linear.f), held)


def miss_of_least_squares(data, held):
    """The same of a regression at each step by itself."""
    obs, action = np.asarray(data.obs), np.asarray(data.action)
    z = np.concatenate([obs[:, :-1], action], axis=2).astype(float)
    z = np.concatenate([z, np.ones_like(z[:, :, :1])], axis=2)
    y = obs[:, 1:].astype(float)
    W = [np.linalg.lstsq(z[:, t], y[:, t])[0].T for t in range(STEPS)]
    return miss(np.stack(W)[:, :, :-1], np.stack(W)[:, :, -1], held)


def test_five_rollouts_are_enough_with_the_prior_and_not_without(held):
    misses = []
    for seed in range(5):
        data, key = rollouts(5, seed), jax.random.key(seed)
        model, _ = begin().fit(data, key=key)
        without, _ = begin(strength=1e-6).fit(data, key=key)
        misses.append(
            (
                miss_of(model, held),
                miss_of(without, held),
                miss_of_least_squares(data, held),
            )
        )
    misses = np.array(misses)
    assert np.all(misses[:, 2] > 3 * misses[:, 0])
    assert np.all(misses[:, 1] > 1.3 * misses[:, 0])


@pytest.mark.long
def test_with_five_hundred_rollouts_the_prior_does_not_matter(held):
    data = rollouts(500, 7)
    model, _ = begin().fit(data, key=KEY)
    ours, plain = miss_of(model, held), miss_of_least_squares(data, held)
    np.testing.assert_allclose(ours, plain, rtol=0.02)


def by_hand(points, prior, inputs, strength, floor):
    """The same fit with inverses, as it is written down."""
    count, size = points.shape
    mean = points.mean(0)
    scatter, gap = (points - mean).T @ (points - mean), mean - prior.mean
    psi = scatter + strength * prior.cov + floor * (count + strength) * np.eye(size)
    psi += count * strength / (count + strength) * np.outer(gap, gap)
    inverse = np.linalg.inv(psi[:inputs, :inputs])
    W = psi[inputs:, :inputs] @ inverse
    rest = count + strength - 1 - np.trace(scatter[:inputs, :inputs] @ inverse)
    noise = (psi[inputs:, inputs:] - W @ psi[:inputs, inputs:]) / rest
    offset = mean[inputs:] - W @ mean[:inputs]

    def reach(z):
        return 1 / count + (z - mean[:inputs]) @ inverse @ (z - mean[:inputs])

    return W, offset, noise, reach


def test_a_step_is_fitted_as_formulas_say_whatever_lies_in_the_padding(x64):
    rng = np.random.default_rng(0)
    points, z = rng.normal(size=(4, 5)), rng.normal(size=3)
    half = rng.normal(size=(5, 5))
    prior = Gaussian(jnp.asarray(rng.normal(size=5)), jnp.asarray(half @ half.T))
    padded = jnp.concatenate([points, 7 * jnp.ones((3, 5))])
    found = fit_step(padded, jnp.arange(7) < 4, prior, 3, strength=1.5, floor=1e-3)
    W, offset, noise, reach = by_hand(points, prior, 3, 1.5, 1e-3)
    np.testing.assert_allclose(found.M[:, :-1], W, rtol=1e-9)
    np.testing.assert_allclose(found.M[:, -1], offset, rtol=1e-9)
    np.testing.assert_allclose(found.noise, noise, rtol=1e-9)
    np.testing.assert_allclose(found.reach(jnp.asarray(z)), reach(z), rtol=1e-9)
    # Far more points than the prior is worth: the unbiased estimate of least squares.
    many = jnp.asarray(rng.normal(size=(4000, 5)) @ half)
    free = fit_step(many, jnp.ones(4000, bool), prior, 3, strength=1e-9, floor=0.0)
    ones = np.ones((4000, 1))
    x = np.concatenate([many[:, :3], ones], axis=1)
    W, rest, *_ = np.linalg.lstsq(x, np.asarray(many[:, 3:]))
    np.testing.assert_allclose(free.M, W.T, rtol=1e-6)
    np.testing.assert_allclose(np.diag(free.noise), rest / (4000 - 4), rtol=1e-6)


def certain(rng):
    """A model whose step is known, up to a posterior that is known, too."""
    model = Local(Transform(2, 1), 3)
    prior, valid = Gaussian(jnp.zeros(5), jnp.eye(5)), jnp.ones(6, bool)
    posterior = jax.jit(jax.vmap(lambda points: condition(points, valid, prior, 3)))(
        jnp.asarray(rng.normal(size=(3, 6, 5)))
    )
    return eqx.tree_at(lambda m: m.posterior, model, posterior)


@pytest.mark.parametrize("answers", [False, True])
def test_a_step_of_the_belief_has_the_moments_of_what_may_happen(x64, answers):
    rng, draws = np.random.default_rng(1), 400_000
    model, time = certain(rng), 1
    half = rng.normal(size=(3, 3))
    joint = half @ half.T if answers else np.zeros((3, 3))
    joint[:2, :2], mean = (half @ half.T)[:2, :2], rng.normal(size=3)
    x = Gaussian(jnp.asarray(mean[:2]), jnp.asarray(joint[:2, :2]))
    action = jnp.asarray(mean[2:])
    if answers:
        action = Response(
            action, jnp.asarray(joint[2:, 2:]), jnp.asarray(joint[:2, 2:])
        )
    found = eqx.filter_jit(lambda model, *here: model.predict(*here, key=KEY))(
        model, Stamped(x, jnp.asarray(time)), action
    )
    M, root, noise, _ = (
        np.asarray(leaf[time]) for leaf in jax.tree.leaves(model.posterior)
    )
    z = rng.multivariate_normal(mean, joint, draws, check_valid="ignore")
    L = np.linalg.cholesky(noise)
    # What W answers to z, and noise: both are normal with covariances along L.
    x_one = np.concatenate([z, np.ones((draws, 1))], axis=1)
    apart = np.linalg.norm(x_one @ root, axis=1)[:, None] * rng.normal(size=(draws, 2))
    after = z[:, :2] + x_one @ M.T + (apart + rng.normal(size=(draws, 2))) @ L.T
    spread = np.sqrt(np.diag(found.value.cov))
    # Five standard errors; those of a covariance with tails allow three times as much.
    np.testing.assert_allclose(
        (after.mean(0) - found.value.mean) / spread, 0, atol=5 / draws**0.5
    )
    np.testing.assert_allclose(
        (np.cov(after.T) - found.value.cov) / np.outer(spread, spread),
        0,
        atol=3 * 5 * (2 / draws) ** 0.5,
    )
    assert found.time == time + 1


def test_variance_is_noise_and_doubt_together_and_doubt_grows_far_away():
    model, _ = begin().fit(rollouts(5, 0), key=KEY)

    @jax.jit
    def ask(model, x, time):
        belief = model.observe(Stamped(model.start, time), x, key=KEY)
        after = model.predict(belief, jnp.zeros(ACTION), key=KEY)
        return model.expect(after)[1], model.doubt(belief, jnp.zeros(ACTION))

    near = model.linear.start.mean
    variance, (noise, doubt) = ask(model, near, jnp.asarray(0))
    scale = model.transform.variance_scale
    np.testing.assert_allclose(variance, scale * (noise + doubt), rtol=1e-4)
    far = near + 3 * model.transform.input_scale[:STATE]
    _, (still, more) = ask(model, far, jnp.asarray(0))
    np.testing.assert_array_equal(still, noise)
    assert np.all(more > 5 * doubt)
    sure, _ = begin().fit(rollouts(500, 0), key=KEY)
    _, (same, less) = ask(sure, far, jnp.asarray(0))
    assert np.all(less < more / 2) and np.all(same > 0)


@pytest.mark.long
def test_a_second_fit_compiles_nothing_and_comes_back_from_a_file(
    compilations, precision, tmp_path
):
    obs, action = (np.asarray(part) for part in roll(jax.random.split(KEY, 8)))
    five, seven = (Rollouts.pad(obs[:n], action[:n]) for n in (5, 7))
    model = begin()
    jax.block_until_ready((five, seven, model))
    first, metrics = model.fit(five, key=KEY)
    before = compilations.count
    second, _ = jax.block_until_ready(first.fit(seven, key=KEY))
    assert compilations.count == before
    assert jax.tree.structure(second) == jax.tree.structure(model)
    for leaf in jax.tree.leaves((first, metrics)):
        assert np.isfinite(leaf).all()
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            assert leaf.dtype == f"float{precision}"
    checkpoint.save(tmp_path, 1, first, {})
    assert eqx.tree_equal(checkpoint.load(tmp_path, begin()).tree, first)


def test_rollouts_end_early_and_a_step_that_none_reached_is_the_mixtures():
    obs, action = (np.asarray(part) for part in roll(jax.random.split(KEY, 8)))
    lengths = [9, 9, 8, 9, 5]
    data = Rollouts.pad(
        [obs[i, : n + 1] for i, n in enumerate(lengths)],
        [action[i, :n] for i, n in enumerate(lengths)],
        STEPS,
    )
    assert data.valid.sum() == sum(lengths) and data.valid.shape == (8, STEPS)
    model, _ = begin().fit(data, key=KEY)
    for leaf in jax.tree.leaves(model):
        assert np.isfinite(leaf).all()
    reach = jax.vmap(lambda each: each.reach(jnp.zeros(STATE + ACTION)))
    doubts = np.asarray(reach(model.posterior))
    assert doubts[10:].min() > doubts[:5].max()
    same, _ = begin().fit(
        Rollouts(data.obs, data.action, data.valid.at[5:].set(False)), key=KEY
    )
    assert eqx.tree_equal(same, model)


def linear_rollouts(count, steps):
    """A mass that is pushed at random, and shaken a little."""
    rng, F = np.random.default_rng(3), np.asarray(toys.F)
    obs = [np.array([1.0, 0.0]) + 0.3 * rng.normal(size=(count, 2))]
    action = rng.normal(size=(count, steps, 1)) * 3
    for t in range(steps):
        z = np.concatenate([obs[-1], action[:, t]], axis=1)
        obs.append(z @ F.T + 0.003 * rng.normal(size=(count, 2)))
    return Rollouts.pad(np.stack(obs, 1).astype("float32"), action.astype("float32"))


@pytest.mark.long
def test_lqr_and_ilqr_on_a_fitted_model_earn_what_lqr_earns_with_the_true_one():
    steps, x = 15, jnp.array([1.0, 0.0])
    model, _ = Local(Transform(2, 1), steps).fit(linear_rollouts(32, steps), key=KEY)
    true, _ = toys.linear_quadratic()

    def plan(planner, problem, belief):
        def found(belief):
            state = planner.init(problem, belief, key=KEY)
            return planner.plan(problem, belief, state, key=KEY)[0].actions

        return jax.jit(found)(belief)

    def earned(actions):
        return float(rollout(true, x, actions, key=KEY).value)

    fitted = Problem(model, true.objective, free_box(1))
    belief = model.observe(model.init(key=KEY), x, key=KEY)
    best = earned(plan(LQR(steps), true, x))
    by_lqr = plan(LQR(steps), fitted, belief)
    by_ilqr = plan(ILQR(steps, 10), fitted, belief)
    mean = Problem(model.linear.dynamics, true.objective, free_box(1))
    at_zero = Stamped(x, jnp.asarray(0))
    np.testing.assert_allclose(plan(LQR(steps), mean, at_zero), by_lqr, atol=1e-5)
    for actions in (by_lqr, by_ilqr):
        assert best * 1.01 < earned(actions) <= best + 1e-5


def test_what_a_local_model_cannot_take_is_refused():
    with pytest.raises(TypeError, match=r"linear map .* has raw angles"):
        Local(Transform(2, 1, angles=(0,)), 3)
    with pytest.raises(TypeError, match=r"discrete actions"):
        Local(Transform(2, 2, discrete=True), 3)
    with pytest.raises(ValueError, match=r"roll-outs of 7 steps.* got 20"):
        begin(steps=7).fit(rollouts(2, 0), key=KEY)
    with pytest.raises(ValueError, match=r"one observation more .* \[3\] obs"):
        Rollouts.pad([np.zeros((3, 2))], [np.zeros((3, 1))])
    with pytest.raises(ValueError, match=r"at most 2 actions .* got 3"):
        Rollouts.pad([np.zeros((4, 2))], [np.zeros((3, 1))], 2)
