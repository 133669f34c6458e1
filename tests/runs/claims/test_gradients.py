"""Studies of gradients through time."""

import math

import numpy as np

from forethought.runs.claims.gradients import Chain, GradientStudy
from forethought.runs.entries.studies.gradients import idle, turning


def study(rate):
    """A stable rotation over a dozen steps."""
    arms = {"stable": Chain(lambda: turning(0.9), idle, rate=rate)}
    return GradientStudy(
        claim="",
        variant="",
        horizon=12,
        arms=arms,
        seeds=2,
        promises=(),
        seconds=1.0,
    )


def test_a_curve_falls_by_the_exact_rate_and_not_by_another():
    stable = study(math.log(0.9))
    curves, _ = stable.curves("stable", (0, 1))
    assert curves.shape == (2, 12)
    np.testing.assert_allclose(curves, [stable.at * math.log(0.9)] * 2, atol=1e-4)
    (step, known), *_ = stable.told("stable")["known"]
    np.testing.assert_allclose(curves[0, step - 1], known, atol=1e-4)
    _, wrong = study(math.log(0.95)).told("stable")["known"][0]
    assert abs(curves[0, step - 1] - wrong) > 0.1
