"""What a reproduction shows: one figure and one page, made of its JSON alone."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from forethought.core.words import duration
from forethought.reports import page
from forethought.reports.figures.claim import figure
from forethought.reports.figures.learning import as_number
from forethought.reports.page import leaves
from forethought.reports.pages import study as study_page
from forethought.reports.style import number, png
from forethought.runs.claims.kept import read_result
from forethought.runs.store.files import write_atomically
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.place import place_of
from forethought.runs.store.plain import as_json

FIGURE = "reproduction.png"
NEWEST = 60
"""So many returns of a seed are shown, at most."""
Result = Mapping[str, Any]


def shown(value: Any) -> str:
    """A number of a check; what never happened is infinite, or has none."""
    return number(value) if isinstance(value, int | float) else "never"


def verdict(check: Mapping[str, Any]) -> str:
    """A check and how it went, in a sentence."""
    word = "passed" if check["passed"] else "FAILED"
    return f"{word}: {check['promise']} ({found(check)}, wanted {wanted(check)})"


def remark(check: Mapping[str, Any]) -> str:
    """What was judged though nobody asked for it, in a sentence."""
    word = "so it is" if check["passed"] else "not so"
    return f"{word}: {check['promise']} ({found(check)}, beside {wanted(check)})"


def found(check: Mapping[str, Any]) -> str:
    """What a check is judged by."""
    if "held" in check:
        return f"kept by {check['held']} of {len(check['seeds'])} seeds"
    return f"median over seeds {shown(check['median'])}"


def wanted(check: Mapping[str, Any]) -> str:
    """What a check asks for."""
    asked = f"{check['relation']} {shown(check['goal'])}"
    if "wanted" not in check:
        return f"{asked}, from {check['than']}" if "than" in check else asked
    if "than" in check:
        asked = f"{check['relation']} what {check['than']} sets on the same seed"
    return f"{check['wanted']}: {asked}"


def yardstick(value: Mapping[str, Any] | None) -> str:
    """Bound or floor, with its spread over episodes where there are several."""
    if value is None:
        return "–"
    mean = number(_digits(value["mean"]))
    if value["std"] is None:
        return mean
    return f"{mean} ± {number(_digits(value['std'], 2))}"


def _digits(value: float, count: int = 4) -> float:
    return float(f"{value:.{count}g}")


def write_reproduction(folder: RunFolder) -> Path:
    """Make figure and page of a reproduction, from its `reproduction.json`.

    Returns:
        The path of `report.html`.
    """
    result = read_result(folder)
    draw, tell = figure, _body
    if "at" in result:
        draw, tell = study_page.figure, study_page.body
    content = png(draw(result))
    folder.write(FIGURE, content)
    title = f"reproduce {result['name']}"
    return folder.write("report.html", page.document(title, tell(result, content)))


def _body(result: Result, content: bytes) -> list[str]:
    arms = result["arms"]
    passed = sum(check["passed"] for check in result["checks"])
    whose = "our" if result["settings"] == "ours" else "the paper's"
    note = f" {result['note']}" if result["note"] else ""
    checks = [_judged(check, ("failed", "passed")) for check in result["checks"]]
    remarks = [_judged(each, ("not so", "so")) for each in result.get("remarks", ())]
    facts = {"checks passed": f"{passed} of {len(result['checks'])}"}
    for name, arm in arms.items():
        facts |= _facts(name, arm)
    sources = [(each["label"], each["source"]) for each in result["published"]]
    body = [
        f"<header><h1>{page.escape(result['name'])} <span>reproduced with {whose} "
        "settings</span></h1>"
        f"<p>{page.escape(result['claim'])}.</p>"
        f"<p class=quiet>{page.escape(result['variant'] + note)}</p></header>",
        page.tiles(facts),
        page.section(
            "Promises",
            "Each is about the median over seeds, or about how many of them keep it.",
            page.table(checks, ("", "promise", "wanted", "found", "each seed")),
            kind="wide",
        ),
        *_remarks(remarks),
        page.section(
            "Learning",
            "One thin line a seed. The bound is what is earned with the exact model, "
            "by the same agent or by plans; grey bands are one standard deviation over "
            "episodes.",
            page.picture(content, "Returns over training, and what they show"),
            kind="wide",
        ),
        *(_seeds(name, arm) for name, arm in arms.items()),
    ]
    if sources:
        title = "What others report"
        table = page.table(sources, ("who", "where it stands"))
        body.append(page.section(title, "", table, kind="wide"))
    where = {"commit": result["commit"], "machine": result["machine"]}
    commands = [arm["train"] for arm in arms.values() if "train" in arm]
    again = "\n".join([result["command"], *(f"# {each}" for each in commands)])
    body += [
        page.section(
            "Run it again",
            "The same seeds on the same machine give the same numbers.",
            f"<pre>{page.escape(again)}</pre>",
            kind="wide",
        ),
        page.section("Where it ran", "", page.pairs(leaves(where)), kind="wide"),
    ]
    for name, arm in arms.items():
        title = f"Settings of {name}" if name else "Settings"
        body.append(
            page.section(title, "", page.pairs(leaves(arm["run"])), kind="wide")
        )
    return [
        *body,
        "<footer>Every number is in reproduction.json. Made by forethought.</footer>",
    ]


def _judged(check: Mapping[str, Any], words: tuple[str, str]) -> tuple[str, ...]:
    """A row of the table of promises."""
    return (
        words[check["passed"]],
        check["promise"],
        wanted(check),
        found(check),
        ", ".join(shown(value) for value in check["seeds"]),
    )


def _remarks(rows: list[tuple[str, ...]]) -> list[str]:
    """What is told beside the promises, if anything is."""
    if not rows:
        return []
    table = page.table(rows, ("", "statement", "compared", "found", "each seed"))
    note = "Judged as promises are, but asked of nobody."
    return [page.section("Remarks", note, table, kind="wide")]


def _facts(name: str, arm: Mapping[str, Any]) -> dict[str, str]:
    """What an arm came to, in tiles."""
    of, seeds = f"{name}: " if name else "", arm["seeds"]
    facts = {
        "best return, median over seeds": number(_digits(arm["median_best"][-1])),
        "last return, median over seeds": number(_digits(arm["median"][-1])),
        "exact model": yardstick(arm["bound"]),
        "random actions": yardstick(arm["floor"]),
        "environment steps a seed": f"{arm['steps'][-1]:,}",
        "wall time of a seed": _typical(seeds, "seconds"),
        "CPU time of a seed": _typical(seeds, "cpu"),
    }
    if name:  # of several arms, what tells them apart
        kept = ("last return, median over seeds", "CPU time of a seed")
        facts = {words: facts[words] for words in kept}
    return {of + words: value for words, value in facts.items() if value != "–"}


def _typical(seeds: list[Mapping[str, Any]], name: str) -> str:
    values = [as_number(run.get(name)) for run in seeds]
    return duration(float(np.median(values))) if np.isfinite(values).all() else "–"


def _seeds(name: str, arm: Mapping[str, Any]) -> str:
    """The table of an arm's seeds."""
    heads = ["seed", "best", "last", "all episodes", "evaluations", "successes"]
    rows = [
        [
            run["seed"],
            number(max(run["returns"])),
            number(run["returns"][-1]),
            _listed(run["returns"]),
            _listed(run.get("evaluations", ())),
            _listed(run.get("successes", ())),
            duration(run["seconds"]),
            _typical([run], "cpu"),
        ]
        for run in arm["seeds"]
    ]
    heads += ["time", "CPU time"]
    there = [
        i for i in range(len(heads)) if any(row[i] not in ("", "–") for row in rows)
    ]
    table = page.table(
        [[row[i] for i in there] for row in rows], [heads[i] for i in there]
    )
    title = f"Seeds of {name}" if name else "Seeds"
    note = "Returns in the order of episodes."
    limits = [
        f"{words} {yardstick(arm[key])}"
        for key, words in (("bound", "exact model"), ("floor", "random actions"))
        if arm[key] is not None
    ]
    if name and limits:
        note += f" {', '.join(limits).capitalize()}."
    if arm["bound"] is None and (why := arm.get("bound_note")):
        note += f" No exact-model bound: {why}"
    return page.section(title, note, table, kind="wide")


def _listed(values: Any) -> str:
    """Numbers in a row, the last ones where there are many; empty if none is one."""
    told = [as_number(value) for value in values]
    if not np.isfinite(told).any():
        return ""
    shown = " · ".join(number(_digits(value)) for value in told[-NEWEST:])
    return f"… {shown}" if len(told) > NEWEST else shown


def publish(folder: RunFolder, place: str | os.PathLike) -> tuple[Path, Path]:
    """Copy what is to be committed, `NAME.json` and `NAME.png`, into a folder.

    Raises:
        ValueError: The folder cannot be written to.
    """
    result, target = read_result(folder), place_of(place)
    paper = result.get("settings", "ours") != "ours"
    name = result["name"] + ("-paper" if paper else "")
    made = (target / f"{name}.json", target / f"{name}.png")
    try:
        target.mkdir(parents=True, exist_ok=True)
        write_atomically(made[0], as_json(result).encode())
        write_atomically(made[1], folder.read(FIGURE))
    except OSError as error:
        raise ValueError(
            f"--results needs a folder that may be written to, but {target} refuses: "
            f"{error.strerror or error}."
        ) from error
    return made
