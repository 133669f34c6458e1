"""What networks see and answer, there and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.models.learned.transforms import Transform


def data(rows=64, seed=0):
    rng = np.random.default_rng(seed)
    obs = rng.normal(size=(rows, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, -1.0]
    action = rng.normal(size=(rows, 1))
    next_obs = obs + rng.normal(size=(rows, 3)) * [0.1, 1.0, 0.01]
    parts = obs, action, next_obs, 100 * rng.normal(size=rows)
    return tuple(jnp.asarray(part) * 1.0 for part in parts)


def test_what_was_made_a_target_is_restored(precision):
    obs, action, next_obs, reward = data()
    transform = Transform(3, 1, absolute=(1,), reward=True)
    transform = transform.fit(obs, action, next_obs, reward, jnp.ones(64, bool))
    y = jax.vmap(transform.targets)(obs, next_obs, reward)
    back, earned = jax.vmap(transform.restore)(obs, y)
    assert back.dtype == obs.dtype
    tolerance = 1e-4 if precision == 32 else 1e-12
    np.testing.assert_allclose(back, next_obs, atol=tolerance)
    np.testing.assert_allclose(earned, reward, rtol=tolerance)


def test_inputs_and_targets_are_standardised_over_the_valid_rows_alone():
    obs, action, next_obs, reward = data()
    valid = jnp.arange(64) < 40
    obs = jnp.where(valid[:, None], obs, 1e6)
    transform = Transform(3, 1, reward=True)
    transform = transform.fit(obs, action, next_obs, reward, valid)
    x = jax.vmap(transform.inputs)(obs, action)[:40]
    y = jax.vmap(transform.targets)(obs, next_obs, reward)[:40]
    for values in (x, y):
        np.testing.assert_allclose(jnp.mean(values, axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(jnp.std(values, axis=0), 1, rtol=1e-4)


def test_a_choice_is_seen_as_a_one_among_zeros_of_its_own_scale():
    obs, _, next_obs, reward = data()
    choice = jnp.tile(jnp.array([0, 0, 1, 2]), 16)
    transform = Transform(3, 4, discrete=True)
    transform = transform.fit(obs, choice, next_obs, reward, jnp.ones(64, bool))
    seen = jnp.stack([transform.inputs(obs[0], jnp.asarray(i)) for i in range(4)])
    # By hand: shares 1/2, 1/4, 1/4; the last was never chosen, so that it is as it is.
    share = np.array([0.5, 0.25, 0.25, 0.0])
    scale = np.where(share > 0, np.sqrt(share * (1 - share)), 1.0)
    np.testing.assert_allclose(seen[:, 3:], (np.eye(4) - share) / scale, rtol=1e-5)


def test_a_dimension_is_predicted_as_a_difference_unless_it_is_absolute():
    transform = Transform(2, 1, absolute=(0,))
    obs, y = jnp.array([3.0, 4.0]), jnp.array([0.5, 0.5])
    np.testing.assert_allclose(transform.restore(obs, y)[0], [0.5, 4.5])


def test_constant_dimensions_give_no_nan():
    obs, action, next_obs, reward = data()
    obs = obs.at[:, 0].set(0.1)
    next_obs = next_obs.at[:, 0].set(0.1)
    transform = Transform(3, 1, reward=True)
    transform = transform.fit(obs, 0 * action, next_obs, 0 * reward, jnp.ones(64, bool))
    assert float(transform.input_scale[0]) == 1.0
    assert float(transform.output_scale[0]) == 1.0
    assert float(transform.output_scale[3]) == 1.0
    x = jax.vmap(transform.inputs)(obs, action)
    assert bool(jnp.all(jnp.isfinite(x)))


def test_without_any_valid_row_the_transform_changes_nothing():
    obs, action, next_obs, reward = data()
    transform = Transform(3, 1).fit(obs, action, next_obs, reward, jnp.zeros(64, bool))
    np.testing.assert_array_equal(transform.input_mean, 0)
    np.testing.assert_array_equal(transform.input_scale, 1)


def test_angles_are_put_back_onto_the_circle():
    transform = Transform(3, 1, circles=((0, 2),))
    next_obs, _ = transform.restore(
        jnp.array([0.6, 7.0, 0.8]), jnp.array([0.6, 1, 0.8])
    )
    np.testing.assert_allclose(next_obs, [0.6, 8.0, 0.8], rtol=1e-6)


def test_the_centre_of_the_circle_gives_no_nan_nor_does_its_gradient():
    transform = Transform(2, 1, circles=((0, 1),))

    def norm(y):
        return jnp.sum(transform.restore(jnp.zeros(2), y)[0])

    value, gradient = jax.value_and_grad(norm)(jnp.zeros(2))
    assert bool(jnp.isfinite(value)) and bool(jnp.all(jnp.isfinite(gradient)))


def test_dimensions_outside_the_observation_are_refused():
    with pytest.raises(ValueError, match=r"in 0\.\.2, .* got absolute=\(3,\)"):
        Transform(3, 1, absolute=(3,))
    with pytest.raises(ValueError, match="circles"):
        Transform(3, 1, circles=((0, 3),))


def test_a_raw_angle_is_the_same_to_the_model_after_a_whole_turn(precision):
    obs, action, next_obs, reward = data()
    transform = Transform(3, 1, angles=(1,), reward=True)
    transform = transform.fit(obs, action, next_obs, reward, jnp.ones(64, bool))
    turned = obs.at[:, 1].add(2 * jnp.pi)
    tolerance = 1e-4 if precision == 32 else 1e-12
    seen = jax.vmap(transform.inputs)
    np.testing.assert_allclose(seen(turned, action), seen(obs, action), atol=tolerance)
    # Also where only one of two observations was turned, as by wrapping it.
    targets = jax.vmap(transform.targets)
    np.testing.assert_allclose(
        targets(turned, next_obs, reward),
        targets(obs, next_obs, reward),
        atol=10 * tolerance,
    )
    back, _ = jax.vmap(transform.restore)(obs, targets(obs, next_obs, reward))
    assert back.dtype == obs.dtype
    gap = (back - next_obs)[:, 1] / (2 * jnp.pi)
    np.testing.assert_allclose(gap, jnp.round(gap), atol=tolerance)
    np.testing.assert_allclose(back[:, (0, 2)], next_obs[:, (0, 2)], atol=tolerance)


def test_networks_see_sine_and_cosine_and_answer_the_difference():
    transform = Transform(2, 1, angles=(0,))
    assert transform.inputs_shape == 4 and transform.outputs_shape == 2
    obs, action = jnp.array([jnp.pi / 6, 7.0]), jnp.array([2.0])
    np.testing.assert_allclose(
        transform.inputs(obs, action), [0.5, 7.0, 3**0.5 / 2, 2.0], rtol=1e-6
    )
    y = transform.targets(obs, obs + jnp.array([0.1, 1.0]), jnp.zeros(()))
    np.testing.assert_allclose(y, [0.1, 1.0], rtol=1e-5)
    np.testing.assert_allclose(
        transform.restore(obs, y)[0], [jnp.pi / 6 + 0.1, 8.0], rtol=1e-6
    )


def test_the_mean_of_angles_is_the_direction_between_them():
    turns = 2 * jnp.pi * jnp.array([0.0, 1.0, -3.0, 0.0])
    angles = jnp.array([3.0, 3.2, 3.0, 3.2]) + turns
    obs = jnp.stack([jnp.arange(4.0), angles], axis=1)
    nothing, valid = jnp.zeros((4, 1)), jnp.ones(4, bool)
    transform = Transform(2, 1, angles=(1,))
    transform = transform.fit(obs, nothing, obs, jnp.zeros(4), valid)
    found = transform.mean
    np.testing.assert_allclose(found, [1.5, 3.1], rtol=1e-5)


def test_a_dimension_that_is_named_twice_is_refused():
    for named in ({"absolute": (1,)}, {"circles": ((0, 1),)}):
        with pytest.raises(ValueError, match=r"each named once, .* angles=\(1,\)"):
            Transform(3, 1, angles=(1,), **named)
