"""The page of a training run, from its folder alone, however far the run came."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.figure import Figure

from forethought.reports import page
from forethought.reports.figures import critics, learning, slopes, values
from forethought.reports.figures.learning import Cards, Rows, as_number
from forethought.reports.film import policy
from forethought.reports.film.video import film, frames
from forethought.reports.style import number, png
from forethought.runs import cost
from forethought.runs.store.folder import RunFolder
from forethought.runs.train import bounds
from forethought.runs.train.cards import read_cards, read_slopes
from forethought.runs.train.lines import lines
from forethought.runs.train.taught import compared

SECTIONS: dict[str, tuple[str, str, Callable[[Rows, Cards], Figure | None]]] = {
    "fans": (
        "Imagined and real",
        "Open-loop forecasts under the actions that were taken, at several stages of "
        "training, each made before the model had seen what happened.",
        learning.fans,
    ),
    "errors": (
        "How far off the model is",
        "Root mean square error of open-loop forecasts, in standard deviations of what "
        "is observed; dashed is the forecast that nothing changes.",
        learning.errors,
    ),
    "calibration": (
        "Whether the model knows how far",
        "How often forecast bands held what happened; dashed is how often they claim "
        "to. Below it the model is too sure, above it too timid.",
        learning.calibration,
    ),
}
"""Figures over the whole width by the name of their file: title, note, who draws."""
HALVES: dict[str, tuple[str, str, Callable[[Rows, Cards], Figure | None]]] = {
    "lengths": (
        "Steps of each episode",
        "Exploring included.",
        lambda rows, cards: learning.lengths(rows),
    ),
    "disagreement": (
        "Where members disagree",
        "If plans lead where members disagree more than where the agent then comes, "
        "planning exploits errors of the model.",
        learning.doubts,
    ),
    "fit": (
        "Score of the fitted model",
        "After each fit, on rows held out, or on all where none are; less is better.",
        lambda rows, cards: learning.fit(rows),
    ),
}
COLUMNS = {
    "interval": "interval",
    "step": "steps",
    "kind": "actions",
    "episodes": "episodes",
    "lengths": "their steps",
    "return": "return",
    "evaluation": "evaluation",
    "success": "success",
    "td_error": "error of values",
    "backups": "updates a step",
    "plan_value": "return planned",
    "foreseen": "return foreseen",
    "holdout": "hold-out [nats]",
    "error_1": "error, 1 step",
    f"error_{learning.FAR}": f"error, {learning.FAR} steps",
    "coverage_90": "in 90 % band",
    "seconds": "seconds",
}
"""Metrics in the table, with their headings."""
LINES = 60
"""The table shows at most so many intervals, the last ones."""


def body(folder: RunFolder, config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Title and cards of the page; figures are saved in `plots/` on the way.

    Args:
        folder: Of the run.
        config: Its settings.
    """
    task, agent = config.get("task", "A run"), config.get("planner", "")
    rows, cards = lines(folder), read_cards(folder)
    limits = (
        folder.read_json(bounds.FILE, bounds.Bounds) if folder.has(bounds.FILE) else {}
    )
    price = folder.read_json(cost.FILE, cost.Price) if folder.has(cost.FILE) else {}
    parts = [
        f"<header><h1>{page.escape(task)} <span>learned by {page.escape(agent)}</span>"
        f"</h1><p>{page.escape(_story(rows, config, limits))}</p></header>",
        page.tiles(_facts(rows, limits, price) | dict(compared(folder))),
    ]
    halved = dict(HALVES)
    if learning.steps_lead(rows) and (first := learning.lengths(rows, wide=True)):
        title, note, _ = halved.pop("lengths")
        parts += [_card(folder, "lengths", title, note, first, kind="wide")[0]]
    parts += [
        _card(
            folder,
            "learning",
            "Learning",
            "One point for each episode.",
            learning.curves(rows, limits),
            kind="wide",
        )[0],
    ]
    for name, (title, note, draw) in SECTIONS.items():
        if (figure := draw(rows, cards)) is not None:
            parts += [_card(folder, name, title, note, figure, kind="wide")[0]]
    if (figure := slopes.figure(read_slopes(folder))) is not None:
        title = "Gradients through time"
        note = (
            "How far derivatives reach, by the number of steps that they go through: "
            "medians over states of the interval. Above one, a step stretches what "
            "goes through it; where the product explodes, clip, truncate, or shorten "
            "the horizon."
        )
        parts += [_card(folder, "gradients", title, note, figure, kind="wide")[0]]
    if (figure := critics.figure(rows)) is not None:
        title = "Critics"
        note = (
            "What they expected of the first actions of evaluations, beside what these "
            "earned, discounted, with all that critics count besides; and what they "
            "learn from."
        )
        parts += [_card(folder, "critics", title, note, figure, kind="wide")[0]]
    halves = []
    if folder.has(policy.FILE) and not folder.has("video.mp4"):
        film(folder, *frames(policy.Footage.load(folder))[:2])
    if folder.has("video.mp4"):
        content = page.film(folder.read("video.mp4"))
        note = "An episode after training, without exploring."
        halves += [(page.section("What was learned", note, content), 0.75)]
    if (figure := values.figure(folder)) is not None:
        note = "What the best action is worth; arrows for all that are worth as much."
        halves += [_card(folder, "values", "Values and policy", note, figure)]
    for name, (title, note, draw) in halved.items():
        if (figure := draw(rows, cards)) is not None:
            halves += [_card(folder, name, title, note, figure)]
    if halves:
        parts += [f'<div class="wide">{page.columns(halves)}</div>']
    return f"{task} · {agent}", [*parts, _table(rows)]


def _read(folder: RunFolder, name: str, form: Any) -> dict[str, Any]:
    """What a file says; nothing where there is none."""
    return folder.read_json(name, form) if folder.has(name) else {}


def _card(
    folder: RunFolder,
    name: str,
    title: str,
    note: str,
    figure: Figure,
    kind: str = "",
) -> tuple[str, float]:
    """A figure saved, as a card, and its height as a share of its width."""
    content = png(figure)
    folder.write(f"plots/{name}.png", content)
    card = page.section(title, note, page.picture(content, title), kind=kind)
    return card, figure.get_figheight() / figure.get_figwidth()


def _story(rows: Rows, config: Mapping[str, Any], limits: Mapping[str, Any]) -> str:
    """How far the run came, in a sentence or two."""
    ended = sum(row["episodes"] for row in rows)
    said = f"{rows[-1]['step']:,} environment steps, {ended:,} whole episodes"
    wanted = config.get("options", {}).get("steps")
    if isinstance(wanted, int) and rows[-1]["step"] < wanted:
        said += f"; stopped before its end, of {wanted:,} steps"
    if "note" in limits:
        said += f". No exact-model bound: {limits['note'].rstrip('.')}"
    return f"{said}."


def _facts(
    rows: Rows, limits: Mapping[str, Any], price: Mapping[str, Any]
) -> dict[str, str]:
    """The tiles."""
    _, returns, planned = learning.episodes(rows)
    facts = {}
    if len(returns):
        facts["return of the last episode"] = _short(returns[-1])
        best = returns[planned]
        facts["best planned episode"] = _short(max(best, default=math.nan))
    ends = [length for row in rows for length in row.get("lengths", ())]
    if len({*ends}) > 1:
        told = {
            "steps of the last episode": f"{ends[-1]:,}",
            "steps of the shortest one": f"{min(ends):,}",
        }
        facts = told | facts if learning.steps_lead(rows) else facts | told
    judged = [row["evaluation"] for row in rows if row.get("evaluation") is not None]
    if judged:
        facts["last evaluation"] = _short(judged[-1])
    reached = [row["success"] for row in rows if row.get("success") is not None]
    if reached:
        facts["last share of successes"] = f"{reached[-1]:.0%}"
    for name, words in (
        ("exact", "exact model"),
        ("random", "random actions"),
    ):
        if name in limits:
            found = limits[name]
            told = found.get("label", words)
            facts[f"{told}: mean of {len(found['returns'])}"] = _short(found["mean"])
    spoilt = [row["non_finite"] for row in rows if "non_finite" in row]
    if spoilt:
        facts["imagined returns that were no number"] = f"{sum(spoilt):,}"
    failed = [row["plan_failed"] for row in rows if "plan_failed" in row]
    if failed:
        facts["plans that failed"] = f"{sum(failed):,}"
    if price:
        words = f"an action, of {price['flops']:.1e} operations"
        facts[words] = cost.duration(price["seconds"])
    facts["seconds"] = f"{sum(as_number(row['seconds']) for row in rows):,.0f}"
    return facts


def _table(rows: Rows) -> str:
    """Lines of metrics, as far as they hold what the table shows."""
    there = [name for name in COLUMNS if any(name in row for row in rows)]
    lines = [[_cell(row.get(name)) for name in there] for row in rows[-LINES:]]
    note = "" if len(rows) <= LINES else f"The last {LINES} of {len(rows)} intervals."
    heads = [COLUMNS[name] for name in there]
    content = page.table(lines, heads)
    return page.section("Intervals", note, content, kind="wide")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return _short(sum(value) / len(value)) if value else "–"
    return _short(value) if isinstance(value, float) else str(value)


def _short(value: Any) -> str:
    """Four digits of a number as JSON has it."""
    value = as_number(value)
    return number(float(f"{value:.4g}")) if math.isfinite(value) else "–"
