"""What came of fitting models, in words and in tables of at most 80 letters."""

import io
import math
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from forethought.core.words import duration
from forethought.runs.fit.fitting import Fit
from forethought.runs.fit.held import AHEAD, Held
from forethought.runs.fit.judge import LEVELS, Judged
from forethought.runs.fit.scores import overall

WIDTH, NAME, DIMENSIONS = 80, 12, 20
"""Letters of a line and of a dimension's name, and how many dimensions are told."""
POINTS, LOOSER = 7, {"bayesian": 10, "gp": 10, "gp-moments": 10}
"""By so many points of percent an interval may miss what it claims, and of which
models more is allowed."""
BETTER = 0.9
"""Below this share of a model's error a baseline is told to do better."""


def steps_told(held: Held, most: int = 10) -> int:
    """How far ahead the second column of errors looks, if not further than `most`."""
    within = [k for k in AHEAD if k <= min(most, len(held.linear))]
    return within[-1]


def table(fits: Sequence[Fit], names: Sequence[str], held: Held) -> str:
    """The ranking of models, and the errors of the best one."""
    out = io.StringIO()
    console = Console(file=out, width=WIDTH, markup=False, emoji=False, highlight=False)
    console.print(ranking(fits, held))
    console.print()
    console.print(dimensions(fits[0], names, held))
    if len(names) > DIMENSIONS:
        console.print(f"and {len(names) - DIMENSIONS} more in the report")
    lines = (line.rstrip() for line in out.getvalue().rstrip().splitlines())
    return "\n".join(lines)


def ranking(fits: Sequence[Fit], held: Held) -> Table:
    """One line for each model, the best first, and for what needs no thought."""
    k = steps_told(held)
    shown = Table(box=None, pad_edge=False)
    shown.add_column("", no_wrap=True)
    heads = ["log-lik.", "CRPS", "1 step", f"{k} steps", *["50/80/95 %"]]
    for head in (*heads, "epist.", "time"):
        shown.add_column(head, justify="right", no_wrap=True)
    for fit in fits:
        judged = fit.judged
        errors = overall(judged.errors[[0, k - 1]], held.scale)
        shown.add_row(
            fit.name,
            short(judged.nats),
            short(float(np.mean(judged.crps / held.scale))),
            *map(short, errors),
            covered(inside(judged, 1)),
            share(judged.epistemic_share),
            duration(fit.seconds),
        )
    for name, errors, words in (
        ("linear map", held.linear, "linear"),
        ("no change", held.constant, "constant"),
    ):
        told = overall(errors[[0, k - 1]], held.scale)
        shown.add_row(name, short(held.nats[words]), "", *map(short, told), "", "", "")
    return shown


def dimensions(fit: Fit, names: Sequence[str], held: Held) -> Table:
    """One line for each dimension of the observation, in the data's own units."""
    k, judged = steps_told(held), fit.judged
    shown = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    shown.add_column(f"\n{fit.name}", no_wrap=True)
    heads = ("1 step", "linear", "same", f"{k} steps", "linear", "same")
    for head in (*heads, "CRPS", "50/80/95", "epist."):
        above = "error\n" if "step" in head else "\n"
        shown.add_column(above + head, justify="right", no_wrap=True)
    for i, name in enumerate(names[:DIMENSIONS]):
        told = name if len(name) <= NAME else f"{name[: NAME - 1]}…"
        errors = [
            part[step, i]
            for step in (0, k - 1)
            for part in (judged.errors, held.linear, held.constant)
        ]
        shown.add_row(
            told,
            *map(short, errors),
            short(judged.crps[i]),
            covered(judged.coverage[:, 0, i]),
            share(judged.shares[i]),
        )
    return shown


def progress_of(fit: Fit) -> str:
    """A model that was fitted, in a line."""
    words = [f"{fit.name}: fitted in {duration(fit.seconds)}"]
    if "epochs" in fit.metrics:
        words.append(f"{fit.metrics['epochs']:.0f} epochs")
    if "holdout" in fit.metrics:
        words.append(f"loss {short(fit.metrics['holdout'])} nats on rows it held out")
    words.append(f"log-likelihood {short(fit.judged.nats)} of a step it has not seen")
    return ", ".join(words)


def short(value: float) -> str:
    """Three digits of a number, two of a small one: at most seven letters."""
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 100_000 or 0 < size < 1e-4:
        text = f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    elif size >= 1000:
        text = f"{value:.0f}"
    else:
        text = f"{value:#.3g}".rstrip(".") if size >= 0.01 else f"{value:.2g}"
    return text.replace("-", "−")


def inside(judged: Judged, step: int) -> np.ndarray:
    """The share within the intervals of each level, mean over what changes."""
    return np.nanmean(judged.coverage[:, step - 1], axis=-1)


def covered(shares: np.ndarray) -> str:
    """Shares within the intervals of all levels, in percent."""
    if np.isnan(shares).any():
        return "–"
    return "/".join(f"{100 * each:.0f}" for each in shares)


def share(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.0f} %" if math.isfinite(value) else "–"


def points(name: str) -> int:
    """By how many points of percent intervals of a model may miss what they claim."""
    return LOOSER.get(name, POINTS)


def verdict(fit: Fit) -> str:
    """Whether a model knows how far off it is, in a sentence or two."""
    judged, allowed = fit.judged, points(fit.name)
    if not np.isfinite(judged.errors[0]).all():
        return f"{fit.name} foresees what is no number."
    if silent(judged):
        return (
            f"{fit.name} does not say how far off it is: its intervals have no width."
        )
    one = inside(judged, 1)
    far = min(25, judged.coverage.shape[1])
    words = [f"{fit.name}: one step ahead {_sentence(one, allowed)}"]
    if far > 1:
        later = inside(judged, far)
        words.append(f"{far} steps ahead {_sentence(later, allowed)}")
    return "; ".join(words) + "."


def silent(judged: Judged) -> bool:
    """Whether a model claims no spread at all."""
    return not math.isfinite(judged.nats)


def _sentence(found: np.ndarray, allowed: int) -> str:
    levels = 100 * np.array(LEVELS)
    gaps = 100 * found - levels
    claimed = "/".join(f"{level:.0f}" for level in levels)
    said = f"its {claimed} % intervals hold {covered(found)} % of what happened"
    missed = np.abs(gaps) > allowed
    if not missed.any():
        return f"{said}, within {allowed} points of what they claim"
    worst = gaps[np.argmax(np.abs(gaps))]
    word = "too wide" if worst > 0 else "too narrow"
    return (
        f"{said}: they are {word}, by up to {abs(worst):.2g} points where {allowed} "
        "would do"
    )


def looks(fit: Fit, names: Sequence[str], held: Held) -> list[str]:
    """What else is to be said of a model: where thoughtless foresight does better."""
    said = []
    for words, errors in (
        ("the linear map", held.linear),
        ("that nothing changes", held.constant),
    ):
        better = held.moves & (errors[0] < BETTER * fit.judged.errors[0])
        if better.any():
            told = [names[int(i)] for i in np.flatnonzero(better)]
            more = f" and {len(told) - 4} more" if len(told) > 4 else ""
            shown = ", ".join(told[:4]) + more
            said.append(
                f"One step ahead {words} foresees {shown} better than {fit.name}."
            )
    return said
