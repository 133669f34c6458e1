"""Angles that are followed through an episode."""

import jax.numpy as jnp
import numpy as np

from forethought.agents.local.coordinates import Coordinates, Unwound
from forethought.core.readout import Readout
from forethought.objectives.learned import Observed
from forethought.objectives.task import PendulumReward
from forethought.tasks.analytic import angle_and_speed

SWING = Coordinates(3, circles=((0, 1),))


def seen(angle):
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), 2 * angle], -1)


def test_an_angle_is_followed_through_turns_from_where_it_begins():
    angles = jnp.linspace(3.0, -20.0, 60)
    for first in (3.0, 3.0 + 4 * np.pi):
        x = SWING.along(seen(angles), jnp.array([first, 0.0]))
        np.testing.assert_allclose(x[:, 0], angles + first - 3.0, atol=1e-5)
        np.testing.assert_allclose(x[:, 1], 2 * angles, atol=1e-5)
    # Each angle by itself jumps.
    alone = jnp.arctan2(jnp.sin(angles), jnp.cos(angles))
    assert float(jnp.max(jnp.abs(jnp.diff(alone)))) > 5


def test_a_wrapped_angle_is_followed_likewise_and_other_numbers_stay():
    coordinates = Coordinates(2, angles=(1,))
    angles = jnp.linspace(0.0, 9.0, 30)
    wrapped = jnp.mod(angles + jnp.pi, 2 * jnp.pi) - jnp.pi
    x = coordinates.along(jnp.stack([angles, wrapped], -1), jnp.zeros(2))
    np.testing.assert_allclose(x[:, 1], angles, atol=1e-5)
    np.testing.assert_allclose(x[:, 0], angles)
    assert coordinates.size == 2 and coordinates.turning == (1,)


def test_what_is_seen_of_coordinates_is_what_they_came_from():
    obs = seen(jnp.array(2.5))
    x = SWING.onward(obs, jnp.array([60.0, 0.0]))
    assert x.shape == (SWING.size,) and float(x[0]) > 50
    np.testing.assert_allclose(SWING.seen(x), obs, atol=1e-5)


def test_an_objective_of_observations_judges_coordinates():
    reward = PendulumReward()
    judge = Unwound(Observed(reward, angle_and_speed), SWING)
    x, u = jnp.array([0.5 + 4 * np.pi, 1.0]), jnp.array([1.0])
    found, _ = judge.judge(Readout(x), u, Readout(x))
    wanted = reward.reward(jnp.array([0.5, 1.0]), u, x)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert float(judge.beyond(Readout(x))) == 0
