"""Riccati: sweeps, batches and joined stretches of time, and the equation at rest.

- *Batches*: problems of n states solved by plain `jax.vmap` of `lqr`, whose batch lies
  in front, and by `lqr(batched=True)`, whose batch lies last.
- *Growth*: one sweep against its horizon and against the size of its state, and the
  same horizon by joining stretches (`parallel=True`).
- *At rest*: `dare` against `scipy.linalg.solve_discrete_are`, single and as a batch.

All in float64 on one core and one thread.

    python benchmarks/riccati.py
"""

# ruff: noqa: E402
import common

common.pin()

import argparse
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array

from forethought.planners.linear.dare import dare
from forethought.planners.linear.riccati import Riccati, lqr

jax.config.update("jax_enable_x64", True)
HORIZON, BATCH = 100, 64
GOAL = 3


def system(n: int, m: int, count: int) -> tuple[np.ndarray, ...]:
    """Random stable systems with convex costs: F, f, C, c; the first axis counts."""
    random = np.random.default_rng(n)
    A = random.normal(size=(count, n, n))
    A /= np.abs(np.linalg.eigvals(A)).max(axis=-1)[:, None, None]
    F = np.concatenate([A, random.normal(size=(count, n, m))], axis=2)
    root = random.normal(size=(count, n + m, n + m)) / np.sqrt(n + m)
    C = root @ root.swapaxes(1, 2) + 0.1 * np.eye(n + m)
    return F, np.zeros((count, n)), C, np.zeros((count, n + m))


def gains(solution: Riccati) -> tuple[Array, ...]:
    """What is handed over in every timing."""
    return solution.K, solution.k, solution.V, solution.positive


def timed(calls: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Median microseconds of each call, which returns arrays."""
    blocking = {
        name: lambda call=call: jax.block_until_ready(call())
        for name, call in calls.items()
    }
    found = common.medians(blocking, repeats=repeats)
    return {name: round(seconds * 1e6, 1) for name, seconds in found.items()}


def batches(repeats: int) -> list[dict]:
    """Batches in front against batches last."""
    rows = []
    for n, m in [(2, 1), (3, 1), (4, 1), (4, 2), (6, 2), (8, 2), (12, 4)]:
        arrays = [jnp.asarray(each) for each in system(n, m, BATCH)]
        last = [jnp.moveaxis(each, 0, -1) for each in arrays]
        front = jax.jit(jax.vmap(lambda *each: gains(lqr(*each, horizon=HORIZON))))
        back = jax.jit(lambda *each: gains(lqr(*each, horizon=HORIZON, batched=True)))
        np.testing.assert_allclose(
            jnp.moveaxis(back(*last)[0], -1, 0), front(*arrays)[0], rtol=1e-8, atol=1e-9
        )
        row = timed(
            {
                "vmap": lambda front=front, arrays=arrays: front(*arrays),
                "batched": lambda back=back, last=last: back(*last),
            },
            repeats,
        )
        row = {"n": n, "m": m, **row, "ratio": round(row["vmap"] / row["batched"], 2)}
        print(f"batch of {BATCH}, {row}")
        rows.append(row)
    return rows


def growth(repeats: int) -> dict[str, list[dict]]:
    """Time against the horizon and against the size of the state."""
    horizons, sizes = [], []
    F, f, C, c = (jnp.asarray(each[0]) for each in system(4, 2, 1))
    for horizon in (10, 30, 100, 300, 1000, 3000, 10_000):
        calls = {}
        for parallel in (False, True):
            solve = jax.jit(
                lambda *each, horizon=horizon, parallel=parallel: gains(
                    lqr(*each, horizon=horizon, parallel=parallel)
                )
            )
            name = "parallel" if parallel else "sweep"
            calls[name] = lambda solve=solve: solve(F, f, C, c)
        row = {"horizon": horizon, **timed(calls, max(repeats * 30 // horizon, 3))}
        row["sweep_per_step"] = round(row["sweep"] / horizon, 4)
        print(row)
        horizons.append(row)
    for n in (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100):
        arrays = [jnp.asarray(each[0]) for each in system(n, max(n // 4, 1), 1)]
        solve = jax.jit(lambda *each: gains(lqr(*each, horizon=HORIZON)))
        row = timed({"sweep": lambda s=solve, a=arrays: s(*a)}, max(repeats // n, 3))
        row = {"n": n, "m": max(n // 4, 1), **row}
        print(row)
        sizes.append(row)
    return {"horizon": horizons, "state": sizes}


def at_rest(repeats: int) -> list[dict]:
    """The algebraic equation, beside SciPy."""
    rows = []
    for n, m in [(2, 1), (4, 2), (12, 4), (32, 8)]:
        F, _, C, _ = system(n, m, BATCH)

        def parts(F, C, n=n):
            return F[:, :n], F[:, n:], C[:n, :n], C[n:, n:], C[:n, n:]

        def solve(F, C, parts=parts):
            return dare(*parts(F, C)).V

        def theirs(F=F, C=C, parts=parts):
            A, B, Q, R, S = parts(F[0], C[0])
            return scipy.linalg.solve_discrete_are(A, B, Q, R, s=S)

        ours, every = jax.jit(solve), jax.jit(jax.vmap(solve))
        one = jnp.asarray(F[0]), jnp.asarray(C[0])
        many = jnp.asarray(F), jnp.asarray(C)
        row = timed(
            {
                "forethought": lambda ours=ours, one=one: ours(*one),
                "scipy": theirs,
                "forethought_batch": lambda every=every, many=many: every(*many),
            },
            max(repeats // n, 3),
        )
        gap = float(np.abs(ours(*one) - theirs()).max() / np.abs(theirs()).max())
        ratio = round(row["scipy"] / row["forethought"], 1)
        rows.append({"n": n, "m": m, **row, "ratio": ratio, "difference": gap})
        print(rows[-1])
    return rows


def main() -> None:
    """Print one line a case and write `results/riccati.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=300)
    repeats = parser.parse_args().repeats
    rows = batches(repeats)
    grown = growth(repeats)
    rest = at_rest(repeats)
    per_step = grown["horizon"][4]["sweep_per_step"]
    if per_step > 1:
        raise SystemExit(f"The loop is no longer compiled whole: {per_step} µs a step.")
    common.write_results(
        "riccati",
        {
            "versions": common.versions("jax", "jaxlib", "scipy", "numpy"),
            "unit": "microseconds",
            "horizon": HORIZON,
            "batch": BATCH,
            "goal": GOAL,
            "batches": rows,
            "growth": grown,
            "at_rest": rest,
        },
    )


if __name__ == "__main__":
    main()
