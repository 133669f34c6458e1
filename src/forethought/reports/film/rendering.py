"""Pictures by MuJoCo's own renderer, without a display.

That needs EGL or OSMesa, which a fresh machine may lack, and a failed attempt can take
the process with it: so each is tried in another process first. The context is then
made by ourselves, because MuJoCo chooses its own once and for all when it is imported.

Shadows, reflections and multisampling are switched off: in software they are most of
the time of a frame.
"""

# mujoco is a compiled module without stubs: its names are unknown to the checker.
# pyright: reportAttributeAccessIssue=false

import contextlib
import copy
import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator

import mujoco
import numpy as np

from forethought.reports.film.drawing import View

NO_DRIVER = (
    "No EGL or OSMesa here: drawn as capsules; install libegl1 and libgl1 for "
    "rendered video."
)
_PROBE = """
import importlib, sys
import mujoco
context = importlib.import_module(sys.argv[1]).GLContext(16, 16)
context.make_current()
model = mujoco.MjModel.from_xml_string("<mujoco/>")
mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value).free()
context.free()
"""
_OFF = ("disable", "disabled", "off", "false", "0")


@functools.cache
def driver() -> str | None:
    """The module whose `GLContext` works here, or None.

    A `MUJOCO_GL` of "egl" or "osmesa" is the only one tried, "disabled" means none.
    The answer is found once in a process, in about a second.
    """
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    if asked in _OFF:
        return None
    usual = ("egl", "osmesa") if sys.platform == "linux" else ("gl_context",)
    for platform in (asked,) if asked in usual else usual:
        module = f"mujoco.{platform}"
        try:
            done = subprocess.run(
                [sys.executable, "-c", _PROBE, module],
                check=False,
                capture_output=True,
                timeout=60,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return module
    return None


def _camera(model: mujoco.MjModel, view: View) -> mujoco.MjvCamera:
    """The model's first camera, or one that looks as the view says."""
    camera = mujoco.MjvCamera()
    if model.ncam:
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = 0
        return camera
    _, up, towards = view.axes
    from_above = towards[2] > 0.99
    ahead = up if from_above else -towards
    elevation = -np.degrees(np.arcsin(towards[2]))
    camera.azimuth = np.degrees(np.arctan2(ahead[1], ahead[0]))
    camera.elevation = elevation if from_above else min(elevation, -8.0)
    half = np.radians(model.vis.global_.fovy) / 2
    camera.distance = view.span[1] / 2 / np.tan(half)
    return camera


def render(
    model: mujoco.MjModel, qpos: np.ndarray, view: View, width: int, height: int
) -> Iterator[np.ndarray]:
    """Frames by MuJoCo's renderer, `uint8 [height, width, 3]`.

    Args:
        model: Left as it is; a copy is stripped of shadows and reflections.
        qpos: Positions to show, shape `[time, nq]`.
        view: Where a camera looks if the model has none of its own.
        width: In pixels.
        height: In pixels.

    Raises:
        RuntimeError: There is no driver.
    """
    module = driver()
    if module is None:
        raise RuntimeError(NO_DRIVER)
    model = copy.copy(model)
    model.vis.quality.shadowsize = model.vis.quality.offsamples = 0
    model.mat_reflectance[:] = 0
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height
    data = mujoco.MjData(model)
    camera, option = _camera(model, view), mujoco.MjvOption()
    rectangle = mujoco.MjrRect(0, 0, width, height)
    has_sky = bool((model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX).any())
    sky = _sky(width, height)
    frame = np.empty((height, width, 3), np.uint8)
    depth = None if has_sky else np.empty((height, width), np.float32)
    with contextlib.ExitStack() as stack:
        surface = importlib.import_module(module).GLContext(width, height)
        stack.callback(surface.free)
        surface.make_current()
        context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        stack.callback(context.free)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, context)
        scene = mujoco.MjvScene(model, maxgeom=10_000)
        for t, position in enumerate(qpos):
            camera.lookat = np.append(view.centre[t], view.depth[t]) @ view.axes
            data.qpos = np.nan_to_num(position)
            mujoco.mj_fwdPosition(model, data)
            surface.make_current()
            mujoco.mjv_updateScene(
                model, data, option, None, camera, mujoco.mjtCatBit.mjCAT_ALL, scene
            )
            mujoco.mjr_render(rectangle, scene, context)
            mujoco.mjr_readPixels(frame, depth, rectangle, context)
            picture = frame[::-1]  # OpenGL counts rows from the bottom
            if depth is not None:  # MuJoCo leaves what it does not draw black
                picture = np.where(depth[::-1, :, None] >= 1, sky, picture)
            yield np.ascontiguousarray(picture)


def _sky(width: int, height: int) -> np.ndarray:
    """A quiet background, lighter towards the bottom."""
    top, bottom = np.array([214.0, 224.0, 236.0]), np.array([247.0, 248.0, 250.0])
    share = np.linspace(0, 1, height)[:, None, None]
    rows = (1 - share) * top + share * bottom
    return np.broadcast_to(rows, (height, width, 3)).astype(np.uint8)
