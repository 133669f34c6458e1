import subprocess
import types

import imageio_ffmpeg
import numpy as np
import pytest

from forethought.environments.mujoco.system import MuJoCo
from forethought.models.known import Known
from forethought.objectives.residual import Quadratic, Residual, Term
from forethought.planners.sampling.shooting import RandomShooting
from forethought.problem import Problem
from forethought.reports.film import rendering
from forethought.reports.film.drawing import axes_for, draw
from forethought.reports.film.video import (
    film_strip,
    frames,
    shown,
    thinned,
    write_video,
)
from forethought.runs.plan.control import control
from forethought.runs.plan.record import record
from forethought.tasks.base import Task

CART = """<mujoco><option timestep=".02"/><worldbody><body>
  <joint name="slide" type="slide" axis="1 0 0"/><geom size=".1" rgba="1 0 0 1"/>
</body></worldbody>
<actuator><motor joint="slide" ctrlrange="-1 1"/></actuator></mujoco>"""


def moving_disc(count, space=2):
    start = np.zeros((count, 1, space))
    start[:, 0, 0] = np.linspace(-1, 1, count)
    return {
        "start": start,
        "end": start,
        "radius": np.full((count, 1), 0.1),
        "kind": np.zeros((count, 1), int),
    }


@pytest.fixture
def no_driver(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    rendering.driver.cache_clear()
    yield
    rendering.driver.cache_clear()


def test_a_video_decodes_to_the_frames_that_went_in(tmp_path):
    pictures = list(draw(moving_disc(11), 160, 120))
    path = write_video(tmp_path / "video.mp4", pictures, 25.0)
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)]
    raw = [*ffmpeg, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(raw, capture_output=True, check=True)
    decoded = np.frombuffer(done.stdout, np.uint8).reshape(-1, 120, 160, 3)
    assert len(decoded) == 11
    for words in (b"Video: h264", b"yuv420p", b"160x120", b"25 fps"):
        assert words in done.stderr
    for picture, seen in zip(pictures, decoded, strict=True):
        assert np.abs(picture.astype(int) - seen).mean() < 4
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays while it loads


def test_a_video_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"old")

    def interrupted():
        yield np.zeros((16, 16, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, interrupted(), 10.0)
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(path, [], 10.0)
    with pytest.raises(OSError, match="ffmpeg failed"):
        pictures = [np.zeros((16, 16, 3), np.uint8)]
        write_video(tmp_path / "no" / "folder.mp4", pictures, 10.0)
    with pytest.raises(ValueError, match="even size, got 15 × 16"):
        write_video(path, [np.zeros((16, 15, 3), np.uint8)], 10.0)
    assert [each.name for each in tmp_path.iterdir()] == ["video.mp4"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("dt", "every", "rate"),
    [(0.1, 1, 10), (0.02, 1, 50), (0.01, 2, 50), (0.004, 5, 50)],
)
def test_time_runs_as_it_did_and_fine_steps_are_skipped(dt, every, rate):
    chosen, frames_per_second = shown(dt, 20, 50.0)
    np.testing.assert_array_equal(chosen, np.arange(0, 21, every))
    assert frames_per_second == pytest.approx(rate)


def test_a_drawing_shows_what_moves_where_it_is():
    pictures = np.stack(list(draw(moving_disc(3), 120, 90))).astype(int)
    assert pictures.shape == (3, 90, 120, 3)
    blue = pictures[..., 2] - pictures[..., 0] > 100
    columns = [np.flatnonzero(picture.any(axis=0)).mean() for picture in blue]
    assert columns[0] < columns[1] < columns[2]
    assert columns[1] == pytest.approx(59.5, abs=1)
    assert columns[0] + columns[2] == pytest.approx(119, abs=1)


def test_states_that_are_not_finite_are_left_out_of_a_drawing():
    sketch = moving_disc(3)
    sketch["start"][1] = np.nan
    pictures = list(draw(sketch, 80, 60))
    assert not ((pictures[1][..., 2].astype(int) - pictures[1][..., 0]) > 100).any()


def test_a_machine_that_moves_in_a_plane_is_looked_at_across_it():
    one = np.array([True])
    point = np.zeros((4, 1, 3))
    along = np.linspace(0, 1, 4)
    side = point.copy()
    side[:, 0, 0], side[:, 0, 2] = along, along**2
    above = point.copy()
    above[:, 0, 0], above[:, 0, 1] = along, along**2
    space = above.copy()
    space[:, 0, 2] = np.sin(along)
    np.testing.assert_array_equal(axes_for(side, side, one)[2], [0, -1, 0])
    np.testing.assert_array_equal(axes_for(above, above, one)[2], [0, 0, 1])
    corner = axes_for(space, space, one)
    np.testing.assert_allclose(corner @ corner.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.cross(corner[0], corner[1]), corner[2], atol=1e-12)


def test_without_a_driver_mujoco_is_drawn_and_the_user_is_told(no_driver, cart_record):
    pictures, rate, notice = frames(*cart_record, width=64, height=48)
    assert rendering.driver() is None
    assert notice == rendering.NO_DRIVER and "\n" not in notice
    found = list(pictures)
    assert found[0].shape == (48, 64, 3) and found[0].dtype == np.uint8
    assert len(found) == len(shown(0.02, 6, 50.0)[0]) and rate == pytest.approx(50)
    with pytest.raises(ValueError, match="EGL or OSMesa, got no driver"):
        frames(*cart_record, backend="render")


def test_where_there_is_a_driver_mujoco_renders(cart_record):
    if rendering.driver() is None:
        pytest.skip("no EGL or OSMesa on this machine")
    pictures, _, notice = frames(*cart_record, width=64, height=48, backend="render")
    found = np.stack(list(pictures)).astype(int)
    assert notice is None and found.shape[1:] == (48, 64, 3)
    red = found[..., 0] - found[..., 1] > 60
    assert red.any(axis=(1, 2)).all()
    assert not (found.sum(axis=-1) == 0).any()  # a sky, and no black


@pytest.fixture(scope="module")
def cart_record():
    """A short run of one MuJoCo body."""
    system = MuJoCo(CART)
    objective = Residual(system, [Term("action", None, 1.0, Quadratic())])
    problem = Problem(Known(system), objective, system.action)
    task = Task("cart", "a cart", system, problem, 6, {})
    run = control(task, RandomShooting(horizon=2, population=3))
    return record(run), system


def test_a_film_strip_shows_pictures_spread_evenly_over_the_episode():
    shades = [np.full((4, 6, 3), i, np.uint8) for i in range(101)]
    kept = []
    assert len(list(thinned(iter(shades), kept))) == 101
    assert len(kept) <= 12
    strip = np.asarray(film_strip(kept, columns=5))
    assert strip.shape == (2, 15, 3)
    seen = strip[0, ::3, 0].astype(int)
    assert seen[0] == 0 and seen[-1] >= 88
    assert np.all(np.abs(np.diff(seen) - seen[-1] / 4) <= 8)


def test_a_film_can_end_with_its_episode():
    ten = np.zeros(10)
    shot = types.SimpleNamespace(
        dt=0.02, states=ten, actions=ten, rewards=ten, sketch=moving_disc(11)
    )
    for steps, count in ((None, 11), (4, 5), (0, 1)):
        pictures, _, _ = frames(shot, width=160, height=120, steps=steps)
        assert len(list(pictures)) == count
