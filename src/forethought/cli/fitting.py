"""The command that fits models to a file: `fit`."""

from typing import Any

from forethought.cli.options import FitArguments, FitOptions
from forethought.cli.parse import alone, bad_input, failed, listed, parse, subject, told
from forethought.cli.setup import set_up
from forethought.core.words import visible
from forethought.training.stop import INTERRUPTED

TARGET = "DATA"
DOUBLE = {"gp", "gp-moments", "linear-gaussian"}
"""Models that compute in 64 bits if nothing else is said."""


def fit_command(arguments: list[str]) -> int:
    """Fit models to logged episodes, and judge them on others."""
    path, rest = subject("fit", TARGET, FitOptions, arguments)
    options, recipes = read_fit(rest)
    from forethought.reports.write import write_report
    from forethought.runs.fit.run import fit_in, new_folder, prepare, read
    from forethought.runs.fit.told import looks, verdict
    from forethought.runs.store.folder import RunFolder
    from forethought.runs.store.log import Terminal

    console = Terminal()
    with bad_input():
        asked = {
            "obs": options.obs,
            "action": options.action,
            "reward": options.reward,
            "episode": options.episode,
            "time": options.time,
            "drop_bad": options.drop_bad,
            "discrete": options.discrete,
        }
        name, data = read(path, asked)
        kept = asked | {"holdout": options.holdout, "seed": options.seed}
        command = ["forethought", "fit", *arguments]
        prepared = prepare(name, data, recipes, kept, command)
        out = new_folder(name, recipes) if options.out is None else options.out
        folder = RunFolder.create(out, prepared.config, overwrite=options.overwrite)
    for note in prepared.data.notes:
        console.print(note, soft_wrap=True)
    try:
        with alone(folder), bad_input():
            fitted = fit_in(prepared, folder, console)
            with console.status("drawing the report"):
                report = write_report(folder)
    except (FloatingPointError, OSError) as error:
        raise failed(error, folder) from error
    print()
    print(visible(fitted.table))
    print()
    for fit in fitted.fits:
        for said in (verdict(fit), *looks(fit, fitted.names, fitted.held)):
            console.print(said)
    console.print(f"report  {report}", soft_wrap=True)
    return 0 if len(fitted.fits) == len(recipes) else INTERRUPTED


def read_fit(rest: list[str]) -> tuple[FitOptions, dict[str, Any]]:
    """Options of `fit`, and models by name with their settings; JAX is set up."""
    names = listed(rest, "--model") or list(FitOptions().model)
    bits = told(rest, "--precision")
    if bits not in ("32", "64"):
        bits = "64" if DOUBLE & set(names) else "32"
    set_up(int(bits))
    from forethought.runs.fit.fitting import recipes_of

    with bad_input():
        recipes: dict[str, Any] = recipes_of(names, {})
        if len(recipes) > 1:
            if any(word.startswith("--model.") for word in rest):
                raise ValueError(
                    "--model.FIELD sets what one model is fitted with, but several are "
                    f"fitted: {', '.join(recipes)}."
                )
            return parse(FitOptions, f"fit {TARGET}", rest), recipes
    ((name, recipe),) = recipes.items()
    form: Any = FitArguments[type(recipe)]
    default = FitArguments(FitOptions(), recipe)
    found: FitArguments = parse(form, f"fit {TARGET}", rest, default=default)
    return found.options, {name: found.model}
