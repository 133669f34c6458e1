"""`fit` as one call: data in, ranked models and their folder out."""

import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from forethought.data.logged import Logged
from forethought.models.learned.recipes import AbstractRecipe
from forethought.runs.fit.fitting import Fit, data_of, fit_all, ranked, recipes_of
from forethought.runs.fit.judge import hold
from forethought.runs.fit.kept import Fitted, config_of, save_data, save_fit
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.place import free_folder


def fit(
    data: Logged,
    models: str | AbstractRecipe | Sequence[str | AbstractRecipe] = "ensemble",
    *,
    holdout: float = 0.2,
    seed: int = 0,
    name: str = "data",
    out: str | os.PathLike | None = None,
    overwrite: bool = False,
    progress: bool = True,
    command: Sequence[str] | None = None,
    **settings: Any,
) -> Fitted:
    """Fit models to logged episodes, and judge them on others that were held out."""
    from forethought.runs.store.log import Terminal

    recipes = recipes_of(models, settings)
    fitting, held_out = data.split(holdout, seed)
    kept, held = data_of(name, fitting, held_out), hold(fitting, held_out)
    options = {"holdout": holdout, "seed": seed}
    config = config_of(kept, held, recipes, options, command)
    path = new_folder(name, recipes) if out is None else out
    folder = RunFolder.create(path, config, overwrite=overwrite)
    console, fits = Terminal(quiet=not progress), list[Fit]()
    with folder.alone():
        save_data(folder, kept, held)
        with console.status("") as status:
            for found in fit_all(
                recipes, kept, fitting, held, seed=seed, stage=status.update
            ):
                save_fit(folder, found, held.scale)
                fits.append(found)
        folder.finish()
    return Fitted(ranked(fits), kept, held, folder)


def new_folder(name: str, recipes: Mapping[str, AbstractRecipe]) -> pathlib.Path:
    """A folder of its own for a run that was given none."""
    plain = re.sub(r"[^\w.-]", "-", name) or "data"
    return free_folder(f"fit-{plain}-{'-'.join(recipes)}"[:80])
