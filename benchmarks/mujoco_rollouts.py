"""MuJoCo inside compiled planners against MuJoCo alone, on one core and one thread.

A population of random action sequences is rolled out twice: as a planner does it, by
`jax.vmap` over a `jax.lax.scan` with the task's reward, compiled; and by the bare loop
over `mujoco.batch.Batch`, without rewards. The goal is 85 % of the bare loop.

    python benchmarks/mujoco_rollouts.py
"""

import argparse

from common import medians, pin, versions, write_results

GOAL = 0.85


def measure(name: str, *, population: int, horizon: int, repeats: int, seed: int):
    """Physics steps per second of both, and their ratio."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from mujoco import batch

    from forethought.problem import rollout
    from forethought.tasks.physics import TASKS

    task = TASKS[name]()
    system, engine = task.system, task.system.engine
    key = jax.random.key(seed)
    start = system.start(key=key)
    shape = (population, horizon, *system.action.shape)
    controls = np.random.default_rng(seed).uniform(-1, 1, shape)
    actions = jnp.asarray(controls)
    returns = jax.jit(
        jax.vmap(lambda actions: rollout(task.problem, start, actions, key=key).value)
    )

    bare = batch.Batch(system.mj_model, population, 1)
    initial, bound = bare.state.copy(), bare.bind("ctrl")

    def loop():
        bare.state[:] = initial
        for t in range(horizon):
            bound[:] = controls[:, t]
            bare.step(nstep=engine.frame_skip)

    seconds = medians(
        {"ours": lambda: returns(actions).block_until_ready(), "bare": loop},
        repeats=repeats,
    )
    steps = population * horizon * engine.frame_skip
    return {
        "population": population,
        "horizon": horizon,
        "frame_skip": engine.frame_skip,
        "ours_steps_per_second": round(steps / seconds["ours"]),
        "bare_steps_per_second": round(steps / seconds["bare"]),
        "ratio": round(seconds["bare"] / seconds["ours"], 3),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pin()
    import jax

    jax.config.update("jax_enable_x64", True)
    results = {}
    for name in ("mujoco-cheetah", "mujoco-cartpole"):
        for population in (64, 512):
            figures = measure(
                name,
                population=population,
                horizon=30,
                repeats=options.repeats,
                seed=options.seed,
            )
            results[f"{name}, population {population}"] = figures
            verdict = "" if figures["ratio"] >= GOAL else f"  (below {GOAL})"
            print(
                f"{name:16} population {population:4}: "
                f"{figures['ours_steps_per_second']:>8,} steps/s, bare loop "
                f"{figures['bare_steps_per_second']:>8,}, ratio "
                f"{figures['ratio']:.2f}{verdict}",
                flush=True,
            )
    path = write_results(
        "mujoco_rollouts",
        {
            "seed": options.seed,
            "repeats": options.repeats,
            "precision": 64,
            "versions": versions("jax", "mujoco", "numpy"),
            "goal": GOAL,
            "results": results,
        },
    )
    print(f"Written to {path.name}.")


if __name__ == "__main__":
    main()
