"""The imagined cost of PILCO and its gradient: seconds, memory, compilation.

Forty steps of the cart-pole of the paper, four outputs of six inputs, a policy of
thirty radial basis functions, in float64 on one core. Processes hold random transitions
of the plant, under kernels of unit lengths. Told are

- seconds of one value with its gradient by all 185 parameters, of the processor's time,
- bytes of temporaries, as the compiler plans them,
- seconds of compilation, for two horizons.

    python benchmarks/pilco.py
"""

import argparse
import time
from typing import Any

from common import pin, versions, write_results

pin()

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)

import equinox as eqx  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax.flatten_util import ravel_pytree  # noqa: E402

from forethought import tasks  # noqa: E402
from forethought.agents.gradients.pilco import PILCO  # noqa: E402
from forethought.core.gaussian import Gaussian  # noqa: E402
from forethought.models.gp.hyper import SearchSettings  # noqa: E402
from forethought.models.gp.recipe import MomentMatchingRecipe  # noqa: E402
from forethought.models.learned.rows import Rows  # noqa: E402

SIZES = (80, 160, 300)


def rows(task: Any, count: int) -> Rows:
    """Transitions under random actions, from starts that are spread out."""
    keys = jax.random.split(jax.random.key(0), 3)
    obs = jax.random.normal(keys[0], (count, 4)) * jnp.array([0.5, 2.0, 1.0, 3.0])
    action = task.system.action.sample((count,), key=keys[1])
    after = jax.vmap(lambda x, u: task.system.step(x, u, key=keys[2]))(obs, action)
    noise = 0.01 * jax.random.normal(keys[2], obs.shape)
    zeros, no = jnp.zeros(count), jnp.zeros(count, bool)
    return Rows(obs, action, zeros, after + noise, no, ~no)


def measure(count: int, horizon: int, repeats: int) -> dict[str, float]:
    """One size and horizon."""
    task = tasks.load("pilco-cartpole")
    search = SearchSettings(restarts=0, evaluations=30)
    recipe = MomentMatchingRecipe(points=count, search=search)
    agent = PILCO(model=recipe, horizon=horizon).make(task.brief)
    learner = agent.init(task.environment.spec, key=jax.random.key(0))
    model, _ = learner.problem.model.fit(rows(task, count), key=jax.random.key(1))
    problem = eqx.tree_at(lambda each: each.model, learner.problem, model)
    arrays, rest = eqx.partition(problem, eqx.is_array)
    start = Gaussian(jnp.zeros(4), 0.01 * jnp.eye(4))
    flat, restore = ravel_pytree(learner.parameters)

    def cost(flat: jax.Array, arrays: Any) -> jax.Array:
        policy = agent._dressed(restore(flat), learner.policy)
        found = eqx.combine(arrays, rest)
        return -agent.foreseen(found, policy, start, key=jax.random.key(2))

    began = time.process_time()
    lowered = jax.jit(jax.value_and_grad(cost)).lower(flat, arrays)
    compiled = lowered.compile()
    compiling = time.process_time() - began
    memory: Any = compiled.memory_analysis()
    value, slope = jax.block_until_ready(compiled(flat, arrays))
    assert jnp.isfinite(value) and jnp.all(jnp.isfinite(slope))
    times = []
    for _ in range(repeats):
        began = time.process_time()
        jax.block_until_ready(compiled(flat, arrays))
        times.append(time.process_time() - began)
    times.sort()
    return {
        "points": count,
        "horizon": horizon,
        "seconds": round(times[len(times) // 2], 4),
        "slowest": round(times[-1], 4),
        "temporaries_mb": round(memory.temp_size_in_bytes / 1e6, 1),
        "compiling": round(compiling, 1),
    }


def main() -> None:
    """Measure and write `results/pilco.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    found = [measure(count, 40, repeats) for count in SIZES]
    found.append(measure(80, 10, repeats))
    for each in found:
        print(each)
    write_results(
        "pilco",
        {"rows": found, "versions": versions("jax", "equinox")},
    )


if __name__ == "__main__":
    main()
