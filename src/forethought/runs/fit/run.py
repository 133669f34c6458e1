"""`fit` as one call: data in, ranked models and their folder out.

    import forethought as ft

    fitted = ft.fit("swings.csv", "ensemble", obs="angle speed", action="torque")
    print(fitted.table)
    fitted.model

The folder is that of `forethought fit`, and `forethought.load` gives it back.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from forethought.core.given.settings import small_seed
from forethought.data.logged import Logged
from forethought.data.sources.columns import Patterns
from forethought.models.learned.recipes import AbstractRecipe
from forethought.runs.fit.fitting import (
    Data,
    Fit,
    data_of,
    fit_one,
    ranked,
    recipes_of,
)
from forethought.runs.fit.held import Held, hold
from forethought.runs.fit.kept import Fitted, config_of, save_data, save_fit
from forethought.runs.fit.told import progress_of
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.place import free_folder
from forethought.training import stop

LONGEST = 80
"""Letters of a folder's name, at most."""


def fit(
    data: str | os.PathLike | Logged,
    models: str | AbstractRecipe | Sequence[str | AbstractRecipe] = "ensemble",
    *,
    obs: Patterns = None,
    action: Patterns = None,
    reward: str | None = None,
    episode: str | None = None,
    time: str | None = None,
    drop_bad: bool = False,
    discrete: bool = False,
    holdout: float = 0.2,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> Fitted:
    """Fit models to logged episodes, and judge them on others that were held out.

    Args:
        data: A file, a data set or the folder of a run (as `forethought.runs.logged`
            reads them), or what was read of one.
        models: Which ones: names (see `forethought models`) or recipes.
        obs: Columns of a file that were seen: names or patterns, in one string or
            several; guessed from usual names if not given.
        action: Columns of what was done, the same.
        reward: The column of rewards.
        episode: The column that tells episodes apart.
        time: The column of times; a jump begins a new episode.
        drop_bad: Whether to go on without rows that are bad.
        discrete: Whether the action is the number of a choice.
        holdout: Share of the episodes that no model sees.
        seed: Of the hold-out, and of everything random in a fit.
        out: The run folder, new or empty; by default a new one under `runs/`.
        overwrite: Whether a finished run of `fit` that `out` holds is replaced.
        progress: Whether to tell at the terminal how far it is.
        **settings: Settings of the model that replace its own, where one is fitted.

    Returns:
        The models, the best first; everything is in its folder as well.

    Raises:
        ValueError: The file cannot be read; there are fewer than two episodes; there is
            no such model or setting; somebody's files lie in `out`.
        TypeError: Something is no model.
        OSError: The folder cannot be written.
    """
    from forethought.runs.store.log import Terminal

    recipes = recipes_of(models, settings)
    asked = {
        **{"obs": obs, "action": action, "reward": reward, "episode": episode},
        **{"time": time, "drop_bad": drop_bad, "discrete": discrete},
    }
    name, logged = read(data, asked)
    options = asked | {"holdout": holdout, "seed": seed}
    prepared = prepare(name, logged, recipes, options)
    path = new_folder(name, recipes) if out is None else out
    folder = RunFolder.create(path, prepared.config, overwrite=overwrite)
    with folder.alone():
        return fit_in(prepared, folder, Terminal(quiet=not progress))


def read(
    data: str | os.PathLike | Logged, asked: Mapping[str, Any]
) -> tuple[str, Logged]:
    """What data are called, and what is in them.

    Args:
        data: A file, or what was read of one.
        asked: What was said of its columns.

    Raises:
        ValueError: The file cannot be read, or columns are named of what was read.
    """
    if isinstance(data, Logged):
        if given := [key for key, each in asked.items() if each]:
            raise ValueError(
                f"fit needs no {given[0]} for data that were read already; it names "
                "columns of a file."
            )
        return "data", data
    from forethought.runs.logged import read

    return pathlib.Path(data).stem, read(data, **asked)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """All that is decided before anything is fitted."""

    recipes: Mapping[str, AbstractRecipe]
    data: Data
    fitting: Logged
    held: Held
    seed: int
    config: Mapping[str, Any]


def prepare(
    name: str,
    data: Logged,
    recipes: Mapping[str, AbstractRecipe],
    options: Mapping[str, Any],
    command: Sequence[str] | None = None,
) -> Prepared:
    """Hold episodes out, and write down all settings.

    Args:
        name: What the data are called.
        data: Whole episodes.
        recipes: Models to fit, by name.
        options: All else that decides what is done; `holdout` and `seed` are read.
        command: That which began it, where there was one.

    Raises:
        ValueError: There are fewer than two episodes, or the share is none.
    """
    seed = options["seed"]
    fitting, held_out = data.split(options["holdout"], small_seed(seed))
    kept, held = data_of(name, fitting, held_out), hold(fitting, held_out)
    config = config_of(kept, held, recipes, options, command)
    return Prepared(recipes, kept, fitting, held, seed, config)


def fit_in(prepared: Prepared, folder: RunFolder, console: Console) -> Fitted:
    """Fit, judge and keep each model, telling how far it is.

    Where it is interrupted, the models that were fitted before are what came out.

    Args:
        prepared: What to do.
        folder: Where it is kept; its config is written.
        console: Where it is told.

    Raises:
        ValueError: No model can be fitted to such data.
        TypeError: As before.
        KeyboardInterrupt: It was interrupted before any model was fitted.
    """
    fits: list[Fit] = []
    refusals: dict[str, Exception] = {}
    for name, recipe in prepared.recipes.items():
        try:
            stop.look()
            found = _one(prepared, name, recipe, console)
        except KeyboardInterrupt:
            if not fits:
                folder.discard()
                raise
            break
        except (ValueError, TypeError) as refusal:
            refusals[name] = refusal
            console.print(f"{name} refuses: {refusal}", soft_wrap=True)
            continue
        if not fits:
            save_data(folder, prepared.data, prepared.held)
        save_fit(folder, found, prepared.held.scale)
        fits.append(found)
        console.print(progress_of(found), soft_wrap=True)
    if not fits:
        folder.discard()
        raise next(iter(refusals.values()))
    folder.finish()
    return Fitted(ranked(fits), prepared.data, prepared.held, folder)


def _one(
    prepared: Prepared, name: str, recipe: AbstractRecipe, console: Console
) -> Fit:
    """One model, fitted and judged under a line that says what is done now."""
    place = list(prepared.recipes).index(name) + 1
    of = f" ({place} of {len(prepared.recipes)})" if len(prepared.recipes) > 1 else ""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    live = console.is_terminal and not console.quiet
    shown = Progress(*columns, console=console, transient=True, disable=not live)
    with shown as progress:
        bar = progress.add_task(f"fitting {name}{of}", total=None)
        return fit_one(
            name,
            recipe,
            prepared.data,
            prepared.fitting,
            prepared.held,
            seed=prepared.seed,
            stage=lambda words: progress.update(bar, description=f"{words}{of}"),
        )


def new_folder(name: str, recipes: Mapping[str, AbstractRecipe]) -> pathlib.Path:
    """A folder of its own for a run that was given none."""
    plain = re.sub(r"[^\w.-]", "-", f"{name}-{'-'.join(recipes)}")
    return free_folder(plain[:LONGEST])
