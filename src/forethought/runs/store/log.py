"""What a training run says while it runs: to a terminal, to a file, to TensorBoard.

The lines of metrics are read, nothing else: whatever a row leaves out is not said.
"""

import contextlib
import math
import os
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from forethought.core.words import duration, visible
from forethought.runs.events import Event, Line, Watch

BARS = "▁▂▃▄▅▆▇█"


class Terminal(Console):
    """A console that says text as it is: no markup in it, no controls, no emoji.

    Names of files, tasks and columns are a person's own; `[` in them is no style, and
    ESC does not reach the terminal.

    Args:
        quiet: Whether to say nothing at all.
    """

    def __init__(self, quiet: bool = False):
        super().__init__(markup=False, emoji=False, highlight=False, quiet=quiet)

    def render_str(self, text: str, **options: Any) -> Text:
        """A string, with control characters made visible."""
        return super().render_str(visible(text), **options)


@contextlib.contextmanager
def live(console: Console, steps: int) -> Iterator[Watch]:
    """Progress of a training run: a line that moves, or lines where nothing can move.

    Args:
        console: Where to; in a file or a pipe each row becomes a line.
        steps: Environment steps of the whole run.

    Returns:
        Who watches the run.
    """
    told = Told(steps)

    def print_line(event: Event) -> None:
        if isinstance(event, Line):
            console.print(told(event.row), soft_wrap=True)

    if not console.is_terminal:
        yield print_line
        return
    words = TextColumn("{task.description}", markup=False)
    columns = (BarColumn(bar_width=16), words)
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("compiling", total=steps)

        def move_bar(event: Event) -> None:
            if isinstance(event, Line):
                row = event.row
                progress.update(bar, completed=row["step"], description=told(row))

        yield move_bar


class Told:
    """Puts rows into words, remembering what was true before.

    Args:
        steps: Environment steps of the whole run.
    """

    def __init__(self, steps: int):
        self.steps = steps
        self.earned: float | None = None
        self.lengths: list[int] = []
        self.lost = 0
        self.began: tuple[int, float] | None = None

    def __call__(self, row: Mapping[str, Any]) -> str:
        """A row in one line: how far, how good, how well known, how long still."""
        if (value := row.get("return")) is not None and math.isfinite(value):
            self.earned = value
        self.lengths += row.get("lengths", ())
        self.lost += int(row.get("plan_failed") or 0)
        words = [f"{row['step']:,}/{self.steps:,} steps"]
        if "episode" in row:
            words.insert(0, f"episode {row['episode']}")
        if self.earned is not None:
            words.append(f"return {self.earned:.4g}")
        if len({*self.lengths}) > 1:
            words.append(f"{self.lengths[-1]} steps {sparkline(self.lengths)}")
        if (share := row.get("success")) is not None:
            words.append(f"success {share:.0%}")
        if (loss := row.get("holdout")) is not None:
            words.append(f"model {loss:.2f} nats")
        if self.lost:
            words.append(f"{self.lost} plan{'s' * (self.lost > 1)} failed")
        if (left := self._left(row["step"])) is not None:
            words.append(f"{duration(left)} left")
        return "  ".join(words)

    def _left(self, step: int) -> float | None:
        """Seconds to go at the pace since the first row, which also compiled."""
        now = time.monotonic()
        if self.began is None:
            self.began = step, now
        first, began = self.began
        if not first < step < self.steps:
            return None
        return (now - began) / (step - first) * (self.steps - step)


def sparkline(values: Sequence[int], width: int = 24) -> str:
    """Positive numbers as a small curve, logarithmic; of many, means of stretches."""
    pieces = np.array_split(np.asarray(values, float), min(width, len(values)))
    heights = np.log([max(float(np.mean(piece)), 1e-9) for piece in pieces])
    span = np.ptp(heights) or 1.0
    levels = ((heights - heights.min()) / span * (len(BARS) - 1)).round().astype(int)
    return "".join(BARS[level] for level in levels)


def summary_writer() -> Any:
    """The class that writes events.

    Raises:
        ValueError: Its package is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "TensorBoard events need the package tensorboardX, which comes with an "
            "extra: pip install 'forethought[tensorboard]'."
        ) from error
    return SummaryWriter


class TensorBoard:
    """Writes the numbers of each row as scalars that TensorBoard shows.

    A run that is resumed writes a second file, which begins by telling TensorBoard to
    forget everything from its first step on: what was done twice is shown once.

    Args:
        folder: Of the run; events go to `tensorboard` in it.
        step: How many steps the run has done before.

    Raises:
        ValueError: The package that writes events is not installed.
    """

    def __init__(self, folder: str | os.PathLike, step: int = 0):
        self.writer = summary_writer()(
            str(pathlib.Path(folder) / "tensorboard"),
            purge_step=step + 1,
            filename_suffix=f".{os.getpid()}",  # two within one second stay two
        )

    def __call__(self, event: Event) -> None:
        """Write a line of metrics and have it reach the disk."""
        if not isinstance(event, Line):
            return
        row = event.row
        for name, value in row.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and name != "step" and math.isfinite(value):
                self.writer.add_scalar(name, value, row["step"])
        self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        self.writer.close()
