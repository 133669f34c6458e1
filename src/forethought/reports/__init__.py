"""What people look at: figures, pages, films."""

import os
from pathlib import Path

from forethought.runs.fit.kept import Fitted
from forethought.runs.plan.control import Run, config_of
from forethought.runs.store.folder import RunFolder
from forethought.runs.train.trained import Trained


def report(
    run: Run | Trained | Fitted,
    path: str | os.PathLike | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write plots, a video and `report.html` of a run.

    Args:
        run: From `forethought.control`, `forethought.train` or `forethought.fit`.
        path: The folder of a run of `control`, new or empty. Others have a folder
            already.
        overwrite: Whether a finished run of `control` that the folder holds is
            replaced.

    Returns:
        The path of the report.

    Raises:
        ValueError: Nothing can be written there, or it is not said where.
    """
    # Plots take half a second to import.
    from forethought.reports.write import film_training, save_run, write_report

    match run, path:
        case Trained(), None:
            film_training(run)
            return write_report(run.folder)
        case Fitted(), None:
            return write_report(run.folder)
        case Run(), os.PathLike() | str():
            config = config_of(run.task, run.planner, {"seed": run.seed})
            folder = RunFolder.create(path, config, overwrite=overwrite)
            with folder.alone():
                save_run(run, folder)
                folder.finish()
            return folder.path / "report.html"
        case ((Trained() | Fitted()), _):
            raise ValueError(
                f"Such a run is reported in its own folder, {run.folder.path}, got "
                f"{path} besides."
            )
    raise ValueError("The report of a run needs a folder: report(run, PATH).")
