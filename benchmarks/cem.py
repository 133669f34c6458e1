"""CEM side by side with mbrl-lib's, in one process, on one core and one thread.

Both plan for the same pendulum, written for a batch of candidates in PyTorch and for
one example in JAX: the same population, elites, iterations, horizon and momentum, white
noise clipped to the limits, the best sequence returned, float32.

    python benchmarks/cem.py        needs benchmarks/peers.txt
"""

# ruff: noqa: E402
import common

common.pin()

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import torch
from mbrl.planning.trajectory_opt import CEMOptimizer

from forethought import tasks
from forethought.planners import CEM

START = (np.pi, 0.0)


def pendulum_returns(actions: torch.Tensor) -> torch.Tensor:
    """Returns of `[population, horizon, 1]` actions by Pendulum-v1's equations."""
    angle = torch.full((actions.shape[0],), START[0])
    speed = torch.full((actions.shape[0],), START[1])
    total = torch.zeros(actions.shape[0])
    for t in range(actions.shape[1]):
        torque = actions[:, t, 0].clamp(-2.0, 2.0)
        wrapped = torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi
        total -= wrapped**2 + 0.1 * speed**2 + 0.001 * torque**2
        speed = speed + (15.0 * torch.sin(angle) + 3.0 * torque) * 0.05
        speed = speed.clamp(-8.0, 8.0)
        angle = angle + speed * 0.05
    return total


def measure(population: int, horizon: int, repeats: int) -> dict[str, float]:
    """Medians of both, and what their plans earn on average over the repeats."""
    elites, iterations, momentum = population // 10, 5, 0.1
    task = tasks.load("pendulum")
    planner = CEM.plain(
        horizon,
        population=population,
        elites=elites,
        iterations=iterations,
        momentum=momentum,
        initial_std=0.5,
        execute="best",
    )
    belief = jnp.asarray(START)
    state = planner.init(task.problem, belief, key=jax.random.key(0))
    plan = jax.jit(
        lambda belief, state, key: planner.plan(task.problem, belief, state, key=key)
    )
    keys = iter(jax.random.split(jax.random.key(1), 10 * repeats + 100))
    peer = CEMOptimizer(
        iterations,
        elites / population,
        population,
        [[-2.0]] * horizon,
        [[2.0]] * horizon,
        momentum,
        torch.device("cpu"),
        clipped_normal=True,
    )
    middle = torch.zeros(horizon, 1)
    ours, theirs = [], []

    def plan_ours():
        ours.append(float(plan(belief, state, next(keys))[0].value))

    def plan_theirs():
        actions = peer.optimize(pendulum_returns, middle)
        theirs.append(float(pendulum_returns(actions[None])[0]))

    times = common.medians(
        {"forethought": plan_ours, "mbrl-lib": plan_theirs}, repeats=repeats
    )
    return {
        "population": population,
        "horizon": horizon,
        "forethought_ms": 1e3 * times["forethought"],
        "mbrl_ms": 1e3 * times["mbrl-lib"],
        "ratio": times["mbrl-lib"] / times["forethought"],
        "forethought_return": float(np.mean(ours)),
        "mbrl_return": float(np.mean(theirs)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=50)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [measure(100, 15, repeats), measure(500, 30, repeats)]
    for row in rows:
        print(
            f"population {row['population']:4d} horizon {row['horizon']:3d}   "
            f"forethought {row['forethought_ms']:8.3f} ms   "
            f"mbrl-lib {row['mbrl_ms']:8.3f} ms   ratio {row['ratio']:.1f}   "
            f"returns {row['forethought_return']:.1f} and {row['mbrl_return']:.1f}"
        )
    packages = ("jax", "torch", "mbrl")
    results = {"seed": 0, "versions": common.versions(*packages), "rows": rows}
    print(common.write_results("cem", results))


if __name__ == "__main__":
    main()
