"""Video of an episode: rendered where there is a driver, drawn where there is none.

MuJoCo's own renderer needs EGL or OSMesa, which a fresh machine may lack, and a failed
attempt can take the process with it: so it is tried in another process first. Systems
that are no MuJoCo models, and machines without a driver, are drawn by
`forethought.runs.drawing`.

Shadows and reflections are switched off: with software rendering they are most of
the time of a frame.
"""

import copy
import functools
import math
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Literal

import imageio_ffmpeg
import mujoco
import numpy as np

from forethought.environments.base import AbstractSystem
from forethought.environments.mujoco import MuJoCo
from forethought.runs import drawing
from forethought.runs.record import Record

Backend = Literal["auto", "render", "draw"]
NO_DRIVER = (
    "No EGL or OSMesa here: drawn as capsules; install libegl1 and libgl1 for "
    "rendered video."
)
FASTEST = 50.0
"""Frames per second at most; finer time steps are skipped."""

_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 3'/><geom size='1'/></worldbody></mujoco>"
)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 32, 32)
renderer.update_scene(data)
assert renderer.render().max() > 0
renderer.close()
"""
_OFF = ("disable", "disabled", "off", "false", "0")
_LOADED = ("mujoco.rendering.classic.gl_context", "mujoco.gl_context")


@functools.cache
def driver() -> str | None:
    """The OpenGL platform that works here, as `MUJOCO_GL` knows it, or None.

    A `MUJOCO_GL` that is set is the only one tried; "disabled" means none. The answer
    is found once in a process, in about a second.
    """
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    if asked in _OFF:
        return None
    usual = ("egl", "osmesa") if sys.platform == "linux" else ("",)
    for platform in (asked,) if asked else usual:
        environment = {**os.environ, "MUJOCO_GL": platform}
        try:
            done = subprocess.run(
                [sys.executable, "-c", _PROBE],
                check=False,
                env=environment,
                capture_output=True,
                timeout=60,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return platform
    return None


def _renderer(model: mujoco.MjModel, width: int, height: int) -> mujoco.Renderer:
    """A renderer on the platform that works; MuJoCo reads `MUJOCO_GL` on import."""
    before = os.environ.get("MUJOCO_GL")
    if not any(name in sys.modules for name in _LOADED):
        os.environ["MUJOCO_GL"] = driver() or "disabled"
    try:
        return mujoco.Renderer(model, height, width)
    finally:
        if before is None:
            os.environ.pop("MUJOCO_GL", None)
        else:
            os.environ["MUJOCO_GL"] = before


def _camera(model: mujoco.MjModel) -> mujoco.MjvCamera:
    """The model's first camera, or one from the side that follows the machine."""
    camera = mujoco.MjvCamera()
    if model.ncam:
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = 0
        return camera
    mujoco.mjv_defaultFreeCamera(model, camera)
    camera.azimuth, camera.elevation = 90.0, -12.0
    camera.distance = 1.6 * model.stat.extent
    if model.nbody > 1 and model.body_dofnum[1] >= 3:  # it may walk out of sight
        camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
        camera.trackbodyid = 1
    return camera


def render(
    model: mujoco.MjModel, qpos: np.ndarray, width: int, height: int
) -> Iterator[np.ndarray]:
    """Frames by MuJoCo's renderer, `uint8 [height, width, 3]`.

    Args:
        model: Left as it is; a copy is stripped of shadows and reflections.
        qpos: Positions to show, shape `[time, nq]`.
        width: In pixels.
        height: In pixels.
    """
    model = copy.copy(model)
    model.vis.quality.shadowsize = 0
    model.vis.quality.offsamples = 4
    model.mat_reflectance[:] = 0
    model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
    model.vis.global_.offheight = max(model.vis.global_.offheight, height)
    data = mujoco.MjData(model)
    camera = _camera(model)
    has_sky = bool((model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX).any())
    sky = _sky(width, height)
    renderer = _renderer(model, width, height)
    try:
        for position in qpos:
            data.qpos = np.nan_to_num(position)
            mujoco.mj_fwdPosition(model, data)
            renderer.update_scene(data, camera)
            frame = renderer.render()
            if not has_sky:  # MuJoCo leaves what it does not draw black
                renderer.enable_segmentation_rendering()
                nothing = renderer.render()[..., :1] < 0
                renderer.disable_segmentation_rendering()
                frame = np.where(nothing, sky, frame)
            yield frame
    finally:
        renderer.close()


def _sky(width: int, height: int) -> np.ndarray:
    """A quiet background, lighter towards the bottom."""
    top, bottom = np.array([214.0, 224.0, 236.0]), np.array([247.0, 248.0, 250.0])
    share = np.linspace(0, 1, height)[:, None, None]
    rows = (1 - share) * top + share * bottom
    return np.broadcast_to(rows, (height, width, 3)).astype(np.uint8)


def shown(dt: float, steps: int) -> tuple[np.ndarray, float]:
    """Which states to show, and frames per second, so that time runs as it did."""
    every = max(1, math.ceil(1 / (FASTEST * dt) - 1e-9))
    return np.arange(0, steps + 1, every), 1 / (dt * every)


def frames(
    record: Record,
    system: AbstractSystem | None = None,
    *,
    width: int = 640,
    height: int = 480,
    backend: Backend = "auto",
) -> tuple[Iterator[np.ndarray], float, str | None]:
    """An episode as pictures.

    Args:
        record: What happened.
        system: What was acted in; without it, or when it is no MuJoCo model, the
            recorded sketch is drawn.
        width: In pixels.
        height: In pixels.
        backend: "render" by MuJoCo, "draw" by ourselves; "auto" renders where a driver
            is found.

    Returns:
        Frames of `uint8 [height, width, 3]`, how many of them a second, and a sentence
        for the user where rendering was wanted and is not to be had.

    Raises:
        ValueError: "render" was asked for and cannot be done.
    """
    chosen, rate = shown(record.dt, len(record.actions))
    notice = None
    renderable = isinstance(system, MuJoCo) and backend != "draw"
    if renderable and driver() is None:
        renderable, notice = False, NO_DRIVER
    if backend == "render" and not renderable:
        raise ValueError(
            "Rendering needs a MuJoCo system and EGL or OSMesa, got "
            f"{'no driver' if notice else type(system).__name__}."
        )
    if renderable:
        assert isinstance(system, MuJoCo)
        model = system.engine.model
        pictures = render(model, record.states[chosen, : model.nq], width, height)
    else:
        sketch = {name: array[chosen] for name, array in record.sketch.items()}
        pictures = drawing.draw(sketch, width, height)
    return _captioned(pictures, record, chosen), rate, notice


def _captioned(
    pictures: Iterator[np.ndarray], record: Record, chosen: np.ndarray
) -> Iterator[np.ndarray]:
    so_far = np.concatenate([[0.0], np.cumsum(record.rewards)])
    for picture, t in zip(pictures, chosen, strict=True):
        left = f"{t * record.dt:.2f} s"
        yield drawing.caption(picture, left, f"return {so_far[t]:.1f}")


def write_video(
    path: str | os.PathLike, pictures: Iterable[np.ndarray], rate: float
) -> pathlib.Path:
    """Write an H.264 file that browsers play.

    Args:
        path: Ends in `.mp4`; replaced as a whole once the last frame is written.
        pictures: Frames of `uint8 [height, width, 3]`, height and width even.
        rate: Frames per second.

    Returns:
        The path.

    Raises:
        ValueError: There are no frames, or their size is odd.
    """
    target = pathlib.Path(path)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.mp4")
    encoder: subprocess.Popen[bytes] | None = None
    try:
        for picture in pictures:
            if encoder is None:
                encoder = _encoder(temporary, picture.shape[1], picture.shape[0], rate)
            assert encoder.stdin is not None
            encoder.stdin.write(np.ascontiguousarray(picture))
        if encoder is None:
            raise ValueError("A video needs at least one frame, got none.")
        _, complaint = encoder.communicate()
        if encoder.returncode:
            raise OSError(
                f"ffmpeg failed: {complaint.decode(errors='replace').strip()}"
            )
        os.replace(temporary, target)
    finally:
        if encoder is not None and encoder.poll() is None:
            encoder.kill()
            encoder.communicate()
        temporary.unlink(missing_ok=True)
    return target


def _encoder(
    path: pathlib.Path, width: int, height: int, rate: float
) -> subprocess.Popen[bytes]:
    """The ffmpeg that imageio-ffmpeg brings, waiting for frames.

    Started by ourselves: imageio-ffmpeg runs Python between fork and exec, which may
    deadlock a process that has threads, as every one with JAX has.
    """
    if height % 2 or width % 2:
        raise ValueError(f"A video needs an even size, got {width} × {height}.")
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    source += ["-r", f"{rate:.6g}", "-i", "-"]
    coding = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-preset", "fast"]
    return subprocess.Popen(
        [
            imageio_ffmpeg.get_ffmpeg_exe(),
            *("-y", "-v", "error", *source, "-an", *coding),
            *("-movflags", "+faststart", str(path)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        process_group=0 if os.name == "posix" else None,  # Ctrl-C is ours to handle
    )
