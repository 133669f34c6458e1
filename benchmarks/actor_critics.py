"""Updates of SAC and DDPG beside stable-baselines3 and sbx, on one core.

stable-baselines3 is written in PyTorch, sbx is the same in JAX. All sides learn from
2,000 random steps of Pendulum-v1 that they remember, with equal sizes of everything:
batch, layers, critics. What is timed is a round of updates, replayed rows drawn and
targets made, in one process, in turns; ours and that of sbx are one compiled loop, and
sbx draws its rows before. Beside it stands the share of this machine's matrix rate that
the products of our updates need, and what compiling took.

    python benchmarks/actor_critics.py [--cpu-time]     needs benchmarks/peers.txt
"""

# ruff: noqa: E402
import common

common.pin()

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import sbx
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.logger import configure

from forethought import tasks
from forethought.agents.critics.ddpg import DDPG
from forethought.agents.critics.sac import SAC
from forethought.agents.schedule import Schedule
from forethought.data.memory import Memory
from forethought.data.replay import Replay
from forethought.runs.train.settings import Learning
from forethought.training.loop import Training

ROUND, STEPS = 100, 2000
CASES = [
    (name, batch, width)
    for width in (64, 256)
    for batch in (64, 256)
    for name in ("sac", "ddpg")
]
KINDS = {"sac": (SAC, 2), "ddpg": (DDPG, 1)}
PEERS = {"stable-baselines3": sb3, "sbx": sbx}


def ours(name: str, batch: int, width: int) -> tuple[Callable[[], Any], float]:
    """A round of updates, and the seconds that compiling it took."""
    kind, critics = KINDS[name]
    settings = kind(batch=batch, width=width, critics=critics, tau=0.005)
    agent = settings.make(tasks.load("pendulum").brief)
    training = Training(agent, tasks.load("pendulum").environment, Replay(STEPS))
    state = training.begin(key=jax.random.key(0))
    bare = Training(agent, training.environment, training.replay, ())
    state, _ = eqx.filter_jit(lambda state: bare.collect(state, STEPS, random=True))(
        state
    )
    memory, duty = Memory(training.replay, state.flow.replay), agent.duties[0]

    @eqx.filter_jit
    def updates(learner, key):
        moving, fixed = eqx.partition(learner, eqx.is_array)

        def once(moving, key):
            learner = eqx.combine(moving, fixed)
            learner, _ = agent.update(learner, memory, duty=duty, key=key)
            return eqx.partition(learner, eqx.is_array)[0], None

        return jax.lax.scan(once, moving, jax.random.split(key, ROUND))[0]

    began = time.process_time()
    compiled = updates.lower(state.learner, jax.random.key(1)).compile()
    took = time.process_time() - began
    key = jax.random.key(1)
    return lambda: jax.block_until_ready(compiled(state.learner, key)), took


def theirs(peer: str, name: str, batch: int, width: int) -> Callable[[], Any]:
    """The same by a peer."""
    _, critics = KINDS[name]
    policy = {"net_arch": [width, width]}
    if name == "sac":
        policy["n_critics"] = critics
    model = getattr(PEERS[peer], name.upper())(
        "MlpPolicy",
        gymnasium.make("Pendulum-v1"),
        learning_rate=1e-3,
        batch_size=batch,
        learning_starts=STEPS,
        buffer_size=STEPS,
        policy_kwargs=policy,
        seed=0,
        device="cpu",
    )
    model.set_logger(configure(None, []))
    model.learn(STEPS)
    return lambda: model.train(gradient_steps=ROUND, batch_size=batch)


def products(name: str, batch: int, width: int) -> float:
    """Floating-point operations of an update's matrix products.

    A pass forward is one, backward two, backward to the inputs alone one.
    """
    _, critics = KINDS[name]

    def forward(inputs: int, outputs: int) -> float:
        return 2.0 * batch * (inputs * width + width * width + width * outputs)

    policy, critic = forward(3, 2 if name == "sac" else 1), forward(4, 1)
    return 4 * policy + critics * (1 + 3 + 2) * critic


def matrix_rate(clock: Callable[[], float]) -> float:
    """Floating-point operations a second of large products."""
    x = jnp.ones((1024, 1024), jnp.float32)
    product = jax.jit(lambda x: x @ x)
    jax.block_until_ready(product(x))
    times = []
    for _ in range(10):
        began = clock()
        jax.block_until_ready(product(x))
        times.append(clock() - began)
    return 2 * 1024**3 / float(np.median(times))


def solving(seed: int) -> dict[str, Any]:
    """SAC on the pure pendulum: seconds until it is solved, after compilation."""
    clock = Schedule(250, "steps")
    run = Learning("pendulum", SAC(reward_scale=0.1), 3000, seed=seed, interval=clock)
    training = run.training
    collect = eqx.filter_jit(lambda state: training.collect(state, 250))
    jax.block_until_ready(collect(training.begin(key=jax.random.key(0))))
    state = training.begin(key=jax.random.key(seed))
    began = time.process_time()
    for _ in range(3000 // 250):
        state, _ = collect(state)
    jax.block_until_ready(state)
    return {"steps": 3000, "cpu_seconds": round(time.process_time() - began, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cpu-time", action="store_true")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    torch.set_num_threads(1)
    rate, rows = matrix_rate(clock), []
    for name, batch, width in CASES:
        mine, took = ours(name, batch, width)
        calls = {"forethought": mine}
        calls |= {peer: theirs(peer, name, batch, width) for peer in PEERS}
        times: dict[str, list[float]] = {who: [] for who in calls}
        for _ in range(arguments.repeats + 1):
            for who, call in calls.items():
                began = clock()
                call()
                times[who].append(clock() - began)
        # The first of each is to warm up.
        spreads = {
            who: common.spread(sorted(each / ROUND for each in found[1:]))
            for who, found in times.items()
        }
        medians = {who: each["microseconds"] for who, each in spreads.items()}
        needed, own = products(name, batch, width) / rate * 1e6, medians["forethought"]
        row = {
            "agent": name,
            "batch": batch,
            "width": width,
            **spreads,
            "times_faster": round(medians["stable-baselines3"] / own, 2),
            "times_faster_than_sbx": round(medians["sbx"] / own, 2),
            "share_of_matrix_rate": round(needed / own, 3),
            "compile_cpu_seconds": round(took, 2),
        }
        print(json.dumps(row), flush=True)
        rows.append(row)
    results = {
        "time": "cpu" if arguments.cpu_time else "wall",
        "versions": common.versions("jax", "torch", "stable-baselines3", "sbx-rl"),
        "matrix_rate": rate,
        "updates": rows,
        "sac_on_pendulum": solving(101),
    }
    print(common.write_results("actor_critics", results))


if __name__ == "__main__":
    main()
