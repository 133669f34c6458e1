"""One improvement of a local controller: fit, expansion, dual, compiled as a whole.

Five roll-outs of 100 steps with 14 states and 7 actions (an arm of seven joints): the
mixture and the fit of each step, then the controller within the KL bound. Beside it the
same in NumPy, with loops over time (`local_reference.py`), as published Python code has
it. Both are told the same number of steps of the mixture's fit, and are timed in CPU
seconds of one core.

    python benchmarks/local.py
"""

# ruff: noqa: E402
import common

common.pin()

import argparse
import time

import jax
import local_reference as reference
import numpy as np

from forethought.agents.base import Brief
from forethought.agents.local.local import LocalControl, improved
from forethought.core.spaces import free_box
from forethought.environments.base import EnvironmentSpec
from forethought.models.linear.rollouts import Rollouts
from forethought.objectives.quadratic import Quadratic

T, N, M, ROLLOUTS = 100, 14, 7, 5
BOUND = 1.0


def roll_outs(K, k, root, key_seed):
    """Of a chain of seven masses on springs, under a controller."""
    random = np.random.default_rng(key_seed)
    h, joints = 0.05, N // 2
    stiff = 2 * np.eye(joints) - np.eye(joints, k=1) - np.eye(joints, k=-1)
    A = np.block(
        [[np.eye(joints), h * np.eye(joints)], [-h * stiff, 0.98 * np.eye(joints)]]
    )
    B = np.concatenate([np.zeros((joints, joints)), h * np.eye(joints)])
    x = np.zeros((ROLLOUTS, T + 1, N))
    u = np.zeros((ROLLOUTS, T, M))
    x[:, 0] = 1.0
    for t in range(T):
        noise = random.normal(size=(ROLLOUTS, M)) @ root[t].T
        u[:, t] = x[:, t] @ K[t].T + k[t] + noise
        step = 0.002 * random.normal(size=(ROLLOUTS, N))
        x[:, t + 1] = x[:, t] @ A.T + u[:, t] @ B.T + step
    return x.astype(np.float32), u.astype(np.float32)


def cpu(call, repeats):
    """The median of CPU milliseconds of a call, and of wall milliseconds."""
    both = []
    for _ in range(repeats):
        began = time.process_time(), time.perf_counter()
        call()
        both.append((time.process_time() - began[0], time.perf_counter() - began[1]))
    ours = 1e3 * np.array(both)
    quarters = np.percentile(ours[:, 0], [25, 50, 75])
    return [round(float(each), 3) for each in quarters], round(
        float(np.median(ours[:, 1])), 3
    )


def main(repeats: int) -> None:
    """Time both, and write results/local.json."""
    cost = Quadratic(np.eye(N + M) * np.r_[np.ones(N), 0.01 * np.ones(M)])
    agent = LocalControl(bound=BOUND, adaptive=False).make(Brief(cost))
    spec = EnvironmentSpec(free_box(N), free_box(M), T)
    key = jax.random.key(0)
    learner = agent.init(spec, key=key)
    policy = learner.plan.policy
    K, k = np.asarray(policy.K, float), np.asarray(policy.k, float)
    cov = np.asarray(policy.cov, float)
    seen = [roll_outs(K, k, np.linalg.cholesky(cov), seed) for seed in range(3)]
    data = [Rollouts.pad(*each, T) for each in seen]

    began = time.process_time()
    _, told = jax.block_until_ready(improved(agent, learner, data[0], key=key))
    first = time.process_time() - began
    turn = iter(range(10**9))

    def ours():
        which = data[next(turn) % len(data)]
        jax.block_until_ready(improved(agent, learner, which, key=key)[0].cost)

    _, metrics = learner.model.fit(data[0], key=key)
    steps = int(metrics["mixture_steps"])
    clusters = max(2, min(20, ROLLOUTS * T // 40))
    C = np.asarray(cost.C, float)

    def fitted():
        x, u = (np.asarray(each, float) for each in seen[next(turn) % len(seen)])
        return x, reference.fit(x, u, clusters, steps)

    def theirs():
        x, (F, f, W) = fitted()
        return reference.improve(
            F, f, W, C, np.zeros(N + M), x[0, 0], K, k, cov, BOUND * T
        )

    found = theirs()
    ms, wall = cpu(ours, repeats)
    numpy_ms, numpy_wall = cpu(theirs, max(3, repeats // 20))
    fit_ms, _ = cpu(fitted, max(3, repeats // 20))
    result = {
        "what": {"steps": T, "states": N, "actions": M, "rollouts": ROLLOUTS},
        "compile and first call, CPU s": round(first, 2),
        "ours, CPU ms": {"quartiles": ms, "wall": wall},
        "NumPy, CPU ms": {"quartiles": numpy_ms, "wall": numpy_wall},
        "NumPy, fit alone, CPU ms": fit_ms,
        "times faster": round(numpy_ms[1] / ms[1], 1),
        "mixture": {"clusters": clusters, "steps": steps},
        "ours, prices tried": int(told["sweeps"]),
        "NumPy, prices tried": int(found[2]),
        "kl": {"ours": float(told["kl"]), "NumPy": float(found[1])},
    }
    for name, value in result.items():
        print(f"{name:32} {value}")
    result |= {"versions": common.versions("jax", "numpy", "scipy")}
    common.write_results("local", result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=100)
    main(parser.parse_args().repeats)
