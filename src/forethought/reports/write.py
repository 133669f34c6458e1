"""The report of a run: one file that opens anywhere, made from the folder alone.

`save_run` and `film_training` write what a run leaves behind; `write_report` makes
plots and page again from what is on the disk, whatever kind of run it was.
"""

import os
from pathlib import Path

import numpy as np

from forethought.environments.base import AbstractSystem
from forethought.reports import page
from forethought.reports.figures.values import save_values
from forethought.reports.film.policy import film_policy
from forethought.reports.film.video import film, frames
from forethought.reports.pages import claim, comparison, fit, learning
from forethought.reports.pages import run as episode
from forethought.runs.claims.kept import RESULT
from forethought.runs.fit.foreseen import foresee
from forethought.runs.fit.kept import KIND, Fitted, flat, load_fitted
from forethought.runs.plan.control import Run
from forethought.runs.plan.record import FILE, Record, record
from forethought.runs.store.folder import RunFolder
from forethought.runs.train.trained import Trained


def save_run(run: Run, folder: RunFolder, fitted: Fitted | None = None) -> list[str]:
    """Write arrays, video, plots and report of a run that ended.

    Args:
        run: What happened.
        folder: Where it is kept.
        fitted: The models that were planned with, where they are no known dynamics.

    Returns:
        Sentences that the user should read, if any.
    """
    seen = record(run)
    seen.save(folder)
    if fitted is not None:
        foresee(run, fitted.data).save(folder)
    notice = make_video(folder, seen, run.task.system)
    write_report(folder)
    return [notice] if notice else []


def film_training(run: Trained) -> list[str]:
    """Film what was learned, and keep a table of it where there is one.

    Returns:
        Sentences that the user should read, if any.
    """
    save_values(run.folder, run.learning.task, run.learner)
    notice = film_policy(run)
    return [notice] if notice else []


def make_video(
    folder: RunFolder, seen: Record, system: AbstractSystem | None = None
) -> str | None:
    """Write `video.mp4` and `plots/strip.png`, and return a sentence for the user.

    The film ends where the episode does.
    """
    pictures, rate, notice = frames(seen, system, steps=int(seen.alive.sum()))
    film(folder, pictures, rate)
    return notice


@np.errstate(all="ignore")  # what diverged is drawn as far as it goes
def write_report(folder: RunFolder | str | os.PathLike) -> Path:
    """Make plots, report, and the video where there is none, from the disk alone.

    A folder whose run was killed before its end has only metrics: then they are what
    the report shows.

    Args:
        folder: A run folder.

    Returns:
        The path of `report.html`.

    Raises:
        ValueError: It is no run folder, or its files are broken.
    """
    if not isinstance(folder, RunFolder):
        folder = RunFolder.open(folder)
    config, rows = folder.config(), folder.metrics()
    if folder.has(RESULT):
        return claim.write_reproduction(folder)
    maker: str | None = "planner"
    if folder.has(comparison.FILE):
        return comparison.write_comparison(folder, comparison.read_rows(folder))
    if config.get("forethought") == KIND:
        title, body = fit.body(load_fitted(folder.path))
        config, maker = flat(config)
    elif folder.has(FILE):
        seen = Record.load(folder)
        if not folder.has("video.mp4"):
            make_video(folder, seen)
        title, body = episode.finished(folder, seen)
    elif rows and "interval" in rows[0]:
        title, body = learning.body(folder, config)
        maker = "agent"
    else:
        title, body = episode.unfinished(folder, config)
    body = [*body, *page.how(config, maker)]
    return folder.write("report.html", page.document(title, body))
