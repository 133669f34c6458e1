"""How time grows: with the horizon, with the population, with the size of the state.

Each planner is timed at sizes that go up by factors of about three, on one core and one
thread. The slope of a line through its last points, both axes logarithmic, is its
order: one is linear, three is cubic. Small sizes show the fixed cost of a call.

- *Horizon*: LQR in four states, iLQR on a linear-quadratic problem (two iterations),
  CEM and MPPI with 64 sequences on the pendulum.
- *Population*: CEM and MPPI on the pendulum, twenty steps.
- *State*: LQR with n states and n / 4 actions, a hundred steps.

    python benchmarks/growth.py
"""

# ruff: noqa: E402
import common

common.pin()

import argparse
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from riccati import gains, system

from forethought import tasks
from forethought.core.types import ravel
from forethought.planners import CEM, ILQR, MPPI
from forethought.planners.base import AbstractPlanner
from forethought.planners.linear.riccati import lqr
from forethought.reports.style import BLUE, CYCLE, INK, LIMIT, label, panels, png

jax.config.update("jax_enable_x64", True)
HORIZONS = (10, 30, 100, 300, 1000, 3000, 10_000)
POPULATIONS = (32, 100, 320, 1000, 3200, 10_000, 32_000)
STATES = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100)
BUDGET = 0.5
"""Seconds that one size may take, of three repeats at least."""

Line = list[dict[str, float]]


def timed(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median and quartiles of as many repeats as fit the budget."""
    first = common.timings({"": call}, repeats=1, warm=2)[""][0]
    count = max(3, min(repeats, int(BUDGET / first)))
    return common.spread(common.timings({"": call}, repeats=count, warm=0)[""])


def planning(name: str, planner: AbstractPlanner, dtype: type) -> Callable[[], object]:
    """A call that plans once from the task's start."""
    task, key = tasks.load(name), jax.random.key(0)
    x = ravel(task.system.start(key=key))[0].astype(dtype)
    state = planner.init(task.problem, x, key=key)

    def plan(x, state, key):
        plan, state = planner.plan(task.problem, x, state, key=key)
        return plan.actions, plan.value, state

    compiled = jax.jit(plan)
    return lambda: jax.block_until_ready(compiled(x, state, key))


def sweeping(n: int, m: int, horizon: int) -> Callable[[], object]:
    """A call that solves one linear-quadratic problem."""
    arrays = [jnp.asarray(each[0]) for each in system(n, m, 1)]
    solve = jax.jit(lambda *each: gains(lqr(*each, horizon=horizon)))
    return lambda: jax.block_until_ready(solve(*arrays))


def line(make: Callable[[int], Callable], sizes: Sequence[int], repeats: int) -> Line:
    """Times at each size."""
    return [{"size": size} | timed(make(size), repeats) for size in sizes]


def order(points: Line, last: int) -> float:
    """The slope of a line through the last points, both axes logarithmic."""
    sizes = np.log([point["size"] for point in points[-last:]])
    times = np.log([point["microseconds"] for point in points[-last:]])
    return round(float(np.polyfit(sizes, times, 1)[0]), 2)


def measure(repeats: int) -> dict[str, dict[str, Line]]:
    """All lines: what grows, then which planner."""

    def cem(horizon: int, population: int) -> Callable:
        planner = CEM(horizon, population, elites=max(population // 10, 2))
        return planning("pendulum", planner, jnp.float32)

    def mppi(horizon: int, population: int) -> Callable:
        return planning("pendulum", MPPI(horizon, population), jnp.float32)

    def ilqr(horizon: int) -> Callable:
        planner = ILQR(horizon, 2, tolerance=0.0, gradient_tolerance=0.0)
        return planning("double-integrator", planner, jnp.float64)

    return {
        "horizon": {
            "LQR": line(lambda T: sweeping(4, 2, T), HORIZONS, repeats),
            "iLQR": line(ilqr, HORIZONS, repeats),
            "CEM": line(lambda T: cem(T, 64), HORIZONS, repeats),
            "MPPI": line(lambda T: mppi(T, 64), HORIZONS, repeats),
        },
        "population": {
            "CEM": line(lambda N: cem(20, N), POPULATIONS, repeats),
            "MPPI": line(lambda N: mppi(20, N), POPULATIONS, repeats),
        },
        "state": {
            "LQR": line(lambda n: sweeping(n, max(n // 4, 1), 100), STATES, repeats)
        },
    }


def draw(axis: Axes, grows: str, lines: dict[str, Line], slope: int) -> None:
    """One panel: a line a planner, and the slope that is expected of them."""
    colours = dict(zip(("LQR", "iLQR", "CEM", "MPPI"), CYCLE, strict=False))
    ends = []
    for name, points in lines.items():
        x = np.array([point["size"] for point in points])
        y = np.array([point["microseconds"] for point in points]) / 1e3
        low, high = (
            np.array([point[f"{side}_quartile"] for point in points]) / 1e3
            for side in ("lower", "upper")
        )
        colour = colours.get(name, BLUE)
        axis.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.plot(x, y, color=colour, linewidth=1.6, marker="o", markersize=3.5)
        ends.append((y[-1], name, colour, x[-1]))
    axis.set_xscale("log")
    axis.set_yscale("log")
    # Names at the ends of their lines, apart by at least a letter's height.
    low, high = np.log10(axis.get_ylim())
    least, place = 0.075 * (high - low), -np.inf
    for y, name, colour, x in sorted(ends):
        place = max(np.log10(y), place + least)
        axis.annotate(
            name,
            (x, 10**place),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=colour,
        )
    lowest = min(lines.values(), key=lambda points: points[-1]["microseconds"])
    x = np.array([lowest[-1]["size"] / 10, lowest[-1]["size"]])
    y = lowest[-1]["microseconds"] / 1e3 / 2.5 * (x / x[-1]) ** slope
    axis.plot(x, y, color=LIMIT, linewidth=1.2, linestyle=(0, (4, 2)))
    axis.annotate(
        f"slope {slope}",
        (x[-1], y[-1]),
        (5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=INK,
    )
    axis.margins(x=0.04)
    left, right = axis.get_xlim()
    axis.set_xlim(left, right * (right / left) ** 0.2)


def main() -> None:
    """Print the orders, and write `results/growth.json` and `results/growth.png`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=100)
    found = measure(parser.parse_args().repeats)
    expected = {"horizon": 1, "population": 1, "state": 3}
    axes_of = {
        "horizon": "horizon [steps]",
        "population": "population [sequences]",
        "state": "state [dimensions]",
    }
    figure, axes = panels(1, 3, height=2.9, width=9.6, share=False)
    orders = {}
    for axis, (grows, lines) in zip(axes.flat, found.items(), strict=True):
        orders[grows] = {name: order(points, 3) for name, points in lines.items()}
        print(f"{grows:10s} expected {expected[grows]}   found {orders[grows]}")
        draw(axis, grows, lines, expected[grows])
        label(axis, axes_of[grows], "one plan [ms]" if grows == "horizon" else "")
    (common.ROOT / "results" / "growth.png").write_bytes(png(figure))
    common.write_results(
        "growth",
        {
            "versions": common.versions("jax", "jaxlib", "numpy"),
            "unit": "microseconds",
            "expected": expected,
            "orders": orders,
            "lines": found,
        },
    )


if __name__ == "__main__":
    main()
