"""The page of models that were fitted to data, from their folder alone."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from forethought.core.words import duration
from forethought.reports import page
from forethought.reports.figures import fit as figures
from forethought.reports.style import png
from forethought.runs.fit.held import AHEAD
from forethought.runs.fit.kept import Fitted
from forethought.runs.fit.scores import overall
from forethought.runs.fit.told import (
    covered,
    inside,
    looks,
    share,
    short,
    silent,
    verdict,
)

SECTIONS: dict[str, tuple[str, str, Callable[[Fitted], Figure | None]]] = {
    "forecasts": (
        "Foreseen and real",
        "Held-out episodes from their first row on, under the actions that were really "
        "taken: what {name} foresaw without looking again, and what happened.",
        figures.fans,
    ),
    "errors": (
        "Error against how far ahead",
        "Root mean square over held-out episodes, of the mean that is foreseen; in the "
        "data's own units, and for all dimensions together in standard deviations.",
        figures.errors,
    ),
    "calibration": (
        "Whether the model knows how far off it is",
        "How often central intervals held what happened, against how often they claim "
        "to. Below the line a model is too sure, above it too timid; pale lines are "
        "single dimensions of {name}.",
        figures.calibration,
    ),
    "where": (
        "Where the model is unsure",
        "Epistemic doubt about the next step, which more data would take away, in "
        "standard deviations of a step's change: away from the data, over them, and "
        "along single dimensions; orange is the median.",
        figures.where,
    ),
}
"""Figures by the name of their file: title, note, who draws."""


def body(fitted: Fitted) -> tuple[str, list[str]]:
    """Title and cards of the page; figures are saved in `plots/` on the way."""
    data, best = fitted.data, fitted.fits[0]
    told = [verdict(fit) for fit in fitted.fits]
    told += [
        each for fit in fitted.fits for each in looks(fit, fitted.names, fitted.held)
    ]
    said = "".join(f"<p>{page.escape(each)}</p>" for each in told)
    story = (
        f"{data.rows:,} steps of {data.episodes:,} episodes to learn from, "
        f"{data.held_rows:,} of {data.held_episodes:,} held out."
    )
    names = ", ".join(fit.name for fit in fitted.fits)
    parts = [
        f"<header><h1>{page.escape(data.name)} <span>foreseen by {page.escape(names)}"
        f"</span></h1><p>{page.escape(story)}</p></header>",
        page.tiles(_facts(fitted)),
        f'<section class="wide"><h2>In words</h2>{said}</section>',
    ]
    if len(fitted.fits) > 1:
        parts += [_ranking(fitted)]
    for name, (title, note, draw) in SECTIONS.items():
        if (figure := draw(fitted)) is not None:
            content = png(figure)
            fitted.folder.write(f"plots/{name}.png", content)
            shown = page.picture(content, title)
            said = note.format(name=best.name)
            parts += [page.section(title, said, shown, kind="wide")]
    parts += [_dimensions(fitted)]
    if data.notes:
        notes = "".join(f"<p>{page.escape(note)}</p>" for note in data.notes)
        parts += [
            f'<section class="wide"><h2>As the data were read</h2>{notes}</section>'
        ]
    return f"{data.name} · {names}", parts


def _facts(fitted: Fitted) -> dict[str, str]:
    """The tiles: the best model in a few numbers."""
    fit, held = fitted.fits[0], fitted.held
    judged = fit.judged
    error, linear = (
        float(overall(part[0], held.scale)) for part in (judged.errors, held.linear)
    )
    facts = {
        "best model": fit.name,
        "error of one step [std]": short(error),
        "that of a linear map": short(linear),
    }
    if not silent(judged):
        facts["log-likelihood of a step"] = short(judged.nats)
        facts["in its 80 % interval"] = f"{100 * inside(judged, 1)[1]:.0f} %"
        facts["epistemic share"] = share(judged.epistemic_share)
    return facts | {"to fit": duration(fit.seconds)}


def _ahead(fitted: Fitted) -> list[int]:
    return [k for k in AHEAD if k <= len(fitted.held.linear)]


def _ranking(fitted: Fitted) -> str:
    """One line for each model, the best first."""
    held, ahead = fitted.held, _ahead(fitted)
    index = [k - 1 for k in ahead]
    rows = [
        [
            fit.name,
            short(fit.judged.nats),
            short(float(np.mean(fit.judged.crps / held.scale))),
            *map(short, overall(fit.judged.errors[index], held.scale)),
            covered(inside(fit.judged, 1)),
            share(fit.judged.epistemic_share),
            duration(fit.seconds),
        ]
        for fit in fitted.fits
    ]
    for name, errors, key in (
        ("linear map", held.linear, "linear"),
        ("no change", held.constant, "constant"),
    ):
        told = map(short, overall(errors[index], held.scale))
        rows.append([name, short(held.nats[key]), "", *told, "", "", ""])
    heads = ["", "log-likelihood", "CRPS", *map(_steps, ahead)]
    return page.section(
        "Models, the best first",
        "By the log-likelihood of a held-out step. Errors and CRPS are in standard "
        "deviations of the data.",
        page.table(rows, [*heads, "in 50/80/95 %", "epistemic", "time"]),
        kind="wide",
    )


def _dimensions(fitted: Fitted) -> str:
    """Errors of the best model in own units, one line for each dimension and source."""
    held, fit, ahead = fitted.held, fitted.fits[0], _ahead(fitted)
    rows = []
    for i, name in enumerate(fitted.names):
        for who, errors in (
            (fit.name, fit.judged.errors),
            ("linear map", held.linear),
            ("no change", held.constant),
        ):
            own = who == fit.name
            rest = [""] * 3
            if own:
                rest = [
                    short(fit.judged.crps[i]),
                    covered(fit.judged.coverage[:, 0, i]),
                    share(fit.judged.shares[i]),
                ]
            told = [short(errors[k - 1, i]) for k in ahead]
            rows.append([name if own else "", who, *told, *rest])
    heads = ["", "", *map(_steps, ahead), "CRPS", "in 50/80/95 %", "epistemic"]
    return page.section(
        "Every dimension",
        f"Errors of {fit.name} in the data's own units, beside what needs no thought.",
        page.table(rows, heads),
        kind="wide",
    )


def _steps(k: int) -> str:
    return f"{k} step{'s' * (k > 1)}"
