import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.interpolate

from forethought.planners.sampling.spline import Spline

CASES = [(1, 1, 3), (1, 4, 0), (7, 3, 0), (6, 1, 0), (7, 3, 1), (9, 4, 2), (12, 5, 3)]
splines = pytest.mark.parametrize(
    "spline", [Spline(*case) for case in CASES], ids=lambda spline: str(spline)[7:-1]
)


def draw(spline, seed=0):
    return jax.random.uniform(jax.random.key(seed), (spline.knots, 2), minval=-1.0)


def phase_of(number):
    return jnp.asarray(number, jnp.int32)


@splines
def test_a_spline_is_scipys_b_spline_on_uniform_knots(spline):
    knots, degree = draw(spline), spline.degree
    places = (np.arange(spline.knots + degree + 1) - degree) * spline.every
    exact = scipy.interpolate.BSpline(places, np.asarray(knots), degree)
    for phase in (0, spline.every - 1):
        found = spline(knots, phase_of(phase))
        steps = np.arange(phase, phase + spline.horizon)
        np.testing.assert_allclose(found, exact(steps), rtol=1e-5, atol=1e-5)


@splines
def test_lines_and_steps_are_scipys_interpolation_of_the_knots(spline):
    if spline.degree > 1:
        pytest.skip("Of a higher degree, knots are approached, not passed through.")
    knots = draw(spline)
    places = np.arange(spline.knots) * spline.every
    kind = ("previous", "linear")[spline.degree]
    steps = np.arange(spline.horizon)
    if spline.knots == 1:
        expected = np.repeat(np.asarray(knots), spline.horizon, axis=0)
    else:
        fill = "extrapolate"
        expected = scipy.interpolate.interp1d(
            places, knots, kind, axis=0, fill_value=fill
        )(steps)
    found = spline(knots, phase_of(0))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@splines
def test_to_shift_by_a_step_is_to_read_a_step_later(spline):
    knots, phase = draw(spline), phase_of(0)
    before = np.asarray(spline(knots, phase))
    for _ in range(2 * spline.every + 1):
        knots, phase = spline.shift(knots, phase)
        after = np.asarray(spline(knots, phase))
        np.testing.assert_allclose(after[:-1], before[1:], rtol=1e-5, atol=1e-6)
        before = after


@splines
def test_a_sequence_stays_within_the_limits_of_its_knots(spline):
    knots = draw(spline)
    found = np.asarray(spline(knots, phase_of(spline.every - 1)))
    assert np.all(found <= np.asarray(knots).max(axis=0) + 1e-6)
    assert np.all(found >= np.asarray(knots).min(axis=0) - 1e-6)


@splines
def test_the_knots_fitted_to_a_spline_give_it_back(spline):
    actions = spline(draw(spline), phase_of(0))
    again = spline(spline.fit(actions), phase_of(0))
    np.testing.assert_allclose(again, actions, rtol=1e-4, atol=1e-4)


def test_a_spline_of_a_knot_a_step_is_the_sequence_itself():
    spline = Spline(5)
    actions = draw(spline)
    assert spline(actions, phase_of(0)) is actions
    assert spline.fit(actions) is actions


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"every": 0}, "every >= 1, got 0"),
        ({"degree": 4}, "degree in \\[0, 3\\], got 4"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Spline(5, **settings)
