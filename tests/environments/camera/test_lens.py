"""The camera: what a picture of capsules is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.environments.analytic import Acrobot, CartPole, Pendulum
from forethought.environments.base import Capsules
from forethought.environments.camera import Lens, Seen, aimed
from forethought.environments.camera.lens import GREYS


def drawing(ends, radius, kind=None):
    ends = jnp.asarray(ends, float)
    kind = jnp.zeros(len(ends), int) if kind is None else jnp.asarray(kind)
    return Capsules(ends[:, 0], ends[:, 1], jnp.asarray(radius, float), kind)


def supersampled(capsules, lens, times=16):
    """Grey levels by counting points in each pixel, the last stroke on top."""
    count = lens.size * times
    across = ((np.arange(count) + 0.5) / count * 2 - 1) * lens.reach
    x, y = across[None] + lens.centre[0], -across[:, None] + lens.centre[1]
    fine = np.zeros((count, count))
    for a, b, r, kind in zip(
        *(np.asarray(each, float) for each in vars(capsules).values()), strict=True
    ):
        along = b - a
        part = ((x - a[0]) * along[0] + (y - a[1]) * along[1]) / max(
            along @ along, 1e-12
        )
        part = np.clip(part, 0, 1)
        far = np.hypot(x - a[0] - part * along[0], y - a[1] - part * along[1])
        fine[far <= r] = GREYS[int(kind)][0]
    blocks = fine.reshape(lens.size, times, lens.size, times)
    return blocks.mean(axis=(1, 3)) * 255


@pytest.mark.parametrize("system", [Pendulum(), CartPole(), Acrobot()])
def test_pictures_differ_from_supersampled_ones_by_less_than_a_grey_level(system):
    lens = Lens(32, reach=1.6, centre=(0.1, -0.05))
    states = jax.vmap(lambda key: 3 * system.start(key=key))(
        jax.random.split(jax.random.key(0), 8)
    )
    for state in states:
        capsules = system.sketch(state)
        picture = np.asarray(lens.photograph(capsules))[..., 0].astype(float)
        assert np.abs(picture - supersampled(capsules, lens)).mean() < 1


def test_a_camera_that_looks_half_a_pixel_aside_would_be_caught():
    lens = Lens(32, reach=1.6)
    aside = Lens(32, reach=1.6, centre=(0.05, 0.05))
    capsules = CartPole().sketch(jnp.array([0.3, 2.0, 0.0, 0.0]))
    picture = np.asarray(aside.photograph(capsules))[..., 0].astype(float)
    assert np.abs(picture - supersampled(capsules, lens)).mean() > 1


def test_a_line_thinner_than_a_pixel_is_as_bright_as_its_area():
    lens = Lens(32, reach=16.0)
    thin = lens.photograph(drawing([[(-9.0, 0.5), (9.0, 0.5)]], [0.2]))
    assert int(thin[15, 16, 0]) == round(0.4 * 255)
    thick = Lens(32, reach=16.0, thin=1.0).photograph(
        drawing([[(-9.0, 0.5), (9.0, 0.5)]], [0.2])
    )
    assert int(thick[15, 16, 0]) == 255 and int(thick[14, 16, 0]) == 128


def test_up_is_up_right_is_right_and_the_last_stroke_is_on_top():
    lens = Lens(8, reach=4.0)
    spot = [[(2.5, 1.5), (2.5, 1.5)]]
    picture = np.asarray(lens.photograph(drawing(spot, [0.5])))[..., 0]
    assert np.unravel_index(picture.argmax(), picture.shape) == (2, 6)
    both = lens.photograph(drawing(spot * 2, [2.0, 2.0], [0, 1]))
    assert both[2, 6, 0] == round(0.3 * 255)


def test_in_space_what_is_nearer_hides_what_is_farther():
    axes = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))
    lens = Lens(8, reach=4.0, axes=axes)
    near, far = [(0.0, -1.0, 0.0)] * 2, [(0.0, 1.0, 0.0)] * 2
    for order, kind in (((near, far), (0, 1)), ((far, near), (1, 0))):
        assert lens.photograph(drawing(order, [2.0, 2.0], kind))[4, 4, 0] == 255


def test_what_is_no_number_is_not_seen_and_colours_are_three_channels():
    lens = Lens(8, reach=1.0, colour=True)
    lost = lens.photograph(drawing([[(jnp.nan, 0.0), (0.0, 0.0)]], [0.5]))
    assert lost.shape == (8, 8, 3) == lens.shape and not lost.any()


def test_a_lens_that_is_aimed_sees_the_whole_machine_wherever_chance_leads():
    system = CartPole()
    seen = Seen(system, aimed(system, 32, thin=1.0, key=jax.random.key(0)))
    state = system.start(key=jax.random.key(5))
    for key in jax.random.split(jax.random.key(1), 40):
        state = system.step(state, system.action.sample(key=key), key=key)
    picture = seen.observe(state)
    assert picture.dtype == jnp.uint8
    edges = picture.at[1:-1, 1:-1].set(0)
    assert picture.max() == 255 and edges.max() < 255


def test_many_pictures_at_once_are_those_of_one_after_another():
    seen = Seen(Acrobot(), Lens(16, reach=2.3))
    states = jax.random.normal(jax.random.key(0), (5, 4))
    together = jax.vmap(seen.observe)(states)
    alone = jnp.stack([seen.observe(state) for state in states])
    assert jnp.array_equal(together, alone)


def test_a_drawing_in_other_dimensions_is_refused():
    with pytest.raises(ValueError, match=r"have 2 numbers .* got 3"):
        Lens(8).photograph(drawing([[(0.0, 0.0, 0.0), (1.0, 0.0, 0.0)]], [0.1]))
    with pytest.raises(ValueError, match="size >= 1, got 0"):
        Lens(0)
