"""Pictures of capsules, drawn by ourselves: no display, no driver, pip packages only.

A system's sketch is a handful of thick lines. Drawn at twice the size with Pillow
(which every installation has, as matplotlib needs it) and halved, they look smooth
and cost a few milliseconds a frame. A machine in three dimensions that moves in one
plane is looked at from the side or from above, any other one in parallel projection
from a corner, far parts first.
"""

import dataclasses
import functools
import os
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SCALE = 2
"""Drawn so many times larger than shown."""

PAPER, LINES, AXES, INK = (
    (247, 248, 250),
    (228, 231, 236),
    (178, 186, 197),
    (31, 41, 55),
)
FILLS = ((0, 114, 178), (148, 158, 170), (0, 158, 115))
"""By kind: what moves, what stands still, a goal (Okabe and Ito's palette)."""
EDGES = ((0, 68, 112), (112, 122, 135), (0, 105, 77))


@dataclasses.dataclass(frozen=True)
class View:
    """How metres become pixels.

    Args:
        axes: Rows are the directions that point right and up on the screen (and, in
            three dimensions, towards the viewer), shape `[2 or 3, space]`.
        centre: What lies in the middle of each frame, on the screen, `[time, 2]`.
        depth: How near to the viewer the machine is, `[time]`; zero in the plane.
        span: Metres across the width and the height of a frame.
        ground: Whether the line of height zero is drawn as ground.
    """

    axes: np.ndarray
    centre: np.ndarray
    depth: np.ndarray
    span: tuple[float, float]
    ground: bool


def axes_for(start: np.ndarray, end: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Where to look from, by what the moving capsules do, shape `[2 or 3, space]`."""
    if start.shape[-1] == 2:
        return np.eye(2)
    points = np.concatenate([start[:, moving], end[:, moving]], axis=1)
    travel = np.ptp(points, axis=0).max(axis=0, initial=0.0)
    still = travel < 1e-3 * max(travel.max(initial=0.0), 1e-9)
    if still[1]:
        return np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    if still[2]:
        return np.eye(3)
    azimuth, elevation = np.radians(-60.0), np.radians(20.0)
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    front = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    towards = np.cos(elevation) * front + np.sin(elevation) * np.eye(3)[2]
    return np.stack([right, np.cross(towards, right), towards])


def view_of(sketch: dict[str, np.ndarray], width: int, height: int) -> View:
    """One view for a whole episode: still where all fits, else following the machine.

    Args:
        sketch: `start`, `end` of shape `[time, capsule, space]`, `radius` and `kind`
            of shape `[time, capsule]`.
        width: Of a frame, in pixels.
        height: Of a frame, in pixels.
    """
    start, end = _finite(sketch["start"]), _finite(sketch["end"])
    kind, radius = sketch["kind"][0], sketch["radius"]
    moving = kind == 0 if (kind == 0).any() else np.ones_like(kind, bool)
    axes = axes_for(start, end, moving)
    points = np.stack([start, end], axis=2) @ axes[:2].T
    edge = radius[:, :, None, None]
    low, high = (points - edge).min(axis=2), (points + edge).max(axis=2)

    def box(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return low[:, chosen].min(axis=1), high[:, chosen].max(axis=1)

    machine_low, machine_high = box(moving)
    size = np.maximum((machine_high - machine_low).max(axis=0), 0.2)
    goals_low, goals_high = box(moving | (kind == 2))
    whole = goals_high.max(axis=0) - goals_low.min(axis=0)
    aspect = width / height
    # A flat sketch is a small world, seen whole; a machine in space may run away.
    roomy = 40 if len(axes) == 2 else 5
    if (whole <= roomy * size.max()).all():
        bottom, top = goals_low.min(axis=0), goals_high.max(axis=0)
        # What stands still is shown as far as it does not make the rest small.
        reach = 0.35 * max(*whole, *size)
        bottom = np.clip(low.min(axis=(0, 1)), bottom - reach, bottom)
        top = np.clip(high.max(axis=(0, 1)), top, top + reach)
        centre = np.broadcast_to((bottom + top) / 2, (len(start), 2))
        size = top - bottom
        tall = 1.25 * max(size[1], size[0] / aspect)
    else:
        centre = (machine_low + machine_high) / 2
        width_ = min(len(centre), 9)
        kernel = np.hanning(width_ + 2)[1:-1]
        padded = np.pad(
            centre, ((width_ // 2, width_ - 1 - width_ // 2), (0, 0)), "edge"
        )
        centre = np.stack(
            [np.convolve(each, kernel / kernel.sum(), "valid") for each in padded.T], 1
        )
        tall = 2.2 * max(size[1], size[0] / aspect)
    # What swings below height zero has no floor there.
    floor = bool(machine_low[:, 1].min() > -0.03 * tall)
    ground = len(axes) == 3 and bool(axes[1, 2] > 0.1) and floor
    depth = np.zeros(len(centre))
    if len(axes) == 3:
        depth = ((start + end) / 2)[:, moving].mean(axis=1) @ axes[2]
    return View(axes, centre, depth, (tall * aspect, tall), ground)


def _finite(points: np.ndarray) -> np.ndarray:
    """Points that diverged are put among the others, and are not drawn."""
    usable = np.isfinite(points)
    if usable.all():
        return points
    whole = points[usable.all(axis=-1)]
    return np.where(usable, points, np.median(whole, axis=0) if len(whole) else 0.0)


def draw(
    sketch: dict[str, np.ndarray], width: int, height: int
) -> Iterator[np.ndarray]:
    """Frames of an episode, one for each time of the sketch, `uint8 [h, w, 3]`."""
    view = view_of(sketch, width, height)
    for t in range(len(sketch["start"])):
        frame = {name: array[t] for name, array in sketch.items()}
        yield _draw_one(frame, view, view.centre[t], (width, height))


def _draw_one(
    frame: dict[str, np.ndarray], view: View, centre: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    wide, tall = size[0] * SCALE, size[1] * SCALE
    unit = tall / view.span[1]
    image = Image.new("RGB", (wide, tall), PAPER)
    canvas = ImageDraw.Draw(image)

    def pixels(points: np.ndarray) -> np.ndarray:
        offset = (points - centre) * unit
        return np.stack([wide / 2 + offset[..., 0], tall / 2 - offset[..., 1]], -1)

    _grid(canvas, view, centre, pixels, (wide, tall))
    ends = np.stack([frame["start"], frame["end"]], 1)
    usable = np.all(np.isfinite(ends), axis=(1, 2))
    screen = pixels(np.nan_to_num(ends) @ view.axes[:2].T)
    depth = np.zeros(len(ends))
    if len(view.axes) == 3:
        depth = np.nan_to_num(ends).mean(axis=1) @ view.axes[2]
    # In the plane the sketch says what lies on top; in space, what is nearer does.
    for i in np.argsort(depth, kind="stable"):
        if usable[i]:
            kind = int(np.clip(frame["kind"][i], 0, 2))
            radius = max(float(frame["radius"][i]) * unit, 1.5 * SCALE)
            _capsule(canvas, screen[i], radius, EDGES[kind])
            _capsule(canvas, screen[i], radius - 1.2 * SCALE, FILLS[kind])
    return np.asarray(image.reduce(SCALE))


def _capsule(canvas: Any, ends: np.ndarray, radius: float, colour: Any) -> None:
    """A thick line with round ends."""
    if radius <= 0:
        return
    (x0, y0), (x1, y1) = ends
    length = float(np.hypot(x1 - x0, y1 - y0))
    if length > 0.5:
        across = np.array([-(y1 - y0), x1 - x0]) * (radius / length)
        corners = [
            ends[0] + across,
            ends[1] + across,
            ends[1] - across,
            ends[0] - across,
        ]
        canvas.polygon([tuple(corner) for corner in corners], fill=colour)
    for x, y in ends:
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _grid(canvas: Any, view: View, centre: np.ndarray, pixels: Any, size: Any) -> None:
    """Lines at round numbers of metres, and the ground."""
    step = 10.0 ** np.floor(np.log10(view.span[0] / 3))
    step *= next(m for m in (1, 2, 5, 10) if view.span[0] / (step * m) <= 8)
    flat = len(view.axes) == 2 or np.allclose(np.abs(view.axes).max(axis=1), 1)
    if not flat:
        _floor(canvas, view, centre, pixels, step)
        return
    for axis in (0, 1):
        half = view.span[axis] / 2
        first = np.ceil((centre[axis] - half) / step)
        for i in np.arange(first, (centre[axis] + half) / step):
            line = np.stack([centre, centre]).astype(float)
            line[:, axis] = i * step
            line[:, 1 - axis] += np.array([-1, 1]) * view.span[1 - axis]
            ends = [tuple(end) for end in pixels(line)]
            canvas.line(ends, fill=LINES, width=SCALE)
    if view.ground:
        y = float(pixels(np.array([0.0, 0.0]))[1])
        if y < size[1]:
            canvas.rectangle((0, y, size[0], size[1]), fill=(236, 239, 243))
            canvas.line([(0, y), (size[0], y)], fill=AXES, width=2 * SCALE)


def _floor(
    canvas: Any, view: View, centre: np.ndarray, pixels: Any, step: float
) -> None:
    """A grid on the plane of height zero, around what is looked at."""
    right, up = view.axes[0], view.axes[1]
    # The point of the floor that is seen in the middle of the frame.
    plane = np.array([[right[0], right[1]], [up[0], up[1]]])
    x, y = np.linalg.solve(plane, centre)
    reach = np.ceil(view.span[0] / step) + 2
    for axis, middle in ((0, x), (1, y)):
        for i in np.arange(-reach, reach + 1) + np.round(middle / step):
            line = np.zeros((2, 3))
            line[:, axis] = i * step
            other = (y, x)[axis]
            line[:, 1 - axis] = other + np.array([-1, 1]) * reach * step
            ends = [tuple(end) for end in pixels(line @ view.axes[:2].T)]
            canvas.line(ends, fill=LINES, width=SCALE)


@functools.cache
def font(size: int) -> Any:
    """The sans-serif face that matplotlib brings along, on every machine."""
    folder = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
    return ImageFont.truetype(os.path.join(folder, "DejaVuSans.ttf"), size)


def caption(frame: np.ndarray, left: str, right: str) -> np.ndarray:
    """A frame with two short texts in its upper corners, on a light veil."""
    image = Image.fromarray(frame)
    canvas = ImageDraw.Draw(image, "RGBA")
    height, width = frame.shape[:2]
    face = font(max(11, height // 26))
    margin = height // 32
    for text, anchor, x in ((left, "la", margin), (right, "ra", width - margin)):
        bounds = canvas.textbbox((x, margin), text, font=face, anchor=anchor)
        pad = margin // 2
        canvas.rounded_rectangle(
            (bounds[0] - pad, bounds[1] - pad, bounds[2] + pad, bounds[3] + pad),
            radius=pad,
            fill=(255, 255, 255, 205),
        )
        canvas.text((x, margin), text, font=face, anchor=anchor, fill=INK)
    return np.array(image)
