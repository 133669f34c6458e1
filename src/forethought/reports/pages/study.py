"""What a study shows: one figure and one page, made of its JSON alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from forethought.core.words import duration
from forethought.reports import page
from forethought.reports.page import leaves
from forethought.reports.style import (
    CYCLE,
    INK,
    LIMIT,
    WIDTH,
    label,
    legend,
    logarithmic,
    number,
    panels,
)

Result = Mapping[str, Any]
BY_EPISODE = "steps per episode"
FEW = 12
"""So few points are places that somebody chose, on a logarithmic axis."""


def figure(result: Result) -> Figure:
    """Every arm's mean over seeds beside the known curve.

    Args:
        result: The content of `reproduction.json`.
    """
    drawn, axes = panels(1, height=3.8, width=1.5 * WIDTH)
    axis, at = axes[0, 0], np.array(result["at"])
    error = 1 / np.sqrt(len(result["seeds"]))
    style = "-" if len(at) > FEW else "o-"
    for colour, (name, arm) in zip(CYCLE, result["arms"].items(), strict=False):
        mean, std = np.array(arm["mean"]), np.array(arm["std"])
        low, high = mean - error * std, mean + error * std
        axis.fill_between(at, low, high, color=colour, alpha=0.2, lw=0)
        axis.plot(at, mean, style, color=colour, lw=1.8, ms=4.5, label=name)
        if arm["known"]:
            known = np.array(arm["known"])
            axis.plot(*known.T, "o", color=colour, ms=4.5, mfc="white", zorder=4)
    if any(arm["known"] for arm in result["arms"].values()):
        axis.plot([], [], "o", color=LIMIT, ms=4.5, mfc="white", label="known")
    axis.fill_between([], [], [], color=LIMIT, alpha=0.3, label="± standard error")
    for step in result["marks"]:
        axis.axvline(step, color=LIMIT, lw=1.2, ls=(0, (4, 2)), zorder=1)
    axis.set_xlim(0, 1.02 * at[-1])
    place = "best"
    if result["measure"] == BY_EPISODE:
        axis.set_ylim(10, None)
        logarithmic(axis, "y")
        label(axis, "episode", "steps")
        place = "upper right"
    elif len(at) <= FEW:  # places that were chosen
        axis.set_xlim(at[0] / 1.1, 1.1 * at[-1])
        axis.set_xscale("log")
        axis.set_xticks(at, [str(each) for each in at])
        axis.minorticks_off()
        label(axis, result.get("axis", ""), result["measure"])
    else:
        label(axis, result.get("axis", "steps"), result["measure"])
        place = "upper left"
    legend(axis, loc=place)
    passed = sum(check["passed"] for check in result["checks"])
    title = (
        f"{result['name']}: {passed} of {len(result['checks'])} checks passed, mean "
        f"over {len(result['seeds'])} seeds"
    )
    axis.set_title(title, fontsize=10.5, color=INK, loc="left", pad=10)
    return drawn


def verdict(check: Mapping[str, Any]) -> str:
    """A promise and how it went, in a sentence."""
    word = "passed" if check["passed"] else "FAILED"
    return f"{word}: {check['promise']} ({number(_digits(check['value']))})"


def wanted(check: Mapping[str, Any]) -> str:
    """What a check allows."""
    low, high = check["low"], check["high"]
    if isinstance(low, str):  # infinite
        return f"≤ {number(_digits(high))}"
    if isinstance(high, str):
        return f"≥ {number(_digits(low))}"
    return f"{number(_digits(low))} to {number(_digits(high))}"


def body(result: Result, content: bytes) -> list[str]:
    """The cards of the page.

    Args:
        result: The content of `reproduction.json`.
        content: The figure as PNG.
    """
    checks, arms = result["checks"], result["arms"]
    passed = sum(check["passed"] for check in checks)
    seconds = [arm["seconds"] for arm in arms.values()]
    facts = {
        "checks passed": f"{passed} of {len(checks)}",
        "seeds, in one call for each arm": str(len(result["seeds"])),
        "running, all arms": duration(sum(each["run"] for each in seconds)),
        "compiling, all arms": duration(sum(each["compile"] for each in seconds)),
    }
    rows = [
        (
            "passed" if check["passed"] else "failed",
            check["promise"],
            wanted(check),
            number(_digits(check["value"])),
        )
        for check in checks
    ]
    last = [
        (
            name,
            f"{number(arm['mean'][-1])} ± {number(_digits(arm['std'][-1], 2))}",
            number(arm["known"][-1][1]) if arm["known"] else "–",
            duration(arm["seconds"]["run"]),
        )
        for name, arm in arms.items()
    ]
    where = {"commit": result["commit"], "machine": result["machine"]}
    settings = {name: arm["settings"] for name, arm in arms.items()}
    unit = "episode" if result["measure"] == BY_EPISODE else "step"
    place = result.get("axis", unit)
    story = "Lines are means over seeds"
    if result["source"]:
        story += f"; circles are known: {result['source']}"
    return [
        f"<header><h1>{page.escape(result['name'])} <span>reproduced</span></h1>"
        f"<p>{page.escape(result['claim'])}.</p>"
        f"<p class=quiet>{page.escape(result['variant'])}</p></header>",
        page.tiles(facts),
        page.section(
            "Promises",
            "Each is about means over seeds.",
            page.table(rows, ("", "promise", "wanted", "found")),
            kind="wide",
        ),
        page.section(
            result["measure"].capitalize(),
            f"{story}.",
            page.picture(content, result["measure"]),
            kind="wide",
        ),
        page.section(
            f"At {result['at'][-1]:,} on the axis ({place})",
            "Mean and standard deviation over seeds.",
            page.table(last, ("arm", "found", "known", "time of all seeds")),
            kind="wide",
        ),
        page.section(
            "Run it again",
            "The same seeds on the same machine give the same numbers.",
            f"<pre>{page.escape(result['command'])}</pre>",
            kind="wide",
        ),
        page.section("Where it ran", "", page.pairs(leaves(where)), kind="wide"),
        page.section("Settings", "", page.pairs(leaves(settings)), kind="wide"),
        "<footer>Every number is in reproduction.json. Made by forethought.</footer>",
    ]


def _digits(value: float, count: int = 4) -> float:
    return float(f"{value:.{count}g}")
