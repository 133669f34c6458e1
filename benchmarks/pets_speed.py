"""PETS side by side with mbrl-lib: a whole plan, and the fit of an ensemble.

Both in one process, on one core and one thread; see benchmarks/pets_plan.py and
benchmarks/pets_fit.py for what is done. Where cores are shared, `--cpu-time` counts
the time that the process was given, instead of the time that went by.

    python benchmarks/pets_speed.py        needs benchmarks/peers.txt
"""

# ruff: noqa: E402
import common

common.pin()

import argparse
import json
import time

import pets_fit
import pets_plan
import torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10, help="plans of each")
    parser.add_argument("--seeds", type=int, default=3, help="fits of each")
    parser.add_argument("--epochs", type=int, default=60, help="of mbrl-lib's trainer")
    parser.add_argument("--cpu-time", action="store_true")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    torch.set_num_threads(1)
    torch.manual_seed(0)
    plan = pets_plan.measure(clock, arguments.repeats)
    print(json.dumps(plan, indent=2), flush=True)
    fits = pets_fit.measure(clock, arguments.seeds, arguments.epochs)
    print(json.dumps(fits, indent=2))
    results = {
        "time": "cpu" if arguments.cpu_time else "wall",
        "versions": common.versions("jax", "torch", "mbrl"),
        "plan": plan,
        "fit": fits,
    }
    print(common.write_results("pets_speed", results))


if __name__ == "__main__":
    main()
