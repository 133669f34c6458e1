"""The page of an episode that was planned."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from forethought.core.results import NAMES
from forethought.reports import page
from forethought.reports.figures import episode, foreseen, search, tables, tree
from forethought.reports.style import gap, number, png
from forethought.runs.fit.foreseen import FILE as FORESEEN
from forethought.runs.fit.foreseen import Foreseen
from forethought.runs.plan.realised import expected_and_met
from forethought.runs.plan.record import Record
from forethought.runs.store.folder import RunFolder

SECTIONS: dict[str, tuple[str, str, Callable[[Record], Figure | None]]] = {
    "states": (
        "States",
        "What was met, and what the first plan had expected.",
        episode.states,
    ),
    "actions": (
        "Actions",
        "Each held for one step; dashed lines are limits.",
        episode.actions,
    ),
    "returns": (
        "Expected and realised return",
        "What each plan said it would earn, and what then came.",
        episode.returns,
    ),
    "fan": (
        "The first plan narrows",
        "Futures imagined on the way to the first plan, from faint (early) to "
        "strong (late); the plan that came out is orange.",
        search.fan,
    ),
    "search": (
        "Search for the first plan",
        "Its progress from iteration to iteration.",
        search.search,
    ),
    "tree": (
        "The tree of the first plan",
        "Its most visited nodes, and what was found about the first action.",
        tree.tree,
    ),
    "gains": (
        "Feedback gains of the first plan",
        "How much each action answers to a deviation in each coordinate of the state.",
        search.gains,
    ),
    "timing": (
        "Time and results",
        "How long steps took, and how planning ended.",
        episode.timing,
    ),
}
"""Every figure of a run by the name of its file: title, what is seen, who draws it."""

REST, FEW, CHATTERS = 0.02, 10, 0.03
"""A share of all motion that counts as rest, steps of it that are needed, and the share
of its range from which on an action chatters."""

TABLE_SECTIONS = SECTIONS | {
    "states": (
        "Where it went",
        "What value iteration finds best, and what each place is worth; then what was "
        "met, and what the first plan had expected.",
        tables.where,
    ),
    "actions": (
        "Choices",
        "What was chosen at each step, and what the first plan would have.",
        tables.choices,
    ),
    "fan": (
        "The first plan narrows",
        "Futures imagined on the way to the first plan, drawn a little apart.",
        tables.fan,
    ),
}
"""The same for episodes in a table."""


def _figures(folder: RunFolder, seen: Record) -> dict[str, tuple[str, float]]:
    """Save every figure under `plots/`; return each as a card and its height."""
    made = {}
    sections = TABLE_SECTIONS if seen.table else SECTIONS
    for name, (title, note, draw) in sections.items():
        figure = draw(seen)
        more = _smoother(folder, seen) if name == "actions" else ""
        if figure is not None:
            content = png(figure)
            folder.write(f"plots/{name}.png", content)
            card = page.section(title, note + more, page.picture(content, title))
            made[name] = card, figure.get_figheight() / figure.get_figwidth()
    return made


def finished(folder: RunFolder, seen: Record) -> tuple[str, list[str]]:
    """Title and body of an episode that was recorded."""
    results = seen.results[seen.made]
    counts = {name: int((results == name).sum()) for name in NAMES}
    steps = int(seen.alive.sum())
    facts: dict[str, Any] = {"return": number(seen.value)}
    if math.isfinite(seen.optimum):
        facts["known optimum"] = number(seen.optimum)
        facts["below the optimum"] = gap(seen.value, seen.optimum)
    facts |= {
        "steps" + _seconds(seen, steps): steps,
        "plans a second": number(float(f"{seen.plan_rate:.3g}")),
        "steps ahead" + _seconds(seen, seen.horizon): seen.horizon,
    }
    if (share := chatter(seen)) is not None:
        facts["of its range an action changes by from step to step at rest"] = (
            f"{100 * share:.2g} %"
        )
    for name, count in counts.items():
        if count:
            facts[f"of {len(results)} plans: {name.replace('_', ' ')}"] = count
    film = page.film(folder.read("video.mp4"))
    speed = f"{1 / seen.dt:.3g} steps a second." if seen.table else "In real time."
    cards = {"video": (page.section("Video", speed, film), 0.75)}
    cards |= _figures(folder, seen)
    cards |= _foreseen(folder, seen, facts)
    body = [
        f"<header><h1>{page.escape(seen.task)} <span>by "
        f"{page.escape(seen.planner)}</span></h1>"
        f"<p>{page.escape(capital(seen.summary))}. "
        f"<span class=quiet>{page.escape(capital(seen.execution))}.</span></p>"
        "</header>",
        page.tiles(facts),
        page.columns(cards.values()),
    ]
    return f"{seen.task} · {seen.planner}", body


def _foreseen(
    folder: RunFolder, seen: Record, facts: dict[str, Any]
) -> dict[str, tuple[str, float]]:
    """What a fitted model foresaw, where one was planned with; facts are added to."""
    if not folder.has(FORESEEN):
        return {}
    told = Foreseen.load(folder)
    if both := expected_and_met(seen):
        steps = f"over {seen.horizon} steps"
        facts[f"plans expected {steps}, mean"] = number(both[0])
        facts[f"then came {steps}, mean"] = number(both[1])
    if np.isfinite(told.share).any():
        share = 100 * float(np.nanmean(told.share))
        facts["of the first plan's variance data would teach"] = f"{share:.2g} %"
    figure = foreseen.foreseen(told)
    content = png(figure)
    folder.write("plots/foreseen.png", content)
    title = "What the model foresaw of the first plan"
    note = (
        "Where its particles are led, what was met, and how far the model could know. "
        "What is met parts from it where plans are made anew."
    )
    card = page.section(title, note, page.picture(content, title))
    return {"foreseen": (card, figure.get_figheight() / figure.get_figwidth())}


def chatter(seen: Record) -> float | None:
    """How much actions change from step to step at rest, as a share of their range.

    At rest is a step in which no coordinate moves by more than a fiftieth of all that
    it moved in the episode. None where there is no rest, or actions have no range.
    """
    width = seen.high - seen.low
    if seen.table or not np.isfinite(width).all() or not (width > 0).any():
        return None
    steps = int(seen.alive.sum())
    states, actions = seen.states[: steps + 1], seen.actions[:steps, width > 0]
    moved = np.abs(np.diff(states, axis=0)) / np.maximum(np.ptp(states, axis=0), 1e-9)
    rests = (moved < REST).all(axis=1)
    both = rests[1:] & rests[:-1]
    if both.sum() < FEW:
        return None
    changes = np.abs(np.diff(actions, axis=0)) / width[width > 0]
    return float(np.mean(changes[both]))


def _smoother(folder: RunFolder, seen: Record) -> str:
    """What to set where actions chatter and the planner can draw smoother ones."""
    settings = folder.config().get("settings")
    plain = isinstance(settings, Mapping) and settings.get("degree") == 0
    if not plain or (chatter(seen) or 0) < CHATTERS:
        return ""
    return (
        " They chatter at rest: --planner.hold 3 --planner.degree 3 draws them as "
        "splines, which are smoother."
    )


def _seconds(seen: Record, steps: int) -> str:
    """How long steps take, where they take any time."""
    return "" if seen.table else f", {steps * seen.dt:.3g} s"


def unfinished(folder: RunFolder, config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Title and body of a run that was killed before its end: its metrics alone."""
    title = f"{config.get('task', 'A run')} · {config.get('planner', '')}"
    rows = folder.metrics()
    columns = ("step", "time", "return", "seconds", "result")
    lines = [[row.get(name, "") for name in columns] for row in rows[-20:]]
    body = [
        f"<header><h1>{page.escape(title)}</h1><p>This run stopped before its end, "
        f"after {len(rows)} lines of metrics.</p></header>",
        page.section("The last metrics", "", page.table(lines, columns), kind="wide"),
    ]
    return title, body


def capital(text: str) -> str:
    """A sentence's first letter."""
    return text[:1].upper() + text[1:].rstrip(".")
