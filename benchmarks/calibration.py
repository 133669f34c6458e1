"""Whether models know how far off they are: coverage on episodes that were held out.

Roll-outs of random actions: a pendulum and Gymnasium's half-cheetah, on which settings
were tuned or looked at, and its reacher, on which nobody tuned any. Each class of model
is fitted with its own defaults to four fifths of the episodes; how often intervals hold
what happened one step ahead on the rest is averaged over dimensions that change.

    python benchmarks/calibration.py [--seeds 1] [--models ensemble bayesian gp]
"""

import argparse
import json
import tempfile

import common
import jax
import numpy as np

import forethought as ft
from forethought.runs.fit.judge import LEVELS

WORLDS = {"pendulum": 2_000, "HalfCheetah-v5": 10_000, "Reacher-v5": 2_500}
"""Steps of random actions in each."""
POINTS = {"ensemble": 7}
"""By how many points intervals may miss; by 10 where nothing is said."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="counted from 11")
    parser.add_argument("--models", nargs="+", default=["ensemble", "bayesian", "gp"])
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    rows = []
    for world, steps in WORLDS.items():
        for seed in range(11, 11 + arguments.seeds):
            data = ft.collect(world, steps=steps, seed=seed)
            for model in arguments.models:
                rows.append({"world": world, "seed": seed} | one(data, model, seed))
                print(json.dumps(rows[-1]), flush=True)
    print(common.write_results("calibration", {"rows": rows}))


def one(data: ft.Logged, model: str, seed: int) -> dict:
    """How one model is calibrated."""
    with tempfile.TemporaryDirectory() as folder:
        fitted = ft.fit(data, model, out=f"{folder}/run", seed=seed)
    fit, moves = fitted.fits[0], fitted.held.moves
    covered = 100 * fit.judged.coverage[:, 0][:, moves].mean(axis=1)
    misses = np.abs(covered - 100 * np.array(LEVELS))
    return {
        "model": model,
        "rows": fitted.data.rows,
        "covered": [round(float(each), 1) for each in covered],
        "misses_by": round(float(misses.max()), 1),
        "within": bool(misses.max() <= POINTS.get(model, 10)),
        "nats": round(float(fit.judged.nats), 3),
        "epistemic_share": round(float(fit.judged.epistemic_share), 3),
        "seconds": round(fit.seconds, 1),
    }


if __name__ == "__main__":
    main()
