"""PPO side by side with stable-baselines3, in one process, on one core.

Gymnasium's CartPole-v1 in 8 copies on both sides, the same sizes of everything: 2,048
steps between two updates, 10 passes in minibatches of 64, two networks of two layers of
64, Adam, evaluation left out. What is timed is a training run of 20,480 steps, acting
and learning; runs take turns, and ours is compiled by one before.

    python benchmarks/ppo.py       needs benchmarks/peers.txt
"""

# ruff: noqa: E402
import common

common.pin()

import argparse
import time
from typing import Any

import gymnasium
import jax
import numpy as np
import torch
from stable_baselines3 import PPO as Peer
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from forethought.agents.on_policy.ppo import PPO
from forethought.data.replay import Replay
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.training.evaluate import evaluate_host
from forethought.training.host_loop import HostTraining

NAME, COPIES, ROLLOUT, UPDATES = "CartPole-v1", 8, 2048, 10
STEPS = ROLLOUT * UPDATES
AGENT = PPO(rollout=ROLLOUT, batch=64, epochs=10, width=64, depth=2)


def ours(environment: GymnasiumEnvironment, seed: int) -> Any:
    """A training run; the learner."""
    replay = Replay(ROLLOUT // COPIES, COPIES)
    training = HostTraining(AGENT, environment, replay)
    state = training.begin(key=jax.random.key(seed))
    for _ in range(UPDATES):
        state, _ = training.collect(state, ROLLOUT // COPIES)
        state, _ = training.perform(state, training.duties[0])
    return jax.block_until_ready(state.learner)


def theirs(environment: DummyVecEnv, seed: int) -> Any:
    """The same; the model."""
    model = Peer(
        "MlpPolicy",
        environment,
        n_steps=ROLLOUT // COPIES,
        batch_size=64,
        n_epochs=10,
        learning_rate=AGENT.learning_rate,
        seed=seed,
        device="cpu",
    )
    return model.learn(STEPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    here, apart = GymnasiumEnvironment(NAME, COPIES), GymnasiumEnvironment(NAME, 10)
    there = DummyVecEnv([lambda: gymnasium.make(NAME)] * COPIES)
    runs = {
        "forethought": lambda seed: ours(here, seed),
        "stable-baselines3": lambda seed: theirs(there, seed),
    }
    judges = {
        "forethought": lambda found: np.mean(
            evaluate_host(AGENT, apart, found, episodes=20, key=jax.random.key(9))
        ),
        "stable-baselines3": lambda found: evaluate_policy(
            found, there, n_eval_episodes=20, warn=False
        )[0],
    }
    began = time.process_time()
    ours(here, 0)
    first = time.process_time() - began
    wall = {name: [] for name in runs}
    cpu, returns = ({name: [] for name in runs} for _ in range(2))
    for seed in range(101, 101 + repeats):
        for name, run in runs.items():
            start = time.perf_counter(), time.process_time()
            found = run(seed)
            wall[name].append(time.perf_counter() - start[0])
            cpu[name].append(time.process_time() - start[1])
            returns[name].append(float(judges[name](found)))
    rows = {}
    for name in runs:
        rows[name] = {
            "steps_a_second": round(STEPS / float(np.median(wall[name]))),
            "steps_a_cpu_second": round(STEPS / float(np.median(cpu[name]))),
            "cpu_seconds": [round(each, 2) for each in cpu[name]],
            "returns": [round(each, 1) for each in returns[name]],
        }
        print(name, rows[name])
    ratio = np.median(cpu["stable-baselines3"]) / np.median(cpu["forethought"])
    print(f"ratio {ratio:.1f} by CPU time; the first run of ours took {first:.1f} s")
    packages = ("jax", "torch", "stable_baselines3", "gymnasium")
    results = {
        "task": NAME,
        "copies": COPIES,
        "steps": STEPS,
        "seeds": [101, 100 + repeats],
        "versions": common.versions(*packages),
        "first_run_cpu_seconds": round(first, 2),
        "ratio_cpu": round(float(ratio), 2),
        "rows": rows,
    }
    print(common.write_results("ppo", results))


if __name__ == "__main__":
    main()
