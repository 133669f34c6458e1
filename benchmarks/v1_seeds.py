"""Eight seeds of v1 on the pendulum side by side, against one alone.

    taskset -c 0 python benchmarks/v1_seeds.py

A seed is a whole run in pure JAX: a random episode, then refitting, improving
and acting for two more. Both times are of compiled programs, the median of three.
"""

import json
import pathlib
import statistics
import time

import equinox as eqx
import jax

from forethought import tasks
from forethought.agents.gradients.mbrl_v1 import ModelBasedV1
from forethought.core.xla import compile_loops_whole
from forethought.data.replay import Replay
from forethought.training.loop import Training

EPISODES, SEEDS, REPEATS = 3, 8, 3
RESULTS = pathlib.Path(__file__).parents[1] / "results" / "v1_seeds.json"


def run(training, key):
    """A run, and the return of its last episode."""
    state = training.begin(key=key)
    state, trace = training.collect(state, 200, random=True)
    for _ in range(1, EPISODES):
        state, _ = training.perform(state, training.duties[0])
        state, trace = training.collect(state, 200)
    return trace.episode_returns[-1, 0]


def measured(function, keys):
    """Median wall and CPU seconds of a call that was made once before."""
    jax.block_until_ready(function(keys))
    wall, cpu = [], []
    for _ in range(REPEATS):
        began = time.perf_counter(), time.process_time()
        jax.block_until_ready(function(keys))
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.process_time() - began[1])
    return {"wall": statistics.median(wall), "cpu": statistics.median(cpu)}


def main():
    """Measure, tell, and write the results."""
    compile_loops_whole()
    task = tasks.load("pendulum")
    agent = ModelBasedV1().make(task.brief)
    training = Training(agent, task.environment, Replay(1024))
    keys = jax.random.split(jax.random.key(0), SEEDS)
    one = eqx.filter_jit(lambda key: run(training, key))
    many = eqx.filter_jit(eqx.filter_vmap(lambda key: run(training, key)))
    found = {"one": measured(one, keys[0]), "eight": measured(many, keys)}
    found["ratio"] = {
        name: found["eight"][name] / found["one"][name] for name in ("wall", "cpu")
    }
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
