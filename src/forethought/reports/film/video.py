"""Video of an episode: rendered where there is a driver, drawn where there is none."""

import io
import math
import os
import pathlib
import subprocess
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol, runtime_checkable

import imageio_ffmpeg
import numpy as np
from PIL import Image

from forethought.environments.base import AbstractSystem
from forethought.environments.mujoco.system import MuJoCo
from forethought.reports.film.drawing import caption, draw, view_of
from forethought.reports.film.rendering import NO_DRIVER, driver, render
from forethought.runs.store import files
from forethought.runs.store.folder import RunFolder

Backend = Literal["auto", "render", "draw"]
DRAWN, RENDERED = 50.0, 30.0
"""Frames per second at most; finer time steps are skipped."""


@runtime_checkable
class Filmed(Protocol):
    """What a video needs of an episode: arrays, as `runs.plan.record` has them."""

    @property
    def dt(self) -> float: ...  # noqa: D102
    @property
    def states(self) -> np.ndarray: ...  # noqa: D102
    @property
    def actions(self) -> np.ndarray: ...  # noqa: D102
    @property
    def rewards(self) -> np.ndarray: ...  # noqa: D102
    @property
    def sketch(self) -> dict[str, np.ndarray]: ...  # noqa: D102


def shown(dt: float, steps: int, fastest: float) -> tuple[np.ndarray, float]:
    """Which states to show, and frames per second, so that time runs as it did."""
    every = max(1, math.ceil(1 / (fastest * dt) - 1e-9))
    return np.arange(0, steps + 1, every), 1 / (dt * every)


def frames(
    record: Filmed,
    system: AbstractSystem | None = None,
    *,
    width: int = 640,
    height: int = 480,
    backend: Backend = "auto",
    steps: int | None = None,
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
        steps: How many of its steps are shown; all if not given.

    Returns:
        Frames of `uint8 [height, width, 3]`, how many of them a second, and a sentence
        for the user where rendering was wanted and is not to be had.

    Raises:
        ValueError: "render" was asked for and cannot be done.
    """
    notice = None
    model = system.engine.model if isinstance(system, MuJoCo) else None
    if model is not None and backend != "draw" and driver() is None:
        model, notice = None, NO_DRIVER
    if backend == "render" and model is None:
        raise ValueError(
            "Rendering needs a MuJoCo system and EGL or OSMesa, got "
            f"{'no driver' if notice else 'another system'}."
        )
    steps = len(record.actions) if steps is None else steps
    fastest = DRAWN if model is None or backend == "draw" else RENDERED
    chosen, rate = shown(record.dt, steps, fastest)
    sketch = {name: array[chosen] for name, array in record.sketch.items()}
    if model is None or backend == "draw":
        pictures = draw(sketch, width, height)
    else:
        view = view_of(sketch, width, height)
        positions = record.states[chosen, : model.nq]
        pictures = render(model, positions, view, width, height)
    return _captioned(pictures, record, chosen), rate, notice


def _captioned(
    pictures: Iterator[np.ndarray], record: Filmed, chosen: np.ndarray
) -> Iterator[np.ndarray]:
    so_far = np.concatenate([[0.0], np.cumsum(record.rewards)])
    for picture, t in zip(pictures, chosen, strict=True):
        left = f"{t * record.dt:.2f} s"
        right = f"return {so_far[t]:.1f}".replace("-", "−")
        yield caption(picture, left, right)


def thinned(
    pictures: Iterable[np.ndarray], kept: list[np.ndarray], most: int = 12
) -> Iterator[np.ndarray]:
    """Pass pictures on, and leave at most so many in `kept`, evenly spread."""
    every = 1
    for i, picture in enumerate(pictures):
        if i % every == 0:
            kept.append(picture)
        if len(kept) > most:
            kept[:] = kept[::2]
            every *= 2
        yield picture


def film_strip(pictures: list[np.ndarray], columns: int = 6) -> Image.Image:
    """Some of the pictures side by side, in order, at half their size."""
    chosen = np.linspace(0, len(pictures) - 1, min(columns, len(pictures)))
    halves = [
        Image.fromarray(pictures[i]).reduce(2) for i in chosen.round().astype(int)
    ]
    width, height = halves[0].size
    strip = Image.new("RGB", (len(halves) * width, height))
    for i, half in enumerate(halves):
        strip.paste(half, (i * width, 0))
    return strip


def film(folder: RunFolder, pictures: Iterable[np.ndarray], rate: float) -> None:
    """Write a run's `video.mp4`, and its `plots/strip.png`.

    Args:
        folder: Of the run.
        pictures: Frames of `uint8 [height, width, 3]`.
        rate: Frames per second.
    """
    kept: list[np.ndarray] = []
    path = files.target(folder.path, "video.mp4")
    write_video(path, thinned(pictures, kept), rate)
    buffer = io.BytesIO()
    film_strip(kept).save(buffer, "png")
    folder.write("plots/strip.png", buffer.getvalue())


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
        OSError: ffmpeg could not write the file; its own words follow.
    """
    target = pathlib.Path(path)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.mp4")
    encoder: subprocess.Popen[bytes] | None = None
    try:
        for picture in pictures:
            if encoder is None:
                encoder = _encoder(temporary, picture.shape[1], picture.shape[0], rate)
            assert encoder.stdin is not None
            try:
                encoder.stdin.write(np.ascontiguousarray(picture))
            except BrokenPipeError:  # ffmpeg gave up, and says why below
                break
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
