"""Write `results/planners.md` from what the other benchmarks measured.

Every figure on the page is read from a file in `results/`; nothing is measured here.

    python benchmarks/report.py
"""

import json
from collections.abc import Iterator
from typing import Any

from common import ROOT

RESULTS = ROOT / "results"


def read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


def duration(microseconds: float) -> str:
    """A time with three digits, in the unit that suits it."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3g} {unit}"
    return f"{microseconds:.3g} µs"


def spread(side: dict[str, float]) -> str:
    """Median, and quartiles where they are known."""
    text = duration(side["microseconds"])
    if "lower_quartile" in side:
        low, high = duration(side["lower_quartile"]), duration(side["upper_quartile"])
        text += f" ({low} – {high})"
    return text


def row(what: str, goal: float | None, ours: dict, theirs: dict, ratio: float) -> str:
    """One line of the table of peers."""
    verdict = "–" if goal is None else "yes" if ratio >= goal else "**no**"
    aim = "–" if goal is None else f"{goal:g}×"
    times = f"{spread(ours)} | {spread(theirs)}"
    return f"| {what} | {times} | {ratio:.3g}× | {aim} | {verdict} |"


def peers() -> Iterator[str]:
    """All lines of the table of peers."""
    for each in read("mppi")["rows"]:
        name = each["planner"].upper()
        size = f"{each['horizon']} steps, {each['samples']} samples"
        what = f"{name} / {each['peer']}: {size}"
        yield row(
            what, each["goal"], each["forethought"], each["theirs"], each["ratio"]
        )
    for each in read("cem")["rows"]:
        what = f"CEM / mbrl-lib: {each['horizon']} steps, {each['population']} samples"
        ours = {"microseconds": 1e3 * each["forethought_ms"]}
        theirs = {"microseconds": 1e3 * each["mbrl_ms"]}
        yield row(what, None, ours, theirs, each["ratio"])
    kinds = {
        "unicycle": "iLQR / crocoddyl in C++: unicycle, 200 steps",
        "64 unicycles": "the same: 64 unicycles",
        "acrobot": "iLQR / crocoddyl, model in Python: acrobot",
        "cartpole": "the same: cart-pole",
    }
    problems = read("ilqr")["problems"]
    for name, what in kinds.items():
        each = problems[name]
        sides = each["forethought"], each["crocoddyl"]
        yield row(what, each["goal"], *sides, each["ratio"])
    for name, each in read("ilqr_peers")["cases"].items():
        what = f"iLQR / {name}: {each['horizon']} steps"
        goal = each["goal"] if each["horizon"] < 100 else None
        yield row(what, goal, each["forethought"], each["theirs"], each["ratio"])


def batches() -> Iterator[str]:
    """All lines of the table of batched Riccati sweeps."""
    found = read("riccati")
    for each in found["batches"]:
        goal = found["goal"] if each["n"] <= 6 else None
        ours, theirs = ({"microseconds": each[name]} for name in ("batched", "vmap"))
        what = f"{each['n']} states, {each['m']} actions"
        yield row(what, goal, ours, theirs, each["ratio"])


def growth() -> Iterator[str]:
    """All lines of the table of growth."""
    found = read("growth")
    for grows, orders in found["orders"].items():
        for name, order in orders.items():
            points = found["lines"][grows][name]
            first, last = points[0], points[-1]
            yield (
                f"| {name} against {grows} | {first['size']}: "
                f"{duration(first['microseconds'])} | {last['size']}: "
                f"{duration(last['microseconds'])} | {order} | "
                f"{found['expected'][grows]} |"
            )


def machines() -> Iterator[str]:
    """Where each file came from."""
    for name in ("mppi", "cem", "ilqr", "ilqr_peers", "riccati", "growth"):
        found = read(name)
        machine = found["machine"]
        load = machine["load"][0]
        yield (
            f"| `{name}.json` | `{found['command']}` | {found['commit']} | "
            f"{machine['processor']}, {machine['cores']} cores, load {load} |"
        )


def page() -> str:
    """The whole page."""
    template = (ROOT / "benchmarks" / "planners.md").read_text()
    swing_up = read("ilqr_peers")["cases"]["do-mpc, its swing-up"]["excess_cost"]
    rates = read("ilqr")["steps_per_microsecond"]
    parts = {
        "PEERS": "\n".join(peers()),
        "BATCHES": "\n".join(batches()),
        "GROWTH": "\n".join(growth()),
        "MACHINES": "\n".join(machines()),
        "SWING_UP": f"{100 * swing_up['within_1e-6']:.0f} %",
        "RATES": ", ".join(
            f"{name.replace('_', ' ')} {rate:g}" for name, rate in rates.items()
        ),
    }
    for name, text in parts.items():
        template = template.replace(f"<!-- {name} -->", text)
    return template


def main() -> None:
    path = RESULTS / "planners.md"
    path.write_text(page())
    print(path)


if __name__ == "__main__":
    main()
